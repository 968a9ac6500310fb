#pragma once
/// What the tests of blocks share: samples taken out of a batch, tokens in another order.

#include "support.hpp"

namespace support {

/// Sample b, as a batch of its own.
template <class T, int rank>
Tensor<T, rank> sample(const Tensor<T, rank>& x, Index b) {
  auto shape = x.dimensions();
  shape[0] = 1;
  Tensor<T, rank> one(shape);
  std::copy_n(x.data() + b * one.size(), one.size(), one.data());
  return one;
}

/// The last sample first.
template <class T, int rank>
Tensor<T, rank> reversed(const Tensor<T, rank>& x) {
  Tensor<T, rank> result(x.dimensions());
  const Index batch = x.dimension(0), size = x.size() / batch;
  for (Index b = 0; b < batch; ++b) std::copy_n(x.data() + b * size, size, result.data() + (batch - 1 - b) * size);
  return result;
}

/// In every sample of x [B, N, D] tokens [first, first + count) move around by `by`.
template <class T>
Tensor<T, 3> rolled(Tensor<T, 3> x, Index first, Index count, Index by) {
  const Index width = x.dimension(2);
  for (Index b = 0; b < x.dimension(0); ++b) {
    T* const begin = x.data() + (b * x.dimension(1) + first) * width;
    std::rotate(begin, begin + by * width, begin + count * width);
  }
  return x;
}

}  // namespace support
