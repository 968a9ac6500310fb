#pragma once
/// The transformer block of DiT.

#include "dit/nn/adaln.hpp"
#include "dit/nn/attention.hpp"
#include "dit/nn/mlp.hpp"

namespace dit { inline namespace DIT_ABI {

/// What a block needs to know: presets that differ elsewhere share its type.
struct BlockConfig {
  int width;
  int heads;
  int mlp;  ///< hidden width of the MLP
};

/// adaLN-Zero block (arXiv:2212.09748, 3.2; DiT models.py, DiTBlock)
///   [shift_1, scale_1, gate_1, shift_2, scale_2, gate_2] = Linear(SiLU(c))
///   x <- x + gate_1 * Attention((1 + scale_1) * LN(x) + shift_1)
///   x <- x + gate_2 * Mlp      ((1 + scale_2) * LN(x) + shift_2)
template <BlockConfig config, class T = float>
struct DiTBlock {
  static constexpr int width = config.width;
  static_assert(config.width > 0 && config.heads > 0 && config.width % config.heads == 0,
                "DiTBlock: the number of heads does not divide the width");
  static_assert(config.mlp > 0, "DiTBlock: the MLP's hidden width must be positive");

  using R = real<T>;
  using Modulations = Chunks<R, width, 6>;

  SelfAttention<width, config.heads, T> attn;
  Mlp<width, config.mlp, width, Activation::gelu_tanh, T> mlp;
  AdaLNModulation<width, 6, T> adaLN_modulation;

  static constexpr void visit(auto&& f, auto&... self) {
    f("attn", self.attn...);
    f("mlp", self.mlp...);
    f("adaLN_modulation.1", self.adaLN_modulation...);
  }

  /// x [B, N, D] in place, with the modulation computed beforehand, one for every sample.
  template <int x_width>
  constexpr void operator()(Tokens<R, x_width> x, const Modulations& m, Workspace& workspace,
                            double mlp_norm_eps = 1e-6) const {
    static_assert(x_width == width, "DiTBlock: the tokens' width is not the block's width");
    require(workspace.holds(x.data) && x.batch > 0 && x.count > 0, errc::bad_input_shape,
            "a block takes at least one token");
    require(workspace.holds(m.data), errc::bad_condition, "a block needs a modulation for every sample");
    const Modulation<R, width> msa{m.template chunk<0>(), m.template chunk<1>(), m.template chunk<2>()};
    const Modulation<R, width> ffn{m.template chunk<3>(), m.template chunk<4>(), m.template chunk<5>()};
    add_gated(x, msa.gate, attn(modulate(layer_norm(x, 1e-6), msa), workspace), workspace);
    add_gated(x, ffn.gate, mlp(modulate(layer_norm(x, mlp_norm_eps), ffn), workspace), workspace);
  }

  /// The block alone: c [B, 1, D] is the conditioning vector before its SiLU. errc::bad_condition unless there is
  /// one for every sample.
  template <int x_width, class C, int c_width>
  constexpr void operator()(Tokens<R, x_width> x, Tokens<C, c_width> c, Workspace& workspace) const {
    static_assert(c_width == width, "DiTBlock: the conditioning vector's width is not the block's width");
    const auto scope = workspace.scope();
    (*this)(x, adaLN_modulation(silu_condition(c, x.batch, workspace), workspace), workspace);
  }
};

}}  // namespace dit
