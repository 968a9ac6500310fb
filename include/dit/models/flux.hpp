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

  constexpr typename DoubleStreamBlock<config.block(), R>::Modulations double_block(Index i) const {
    return {this->template chunks<6>(12 * i), this->template chunks<6>(12 * i + 6)};
  }
  constexpr Chunks<R, config.width, 3> single_block(Index i) const {
    return this->template chunks<3>(12 * Index{config.double_blocks} + 3 * i);
  }
  constexpr Chunks<R, config.width, 2> final_layer() const {
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
  using Modulations = FluxModulations<config, R>;

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
    Buffer<R, 4> control{}, reference{};

    /// For a plan.
    static constexpr Embedded planned(Index batch, Index text) {
      return {EmbeddedText<R, width>::planned(batch, text)};
    }
    constexpr Grid reference_grid() const {
      return {reference.shape()[2] / config.patch, reference.shape()[3] / config.patch};
    }
  };

  /// T and MLP2(features(1000 guidance)) + MLP2(pooled).
  Embedded embed(const Condition& condition, Workspace& workspace) const {
    const auto kept = [](const Tensor<R, 4>& x) { return x.size() == 0 ? Buffer<R, 4>() : Buffer<R, 4>(x); };
    Embedded e{embed_text(condition.text, txt_in, vector_in, workspace), kept(condition.control),
               kept(condition.reference)};
    const auto batch = static_cast<std::size_t>(e.samples()), scales = condition.guidance.size();
    require(config.guidance ? scales == 1 || scales == batch : scales == 0, errc::bad_condition,
            config.guidance ? "there must be one guidance scale, or one for every sample"
                            : "this model has no guidance input");
    if constexpr (config.guidance) {
      std::vector<R> guidance(batch);
      for (std::size_t b = 0; b < batch; ++b) guidance[b] = condition.guidance[scales == 1 ? 0 : b];
      require(std::all_of(guidance.begin(), guidance.end(), [](R scale) { return std::isfinite(scale); }),
              errc::bad_guidance, "a guidance scale is not a finite number");
      add_guidance(guidance, e, workspace);
    }
    return e;
  }
  /// The same in a plan, with a control for a model that takes one, and a reference of so many tokens.
  constexpr void rehearse_condition(Workspace& meter, Embedded& e, const Shape<2>& shape, Index reference) const {
    const Index batch = e.samples();
    embed_text<T>({nullptr, batch, e.tokens()}, {nullptr, batch, 1}, txt_in, vector_in, e, meter);
    if constexpr (config.guidance) {
      add_guidance({static_cast<const R*>(nullptr), static_cast<std::size_t>(batch)}, e, meter);
    }
    if (config.control_channels > 0) {
      e.control = Buffer<R, 4>::planned({batch, config.control_channels, shape[0], shape[1]});
    }
    if (reference > 0) {
      e.reference = Buffer<R, 4>::planned({batch, config.channels, config.patch, config.patch * reference});
    }
  }

  /// The modulations for vectors c(t_r, condition_r), one GEMM per stream and layer, into `table`
  /// [Modulations::per_vector * rows]; see condition_vectors.
  constexpr void modulations(std::span<const R> t, const Embedded& condition, R* table,
                             Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto c = condition_vectors<T, width>(t, /*scale=*/1000, time_in, condition, workspace);
    const auto next = [&](const auto& projection) {
      table = advance(table, c.size() * projection(c, table, workspace).count);
    };
    for (const Index l : workspace.passes(config.double_blocks)) {
      const auto& block = double_blocks[static_cast<std::size_t>(l)];
      next(block.x_block.adaLN_modulation);
      next(block.context_block.adaLN_modulation);
    }
    for (const Index l : workspace.passes(config.single_blocks)) {
      next(single_blocks[static_cast<std::size_t>(l)].modulation);
    }
    next(final_layer.adaLN_modulation);
  }

  /// The model's time for a sampler's sigma: the same.
  static R model_time(std::floating_point auto sigma) { return static_cast<R>(sigma); }

  /// A pass whose arguments are known to fit, but for control and reference.
  constexpr void forward(View<const R, 4> x, const Modulations& m, const Embedded& condition, View<R, 4> v,
                         Workspace& workspace) const {
    const Grid grid = patch_grid(x.shape, config.patch), reference = condition.reference_grid();
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
      copy_tokens(condition.all_tokens(), 0, context, 0, text, workspace);
      for (const Index l : workspace.passes(config.double_blocks)) {
        double_blocks[static_cast<std::size_t>(l)](X, context, m.double_block(l), workspace, rope,
                                                   rope.from(text, head_dim));
      }
      copy_tokens(context, 0, Z, 0, text, workspace);
      copy_tokens(X, 0, Z, text, image, workspace);
    }
    for (const Index l : workspace.passes(config.single_blocks)) {
      single_blocks[static_cast<std::size_t>(l)](Z, m.single_block(l), workspace, rope);
    }
    const auto X = take_tokens<R, width>(batch, grid.count(), workspace);
    copy_tokens(Z, text, X, 0, grid.count(), workspace);
    final_layer(X, m.final_layer(), v, workspace);  // [B, C, H, W]
  }

 private:
  constexpr void add_guidance(std::span<const R> guidance, Embedded& e, Workspace& workspace) const {
    add(Tokens<R, width>{e.vector.data(), e.samples(), 1},
        guidance_in[0](guidance, /*divisor=*/128, workspace, /*scale=*/1000), workspace);
  }

  static constexpr void require_fit(View<const R, 4> x, const Embedded& condition) {
    if (x.shape[1] != config.channels) {
      throw Error(errc::bad_input_shape, "latents of " + to_string(x.shape) + " where " +
                                             std::to_string(config.channels) + " channels are expected");
    }
    const auto control = condition.control.view(), reference = condition.reference.view();
    if (config.control_channels > 0 || control.size() > 0) {
      const Shape<4> expected{condition.samples(), config.control_channels, x.shape[2], x.shape[3]};
      if (config.control_channels == 0 || control.shape != expected) {
        throw Error(errc::bad_input_shape, "the control is " + to_string(control.shape) + " where " +
                                               to_string(expected) + " is expected");
      }
    }
    if (reference.size() > 0) {
      patch_grid(reference.shape, config.patch);
      require(config.control_channels == 0 && reference.shape[0] == condition.samples() &&
                  reference.shape[1] == config.channels,
              errc::bad_input_shape, "the reference is not one image of the model's channels for every sample");
    }
  }

  /// The table for text, image and reference.
  static constexpr Rope<R> turns(Index text, Grid grid, Grid reference, Workspace& workspace) {
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
  constexpr void store_packed(Tokens<R, width> X, View<const R, 4> x, const Embedded& condition,
                              Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto packed = take_tokens<R, config.in_features()>(X.batch, X.count, workspace);
    const auto control = condition.control.view(), reference = condition.reference.view();
    const Index own = x.size() / x.shape[0], added = control.size() / std::max<Index>(1, condition.samples());
    R* const all = workspace.take<R>(own + added);
    for (Index b = 0; b < (workspace.counts() ? 0 : X.batch); ++b) {
      R* const tokens = packed.data + b * packed.count * packed.width;
      std::copy_n(control.data + b * added, added, std::copy_n(x.data + b * own, own, all));
      const Shape<4> shape{1, config.channels + config.control_channels, x.shape[2], x.shape[3]};
      patchify<PatchOrder::channel_first>(View<const R, 4>(all, shape), config.patch, tokens, workspace);
      if (reference.size() > 0) {
        const Shape<4> one{1, reference.shape[1], reference.shape[2], reference.shape[3]};
        patchify<PatchOrder::channel_first>(View<const R, 4>(reference[b].data, one), config.patch,
                                            tokens + patch_grid(x.shape, config.patch).count() * packed.width,
                                            workspace);
      }
    }
    store(X, img_in(packed), workspace);
  }
};

}}  // namespace dit
