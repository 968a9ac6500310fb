#pragma once
/// DiT: Scalable Diffusion Models with Transformers (arXiv:2212.09748; facebookresearch/DiT, models.py).

#include <algorithm>
#include <array>
#include <concepts>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "dit/models/conditioned.hpp"
#include "dit/nn/depatchify.hpp"
#include "dit/nn/dit_block.hpp"
#include "dit/nn/embed.hpp"
#include "dit/nn/layout.hpp"
#include "dit/nn/patchify.hpp"

namespace dit { inline namespace DIT_ABI {

struct DiTConfig {
  int width;
  int depth;
  int heads;
  int patch;
  int input = 32;  ///< side of the latents that `pos_embed` is stored for; the model takes others as well
  int in_channels = 4;
  bool learn_sigma = true;  ///< twice as many channels out as in: eps and variance logits
  int classes = 1000;
  bool null_class = true;  ///< one more row in the class table, for guidance
  int mlp_ratio = 4;

  constexpr int out_channels() const { return learn_sigma ? 2 * in_channels : in_channels; }
  constexpr int labels() const { return classes + (null_class ? 1 : 0); }
  constexpr BlockConfig block() const { return {width, heads, mlp_ratio * width}; }
};

// The published sizes (arXiv:2212.09748, table 1), for latents of 256 x 256 images. Their 512 x 512 checkpoint is
// the same model with a larger table.
inline constexpr DiTConfig dit_s_2{.width = 384, .depth = 12, .heads = 6, .patch = 2};
inline constexpr DiTConfig dit_s_4{.width = 384, .depth = 12, .heads = 6, .patch = 4};
inline constexpr DiTConfig dit_s_8{.width = 384, .depth = 12, .heads = 6, .patch = 8};
inline constexpr DiTConfig dit_b_2{.width = 768, .depth = 12, .heads = 12, .patch = 2};
inline constexpr DiTConfig dit_b_4{.width = 768, .depth = 12, .heads = 12, .patch = 4};
inline constexpr DiTConfig dit_b_8{.width = 768, .depth = 12, .heads = 12, .patch = 8};
inline constexpr DiTConfig dit_l_2{.width = 1024, .depth = 24, .heads = 16, .patch = 2};
inline constexpr DiTConfig dit_l_4{.width = 1024, .depth = 24, .heads = 16, .patch = 4};
inline constexpr DiTConfig dit_l_8{.width = 1024, .depth = 24, .heads = 16, .patch = 8};
inline constexpr DiTConfig dit_xl_2{.width = 1152, .depth = 28, .heads = 16, .patch = 2};
inline constexpr DiTConfig dit_xl_4{.width = 1152, .depth = 28, .heads = 16, .patch = 4};
inline constexpr DiTConfig dit_xl_8{.width = 1152, .depth = 28, .heads = 16, .patch = 8};
inline constexpr DiTConfig dit_xl_2_512{.width = 1152, .depth = 28, .heads = 16, .patch = 2, .input = 64};

/// All that time and class ever say to a DiT: 6 chunks for every block, then 2 for the final layer.
template <DiTConfig config, class R>
struct DiTModulations : ModulationTable<R, config.width> {
  static constexpr Index per_vector = (6 * Index{config.depth} + 2) * config.width;

  constexpr Chunks<R, config.width, 6> block(Index layer) const { return this->template chunks<6>(6 * layer); }
  constexpr Chunks<R, config.width, 2> final_layer() const {
    return this->template chunks<2>(6 * Index{config.depth});
  }
};

/// DiT with adaLN-Zero blocks, class-conditional (arXiv:2212.09748, 3.2; models.py, DiT):
///   X <- Patchify(x) + positions
///   c <- MLP2(timestep features(t)) + E[y]
///   X <- Block_l(X, SiLU(c)),  l = 1 .. depth
///   out <- Depatchify(modulate(LN(X), Linear(SiLU(c))))
///
/// Takes latents x [B, C, H, W] of any height and width that the patch divides, times t [B] (steps of the 1000-step
/// chain; 1000 * sigma for models trained as flows), classes y [B] with `null_class` for "none"; gives
/// [B, out_channels, H, W]. A model is const while it runs and may be shared by threads, each with its Workspace.
///
/// Errors: bad_input_shape; bad_condition (not a time and a class per sample, a class that is not in the table);
/// bad_schedule (a time that is not finite); aliasing; busy; bad_state (no weights); out_of_memory.
template <DiTConfig config_, class T = float>
struct DiT : HasLayout<> {
  static constexpr DiTConfig config = config_;
  static constexpr int width = config.width;
  static constexpr int null_class = config.classes;
  static constexpr std::string_view family = "dit";
  static_assert(config.width > 0 && config.heads > 0 && config.width % config.heads == 0,
                "DiT: the number of heads does not divide the width");
  static_assert(config.depth > 0 && config.depth <= 1000, "DiT: depth must be in 1 .. 1000");
  static_assert(config.patch > 0 && config.input % config.patch == 0, "DiT: the patch does not divide the input");
  static_assert(config.in_channels > 0 && config.classes > 0 && config.mlp_ratio > 0,
                "DiT: channels, classes and mlp_ratio must be positive");

  using R = real<T>;
  using Modulations = DiTModulations<config, R>;

  PositionEmbedding<config.input / config.patch, width, T> pos_embed;
  Patchify<config.in_channels, config.patch, width, T> x_embedder;
  TimestepEmbedder<width, T> t_embedder;
  LabelEmbedder<config.labels(), width, T> y_embedder;
  std::array<DiTBlock<config.block(), T>, config.depth> blocks;
  FinalLayer<width, config.patch, config.out_channels(), T> final_layer;

  static constexpr void visit(auto&& f, auto&... self) {
    f("pos_embed", self.pos_embed...);
    f("x_embedder.proj", self.x_embedder...);
    f("t_embedder", self.t_embedder...);
    f("y_embedder", self.y_embedder...);
    f("blocks", self.blocks...);
    f("final_layer", self.final_layer...);
  }

  // Layouts differ in more than names (diffusers: models/embeddings.py, CombinedTimestepLabelEmbeddings;
  // attention.py, BasicTransformerBlock): the space between the time frequencies, and the eps of each block's
  // second norm.
  constexpr double frequency_divisor() const { return this->layout() == Layout::original ? 128 : 127; }
  constexpr double mlp_norm_eps() const { return this->layout() == Layout::original ? 1e-6 : 1e-5; }

  /// Tensors that follow from the config: a checkpoint may leave them out.
  static constexpr std::array<std::string_view, 1> derived{"pos_embed"};
  void fill_derived() { pos_embed.fill(); }

  /// The modulations for vectors c(t_r, y_r), one GEMM per layer, into `table` [Modulations::per_vector * rows];
  /// fewer classes than times repeat, as the samples of a batch do.
  constexpr void modulations(std::span<const R> t, std::span<const int> y, R* table, Workspace& workspace) const {
    require(!t.empty() && !y.empty() && t.size() % y.size() == 0, errc::bad_condition,
            "there must be one time and one class per sample");
    require_finite(t, workspace);
    const Index rows = static_cast<Index>(t.size());
    const auto scope = workspace.scope();
    const auto c = take_tokens<R, width>(rows, 1, workspace);
    store(c, t_embedder(t, frequency_divisor(), workspace), workspace);
    const auto batch = static_cast<Index>(y.size());
    for (Index first = 0; first < rows; first += batch) {
      y_embedder.add_to(Tokens<R, width>{advance(c.data, first * width), batch, 1}, y, workspace);
    }
    activate(Activation::silu, c, workspace);
    for (const Index l : workspace.passes(config.depth)) {
      blocks[static_cast<std::size_t>(l)].adaLN_modulation(c, table, workspace);
      table = advance(table, rows * 6 * width);
    }
    final_layer.adaLN_modulation(c, table, workspace);
  }

  /// out = DiT(x, c) with the modulations of c computed beforehand, see `modulations`.
  void operator()(View<const R, 4> x, const Modulations& m, View<R, 4> out, Workspace& workspace) const {
    const auto lease = workspace.lease();
    require_images(x, config.patch, config.out_channels(), out);
    m.require_vectors(x.shape[0]);
    forward(x, m, out, workspace);
  }

  /// out = DiT(x, t, y)
  void operator()(View<const R, 4> x, std::span<const R> t, std::span<const int> y, View<R, 4> out,
                  Workspace& workspace) const {
    const auto lease = workspace.lease();
    require_images(x, config.patch, config.out_channels(), out);
    require(static_cast<Index>(t.size()) == x.shape[0] && t.size() == y.size(), errc::bad_condition,
            "there must be one time and one class per sample");
    pass(x, t, y, out, workspace);
  }

  /// The same with a result of its own.
  Tensor<R, 4> operator()(View<const R, 4> x, std::span<const R> t, std::span<const int> y,
                          Workspace& workspace) const {
    patch_grid(x, config.patch);
    auto out = or_out_of_memory(
        "the output", [&] { return Tensor<R, 4>(x.shape[0], config.out_channels(), x.shape[2], x.shape[3]); });
    (*this)(x, t, y, out, workspace);
    return out;
  }

  // What a Conditioned field asks for. Its times: a step is what it is, a sigma counts in thousandths.
  using Condition = std::vector<int>;
  struct Embedded {
    std::vector<int> classes;
    Index samples() const { return static_cast<Index>(classes.size()); }
  };
  Embedded embed(const Condition& classes, Workspace&) const { return {classes}; }
  template <class Time>
  static R model_time(Time time) {
    return std::is_integral_v<Time> ? static_cast<R>(time) : 1000 * static_cast<R>(time);
  }
  void modulations(std::span<const R> t, const Embedded& c, R* table, Workspace& workspace) const {
    modulations(t, std::span<const int>(c.classes).first(std::min(t.size(), c.classes.size())), table, workspace);
  }
  void operator()(View<const R, 4> x, const Modulations& m, const Embedded&, View<R, 4> out,
                  Workspace& workspace) const {
    (*this)(x, m, out, workspace);
  }

  /// The pass of a plan, of shapes without numbers: latents [batch, C, H, W], `shape` = {H, W}.
  constexpr void rehearse(Workspace& meter, Index batch, const Shape<2>& shape) const {
    const auto n = static_cast<std::size_t>(batch);
    pass({nullptr, {batch, config.in_channels, shape[0], shape[1]}}, {static_cast<const R*>(nullptr), n},
         {static_cast<const int*>(nullptr), n}, {nullptr, {batch, config.out_channels(), shape[0], shape[1]}},
         meter);
  }

 private:
  /// With the modulations computed for these times and classes.
  constexpr void pass(View<const R, 4> x, std::span<const R> t, std::span<const int> y, View<R, 4> out,
                      Workspace& workspace) const {
    const auto scope = workspace.scope();
    R* const table = workspace.take<R>(Modulations::per_vector * x.shape[0]);
    modulations(t, y, table, workspace);
    forward(x, {{table, x.shape[0]}}, out, workspace);
  }

  constexpr void forward(View<const R, 4> x, const Modulations& m, View<R, 4> out, Workspace& workspace) const {
    const Grid grid = patch_grid(x.shape, config.patch);
    const auto scope = workspace.scope();
    const auto tokens = take_tokens<R, width>(x.shape[0], grid.count(), workspace);
    store(tokens, x_embedder(x, workspace), workspace);  // [B, N, D]
    pos_embed.add_to(tokens, grid, workspace);
    for (const Index l : workspace.passes(config.depth)) {
      blocks[static_cast<std::size_t>(l)](tokens, m.block(l), workspace, mlp_norm_eps());  // [B, N, D]
    }
    final_layer(tokens, m.final_layer(), out, workspace);  // [B, C_out, H, W]
  }
};

}}  // namespace dit
