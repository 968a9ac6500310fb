#pragma once
/// The decoder of the autoencoders of latent diffusion: SD 1.x (which DiT uses), SD 3, FLUX.1.

#include <algorithm>
#include <array>
#include <string_view>
#include <type_traits>
#include <utility>

#include "dit/nn/layout.hpp"
#include "dit/nn/plan.hpp"
#include "dit/nn/resnet_block.hpp"
#include "dit/nn/tiles.hpp"

namespace dit { inline namespace DIT_ABI {

/// What distinguishes autoencoders (diffusers: AutoencoderKL's config.json).
struct AutoencoderKLConfig {
  int latent_channels = 4;
  std::array<int, 6> channels = {128, 256, 512, 512};  ///< of every level from the image down; 0 ends the list
  int blocks = 3;                                      ///< ResNet blocks of a level: layers_per_block + 1
  int groups = 32;
  bool post_quant_conv = true;
  int scaling_factor_e5 = 18215;  ///< in units of 1e-5: a template's value has no fractions
  int shift_factor_e5 = 0;
  int image_channels = 3;

  constexpr int levels() const {
    int n = 0;
    while (n < 6 && channels[static_cast<std::size_t>(n)] > 0) ++n;
    return n;
  }
  /// Channels of the l-th level that the decoder passes, the innermost first.
  constexpr int level(int l) const { return channels[static_cast<std::size_t>(levels() - 1 - l)]; }
  /// Pixels of the image along the side of one of the latent.
  constexpr int factor() const { return 1 << (levels() - 1); }
  /// What diffusion models see is (z - shift) * scale of the autoencoder's own latents z.
  constexpr double scaling_factor() const { return scaling_factor_e5 / 1e5; }
  constexpr double shift_factor() const { return shift_factor_e5 / 1e5; }
};

inline constexpr AutoencoderKLConfig sd_vae{};
inline constexpr AutoencoderKLConfig sdxl_vae{.scaling_factor_e5 = 13025};
inline constexpr AutoencoderKLConfig sd3_vae{
    .latent_channels = 16, .post_quant_conv = false, .scaling_factor_e5 = 153050, .shift_factor_e5 = 6090};
inline constexpr AutoencoderKLConfig flux_vae{
    .latent_channels = 16, .post_quant_conv = false, .scaling_factor_e5 = 36110, .shift_factor_e5 = 11590};

/// The convolutional decoder (diffusers: models/autoencoders/vae.py, Decoder; CompVis: model.py, Decoder):
///   x <- conv_in(z);  x <- MidBlock(x);  x <- UpBlock_l(x), l = 1 .. levels;  image <- conv_out(SiLU(GN(x)))
template <AutoencoderKLConfig config, class T = float>
struct AutoencoderKLDecoder {
  static constexpr int levels = config.levels();
  static constexpr int inner = config.level(0), outer = config.level(levels - 1);
  using R = real<T>;

  template <int l>
  using Level =
      UpBlock<config.level(l == 0 ? 0 : l - 1), config.level(l), config.blocks, config.groups, l + 1 < levels, T>;
  template <class>
  struct AllLevels;
  template <int... l>
  struct AllLevels<std::integer_sequence<int, l...>> {
    using type = Sequence<Level<l>...>;
  };

  Conv2d<config.latent_channels, inner, 3, T> conv_in;
  MidBlock<inner, config.groups, T> mid_block;
  typename AllLevels<std::make_integer_sequence<int, levels>>::type up_blocks;
  GroupNorm<outer, config.groups, T> conv_norm_out;
  Conv2d<outer, config.image_channels, 3, T> conv_out;

  static constexpr void visit(auto&& f, auto&... self) {
    f("conv_in", self.conv_in...);
    f("up_blocks", self.up_blocks...);
    f("mid_block", self.mid_block...);
    f("conv_norm_out", self.conv_norm_out...);
    f("conv_out", self.conv_out...);
  }

  /// z [h, w, C] -> image [channels, factor * h, factor * w]
  constexpr void operator()(Maps<const R, config.latent_channels> z, View<R, 3> image, Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto [first, second] = turns_sizes(z.height, z.width);
    R* const here = workspace.take<R>(first);
    R* const there = workspace.take<R>(second);
    Turns<R> turns{here, there};
    const Maps<R, inner> x{here, z.height, z.width};
    store(x, conv_in(z), workspace);
    mid_block(x, workspace);
    const Maps<R, outer> y = up<0>(x, turns, workspace);
    store_planes(image, conv_out(silu(conv_norm_out(y, workspace))), workspace);
  }

 private:
  template <int l>
  constexpr auto up(Maps<R, config.level(l == 0 ? 0 : l - 1)> x, Turns<R>& turns, Workspace& workspace) const {
    const auto y = up_blocks.template get<l>()(x, turns, workspace);
    if constexpr (l + 1 < levels) {
      return up<l + 1>(y, turns, workspace);
    } else {
      return y;
    }
  }

  template <class F>
  static constexpr void for_each_level(F&& f) {
    [&f]<int... l>(std::integer_sequence<int, l...>) { (f(std::integral_constant<int, l>{}), ...); }
    (std::make_integer_sequence<int, levels>{});
  }

  /// Numbers of the two memories that the levels' maps take turns in.
  static constexpr std::array<Index, 2> turns_sizes(Index height, Index width) {
    std::array<Index, 2> sizes{inner * height * width, 0};
    std::size_t turn = 0;
    for (int l = 0; l < levels; ++l) {
      const Index pixels = (height << l) * (width << l);
      const auto next = [&](Index size) {
        turn = 1 - turn;
        sizes[turn] = std::max(sizes[turn], size);
      };
      if (l > 0 && config.level(l) != config.level(l - 1)) next(config.level(l) * pixels);
      if (l + 1 < levels) next(config.level(l) * 4 * pixels);
    }
    return sizes;
  }
};

/// The decoding half of a KL autoencoder (arXiv:2112.10752): latents of a diffusion model to images.
///
///     const auto vae = load<AutoencoderKL<sd3_vae>>("vae/diffusion_pytorch_model.safetensors", {.strict = true});
///     Tensor<float, 4> images = vae.decode(latents, workspace);   // [B, 3, 8 h, 8 w], about [-1, 1]
///
///   images = Decoder(post_quant_conv(latents / scaling_factor + shift_factor))
///
/// for latents as diffusion models make them (diffusers: what its pipelines do around AutoencoderKL.decode, which
/// takes the unscaled ones). `decode_tiled` is diffusers' tiled_decode with tile_latent_min_size = tile,
/// tile_overlap_factor = 0.25: tiles overlap by a quarter, where they go over into one another linearly. Each is
/// normalised by itself, so the result is not that of `decode`, unless the latents fit into one tile. diffusers'
/// own tiles are of 64 latents for SD 1.x, of 128 for SD3 and FLUX.
///
/// Samples are decoded one after the other, so memory does not grow with the batch. Checkpoints hold the encoder as
/// well; its tensors are left where they are.
///
/// Errors: bad_input_shape; bad_option; aliasing; busy; bad_state (no weights); out_of_memory.
template <AutoencoderKLConfig config_, class T = float>
struct AutoencoderKL : LatentDecoder<AutoencoderKL<config_, T>, real<T>, 4> {
  static constexpr AutoencoderKLConfig config = config_;
  static constexpr Index factor = config.factor();
  static constexpr std::string_view family = "autoencoder_kl";
  static_assert(config.levels() > 0 && config.latent_channels > 0 && config.image_channels > 0 && config.blocks > 0,
                "AutoencoderKL: channels and blocks must be positive");
  static_assert(config.scaling_factor_e5 > 0, "AutoencoderKL: the scaling factor must be positive");
  using R = real<T>;
  using Base = LatentDecoder<AutoencoderKL, R, 4>;

  static constexpr int channels = config.latent_channels;
  std::conditional_t<config.post_quant_conv, Conv2d<channels, channels, 1, T>, Nothing> post_quant_conv;
  AutoencoderKLDecoder<config, T> decoder;

  static constexpr void visit(auto&& f, auto&... self) {
    f("decoder", self.decoder...);
    f("post_quant_conv", self.post_quant_conv...);
  }

  static constexpr Index tile_size(Index tile) { return config.image_channels * factor * tile * factor * tile; }

  /// One image of a window of a sample's latents [C, H, W].
  constexpr void decode_window(View<const R, 3> latents, Index top, Index left, Index height, Index width,
                               View<R, 3> image, Workspace& workspace) const {
    const auto scope = workspace.scope();
    auto z = take_maps<R, channels>(height, width, workspace);
    read_planes(latents, top, left, z, workspace, [](R x) {
      return x / static_cast<R>(config.scaling_factor()) + static_cast<R>(config.shift_factor());
    });
    if constexpr (config.post_quant_conv) {
      const auto quantised = take_maps<R, channels>(height, width, workspace);
      store(quantised, post_quant_conv(z), workspace);
      z = quantised;
    }
    decoder(z, image, workspace);
  }

  /// One sample in tiles.
  constexpr void decode_tiles(View<const R, 3> latents, Index tile, View<R, 3> image, Workspace& workspace) const {
    const Index h = latents.shape[1], w = latents.shape[2];
    if (h <= tile && w <= tile) return decode_window(latents, 0, 0, h, w, image, workspace);
    const auto scope = workspace.scope();
    const Tiles rows = Base::cut(h, tile), columns = Base::cut(w, tile);
    R* const memory = workspace.take<R>(tile_size(tile));
    const BlendedTiles<R> blended(image, factor * tile, columns.count(), workspace);
    detail::for_each_tile(rows, columns, workspace, [&](Index i, Index j) {
      const View<R, 3> one(memory, {config.image_channels, factor * rows.size(i), factor * columns.size(j)});
      decode_window(latents, rows.first(i), columns.first(j), rows.size(i), columns.size(j), one, workspace);
      blended.put(i, j, one, workspace);
    });
  }
};

}}  // namespace dit
