#pragma once
/// Attention as the models write it: softmax(q k^T / sqrt(d)) v, per head, among the tokens of one stream or of
/// several.

#include <array>
#include <cmath>

#include "dit/kernels/attention.hpp"
#include "dit/ops/norm.hpp"

namespace dit { inline namespace DIT_ABI {

/// What a stream of tokens brings to an attention, and where its answer goes: queries, keys and values [B, N, D],
/// in rows that are `stride` numbers apart; a head is a contiguous block of d = D / heads features. Tokens that do
/// not `ask` are only attended to, their q is not read. `turn` is what becomes of queries and keys before they
/// meet. `present` [B, N] is 0 for tokens that are padding and not attended to; null: there are none. T is what a
/// model stores.
template <class T, int width_>
struct Heads {
  static constexpr int width = width_;
  const T* q = nullptr;
  const T* k = nullptr;
  const T* v = nullptr;
  T* out = nullptr;  ///< may be the place of q
  Index batch = 0, count = 0, stride = 0, out_stride = 0;
  HeadTurn<real<T>> turn{};
  const std::uint8_t* present = nullptr;
  bool asks = true;

  constexpr Index rows() const { return batch * count; }
  /// The answer [B, N, D], for the GEMM that follows.
  constexpr Lazy<RowsSource<T>, width> answer() const {
    return {RowsSource<T>{out, rows(), width, out_stride}, batch, count};
  }
};

/// q, k and v are the first 3 D features of x; the answer will take the place of q.
template <int width, class T, int x_width>
constexpr Heads<T, width> split_heads(Tokens<T, x_width> x) {
  static_assert(x_width >= 3 * width, "split_heads: queries, keys and values are wider than the tokens");
  return {x.data, advance(x.data, width), advance(x.data, 2 * width), x.data, x.batch, x.count, x_width, x_width};
}

/// The queries of every stream attend to the keys of all streams (arXiv:2403.03206, section 4):
///     o = softmax([q_1 | q_2 | ...] [k_1 | k_2 | ...]^T / sqrt(d)) [v_1 | v_2 | ...],   per head,
/// bit for bit what attention among the concatenated tokens gives, without concatenating them. Padding is left out.
/// Errors: bad_input_shape where the streams are not of one batch.
template <int heads, class T, int width, class... More>
constexpr void joint_attention(Workspace& workspace, const Heads<T, width>& first, const More&... more) {
  static_assert(width % heads == 0, "joint_attention: the number of heads does not divide the width");
  static_assert(((More::width == width) && ...), "joint_attention: the streams are not of one width");
  require(((more.batch == first.batch) && ...), errc::bad_input_shape,
          "the streams of a joint attention are not of one batch");
  constexpr int head_dim = width / heads;
  if (workspace.counts()) {
    const Index queries = (first.asks ? first.count : 0) + (Index{0} + ... + (more.asks ? more.count : 0));
    const Index keys = first.count + (Index{0} + ... + more.count);
    return workspace.count(attention_arena<T>(first.batch, heads, head_dim, keys, workspace.strands()),
                           attention_flops(first.batch * heads, queries, keys, head_dim));
  }
  const auto stream = [](const Heads<T, width>& x) {
    return AttentionStream<T>{
        x.asks ? x.q : nullptr, x.k,    x.v,      x.out, x.count, x.stride, x.count * x.stride, x.out_stride,
        x.count * x.out_stride, x.turn, x.present};
  };
  const std::array streams{stream(first), stream(more)...};
  attention(std::span<const AttentionStream<T>>(streams), first.batch, heads, head_dim,
            static_cast<real<T>>(1 / std::sqrt(double{head_dim})), workspace);
}

/// out = Attention(q, k, v) among the tokens of one stream, q, k, v side by side in the features of `qkv` [B, N, 3
/// D]. Errors: bad_input_shape unless `out` is [B, N, D].
template <int heads, class T, int width3, int width>
constexpr void self_attention(Tokens<T, width3> qkv, Tokens<T, width> out, Workspace& workspace) {
  static_assert(width3 == 3 * width, "self_attention: qkv must be three times as wide as the output");
  static_assert(width % heads == 0, "self_attention: the number of heads does not divide the width");
  require(qkv.batch == out.batch && qkv.count == out.count, errc::bad_input_shape,
          "attention gives as many tokens as it takes");
  auto x = split_heads<width>(qkv);
  x.out = out.data;
  x.out_stride = width;
  joint_attention<heads>(workspace, x);
}

}}  // namespace dit
