#pragma once
/// Modulation: what adaLN makes of the conditioning vector.

#include "dit/core/tensor.hpp"

namespace dit::inline DIT_ABI {

/// One vector of `width` numbers for every sample of a batch, `stride` numbers apart.
template <class T, int width_>
struct PerSample {
  static constexpr int width = width_;
  const T* data = nullptr;
  Index stride = 0;

  const T* operator[](Index sample) const { return data + sample * stride; }
};

/// shift, scale and gate of one branch of a block, each [B, width] and broadcast over the tokens.
///     modulate(x; shift, scale) = x * (1 + scale) + shift
template <class T, int width>
struct Modulation {
  PerSample<T, width> shift, scale, gate;
};

/// The output [B, chunks * width] of an adaLN projection, by chunk.
template <class T, int width, int chunks>
struct Chunks {
  const T* data = nullptr;

  template <int i>
  PerSample<T, width> chunk() const {
    static_assert(0 <= i && i < chunks, "the adaLN projection has fewer chunks than that");
    return {data + i * width, chunks * width};
  }
};

}  // namespace dit::inline DIT_ABI
