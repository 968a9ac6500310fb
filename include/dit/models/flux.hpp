#pragma once
/// FLUX.1 (black-forest-labs/flux: src/flux/model.py).

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include "dit/models/flux_condition.hpp"
#include "dit/models/text_to_image.hpp"
#include "dit/nn/depatchify.hpp"
#include "dit/nn/embed.hpp"
#include "dit/nn/flux_block.hpp"

namespace dit { inline namespace DIT_ABI {

struct FluxConfig {
  int width = 3072;
  int heads = 24;
  int double_blocks = 19;
  int single_blocks = 38;
  int channels = 16;                       ///< of the latents, in and out
  int control_channels = 0;                ///< more channels in, of the latents' height and width
  int context = 4096;                      ///< width of the text's tokens
  int pooled = 768;                        ///< width of the text's vector
  bool guidance = true;                    ///< the guidance scale is an input: distilled guidance
  std::array<int, 3> axes = {16, 56, 56};  ///< channels of a head turned by kind, row and column of a token
  int theta = 10000;
  int mlp_ratio = 4;

  static constexpr int patch = 2;
  constexpr int in_features() const { return (channels + control_channels) * patch * patch; }
  constexpr BlockConfig block() const { return {width, heads, mlp_ratio * width}; }
};

// The published models (src/flux/util.py); Krea-dev, Kontext-dev and what Redux feeds are flux_dev.
inline constexpr FluxConfig flux_dev{};
inline constexpr FluxConfig flux_schnell{.guidance = false};
inline constexpr FluxConfig flux_krea = flux_dev;
inline constexpr FluxConfig flux_kontext = flux_dev;
inline constexpr FluxConfig flux_fill{.control_channels = 16 + 64};  ///< masked image, mask
inline constexpr FluxConfig flux_canny{.control_channels = 16};
inline constexpr FluxConfig flux_depth = flux_canny;

/// All that time, guidance and pooled text ever say to a FLUX: for every double block 6 chunks of the image and 6
/// of the text, for every single block 3, then 2 for the final layer.
template <FluxConfig config, class R>
struct FluxModulations : ModulationTable<R, config.width> {
  static constexpr Index per_vector =
      (12 * Index{config.double_blocks} + 3 * Index{config.single_blocks} + 2) * config.width;

  typename DoubleStreamBlock<config.block(), R>::Modulations double_block(Index i) const {
    return {this->template chunks<6>(12 * i), this->template chunks<6>(12 * i + 6)};
  }
  Chunks<R, config.width, 3> single_block(Index i) const {
    return this->template chunks<3>(12 * Index{config.double_blocks} + 3 * i);
  }
  Chunks<R, config.width, 2> final_layer() const {
    return this->template chunks<2>(12 * Index{config.double_blocks} + 3 * Index{config.single_blocks});
  }
};

/// FLUX.1, a flow-matching transformer conditioned on text (src/flux/model.py):
///   X <- Linear(pack(x)),  T <- Linear(text)
///   c <- MLP2(features(1000 t)) + MLP2(features(1000 guidance)) + MLP2(pooled)
///   X, T <- DoubleStreamBlock_l(X, T, SiLU(c)),        l = 1 .. 19
///   Z <- [T | X];  Z <- SingleStreamBlock_l(Z, SiLU(c)),  l = 1 .. 38;  X <- image tokens of Z
///   v <- unpack(Linear(modulate(LN(X), Linear(SiLU(c)))))
///
/// `pack` makes a token of every 2 x 2 latents, features in the order (c p q), as does unpack. Queries and keys are
/// turned by each token's ids (kind, row, column): text (0, 0, 0), the image's tokens (0, r, s), a reference's
/// (1, r, s). Takes latents x [B, C, H, W], H and W even, times t [B] = sigma in [0, 1]; gives the velocity
/// [B, C, H, W]. No masks. A model is const while it runs and may be shared by threads, each with its Workspace.
///
/// Errors: bad_input_shape (latents, control or reference that do not fit); bad_condition (not a time, a text and a
/// guidance per sample, text of another width or without tokens, guidance where the model has none); bad_schedule
/// (a time that is not finite); bad_guidance (a guidance that is not); aliasing; busy; bad_state (no weights);
/// out_of_memory.
template <FluxConfig config_, class T = float>
struct Flux : TextToImage<Flux<config_, T>, real<T>> {
  static constexpr FluxConfig config = config_;
  static constexpr int width = config.width;
  static constexpr int head_dim = width / config.heads;
  static constexpr Index channels = config.channels;
  static constexpr std::string_view family = "flux";
  static_assert(config.width > 0 && config.heads > 0 && config.width % config.heads == 0,
                "Flux: the number of heads does not divide the width");
  static_assert(config.axes[0] + config.axes[1] + config.axes[2] == config.width / config.heads,
                "Flux: the axes of the rotary embedding do not add up to a head");
  static_assert(config.axes[0] % 2 == 0 && config.axes[1] % 2 == 0 && config.axes[2] % 2 == 0,
                "Flux: every axis of the rotary embedding must have pairs of channels");
  static_assert(config.double_blocks > 0 && config.single_blocks >= 0 &&
                    config.double_blocks + config.single_blocks <= 1000,
                "Flux: the number of blocks must be in 1 .. 1000");
  static_assert(config.channels > 0 && config.control_channels >= 0 && config.context > 0 && config.pooled > 0 &&
                    config.mlp_ratio > 0,
                "Flux: channels and the widths of the text must be positive");

  using R = real<T>;
  using scalar = T;
  using Modulations = FluxModulations<config, R>;
  template <class U>
  using with_scalar = Flux<config, U>;

  Linear<config.in_features(), width, T> img_in;
  Linear<config.context, width, T> txt_in;
  TimestepEmbedder<width, T> time_in;
  std::array<TimestepEmbedder<width, T>, config.guidance ? 1 : 0> guidance_in;
  Mlp<config.pooled, width, width, Activation::silu, T> vector_in;
  std::array<DoubleStreamBlock<config.block(), T>, config.double_blocks> double_blocks;
  std::array<SingleStreamBlock<config.block(), T>, config.single_blocks> single_blocks;
  FinalLayer<width, config.patch, config.channels, T, PatchOrder::channel_first> final_layer;

  static constexpr void visit(auto&& f, auto&... self) {
    f("img_in", self.img_in...);
    f("txt_in", self.txt_in...);
    f("time_in.in_layer", self.time_in.mlp.fc1...);
    f("time_in.out_layer", self.time_in.mlp.fc2...);
    if constexpr (config.guidance) {
      f("guidance_in.in_layer", self.guidance_in[0].mlp.fc1...);
      f("guidance_in.out_layer", self.guidance_in[0].mlp.fc2...);
    }
    f("vector_in.in_layer", self.vector_in.fc1...);
    f("vector_in.out_layer", self.vector_in.fc2...);
    f("double_blocks", self.double_blocks...);
    f("single_blocks", self.single_blocks...);
    f("final_layer", self.final_layer...);
  }

  using Condition = FluxCondition<R>;
  /// What depends on the conditioning alone.
  struct Embedded : EmbeddedText<R, width> {
    Tensor<R, 4> control, reference;

    Grid reference_grid() const {
      if (reference.size() == 0) return {};
      return {reference.dimension(2) / config.patch, reference.dimension(3) / config.patch};
    }
  };

  /// T and MLP2(features(1000 guidance)) + MLP2(pooled).
  Embedded embed(const Condition& condition, Workspace& workspace) const {
    Embedded e{embed_text(condition.text, txt_in, vector_in, workspace), condition.control, condition.reference};
    const auto batch = static_cast<std::size_t>(e.samples()), scales = condition.guidance.size();
    require(config.guidance ? scales == 1 || scales == batch : scales == 0, errc::bad_condition,
            config.guidance ? "there must be one guidance scale, or one for every sample"
                            : "this model has no guidance input");
    if constexpr (config.guidance) {
      std::vector<R> guidance(batch);
      for (std::size_t b = 0; b < batch; ++b) guidance[b] = condition.guidance[scales == 1 ? 0 : b];
      require(std::all_of(guidance.begin(), guidance.end(), [](R scale) { return std::isfinite(scale); }),
              errc::bad_guidance, "a guidance scale is not a finite number");
      add(Tokens<R, width>{e.vector.data(), e.samples(), 1},
          guidance_in[0](guidance, /*divisor=*/128, workspace, /*scale=*/1000), workspace);
    }
    return e;
  }

  /// The modulations for vectors c(t_r, condition_r), one GEMM per stream and layer, into `table`
  /// [Modulations::per_vector * rows]; see condition_vectors.
  void modulations(std::span<const R> t, const Embedded& condition, R* table, Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto c = condition_vectors<T, width>(t, /*scale=*/1000, time_in, condition, workspace);
    const auto next = [&](const auto& projection) { table += c.size() * projection(c, table, workspace).count; };
    for (const auto& block : double_blocks) {
      next(block.x_block.adaLN_modulation);
      next(block.context_block.adaLN_modulation);
    }
    for (const auto& block : single_blocks) next(block.modulation);
    next(final_layer.adaLN_modulation);
  }

  /// The model's time for a sampler's sigma: the same.
  static R model_time(std::floating_point auto sigma) { return static_cast<R>(sigma); }

  /// Workspace bytes of a pass over latents [batch, channels, H, W], shape = {H, W}, with `text` tokens and
  /// `reference` tokens of a reference image.
  static constexpr std::size_t arena(Index batch, Shape<2> shape, Index text, int strands, Index reference = 0) {
    const Index image = shape[0] / config.patch * (shape[1] / config.patch), count = image + reference;
    const Index all = text + count;
    const std::size_t embedding =
        std::max({decltype(txt_in)::arena(batch * text, strands), decltype(vector_in)::arena(batch, strands),
                  config.guidance ? decltype(time_in)::arena(batch, strands) : 0});
    const std::size_t modulating =
        arena_bytes<R>(batch * width) +
        std::max(decltype(time_in)::arena(batch, strands), gemm_arena<T>(batch, width, strands));
    const std::size_t packing =
        arena_bytes<R>(batch * count * config.in_features()) +
        std::max(arena_bytes<R>(image * config.in_features()), decltype(img_in)::arena(batch * count, strands));
    const std::size_t doubles =
        arena_bytes<R>(batch * count * width) +
        std::max(packing, arena_bytes<R>(batch * text * width) +
                              DoubleStreamBlock<config.block(), T>::arena(batch, count, text, strands));
    const std::size_t last =
        arena_bytes<R>(batch * image * width) + decltype(final_layer)::arena(batch * image, strands);
    const std::size_t forward =
        2 * arena_bytes<R>(all * head_dim) + arena_bytes<R>(batch * all * width) +
        std::max({doubles, last,
                  config.single_blocks > 0 ? SingleStreamBlock<config.block(), T>::arena(batch, all, strands) : 0});
    return std::max(embedding, arena_bytes<R>(Modulations::per_vector * batch) + std::max(modulating, forward));
  }

  /// A pass whose arguments are known to fit, but for control and reference.
  void forward(View<const R, 4> x, const Modulations& m, const Embedded& condition, View<R, 4> v,
               Workspace& workspace) const {
    const Grid grid = patch_grid(x, config.patch), reference = condition.reference_grid();
    const Index batch = x.shape[0], text = condition.tokens(), image = grid.count() + reference.count();
    require_fit(x, condition);
    const auto scope = workspace.scope();
    const auto rope = turns(text, grid, reference, workspace);
    const auto Z = take_tokens<R, width>(batch, text + image, workspace);  // [B, M + N, D]
    {
      const auto inner = workspace.scope();
      const auto X = take_tokens<R, width>(batch, image, workspace);  // [B, N, D]
      store_packed(X, x, condition, workspace);
      const auto context = take_tokens<R, width>(batch, text, workspace);  // [B, M, D]
      copy_tokens({condition.context.data(), condition.samples(), text}, 0, context, 0, text, workspace);
      for (Index l = 0; l < config.double_blocks; ++l) {
        double_blocks[static_cast<std::size_t>(l)](X, context, m.double_block(l), workspace, rope,
                                                   rope.from(text, head_dim));
      }
      copy_tokens(context, 0, Z, 0, text, workspace);
      copy_tokens(X, 0, Z, text, image, workspace);
    }
    for (Index l = 0; l < config.single_blocks; ++l) {
      single_blocks[static_cast<std::size_t>(l)](Z, m.single_block(l), workspace, rope);
    }
    const auto X = take_tokens<R, width>(batch, grid.count(), workspace);
    copy_tokens(Z, text, X, 0, grid.count(), workspace);
    final_layer(X, m.final_layer(), v, workspace);  // [B, C, H, W]
  }

 private:
  static void require_fit(View<const R, 4> x, const Embedded& condition) {
    if (x.shape[1] != config.channels) {
      throw Error(errc::bad_input_shape, "latents of " + to_string(x.shape) + " where " +
                                             std::to_string(config.channels) + " channels are expected");
    }
    const auto control = View<const R, 4>(condition.control), reference = View<const R, 4>(condition.reference);
    if (config.control_channels > 0 || control.size() > 0) {
      const Shape<4> expected{condition.samples(), config.control_channels, x.shape[2], x.shape[3]};
      if (config.control_channels == 0 || control.shape != expected) {
        throw Error(errc::bad_input_shape, "the control is " + to_string(control.shape) + " where " +
                                               to_string(expected) + " is expected");
      }
    }
    if (reference.size() > 0) {
      patch_grid(reference, config.patch);
      require(config.control_channels == 0 && reference.shape[0] == condition.samples() &&
                  reference.shape[1] == config.channels,
              errc::bad_input_shape, "the reference is not one image of the model's channels for every sample");
    }
  }

  /// The table for text, image and reference.
  static Rope<R> turns(Index text, Grid grid, Grid reference, Workspace& workspace) {
    const Index tokens = text + grid.count() + reference.count();
    R* const cos = workspace.take<R>(tokens * head_dim);
    R* const sin = workspace.take<R>(tokens * head_dim);
    const auto id = [=](Index token, int axis) -> Index {
      if (token < text) return 0;
      token -= text;
      const bool refers = token >= grid.count();
      if (refers) token -= grid.count();
      const Index columns = (refers ? reference : grid).columns;
      return axis == 0 ? refers : axis == 1 ? token / columns : token % columns;
    };
    return rope_table(config.axes, config.theta, tokens, id, cos, sin, workspace);
  }

  /// X <- img_in(pack([x | control])), then the tokens of the reference.
  void store_packed(Tokens<R, width> X, View<const R, 4> x, const Embedded& condition, Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto packed = take_tokens<R, config.in_features()>(X.batch, X.count, workspace);
    const Index own = x.size() / x.shape[0];
    const Index added = condition.control.size() / std::max<Index>(1, condition.samples());
    const auto control = View<const R, 4>(condition.control), reference = View<const R, 4>(condition.reference);
    R* const all = workspace.take<R>(own + added);
    for (Index b = 0; b < X.batch; ++b) {
      R* const tokens = packed.data + b * packed.count * packed.width;
      std::copy_n(control.data + b * added, added, std::copy_n(x.data + b * own, own, all));
      patchify<PatchOrder::channel_first>(
          View<const R, 4>(all, {1, config.channels + config.control_channels, x.shape[2], x.shape[3]}),
          config.patch, tokens, workspace.executor());
      if (reference.size() > 0) {
        const Shape<4> one{1, reference.shape[1], reference.shape[2], reference.shape[3]};
        patchify<PatchOrder::channel_first>(View<const R, 4>(reference[b].data, one), config.patch,
                                            tokens + patch_grid(x, config.patch).count() * packed.width,
                                            workspace.executor());
      }
    }
    store(X, img_in(packed), workspace);
  }
};

}}  // namespace dit
