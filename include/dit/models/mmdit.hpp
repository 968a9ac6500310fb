#pragma once
/// MMDiT: Stable Diffusion 3 and 3.5 (arXiv:2403.03206; Stability-AI/sd3.5, mmditx.py).

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string_view>

#include "dit/models/text_to_image.hpp"
#include "dit/nn/depatchify.hpp"
#include "dit/nn/embed.hpp"
#include "dit/nn/mmdit_block.hpp"
#include "dit/nn/patchify.hpp"

namespace dit { inline namespace DIT_ABI {

struct MMDiTConfig {
  int width;
  int depth;
  int heads;
  int patch = 2;
  int in_channels = 16;  ///< and out
  int positions = 192;   ///< side of the stored position table, in tokens: no image may be larger
  int context = 4096;    ///< width of the text's tokens
  int pooled = 2048;     ///< width of the text's vector
  bool qk_norm = false;
  int dual_blocks = 0;  ///< the first blocks, in which the image has a second attention of its own
  int mlp_ratio = 4;

  constexpr BlockConfig block() const { return {width, heads, mlp_ratio * width}; }
  constexpr HeadNorm head_norm() const { return qk_norm ? HeadNorm::sd3 : HeadNorm::none; }
};

// The published sizes (sd3.5: sd3_infer.py, CONFIGS). 3.5-large-turbo is 3.5-large with a schedule of 4 steps.
inline constexpr MMDiTConfig sd3_medium{.width = 1536, .depth = 24, .heads = 24};
inline constexpr MMDiTConfig sd3_5_medium{
    .width = 1536, .depth = 24, .heads = 24, .positions = 384, .qk_norm = true, .dual_blocks = 13};
inline constexpr MMDiTConfig sd3_5_large{.width = 2432, .depth = 38, .heads = 38, .qk_norm = true};

/// All that time and pooled text ever say to an MMDiT: for every block the chunks of the image, then those of the
/// text: 9 + 6 in the dual blocks, 6 + 2 in the last one, 6 + 6 in the others; then 2 for the final layer.
template <MMDiTConfig config, class R>
struct MMDiTModulations : ModulationTable<R, config.width> {
  static constexpr Index chunks_before(Index block) {
    return 12 * block + 3 * std::min<Index>(block, config.dual_blocks);
  }
  static constexpr Index chunks_before_last = chunks_before(config.depth - 1);
  static constexpr Index per_vector = (chunks_before_last + 6 + 2 + 2) * config.width;

  template <class Block>
  constexpr typename Block::Modulations block(Index i) const {
    constexpr int x = Block::Modulations::x_chunks, context = Block::Modulations::context_chunks;
    const Index before = chunks_before(i);
    return {this->template chunks<x>(before), this->template chunks<context>(before + x)};
  }
  constexpr Chunks<R, config.width, 2> final_layer() const {
    return this->template chunks<2>(chunks_before_last + 8);
  }
};

/// The blocks of an MMDiT, of up to three types, in one list.
template <MMDiTConfig config, class T>
struct MMDiTBlocks {
  using Dual = MMDiTDualBlock<config.block(), T, config.head_norm()>;
  using Ordinary = MMDiTBlock<config.block(), T, config.head_norm()>;
  using Last = MMDiTLastBlock<config.block(), T, config.head_norm()>;

  static constexpr int ordinary_blocks = config.depth - 1 - config.dual_blocks;

  std::array<Dual, config.dual_blocks> dual;
  std::array<Ordinary, ordinary_blocks> ordinary;
  Last last;

  static constexpr void visit(auto&& f, auto&... self) {
    int i = 0;
    for (; i < config.dual_blocks; ++i) f(i, self.dual[static_cast<std::size_t>(i)]...);
    for (; i < config.depth - 1; ++i) f(i, self.ordinary[static_cast<std::size_t>(i - config.dual_blocks)]...);
    f(i, self.last...);
  }

  /// f(i, block) for every block in its order. A meter goes through one of each type.
  template <class F>
  constexpr void for_each(Workspace& workspace, F&& f) const {
    for (const Index i : workspace.passes(config.dual_blocks)) f(i, dual[static_cast<std::size_t>(i)]);
    for (const Index i : workspace.passes(ordinary_blocks)) {
      f(config.dual_blocks + i, ordinary[static_cast<std::size_t>(i)]);
    }
    f(Index{config.depth - 1}, last);
  }
};

/// MMDiT, conditioned on text (arXiv:2403.03206, section 4 and figure 2; mmditx.py, MMDiTX):
///   X <- Patchify(x) + positions, a crop of the stored table around its centre
///   T <- Linear(context)
///   c <- MLP2(timestep features(t)) + MLP2(pooled)
///   X, T <- Block_l(X, T, SiLU(c)),  l = 1 .. depth
///   v <- Depatchify(modulate(LN(X), Linear(SiLU(c))))
///
/// Takes latents x [B, C, H, W] of any height and width that the patch divides, up to `positions` tokens a side,
/// times t [B] = 1000 sigma, and the encoded text, context [B, M, context] and pooled [B, pooled]; gives the
/// velocity [B, C, H, W]. No masks: padding takes part, as in training. A model is const while it runs and may be
/// shared by threads, each with its Workspace.
///
/// Errors: bad_input_shape; bad_condition (not a time and a text per sample, text of another width or without
/// tokens); bad_schedule (a time that is not finite); aliasing; busy; bad_state (no weights); out_of_memory.
template <MMDiTConfig config_, class T = float>
struct MMDiT : TextToImage<MMDiT<config_, T>, real<T>> {
  static constexpr MMDiTConfig config = config_;
  static constexpr int width = config.width;
  static constexpr Index channels = config.in_channels;
  static constexpr std::string_view family = "mmdit";
  static_assert(config.width > 0 && config.heads > 0 && config.width % config.heads == 0,
                "MMDiT: the number of heads does not divide the width");
  static_assert(config.depth > 0 && config.depth <= 1000, "MMDiT: depth must be in 1 .. 1000");
  static_assert(config.dual_blocks >= 0 && config.dual_blocks < config.depth,
                "MMDiT: the last block has no second attention");
  static_assert(config.patch > 0 && config.in_channels > 0 && config.positions > 0 && config.context > 0 &&
                    config.pooled > 0 && config.mlp_ratio > 0,
                "MMDiT: patch, channels, positions and the widths of the text must be positive");

  using R = real<T>;
  using Modulations = MMDiTModulations<config, R>;
  using Blocks = MMDiTBlocks<config, T>;

  PositionTable<config.positions, width, T> pos_embed;
  Patchify<config.in_channels, config.patch, width, T> x_embedder;
  TimestepEmbedder<width, T> t_embedder;
  Mlp<config.pooled, width, width, Activation::silu, T> y_embedder;
  Linear<config.context, width, T> context_embedder;
  Blocks joint_blocks;
  FinalLayer<width, config.patch, config.in_channels, T> final_layer;

  static constexpr void visit(auto&& f, auto&... self) {
    f("pos_embed", self.pos_embed...);
    f("x_embedder.proj", self.x_embedder...);
    f("t_embedder", self.t_embedder...);
    f("y_embedder.mlp.0", self.y_embedder.fc1...);
    f("y_embedder.mlp.2", self.y_embedder.fc2...);
    f("context_embedder", self.context_embedder...);
    f("joint_blocks", self.joint_blocks...);
    f("final_layer", self.final_layer...);
  }

  using Condition = Text<R>;
  using Embedded = EmbeddedText<R, width>;

  /// T and MLP2(pooled): what depends on the text alone.
  Embedded embed(const Text<R>& text, Workspace& workspace) const {
    return embed_text(text, context_embedder, y_embedder, workspace);
  }
  /// The same in a plan.
  constexpr void rehearse_condition(Workspace& meter, Embedded& text, const Shape<2>&, Index) const {
    embed_text<T>({nullptr, text.samples(), text.tokens()}, {nullptr, text.samples(), 1}, context_embedder,
                  y_embedder, text, meter);
  }

  /// The modulations for vectors c(t_r, text_r), one GEMM per stream and layer, into `table`, per_vector numbers
  /// for each; see condition_vectors.
  constexpr void modulations(std::span<const R> t, const Embedded& text, R* table, Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto c = condition_vectors(t, /*scale=*/1, t_embedder, text, workspace);
    const auto next = [&](const auto& projection) {
      table = advance(table, c.size() * projection(c, table, workspace).count);
    };
    joint_blocks.for_each(workspace, [&next](Index, const auto& block) {
      next(block.x_block.adaLN_modulation);
      next(block.context_block.adaLN_modulation);
    });
    next(final_layer.adaLN_modulation);
  }

  /// Blocks to be left out, for skip-layer guidance.
  struct BlockSet {
    std::array<bool, config.depth> blocks{};
    constexpr bool operator()(Index block) const { return blocks[static_cast<std::size_t>(block)]; }
  };
  static constexpr BlockSet block_set(std::span<const int> blocks) {
    BlockSet set;
    for (const int block : blocks) {
      require(block >= 0 && block < config.depth, errc::bad_option, "the model has no block of that number");
      set.blocks[static_cast<std::size_t>(block)] = true;
    }
    return set;
  }

  /// The model's time for a sampler's sigma.
  static R model_time(std::floating_point auto sigma) { return 1000 * static_cast<R>(sigma); }

  /// A pass whose arguments are known to fit.
  constexpr void forward(View<const R, 4> x, const Modulations& m, const Embedded& text, View<R, 4> v,
                         Workspace& workspace, const BlockSet& skipped = {}) const {
    const Grid grid = patch_grid(x.shape, config.patch);
    const auto scope = workspace.scope();
    const auto X = take_tokens<R, width>(x.shape[0], grid.count(), workspace);
    store(X, x_embedder(x, workspace), workspace);  // [B, N, D]
    pos_embed.add_to(X, grid, workspace);
    const auto context = take_tokens<R, width>(x.shape[0], text.tokens(), workspace);  // [B, M, D]
    copy_tokens(text.all_tokens(), 0, context, 0, text.tokens(), workspace);
    joint_blocks.for_each(workspace, [&]<class Block>(Index i, const Block& block) {
      if (!skipped(i)) block(X, context, m.template block<Block>(i), workspace);
    });
    final_layer(X, m.final_layer(), v, workspace);  // [B, C, H, W]
  }
};

}}  // namespace dit
