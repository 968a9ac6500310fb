#pragma once
/// The simplified DiT: plain AdaLN without gates, the shortest whole model in the library.

#include <array>
#include <span>
#include <string_view>

#include "dit/nn/adaln.hpp"
#include "dit/nn/attention.hpp"
#include "dit/nn/depatchify.hpp"
#include "dit/nn/mlp.hpp"
#include "dit/nn/norm.hpp"
#include "dit/nn/patchify.hpp"

namespace dit { inline namespace DIT_ABI {

struct PlainDiTConfig {
  int in_channels;
  int patch;
  int width;  ///< d_model
  int heads;
  int mlp;      ///< d_ff
  int depth;    ///< n_layers
  int width_c;  ///< d_cond
};

/// h = AdaLN_1(x, c);  x <- x + Attention(h, h, h)
///                     x <- x + FFN(AdaLN_2(x, c)),  FFN = Linear, GELU (erf), Linear
template <PlainDiTConfig config, class T = float>
struct PlainDiTBlock {
  static constexpr int width = config.width;
  using R = real<T>;

  AdaLN<width, config.width_c, T> adaln1;
  MultiheadAttention<width, config.heads, T> attn;
  AdaLN<width, config.width_c, T> adaln2;
  Mlp<width, config.mlp, width, Activation::gelu_erf, T> ff;

  static constexpr void visit(auto&& f, auto&... self) {
    f("adaln1", self.adaln1...);
    f("attn", self.attn...);
    f("adaln2", self.adaln2...);
    f("ff.0", self.ff.fc1...);
    f("ff.2", self.ff.fc2...);
  }

  /// x [B, N, D] in place, c [B, 1, width_c]
  constexpr void operator()(Tokens<R, width> x, Tokens<const R, config.width_c> c, Workspace& workspace) const {
    add(x, attn(adaln1(x, c, workspace), workspace), workspace);
    add(x, ff(adaln2(x, c, workspace), workspace), workspace);
  }
};

/// The velocity field v(x, t) of the simplified model: c = t_emb + cond, convolution patchify, blocks with plain
/// AdaLN, an affine LayerNorm and a Linear back to patches in the order (p q c).
template <PlainDiTConfig config_, class T = float>
struct PlainDiT {
  static constexpr PlainDiTConfig config = config_;
  static constexpr int width = config.width;
  static constexpr std::string_view family = "plain_dit";
  static_assert(config.depth > 0 && config.depth <= 1000, "PlainDiT: depth must be in 1 .. 1000");

  using R = real<T>;

  Patchify<config.in_channels, config.patch, width, T> patchify;
  std::array<PlainDiTBlock<config, T>, config.depth> blocks;
  LayerNorm<width, T> norm_out;
  Depatchify<width, config.patch, config.in_channels, T> depatchify;

  static constexpr void visit(auto&& f, auto&... self) {
    f("patchify", self.patchify...);
    f("blocks", self.blocks...);
    f("norm_out", self.norm_out...);
    f("depatchify", self.depatchify...);
  }

  /// v [B, C, H, W] from x [B, C, H, W], t_emb and cond [B, width_c]. Errors: bad_input_shape, bad_condition (t_emb
  /// or cond of another shape), aliasing, busy, bad_state (no weights), out_of_memory.
  void operator()(View<const R, 4> x, View<const R, 2> t_emb, View<const R, 2> cond, View<R, 4> v,
                  Workspace& workspace) const {
    const auto lease = workspace.lease();
    require_images(x, config.patch, config.in_channels, v);
    const Shape<2> expected{x.shape[0], config.width_c};
    require(t_emb.data && cond.data && t_emb.shape == expected && cond.shape == expected, errc::bad_condition,
            "t_emb and cond must be [batch, width_c]");
    pass(x, t_emb, cond, v, workspace);
  }

  /// The pass of a plan, of shapes without numbers: latents [batch, C, H, W], `shape` = {H, W}.
  constexpr void rehearse(Workspace& meter, Index batch, const Shape<2>& shape) const {
    const Shape<4> latents{batch, config.in_channels, shape[0], shape[1]};
    const View<const R, 2> c(nullptr, {batch, config.width_c});
    pass({nullptr, latents}, c, c, {nullptr, latents}, meter);
  }

 private:
  constexpr void pass(View<const R, 4> x, View<const R, 2> t_emb, View<const R, 2> cond, View<R, 4> v,
                      Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto c = take_tokens<R, config.width_c>(x.shape[0], 1, workspace);
    workspace.parallel_ranges(c.size(), 1, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) c.data[i] = t_emb.data[i] + cond.data[i];
    });
    const Grid grid = patch_grid(x.shape, config.patch);
    const auto tokens = take_tokens<R, width>(x.shape[0], grid.count(), workspace);
    store(tokens, patchify(x, workspace), workspace);  // [B, N, D]
    for (const Index l : workspace.passes(config.depth)) {
      blocks[static_cast<std::size_t>(l)](tokens, c, workspace);  // [B, N, D]
    }
    depatchify(norm_out(tokens), v, workspace);  // [B, C, H, W]
  }
};

}}  // namespace dit
