#pragma once
/// Blocked attention with an online softmax: softmax(scale q k^T) v for any number of tokens and any head size.
///
/// Everything stands upright. Queries are packed as strips and keys as panels, so the GEMM's micro-kernel gives
/// tiles of S^T, [keys][32 queries]; the softmax runs down the keys with a query in every lane; what it leaves is
/// in the layout of strips again and meets panels of V, so the same micro-kernel adds to O^T, [head_dim][32
/// queries].

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "dit/core/workspace.hpp"
#include "dit/kernels/kernels.hpp"
#include "dit/kernels/panels.hpp"

namespace dit { inline namespace DIT_ABI {

/// What becomes of queries and keys before they meet: RMSNorm over each head with weights [head_dim], then the turn
/// by the angles of the token, [tokens][head_dim] cosines and sines as Verbs::rotate takes them. Null: neither.
template <class R>
struct HeadTurn {
  const R* query_weight = nullptr;
  const R* key_weight = nullptr;
  R eps = 0;
  const R* cos = nullptr;
  const R* sin = nullptr;
};

/// Tokens that take part in an attention. Head h of token t of sample b starts at
/// q + b * batch_stride + t * token_stride + h * head_dim (k and v likewise; `out` with its own strides), so a
/// fused [tokens, 3 D] buffer is three pointers into it with token_stride 3 D. q null: the tokens are only attended
/// to. k and v null: they only ask. `present`, [batch][tokens], is 0 where a token is padding: its key and value
/// are not read.
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
  HeadTurn<real<T>> turn{};
  const std::uint8_t* present = nullptr;
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

/// Bytes of the packed keys of `heads` heads, or of their values.
template <class T>
constexpr std::size_t packed_heads_bytes(Index heads, Index keys, Index head_dim) {
  return arena_bytes<T>(heads * padded<T>(keys) * padded<T>(head_dim));
}

/// What a task of attention writes to.
template <class T>
struct AttentionScratch {
  using R = real<T>;
  static constexpr Index panel = 16;  ///< the tallest
  R *scores, *factor, *outs, *highest, *sums, *turned;
  T* queries;

  /// Numbers of R: S^T [keys][32], the factor, O^T [tile][d][32], max and sum, and the rows of a panel.
  static constexpr Index numbers(Index d, const Blocking& block) {
    const Index tiles = block.queries / tile_width;
    return tile_width * (block.keys + 1 + tiles * (d + 2)) + panel * d;
  }
  /// Numbers of T: Q [tile][d][32].
  static constexpr Index stored_numbers(Index d, const Blocking& block) { return block.queries * padded<T>(d); }

  static constexpr std::size_t bytes(Index d, const Blocking& block) {
    return arena_bytes<R>(numbers(d, block)) + arena_bytes<T>(stored_numbers(d, block));
  }
  AttentionScratch(std::byte* at, Index d, const Blocking& block) {
    const Index tiles = block.queries / tile_width;
    scores = reinterpret_cast<R*>(at);
    factor = scores + block.keys * tile_width;
    outs = factor + tile_width;
    highest = outs + tiles * d * tile_width;
    sums = highest + tiles * tile_width;
    turned = sums + tiles * tile_width;
    queries = reinterpret_cast<T*>(at + arena_bytes<R>(numbers(d, block)));
  }
};

/// One attention: its shapes, and the three things that are done.
template <class T>
struct Attention {
  using R = real<T>;
  using Scratch = AttentionScratch<T>;
  static constexpr Index word = word_size<T>;

  std::span<const AttentionStream<T>> streams;
  Index heads, head_dim, all_keys;
  R scale;
  const Kernels<T>& k;

  /// A run of tokens of one stream.
  struct Run {
    const AttentionStream<T>* stream;
    Index first, count;
  };
  /// The tokens with keys from number `key` on, `count` of them, as f(run, how many came before).
  template <class F>
  void for_each_run(Index key, Index count, F&& f) const {
    Index done = 0;
    for (const auto& stream : streams) {
      if (!stream.k) continue;
      if (key >= stream.tokens) {
        key -= stream.tokens;
        continue;
      }
      const Index n = std::min(count - done, stream.tokens - key);
      if (n <= 0) return;
      f(Run{&stream, key, n}, done);
      done += n;
      key = 0;
    }
  }

  /// `rows` rows of a head of queries or keys, from token `first` on, normalised and turned, to rows `row` ... of a
  /// panel or strip of `height`.
  void pack_heads(const T* x, Index stride, const HeadTurn<R>& turn, const R* weight, Index first, Index rows,
                  R* turned, Index height, Index row, T* panel) const {
    if (!weight && !turn.cos) return k.pack_stored(x, stride, rows, row, 0, head_dim, nullptr, height, panel);
    for (Index r = 0; r < rows; ++r) {
      R* const head = turned + r * head_dim;
      k.widen(x + r * stride, head_dim, head);
      if (weight) {
        R mean, rstd;
        k.statistics(Norm::rms, head, head_dim, turn.eps, &mean, &rstd);
        k.normalise(head, head_dim, mean, rstd, weight, nullptr, nullptr, nullptr, head);
      }
      const Index at = (first + r) * head_dim;
      if (turn.cos) k.rotate(head, turn.cos + at, turn.sin + at, head_dim, head);
    }
    k.pack_panel(turned, head_dim, rows, row, 0, head_dim, nullptr, height, panel);
  }

  /// Keys [begin, begin + n) of a head, as panels [panel][d][keys of the panel] and [panel of d][keys][d of the
  /// panel].
  void pack_block(Index sample, Index column, Index begin, Index n, T* to_keys, T* to_values, R* turned) const {
    static constexpr Index most_keys = Blocking{}.keys, most_dim = 16;
    const Panels key_panels(n, k.panel_rows), value_panels(head_dim, k.panel_rows);
    for (Index p = 0; p < key_panels.count; ++p) {
      const Index first = key_panels.first(p), height = key_panels.height(p);
      for_each_run(begin + first, height, [&](const Run& run, Index row) {
        const auto& s = *run.stream;
        const T* const keys = s.k + sample * s.batch_stride + run.first * s.token_stride + column;
        pack_heads(keys, s.token_stride, s.turn, s.turn.key_weight, run.first, run.count, turned, height, row,
                   to_keys + first * padded<T>(head_dim));
      });
    }
    const T nothing[most_dim]{};
    const T* rows[most_keys];
    for (Index q = 0; q < value_panels.count; ++q) {
      const Index d = value_panels.first(q), width = value_panels.height(q);
      for_each_run(begin, n, [&](const Run& run, Index row) {
        const auto& s = *run.stream;
        const std::uint8_t* const present = s.present ? s.present + sample * s.tokens + run.first : nullptr;
        const T* value = s.v + sample * s.batch_stride + run.first * s.token_stride + column + d;
        for (Index t = 0; t < run.count; ++t, value += s.token_stride) {
          rows[row + t] = present && !present[t] ? nothing : value;
        }
      });
      k.pack_upright(rows, 0, n, width, to_values + d * padded<T>(n));
    }
  }

  /// Scores of keys [begin, begin + n) that are padding become -infinity.
  void mask(Index sample, Index begin, Index n, R* scores) const {
    for_each_run(begin, n, [&](const Run& run, Index row) {
      if (!run.stream->present) return;
      const std::uint8_t* const present = run.stream->present + sample * run.stream->tokens + run.first;
      for (Index t = 0; t < run.count; ++t) {
        R* const score = scores + (row + t) * tile_width;
        if (!present[t]) std::fill(score, score + tile_width, -std::numeric_limits<R>::infinity());
      }
    });
  }

  /// Up to Blocking::queries queries of a stream against all keys of their head.
  void answer(const AttentionStream<T>& stream, Index sample, Index column, Index first, const T* keys,
              const T* values, const Scratch& at) const {
    const Blocking& block = k.blocking;
    const Panels value_panels(head_dim, k.panel_rows);
    const Index queries = std::min(block.queries, stream.tokens - first);
    const Index tiles = (queries + tile_width - 1) / tile_width, depth = padded<T>(head_dim);
    const auto out_of = [&](Index tile) { return at.outs + tile * head_dim * tile_width; };

    std::fill_n(at.queries, tiles * tile_width * depth, T(0));
    std::fill_n(at.outs, tiles * tile_width * head_dim, R(0));
    std::fill_n(at.highest, tiles * tile_width, std::numeric_limits<R>::lowest());
    std::fill_n(at.sums, tiles * tile_width, R(0));
    const T* const q = stream.q + sample * stream.batch_stride + first * stream.token_stride + column;
    for (Index i = 0; i < queries; i += strip_width) {
      pack_heads(q + i * stream.token_stride, stream.token_stride, stream.turn, stream.turn.query_weight, first + i,
                 std::min(strip_width, queries - i), at.turned, tile_width, i % tile_width,
                 at.queries + i / tile_width * depth * tile_width);
    }

    bool masked = false;
    for (const auto& s : streams) masked = masked || s.present;
    for (Index begin = 0; begin < all_keys; begin += block.keys) {
      const Index n = std::min(block.keys, all_keys - begin);
      const Panels key_panels(n, k.panel_rows);
      const T* const block_values = values + begin * depth;
      for (Index t = 0; t < tiles; ++t) {
        const int strips = queries - t * tile_width > strip_width ? 2 : 1;
        if (strips == 1) std::fill_n(at.scores, n * tile_width, R(0));
        for (Index p = 0; p < key_panels.count; ++p) {
          const Index key = key_panels.first(p);
          k.multiply(static_cast<int>(key_panels.height(p)), strips, depth / word, keys + (begin + key) * depth,
                     at.queries + t * depth * tile_width, tile_width, strip_width, false,
                     at.scores + key * tile_width);
        }
        if (masked) mask(sample, begin, n, at.scores);
        k.online_softmax(at.scores, n, scale, at.highest + t * tile_width, at.sums + t * tile_width, at.factor);
        if (begin > 0) k.scale(out_of(t), head_dim, at.factor);
        for (Index p = 0; p < value_panels.count; ++p) {
          const Index d = value_panels.first(p);
          k.multiply(static_cast<int>(value_panels.height(p)), strips, words<T>(n), block_values + d * padded<T>(n),
                     reinterpret_cast<const T*>(at.scores), tile_width, strip_width, begin > 0,
                     out_of(t) + d * tile_width);
        }
      }
    }

    T* const out = stream.out + sample * stream.out_batch_stride + first * stream.out_token_stride + column;
    for (Index t = 0; t < tiles; ++t) {
      k.divide(out_of(t), head_dim, at.sums + t * tile_width);
      for (Index d = 0; d < head_dim; d += strip_width) {
        k.unpack(out_of(t) + d * tile_width, tile_width, std::min(strip_width, head_dim - d),
                 std::min(tile_width, queries - t * tile_width), out + t * tile_width * stream.out_token_stride + d,
                 stream.out_token_stride);
      }
    }
  }
};

}  // namespace detail

/// Bytes of a Workspace that `attention` uses while it runs; `keys` of all streams together.
template <class T>
constexpr std::size_t attention_arena(Index batch, Index heads, Index head_dim, Index keys, int strands) {
  if (batch == 0 || heads == 0) return 0;
  constexpr Blocking block{};
  const Index group = detail::heads_at_once(batch * heads, keys, head_dim, block);
  return 2 * detail::packed_heads_bytes<T>(group, keys, head_dim) +
         static_cast<std::size_t>(strands) * detail::AttentionScratch<T>::bytes(head_dim, block);
}

/// Multiplications and additions of q k^T and of what meets v.
constexpr std::uint64_t attention_flops(Index heads, Index queries, Index keys, Index head_dim) {
  const auto of = [](Index n) { return static_cast<std::uint64_t>(n); };
  return 4 * of(heads) * of(queries) * of(keys) * of(head_dim);
}

/// The queries of every stream attend to the keys of all streams, in order: bit for bit what one stream of the
/// concatenated tokens gives, without concatenating. Without any key the output is 0. `out` may be the place of q.
/// With T = bf16 queries, keys, values and the softmax's numerators are rounded once, sums are of floats.
template <class T>
void attention(std::span<const AttentionStream<T>> streams, Index batch, Index heads, Index head_dim, real<T> scale,
               Workspace& workspace, const Kernels<T>& k = kernels<T>()) {
  const Index all_heads = batch * heads;
  if (all_heads == 0) return;
  const auto scope = workspace.scope();
  const Blocking& block = k.blocking;
  const detail::Attention<T> a{
      streams, heads, head_dim, detail::key_count(streams), scale * real<T>(1.4426950408889634),
      k};  // scores in units of log 2
  const Index group = detail::heads_at_once(all_heads, a.all_keys, head_dim, block);
  const Index depth = padded<T>(head_dim), head_size = padded<T>(a.all_keys) * depth;
  T* const packed_keys = workspace.take<T>(group * head_size);
  T* const packed_values = workspace.take<T>(group * head_size);
  const auto scratch_bytes = static_cast<Index>(detail::AttentionScratch<T>::bytes(head_dim, block));
  auto* const scratch = workspace.take<std::byte>(scratch_bytes * workspace.strands());
  const auto scratch_of = [&](int strand) {
    return detail::AttentionScratch<T>(scratch + strand * scratch_bytes, head_dim, block);
  };

  const Index key_blocks = (a.all_keys + block.keys - 1) / block.keys;
  const auto blocks_of = [&block](const AttentionStream<T>& s) {
    return s.q ? (s.tokens + block.queries - 1) / block.queries : 0;
  };
  Index query_blocks = 0;
  for (const auto& stream : streams) query_blocks += blocks_of(stream);

  for (Index first_head = 0; first_head < all_heads; first_head += group) {
    const Index count = std::min(group, all_heads - first_head);
    workspace.parallel_for(count * key_blocks, [&](Index task, int strand) {
      const Index h = task / key_blocks, begin = task % key_blocks * block.keys;
      const Index sample = (first_head + h) / heads, column = (first_head + h) % heads * head_dim;
      const Index at = h * head_size + begin * depth;
      a.pack_block(sample, column, begin, std::min(block.keys, a.all_keys - begin), packed_keys + at,
                   packed_values + at, scratch_of(strand).turned);
    });
    workspace.parallel_for(count * query_blocks, [&](Index task, int strand) {
      const Index h = task / query_blocks;
      const Index sample = (first_head + h) / heads, column = (first_head + h) % heads * head_dim;
      Index turn = task % query_blocks;
      std::size_t s = 0;
      for (; turn >= blocks_of(streams[s]); ++s) turn -= blocks_of(streams[s]);
      a.answer(streams[s], sample, column, turn * block.queries, packed_keys + h * head_size,
               packed_values + h * head_size, scratch_of(strand));
    });
  }
}

/// One stream.
template <class T>
void attention(const AttentionStream<T>& stream, Index batch, Index heads, Index head_dim, real<T> scale,
               Workspace& workspace, const Kernels<T>& k = kernels<T>()) {
  attention(std::span<const AttentionStream<T>>(&stream, 1), batch, heads, head_dim, scale, workspace, k);
}

}}  // namespace dit
