#pragma once
/// The blocks of MMDiT: text and image, each with weights of its own, in one attention (Stable Diffusion 3,
/// arXiv:2403.03206, figure 2; sd3.5: mmditx.py, JointBlock).

#include "dit/nn/stream.hpp"

namespace dit { inline namespace DIT_ABI {

/// What time and pooled text say to a block: chunks for the image, and for the text.
template <class X, class Context>
struct JointModulations {
  static constexpr int x_chunks = X::count, context_chunks = Context::count;
  X x;
  Context context;
};

/// What the blocks share: a stream for the image, one for the text.
template <class Block, class XStream, class ContextStream>
struct JointBlock {
  static constexpr int width = XStream::width;
  using R = typename XStream::R;
  using Modulations = JointModulations<typename XStream::Modulations, typename ContextStream::Modulations>;

  XStream x_block;
  ContextStream context_block;

  static constexpr void visit(auto&& f, auto&... self) {
    f("x_block", self.x_block...);
    f("context_block", self.context_block...);
  }

  /// The block alone: c [B, 1, D] is the conditioning vector before its SiLU. errc::bad_condition unless there is
  /// one for every sample. What follows the workspace is passed on.
  template <int x_width, int context_width, class C, int c_width>
  constexpr void operator()(Tokens<R, x_width> x, Tokens<R, context_width> context, Tokens<C, c_width> c,
                            Workspace& workspace, std::same_as<Rope<R>> auto... turns) const {
    static_assert(c_width == width, "MMDiTBlock: the conditioning vector's width is not the block's width");
    const auto scope = workspace.scope();
    const auto silu_c = silu_condition(c, x.batch, workspace);
    const Modulations m{x_block.adaLN_modulation(silu_c, workspace),
                        context_block.adaLN_modulation(silu_c, workspace)};
    static_cast<const Block&> (*this)(x, context, m, workspace, turns...);
  }

 protected:
  template <int x_width, int context_width>
  static constexpr void require_tokens(Tokens<R, x_width> x, Tokens<R, context_width> context, const Modulations& m,
                                       const Workspace& workspace) {
    static_assert(x_width == width && context_width == width,
                  "MMDiTBlock: the tokens' width is not the block's width");
    require(workspace.holds(x.data) && x.batch > 0 && x.count > 0, errc::bad_input_shape,
            "a block takes at least one token");
    require(workspace.holds(context.data) && context.batch == x.batch && context.count > 0, errc::bad_condition,
            "a block takes at least one token of text for every sample");
    require(workspace.holds(m.x.data) && workspace.holds(m.context.data), errc::bad_condition,
            "a block needs a modulation for every sample");
  }
};

/// The joint block, with s either stream and [shift_1s, ..., gate_2s] = Linear_s(SiLU(c)):
///   q_s, k_s, v_s = qkv_s((1 + scale_1s) * LN(s) + shift_1s)
///   [o_context | o_x] = Attention([q_context | q_x], [k_context | k_x], [v_context | v_x])
///   s <- s + gate_1s * proj_s(o_s)
///   s <- s + gate_2s * Mlp_s((1 + scale_2s) * LN(s) + shift_2s)
template <BlockConfig config, class T = float, HeadNorm norm = HeadNorm::none>
struct MMDiTBlock : JointBlock<MMDiTBlock<config, T, norm>, Stream<config, T, norm>, Stream<config, T, norm>> {
  using Base = JointBlock<MMDiTBlock, Stream<config, T, norm>, Stream<config, T, norm>>;
  using Base::x_block, Base::context_block, Base::operator();
  using typename Base::Modulations, typename Base::R;
  static constexpr int width = config.width;

  /// x [B, N, D] and context [B, M, D] in place, with the modulations computed beforehand, one for every sample.
  /// The turns, where a model has them, are those of the text's and of the image's tokens.
  template <int x_width, int context_width>
  constexpr void operator()(Tokens<R, x_width> x, Tokens<R, context_width> context, const Modulations& m,
                            Workspace& workspace, Rope<R> context_rope = {}, Rope<R> x_rope = {}) const {
    Base::require_tokens(x, context, m, workspace);
    {
      const auto scope = workspace.scope();
      const auto text = context_block.pre_attention(context, m.context, workspace, context_rope);  // [B, M, D] x 3
      const auto image = x_block.pre_attention(x, m.x, workspace, x_rope);                         // [B, N, D] x 3
      joint_attention<config.heads>(workspace, text, image);
      context_block.post_attention(context, text, m.context, workspace);
      x_block.post_attention(x, image, m.x, workspace);
    }
    context_block.feed_forward(context, m.context, workspace);
    x_block.feed_forward(x, m.x, workspace);
  }
};

/// Stable Diffusion 3's last block: of the text only keys and values are left (mmditx.py, pre_only).
///   q_x, k_x, v_x = qkv_x((1 + scale_1x) * LN(x) + shift_1x),   k_context, v_context likewise
///   o_x = Attention(q_x, [k_context | k_x], [v_context | v_x])
///   x <- x + gate_1x * proj_x(o_x)
///   x <- x + gate_2x * Mlp_x((1 + scale_2x) * LN(x) + shift_2x)
template <BlockConfig config, class T = float, HeadNorm norm = HeadNorm::none>
struct MMDiTLastBlock
    : JointBlock<MMDiTLastBlock<config, T, norm>, Stream<config, T, norm>, PreOnlyStream<config, T, norm>> {
  using Base = JointBlock<MMDiTLastBlock, Stream<config, T, norm>, PreOnlyStream<config, T, norm>>;
  using Base::x_block, Base::context_block, Base::operator();
  using typename Base::Modulations, typename Base::R;
  static constexpr int width = config.width;

  /// x [B, N, D] in place; context [B, M, D] is read.
  template <int x_width, int context_width>
  constexpr void operator()(Tokens<R, x_width> x, Tokens<R, context_width> context, const Modulations& m,
                            Workspace& workspace) const {
    Base::require_tokens(x, context, m, workspace);
    {
      const auto scope = workspace.scope();
      const auto text = context_block.pre_attention(context, m.context, workspace);  // [B, M, D] x 2
      const auto image = x_block.pre_attention(x, m.x, workspace);                   // [B, N, D] x 3
      joint_attention<config.heads>(workspace, text, image);
      x_block.post_attention(x, image, m.x, workspace);
    }
    x_block.feed_forward(x, m.x, workspace);
  }
};

/// The image in a block of dual attention: it has a second attention, all its own, and chunks 6, 7, 8 of the
/// modulation for it.
template <BlockConfig config, class T = float, HeadNorm norm = HeadNorm::none>
struct DualStream : Stream<config, T, norm, 9> {
  using Base = Stream<config, T, norm, 9>;

  SelfAttention<config.width, config.heads, T, norm> attn2;

  static constexpr void visit(auto&& f, auto&... self) {
    Base::visit(f, self...);
    f("attn2", self.attn2...);
  }
};

/// Stable Diffusion 3.5 medium's first blocks, "MMDiT-X" (mmditx.py, x_block_self_attn): the image's tokens attend
/// among themselves as well. As MMDiTBlock, but with x_in the image before the block
///   x <- x + gate_1x * proj_x(o_x) + gate_3x * Attention2((1 + scale_3x) * LN(x_in) + shift_3x)
template <BlockConfig config, class T = float, HeadNorm norm = HeadNorm::sd3>
struct MMDiTDualBlock
    : JointBlock<MMDiTDualBlock<config, T, norm>, DualStream<config, T, norm>, Stream<config, T, norm>> {
  using Base = JointBlock<MMDiTDualBlock, DualStream<config, T, norm>, Stream<config, T, norm>>;
  using Base::x_block, Base::context_block, Base::operator();
  using typename Base::Modulations, typename Base::R;
  static constexpr int width = config.width;

  /// x [B, N, D] and context [B, M, D] in place.
  template <int x_width, int context_width>
  constexpr void operator()(Tokens<R, x_width> x, Tokens<R, context_width> context, const Modulations& m,
                            Workspace& workspace) const {
    Base::require_tokens(x, context, m, workspace);
    {
      const auto scope = workspace.scope();
      const auto text = context_block.pre_attention(context, m.context, workspace);  // [B, M, D] x 3
      const auto image = x_block.pre_attention(x, m.x, workspace);                   // [B, N, D] x 3
      const auto own = x_block.attn2.heads_of()(                                     // [B, N, D] x 3
          modulate(layer_norm(x, 1e-6), m.x.template chunk<6>(), m.x.template chunk<7>()), workspace);
      joint_attention<config.heads>(workspace, text, image);
      joint_attention<config.heads>(workspace, own);
      context_block.post_attention(context, text, m.context, workspace);
      x_block.post_attention(x, image, m.x, workspace);
      add_gated(x, m.x.template chunk<8>(), x_block.attn2.proj(own.answer()), workspace);
    }
    context_block.feed_forward(context, m.context, workspace);
    x_block.feed_forward(x, m.x, workspace);
  }
};

}}  // namespace dit
