#pragma once
/// The two blocks of FLUX.1 (black-forest-labs/flux: src/flux/modules/layers.py).

#include "dit/nn/mmdit_block.hpp"

namespace dit { inline namespace DIT_ABI {

/// MMDiTBlock with normalised and turned queries and keys, text first, under FLUX's names (DoubleStreamBlock).
template <BlockConfig config, class T = float>
struct DoubleStreamBlock : MMDiTBlock<config, T, HeadNorm::flux> {
  static constexpr void visit(auto&& f, auto&... self) {
    f("img_mod.lin", self.x_block.adaLN_modulation...);
    f("img_attn", self.x_block.attn...);
    f("img_mlp.0", self.x_block.mlp.fc1...);
    f("img_mlp.2", self.x_block.mlp.fc2...);
    f("txt_mod.lin", self.context_block.adaLN_modulation...);
    f("txt_attn", self.context_block.attn...);
    f("txt_mlp.0", self.context_block.mlp.fc1...);
    f("txt_mlp.2", self.context_block.mlp.fc2...);
  }
};

/// Attention and MLP side by side, over text and image as one sequence (SingleStreamBlock; arXiv:2302.05442, 2.1)
///   [shift, scale, gate] = Linear(SiLU(c))
///   [q, k, v, h] = linear1((1 + scale) * LN(z) + shift),   q, k <- R(RMSNorm(q)), R(RMSNorm(k))
///   z <- z + gate * linear2([Attention(q, k, v) | GELU(h)])
template <BlockConfig config, class T = float>
struct SingleStreamBlock {
  static constexpr int width = config.width;
  static_assert(config.width > 0 && config.heads > 0 && config.width % config.heads == 0,
                "SingleStreamBlock: the number of heads does not divide the width");
  static_assert(config.mlp > 0, "SingleStreamBlock: the MLP's hidden width must be positive");
  static_assert(config.width % word_size<T> == 0,
                "SingleStreamBlock: with bf16 the width must be even, with int8 a multiple of 4");
  using R = real<T>;
  using S = stored<T>;
  using Modulations = Chunks<R, width, 3>;

  Linear<width, 3 * width + config.mlp, T> linear1;
  Linear<width + config.mlp, width, T> linear2;
  QkNorm<width / config.heads, HeadNorm::flux, T> norm;
  AdaLNModulation<width, 3, T> modulation;

  static constexpr void visit(auto&& f, auto&... self) {
    f("linear1", self.linear1...);
    f("linear2", self.linear2...);
    decltype(norm)::visit(f, self.norm...);
    f("modulation.lin", self.modulation...);
  }

  /// z [B, M + N, D] in place, text first, with the modulation computed beforehand, one for every sample.
  template <int z_width>
  constexpr void operator()(Tokens<R, z_width> z, const Modulations& m, Workspace& workspace,
                            Rope<R> rope = {}) const {
    static_assert(z_width == width, "SingleStreamBlock: the tokens' width is not the block's width");
    require(workspace.holds(z.data) && z.batch > 0 && z.count > 0, errc::bad_input_shape,
            "a block takes at least one token");
    require(workspace.holds(m.data), errc::bad_condition, "a block needs a modulation for every sample");
    const auto scope = workspace.scope();
    const auto qkvh = take_tokens<S, 3 * width + config.mlp>(z.batch, z.count, workspace);
    const auto modulated = modulate(layer_norm(z, 1e-6), m.template chunk<0>(), m.template chunk<1>());
    store(qkvh, gelu_tanh_from<3 * width>(linear1(modulated)), workspace);
    const auto own = norm.template operator()<config.heads>(split_heads<width>(qkvh), rope);  // [B, M + N, D] x 3
    const auto h = features<3 * width, config.mlp>(qkvh);                                     // [B, M + N, 4 D]
    joint_attention<config.heads>(workspace, own);
    add_gated(z, m.template chunk<2>(), linear2(concat(own.answer(), h)), workspace);
  }

  /// The block alone: c [B, 1, D] is the conditioning vector before its SiLU. errc::bad_condition unless there is
  /// one for every sample.
  template <int z_width, class C, int c_width>
  constexpr void operator()(Tokens<R, z_width> z, Tokens<C, c_width> c, Workspace& workspace,
                            Rope<R> rope = {}) const {
    static_assert(c_width == width, "SingleStreamBlock: the conditioning vector's width is not the block's width");
    const auto scope = workspace.scope();
    (*this)(z, modulation(silu_condition(c, z.batch, workspace), workspace), workspace, rope);
  }
};

}}  // namespace dit
