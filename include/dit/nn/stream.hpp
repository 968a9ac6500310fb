#pragma once
/// What an MMDiT block has for every kind of token: text has one, images have one.

#include "dit/nn/adaln.hpp"
#include "dit/nn/attention.hpp"
#include "dit/nn/dit_block.hpp"
#include "dit/nn/mlp.hpp"

namespace dit { inline namespace DIT_ABI {

/// adaLN-Zero around an attention that takes place elsewhere (sd3.5: mmditx.py, DismantledBlock; flux:
/// modules/layers.py, half a DoubleStreamBlock):
///   [shift_1, scale_1, gate_1, shift_2, scale_2, gate_2] = Linear(SiLU(c))
///   pre_attention    q, k, v = qkv((1 + scale_1) * LN(x) + shift_1)
///   post_attention   x <- x + gate_1 * proj(o)
///                    x <- x + gate_2 * Mlp((1 + scale_2) * LN(x) + shift_2)
/// `chunks` is 6, or more where a block has further uses for the modulation.
template <BlockConfig config, class T = float, HeadNorm norm = HeadNorm::none, int chunks = 6>
struct Stream {
  static constexpr int width = config.width;
  using R = real<T>;
  using Modulations = Chunks<R, width, chunks>;
  using Attention = SelfAttention<width, config.heads, T, norm>;

  Attention attn;
  Mlp<width, config.mlp, width, Activation::gelu_tanh, T> mlp;
  AdaLNModulation<width, chunks, T> adaLN_modulation;

  static constexpr void visit(auto&& f, auto&... self) {
    f("attn", self.attn...);
    f("mlp", self.mlp...);
    f("adaLN_modulation.1", self.adaLN_modulation...);
  }

  /// q, k, v [B, N, D] on the workspace, in the caller's scope.
  constexpr Heads<stored<T>, width> pre_attention(Tokens<R, width> x, const Modulations& m, Workspace& workspace,
                                                  Rope<R> rope = {}) const {
    return attn.heads_of()(modulate(layer_norm(x, 1e-6), m.template chunk<0>(), m.template chunk<1>()), workspace,
                           rope);
  }
  constexpr void post_attention(Tokens<R, width> x, const Heads<stored<T>, width>& o, const Modulations& m,
                                Workspace& workspace) const {
    add_gated(x, m.template chunk<2>(), attn.proj(o.answer()), workspace);
  }
  constexpr void feed_forward(Tokens<R, width> x, const Modulations& m, Workspace& workspace) const {
    const Modulation<R, width> ffn{m.template chunk<3>(), m.template chunk<4>(), m.template chunk<5>()};
    add_gated(x, ffn.gate, mlp(modulate(layer_norm(x, 1e-6), ffn), workspace), workspace);
  }
};

/// The text in Stable Diffusion 3's last block: it is attended to, and ends there (mmditx.py, pre_only).
///   [shift, scale] = Linear(SiLU(c));   q, k, v = qkv((1 + scale) * LN(x) + shift)
template <BlockConfig config, class T = float, HeadNorm norm = HeadNorm::none>
struct PreOnlyStream {
  static constexpr int width = config.width;
  using R = real<T>;
  using Modulations = Chunks<R, width, 2>;
  using Attention = QkvProjection<width, config.heads, T, norm>;

  Attention attn;
  AdaLNModulation<width, 2, T> adaLN_modulation;

  static constexpr void visit(auto&& f, auto&... self) {
    f("attn", self.attn...);
    f("adaLN_modulation.1", self.adaLN_modulation...);
  }

  /// k, v [B, M, D] on the workspace, in the caller's scope. q is made with them and dropped: the text asks nothing
  /// any more.
  constexpr Heads<stored<T>, width> pre_attention(Tokens<R, width> x, const Modulations& m,
                                                  Workspace& workspace) const {
    auto heads = attn(modulate(layer_norm(x, 1e-6), m.template chunk<0>(), m.template chunk<1>()), workspace);
    heads.asks = false;
    return heads;
  }
};

}}  // namespace dit
