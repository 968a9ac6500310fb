#pragma once
/// Self-attention with its projections.

#include <algorithm>

#include "dit/nn/linear.hpp"
#include "dit/ops/attention.hpp"

namespace dit::inline DIT_ABI {

/// proj(Attention(qkv(x))), one fused Linear D -> 3 D with rows q, k, v, each head-major
/// (timm.models.vision_transformer.Attention, which DiT's models.py uses).
template <int width, int heads, class T = float>
struct SelfAttention {
  static_assert(heads > 0 && width % heads == 0, "SelfAttention: the number of heads does not divide the width");
  using scalar = T;
  template <class U>
  using with_scalar = SelfAttention<width, heads, U>;

  Linear<width, 3 * width, T> qkv;
  Linear<width, width, T> proj;

  static constexpr void visit(auto&& f, auto&... self) {
    f("qkv", self.qkv...);
    f("proj", self.proj...);
  }

  /// Attention goes to the workspace; the output projection is returned, lazy.
  template <class Source, int x_width>
  auto operator()(const Lazy<Source, x_width>& x, Workspace& workspace) const {
    auto scope = workspace.scope();
    const auto heads_in = take_tokens<real<T>, 3 * width>(x.batch, x.count, workspace);  // [B, N, 3 D]
    const auto heads_out = take_tokens<real<T>, width>(x.batch, x.count, workspace);     // [B, N, D]
    store(heads_in, qkv(x), workspace);
    self_attention<heads>(heads_in, heads_out, workspace);
    return Held(std::move(scope), proj(heads_out));
  }

  static constexpr std::size_t arena(Index batch, Index count, int strands) {
    const Index rows = batch * count;
    return arena_bytes<real<T>>(rows * 3 * width) + arena_bytes<real<T>>(rows * width) +
           std::max(Linear<width, width, T>::arena(rows, strands),
                    attention_arena<real<T>>(batch, heads, width / heads, count, strands));
  }
};

/// The same layer with the parameter names of torch.nn.MultiheadAttention.
template <int width, int heads, class T = float>
struct MultiheadAttention : SelfAttention<width, heads, T> {
  using scalar = T;
  template <class U>
  using with_scalar = MultiheadAttention<width, heads, U>;

  static constexpr void visit(auto&& f, auto&... self) {
    f("in_proj_weight", self.qkv.weight...);
    f("in_proj_bias", self.qkv.bias...);
    f("out_proj", self.proj...);
  }
};

}  // namespace dit::inline DIT_ABI
