#pragma once
/// The small models that the goldens hold, and fields made of them.

#include "dit/models/dit.hpp"
#include "dit/models/plain_dit.hpp"
#include "support.hpp"

namespace support {

inline constexpr dit::DiTConfig tiny{.width = 72, .depth = 2, .heads = 3, .patch = 2, .input = 8, .classes = 10};
inline constexpr dit::DiTConfig mini{.width = 12, .depth = 2, .heads = 3, .patch = 2, .input = 8, .classes = 10};
inline constexpr dit::DiTConfig tiny_p4{.width = 48,
                                        .depth = 1,
                                        .heads = 2,
                                        .patch = 4,
                                        .input = 16,
                                        .in_channels = 3,
                                        .learn_sigma = false,
                                        .classes = 5};
/// The article's listing.
inline constexpr dit::PlainDiTConfig article{
    .in_channels = 3, .patch = 2, .width = 72, .heads = 3, .mlp = 100, .depth = 2, .width_c = 40};

/// Noise of the shape that a model's latents have.
template <class M>
Tensor<typename M::R, 4> latents(Index batch, Index height, Index width, unsigned seed) {
  return normal<typename M::R, 4>({batch, M::config.in_channels, height, width}, seed);
}

/// model(x, t, y) with a result of its own, at the same time and class for every sample unless given.
template <class M>
Tensor<typename M::R, 4> run(const M& model, const Tensor<typename M::R, 4>& x, Workspace& workspace,
                             std::vector<typename M::R> t = {}, std::vector<int> y = {}) {
  const auto batch = static_cast<std::size_t>(x.dimension(0));
  if (t.empty()) t.assign(batch, 250);
  if (y.empty()) y.assign(batch, 3);
  return model(x, t, y, workspace);
}

/// Samples [first, first + count) of a batch.
template <class T>
Tensor<T, 4> samples(const Tensor<T, 4>& x, Index first, Index count) {
  Tensor<T, 4> some(count, x.dimension(1), x.dimension(2), x.dimension(3));
  std::copy_n(x.data() + first * (x.size() / x.dimension(0)), some.size(), some.data());
  return some;
}

}  // namespace support
