#pragma once
/// Blocked attention with an online softmax: softmax(scale q k^T) v for any number of tokens and any head size.
///
/// Everything stands upright. Queries are packed as strips and keys as panels, so the GEMM's micro-kernel gives
/// tiles of S^T, [keys][32 queries]; the softmax runs down the keys with a query in every lane; what it leaves is
/// in the layout of strips again and meets panels of V, so the same micro-kernel adds to O^T, [head_dim][32
/// queries].

#include <algorithm>
#include <limits>
#include <span>

#include "dit/core/workspace.hpp"
#include "dit/kernels/kernels.hpp"
#include "dit/kernels/pack.hpp"
#include "dit/kernels/panels.hpp"

namespace dit::inline DIT_ABI {

/// Tokens that take part in an attention. Head h of token t of sample b starts at
/// q + b * batch_stride + t * token_stride + h * head_dim (k and v likewise; `out` with its own strides), so a
/// fused [tokens, 3 D] buffer is three pointers into it with token_stride 3 D. q null: the tokens are only attended
/// to. k and v null: they only ask.
template <class T>
struct AttentionStream {
  const T* q;
  const T* k;
  const T* v;
  T* out;
  Index tokens;
  Index token_stride;
  Index batch_stride;
  Index out_token_stride;
  Index out_batch_stride;
};

namespace detail {

template <class T>
constexpr Index key_count(std::span<const AttentionStream<T>> streams) {
  Index keys = 0;
  for (const auto& stream : streams) keys += stream.k ? stream.tokens : 0;
  return keys;
}

/// Heads that are packed at one time: all, unless their keys and values take too many numbers.
constexpr Index heads_at_once(Index heads, Index keys, Index head_dim, const Blocking& block) {
  return std::clamp<Index>(block.packed / std::max<Index>(1, 2 * keys * head_dim), 1, heads);
}

/// Numbers of a strand's scratch: S^T [keys][32]; for every 32 queries Q [d][32], O^T [d][32], max and sum; the
/// factor.
constexpr Index attention_scratch(Index head_dim, const Blocking& block) {
  return tile_width * (block.keys + block.queries / tile_width * (2 * head_dim + 2) + 1);
}

}  // namespace detail

/// Bytes of a Workspace that `attention` uses while it runs; `keys` of all streams together.
template <class T>
constexpr std::size_t attention_arena(Index batch, Index heads, Index head_dim, Index keys, int strands) {
  if (batch == 0 || heads == 0) return 0;
  return 2 * arena_bytes<T>(detail::heads_at_once(batch * heads, keys, head_dim, Blocking{}) * keys * head_dim) +
         static_cast<std::size_t>(strands) * arena_bytes<T>(detail::attention_scratch(head_dim, Blocking{}));
}

/// The queries of every stream attend to the keys of all streams, in order: bit for bit what one stream of the
/// concatenated tokens gives, without concatenating. Without any key the output is 0. `out` may be the place of q.
template <class T>
void attention(std::span<const AttentionStream<T>> streams, Index batch, Index heads, Index head_dim, T scale,
               Workspace& workspace, const Kernels<T>& k = kernels<T>()) {
  const Index all_keys = detail::key_count(streams);
  const Index all_heads = batch * heads;
  if (all_heads == 0) return;
  const auto scope = workspace.scope();

  const Blocking& block = k.blocking;
  const Index group = detail::heads_at_once(all_heads, all_keys, head_dim, block);
  const Index head_size = all_keys * head_dim;
  T* const packed_keys = workspace.take<T>(group * head_size);    // [head][block][panel][d][keys of the panel]
  T* const packed_values = workspace.take<T>(group * head_size);  // [head][block][panel of d][keys][d of the panel]
  const std::size_t scratch_bytes = arena_bytes<T>(detail::attention_scratch(head_dim, block));
  const Index scratch_size = static_cast<Index>(scratch_bytes / sizeof(T));
  T* const scratch = workspace.take<T>(scratch_size * workspace.strands());

  const Panels value_panels(head_dim, k.panel_rows);
  const Index key_blocks = (all_keys + block.keys - 1) / block.keys;
  const Index tiles = block.queries / tile_width;
  const Index turn = block.queries;
  Index query_blocks = 0;
  for (const auto& stream : streams) query_blocks += stream.q ? (stream.tokens + turn - 1) / turn : 0;

  for (Index first_head = 0; first_head < all_heads; first_head += group) {
    const Index count = std::min(group, all_heads - first_head);

    workspace.parallel_for(count * key_blocks, [&](Index task, int) {
      const Index h = task / key_blocks, begin = task % key_blocks * block.keys;
      const Index n = std::min(block.keys, all_keys - begin);
      const Index sample = (first_head + h) / heads, column = (first_head + h) % heads * head_dim;
      T* const to_keys = packed_keys + h * head_size + begin * head_dim;
      T* const to_values = packed_values + h * head_size + begin * head_dim;
      const Panels key_panels(n, k.panel_rows);
      const T* row_of_k[16];
      const T* row_of_v[16];
      for (Index p = 0; p < key_panels.count; ++p) {
        const Index first = key_panels.first(p), height = key_panels.height(p);
        for (Index r = 0; r < height; ++r) {
          Index token = begin + first + r;
          std::size_t s = 0;
          while (!streams[s].k || token >= streams[s].tokens) token -= streams[s].k ? streams[s].tokens : 0, ++s;
          const Index at = sample * streams[s].batch_stride + token * streams[s].token_stride + column;
          row_of_k[r] = streams[s].k + at;
          row_of_v[r] = streams[s].v + at;
        }
        pack_pieces(k, height, head_dim, to_keys + first * head_dim, [&](Index r, Index from, Index m, T* piece) {
          std::copy(row_of_k[r] + from, row_of_k[r] + from + m, piece);
        });
        for (Index r = 0; r < height; ++r) {
          for (Index q = 0; q < value_panels.count; ++q) {
            const Index d = value_panels.first(q), width = value_panels.height(q);
            std::copy(row_of_v[r] + d, row_of_v[r] + d + width, to_values + d * n + (first + r) * width);
          }
        }
      }
    });

    workspace.parallel_for(count * query_blocks, [&](Index task, int strand) {
      const Index h = task / query_blocks;
      Index first = task % query_blocks * turn;
      std::size_t s = 0;
      for (;; ++s) {  // the stream, and the first query in it
        const Index padded = streams[s].q ? (streams[s].tokens + turn - 1) / turn * turn : 0;
        if (first < padded) break;
        first -= padded;
      }
      const AttentionStream<T>& stream = streams[s];
      const Index queries = std::min(turn, stream.tokens - first);
      const Index sample = (first_head + h) / heads, column = (first_head + h) % heads * head_dim;

      const Index tile_size = head_dim * tile_width;
      T* const scores = scratch + strand * scratch_size;   // [keys][32]
      T* const factor = scores + block.keys * tile_width;  // [32]
      T* const q_tiles = factor + tile_width;              // [tile][d][32]
      T* const o_tiles = q_tiles + tiles * tile_size;      // [tile][d][32]
      T* const highest = o_tiles + tiles * tile_size;      // [tile][32]
      T* const sums = highest + tiles * tile_width;        // [tile][32]

      const Index active_tiles = (queries + tile_width - 1) / tile_width;
      std::fill(factor, factor + tile_width, scale * T(1.4426950408889634));  // scores in units of log 2
      std::fill(q_tiles, q_tiles + active_tiles * tile_size, T(0));
      std::fill(o_tiles, o_tiles + active_tiles * tile_size, T(0));
      std::fill(highest, highest + tiles * tile_width, std::numeric_limits<T>::lowest());
      std::fill(sums, sums + tiles * tile_width, T(0));
      const T* const q = stream.q + sample * stream.batch_stride + first * stream.token_stride + column;
      for (Index i = 0; i < queries; i += strip_width) {
        k.transpose(q + i * stream.token_stride, stream.token_stride, std::min(strip_width, queries - i), head_dim,
                    q_tiles + i / tile_width * tile_size + i % tile_width, tile_width);
      }
      for (Index t = 0; t < active_tiles; ++t) k.scale(q_tiles + t * tile_size, head_dim, factor);

      for (Index begin = 0; begin < all_keys; begin += block.keys) {
        const Index n = std::min(block.keys, all_keys - begin);
        const T* const from_keys = packed_keys + h * head_size + begin * head_dim;
        const T* const from_values = packed_values + h * head_size + begin * head_dim;
        const Panels key_panels(n, k.panel_rows);
        for (Index t = 0; t < active_tiles; ++t) {
          const int strips = queries - t * tile_width > strip_width ? 2 : 1;
          T* const o = o_tiles + t * tile_size;
          if (strips == 1) std::fill(scores, scores + n * tile_width, T(0));
          for (Index p = 0; p < key_panels.count; ++p) {
            const Index key = key_panels.first(p);
            k.multiply(static_cast<int>(key_panels.height(p)), strips, head_dim, from_keys + key * head_dim,
                       q_tiles + t * tile_size, tile_width, strip_width, false, scores + key * tile_width);
          }
          k.online_softmax(scores, n, highest + t * tile_width, sums + t * tile_width, factor);
          if (begin > 0) k.scale(o, head_dim, factor);
          for (Index p = 0; p < value_panels.count; ++p) {
            const Index d = value_panels.first(p);
            k.multiply(static_cast<int>(value_panels.height(p)), strips, n, from_values + d * n, scores, tile_width,
                       strip_width, begin > 0, o + d * tile_width);
          }
        }
      }

      T* const out = stream.out + sample * stream.out_batch_stride + first * stream.out_token_stride + column;
      for (Index t = 0; t < active_tiles; ++t) {
        k.divide(o_tiles + t * tile_size, head_dim, sums + t * tile_width);
        for (Index d = 0; d < head_dim; d += strip_width) {
          k.transpose(o_tiles + t * tile_size + d * tile_width, tile_width, std::min(strip_width, head_dim - d),
                      std::min(tile_width, queries - t * tile_width),
                      out + t * tile_width * stream.out_token_stride + d, stream.out_token_stride);
        }
      }
    });
  }
}

/// One stream.
template <class T>
void attention(const AttentionStream<T>& stream, Index batch, Index heads, Index head_dim, T scale,
               Workspace& workspace, const Kernels<T>& k = kernels<T>()) {
  attention(std::span<const AttentionStream<T>>(&stream, 1), batch, heads, head_dim, scale, workspace, k);
}

}  // namespace dit::inline DIT_ABI
