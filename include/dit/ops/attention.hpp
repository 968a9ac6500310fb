#pragma once
/// Attention as the models write it: softmax(q k^T / sqrt(d)) v, per head.

#include <cmath>

#include "dit/core/tensor.hpp"
#include "dit/kernels/attention.hpp"

namespace dit::inline DIT_ABI {

/// out = Attention(q, k, v) with q, k, v side by side in the features of `qkv` [B, N, 3 D]; a head is a contiguous
/// block of d = D / heads features. No mask. Scale 1 / sqrt(d). Errors: bad_input_shape unless `out`
/// is [B, N, D].
template <int heads, class T, int width3, int width>
void self_attention(Tokens<T, width3> qkv, Tokens<T, width> out, Workspace& workspace) {
  static_assert(width3 == 3 * width, "self_attention: qkv must be three times as wide as the output");
  static_assert(width % heads == 0, "self_attention: the number of heads does not divide the width");
  require(qkv.batch == out.batch && qkv.count == out.count, errc::bad_input_shape,
          "attention gives as many tokens as it takes");
  constexpr int head_dim = width / heads;
  const AttentionStream<T> stream{qkv.data,         qkv.data + width, qkv.data + 2 * width,  out.data,
                                  qkv.count,        3 * width,        qkv.count * 3 * width, width,
                                  qkv.count * width};
  attention(stream, qkv.batch, heads, head_dim, static_cast<T>(1 / std::sqrt(double{head_dim})), workspace);
}

}  // namespace dit::inline DIT_ABI
