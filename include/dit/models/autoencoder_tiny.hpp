#pragma once
/// Tiny autoencoders, whose decoders are quick enough for previews: TAESD and its relatives.

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "dit/nn/conv.hpp"
#include "dit/nn/layout.hpp"
#include "dit/nn/plan.hpp"
#include "dit/nn/sequence.hpp"
#include "dit/nn/tiles.hpp"

namespace dit { inline namespace DIT_ABI {

struct AutoencoderTinyConfig {
  int latent_channels = 4;
  int width = 64;
  int image_channels = 3;
};

inline constexpr AutoencoderTinyConfig taesd{};  ///< SD 1.x, DiT; taesdxl has the same shape
inline constexpr AutoencoderTinyConfig taesd3{.latent_channels = 16};
inline constexpr AutoencoderTinyConfig taef1{.latent_channels = 16};

/// x <- ReLU(x + conv_4(ReLU(conv_2(ReLU(conv_0(x))))))
template <int channels, class T = float>
struct TinyBlock {
  using R = real<T>;

  using Conv = Conv2d<channels, channels, 3, T>;
  Sequence<Conv, Nothing, Conv, Nothing, Conv> conv;

  static constexpr void visit(auto&& f, auto&... self) { f("conv", self.conv...); }

  constexpr void operator()(Maps<R, channels> x, Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto h = take_maps<R, channels>(x.height, x.width, workspace);
    const auto g = take_maps<R, channels>(x.height, x.width, workspace);
    store(h, relu(conv.template get<0>()(x)), workspace);
    store(g, relu(conv.template get<2>()(h)), workspace);
    add(x, relu(conv.template get<4>()(g)), workspace);
  }
};

/// The layers of a tiny decoder, of which those without parameters only take numbers (diffusers:
/// models/autoencoders/vae.py, DecoderTiny; madebyollin/taesd):
///   conv, ReLU, 3 x (3 blocks, upsample, conv), block, conv
template <AutoencoderTinyConfig config, class T = float>
struct TinyDecoder {
  static constexpr int width = config.width;
  using R = real<T>;

  Conv2d<config.latent_channels, width, 3, T> conv_in;
  std::array<std::array<TinyBlock<width, T>, 3>, 3> blocks;
  std::array<Conv2d<width, width, 3, T, /*has_bias=*/false>, 3> upsamplers;
  TinyBlock<width, T> last_block;
  Conv2d<width, config.image_channels, 3, T> conv_out;

  static constexpr void visit(auto&& f, auto&... self) {
    f(0, self.conv_in...);
    for (std::size_t stage = 0; stage < 3; ++stage) {
      const int first = 2 + 5 * static_cast<int>(stage);
      for (std::size_t i = 0; i < 3; ++i) f(first + static_cast<int>(i), self.blocks[stage][i]...);
      f(first + 4, self.upsamplers[stage]...);
    }
    f(17, self.last_block...);
    f(18, self.conv_out...);
  }

  /// z [h, w, C] -> image [channels, 8 h, 8 w]
  constexpr void operator()(Maps<const R, config.latent_channels> z, View<R, 3> image, Workspace& workspace) const {
    const auto scope = workspace.scope();
    R* memory[2] = {workspace.take<R>(64 * z.pixels() * width), workspace.take<R>(16 * z.pixels() * width)};
    Maps<R, width> x{memory[1], z.height, z.width};  // the first upsampling is from 1 to 0, the last as well
    store(x, relu(conv_in(z)), workspace);
    for (std::size_t stage = 0; stage < 3; ++stage) {
      for (const auto& block : blocks[stage]) block(x, workspace);
      const Maps<R, width> larger{memory[stage % 2], 2 * x.height, 2 * x.width};
      store(larger, upsamplers[stage](upsample(x)), workspace);
      x = larger;
    }
    last_block(x, workspace);
    store_planes(image, conv_out(x), workspace, 2, -1);  // [0, 1] to [-1, 1]
  }
};

/// The decoding half of a tiny autoencoder, from the latents of a diffusion model (which are not to be scaled) to
/// images [B, 3, 8 h, 8 w], about [-1, 1]; quick enough for a preview at every step.
///
///     const auto preview = load<AutoencoderTiny<taef1>>("taef1/diffusion_pytorch_model.safetensors");
///     Tensor<float, 4> images = preview.decode(latents, workspace);
///
///   images = 2 layers(3 tanh(latents / 3)) - 1
///
/// `decode_tiled` is diffusers' with tile_latent_min_size = tile, tile_overlap_factor = 0.125: tiles overlap by an
/// eighth, where they go over into one another linearly.
///
/// Samples are decoded one after the other. Errors: bad_input_shape; bad_option; aliasing; busy; bad_state (no
/// weights); out_of_memory.
template <AutoencoderTinyConfig config_, class T = float>
struct AutoencoderTiny : LatentDecoder<AutoencoderTiny<config_, T>, real<T>, 8> {
  static constexpr AutoencoderTinyConfig config = config_;
  static constexpr int channels = config.latent_channels;
  static constexpr Index factor = 8;
  static constexpr std::string_view family = "autoencoder_tiny";
  static_assert(config.latent_channels > 0 && config.width > 0 && config.image_channels > 0,
                "AutoencoderTiny: channels must be positive");
  using R = real<T>;
  using Base = LatentDecoder<AutoencoderTiny, R, 8>;

  struct Layers {
    TinyDecoder<config, T> layers;
    static constexpr void visit(auto&& f, auto&... self) { f("layers", self.layers...); }
  };
  Layers decoder;

  static constexpr void visit(auto&& f, auto&... self) { f("decoder", self.decoder...); }

  /// Numbers of the largest tile's image.
  static constexpr Index tile_size(Index height, Index width, Index tile) {
    return config.image_channels * factor * factor * std::min(tile, height) * std::min(tile, width);
  }

  constexpr void decode_window(View<const R, 3> latents, Index top, Index left, Index height, Index width,
                               View<R, 3> image, Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto z = take_maps<R, channels>(height, width, workspace);
    read_planes(latents, top, left, z, workspace, [](R x) { return std::tanh(x / 3) * 3; });
    decoder.layers(z, image, workspace);
  }

  /// One sample in tiles.
  constexpr void decode_tiles(View<const R, 3> latents, Index tile, View<R, 3> image, Workspace& workspace) const {
    const auto scope = workspace.scope();
    const Tiles rows = Base::cut(latents.shape[1], tile), columns = Base::cut(latents.shape[2], tile);
    R* const memory = workspace.take<R>(tile_size(latents.shape[1], latents.shape[2], tile));
    // How much of a tile's pixel i along an axis is the tile's own.
    const auto share = [last = static_cast<R>(factor * tile / 8 - 1)](Index number, Index i) {
      return number == 0 ? R(1) : std::min(R(1), static_cast<R>(i) / last);
    };
    detail::for_each_tile(rows, columns, workspace, [&](Index i, Index j) {
      const Index height = factor * rows.size(i), width = factor * columns.size(j);
      const View<R, 3> one(memory, {config.image_channels, height, width});
      decode_window(latents, rows.first(i), columns.first(j), rows.size(i), columns.size(j), one, workspace);
      workspace.parallel_for(config.image_channels * height, [&](Index task, int) {
        const Index c = task / height, y = task % height;
        const R* const from = memory + task * width;
        R* const to = image.data + (c * image.shape[1] + factor * rows.first(i) + y) * image.shape[2] +
                      factor * columns.first(j);
        for (Index x = 0; x < width; ++x) {
          const R own = share(i, y) * share(j, x);
          to[x] = own == 1 ? from[x] : own * from[x] + (1 - own) * to[x];
        }
      });
    });
  }
};

}}  // namespace dit
