#pragma once
/// The small decoders that the goldens hold.

#include "dit/models/autoencoder_kl.hpp"
#include "dit/models/autoencoder_tiny.hpp"
#include "dit/nn/plan.hpp"
#include "support.hpp"

namespace support {

inline constexpr dit::AutoencoderKLConfig mini_vae{.channels = {8, 8, 16, 16}, .blocks = 2, .groups = 4};
inline constexpr dit::AutoencoderKLConfig shifted_vae{.latent_channels = 16,
                                                      .channels = {16, 24},
                                                      .blocks = 3,
                                                      .groups = 8,
                                                      .post_quant_conv = false,
                                                      .scaling_factor_e5 = 153050,
                                                      .shift_factor_e5 = 6090};
inline constexpr dit::AutoencoderTinyConfig mini_taesd{.width = 12};

/// What a test asks of either kind of decoder: the whole image, or tiles so small that there are several.
template <class M>
struct Decoding {
  using R = typename M::R;
  static constexpr Index tile = 8;
  bool tiled;

  Tensor<R, 4> operator()(const M& model, View<const R, 4> latents, Workspace& workspace) const {
    return tiled ? model.decode_tiled(latents, workspace, tile) : model.decode(latents, workspace);
  }
  void operator()(const M& model, View<const R, 4> latents, View<R, 4> images, Workspace& workspace) const {
    tiled ? model.decode_tiled(latents, images, workspace, tile) : model.decode(latents, images, workspace);
  }
  std::uint64_t arena(Shape<2> shape, int threads) const {
    const Index extents[] = {shape[0], shape[1]};
    return (tiled ? dit::plan_tiled<M>(1, extents, threads, tile) : dit::plan<M>(1, extents, threads)).arena;
  }
};

template <class M>
Tensor<typename M::R, 4> latents_for(Index batch, Index height, Index width, unsigned seed) {
  return normal<typename M::R, 4>({batch, M::channels, height, width}, seed);
}

/// The decoders of a typed test.
using Decoders = testing::Types<dit::AutoencoderKL<mini_vae>, dit::AutoencoderKL<mini_vae, double>,
                                dit::AutoencoderTiny<mini_taesd>, dit::AutoencoderTiny<mini_taesd, double>>;
}  // namespace support
