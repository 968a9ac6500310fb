#pragma once
/// The packed GEMM: sink <- source W^T.
///
/// A *source* makes the panels of A (panels.hpp), a *sink* takes the finished tiles. Between them runs one
/// micro-kernel over a grid of tasks that depends on the shapes only. Every element is the sum, in ascending order,
/// of blocks of k that depend on the depth only, each one chain of multiply-adds: neither threads, the other rows
/// and columns, nor alignment change a bit of it.

#include <algorithm>

#include "dit/core/workspace.hpp"
#include "dit/kernels/kernels.hpp"
#include "dit/kernels/pack.hpp"
#include "dit/kernels/panels.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {

/// Asks for the cache lines where a tile will go, so that they have come when it is done.
template <class T>
void prefetch_tile(const T* p, Index stride, Index rows, Index columns) {
  const auto ask = [](const T* at) {
#if defined(__GNUC__)
    __builtin_prefetch(at);
#elif DIT_X86
    _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T0);
#endif
  };
  constexpr Index line = 64 / sizeof(T);
  for (Index r = 0; r < rows; ++r, p += stride) {
    for (Index c = 0; c < columns; c += line) ask(p + c);
    ask(p + columns - 1);
  }
}

}  // namespace detail

// A sink has
//     void put(const Kernels<T>& k, Index row, Index rows, Index column, Index columns, T* tile) const;
// which takes the tile [rows][tile_width] at (row, column) of A W^T and may write over it; `rows` is the height of
// a panel and `columns` <= tile_width. It is called once for every tile, at the same time for different ones. It
// may have
//     void prefetch(Index row, Index rows, Index column, Index columns) const;
// which is called a while before.

/// y = activation(A W^T + bias), rows `stride` apart; a null bias is 0. The activation is for columns from
/// `first_activated` on. S is R, or what a model stores.
template <class R, class S = R>
struct StoreSink {
  S* y;
  Index stride;
  const R* bias = nullptr;
  Activation activation = Activation::none;
  Index first_activated = 0;

  void prefetch(Index row, Index rows, Index column, Index columns) const {
    detail::prefetch_tile(y + row * stride + column, stride, rows, columns);
  }
  template <class K>
  void put(const K& k, Index row, Index rows, Index column, Index columns, R* tile) const {
    if (bias) k.add_bias(tile, rows, columns, bias + column);
    if (activation != Activation::none) {
      const Index skipped = std::max<Index>(0, first_activated - column);
      if (skipped == 0) {
        k.activate(activation, tile, rows * tile_width, tile);
      } else if (skipped < columns) {
        for (Index r = 0; r < rows; ++r) {
          R* const from = tile + r * tile_width + skipped;
          k.activate(activation, from, columns - skipped, from);
        }
      }
    }
    if constexpr (std::is_same_v<S, R>) {
      k.store(tile, rows, columns, y + row * stride + column, stride);
    } else {
      k.store_rounded(tile, rows, columns, y + row * stride + column, stride);
    }
  }
};

/// x += gate[s] * (A W^T + bias) with s = row / rows_per_sample; gates of a sample start `gate_stride` after those
/// of the one before. A null gate is 1.
template <class T>
struct AddGatedSink {
  T* x;
  Index stride;
  const T* bias = nullptr;
  const T* gate = nullptr;
  Index gate_stride = 0;
  Index rows_per_sample = 1;

  void prefetch(Index row, Index rows, Index column, Index columns) const {
    detail::prefetch_tile(x + row * stride + column, stride, rows, columns);
  }
  void put(const Verbs<T>& k, Index row, Index rows, Index column, Index columns, T* tile) const {
    if (bias) k.add_bias(tile, rows, columns, bias + column);
    if (!gate) return k.add_gated(tile, rows, columns, nullptr, x + row * stride + column, stride);
    for (Index r = 0; r < rows;) {  // a panel may reach over several samples
      const Index sample = (row + r) / rows_per_sample;
      const Index end = std::min(rows, (sample + 1) * rows_per_sample - row);
      k.add_gated(tile + r * tile_width, end - r, columns, gate + sample * gate_stride + column,
                  x + (row + r) * stride + column, stride);
      r = end;
    }
  }
};

/// activation(A W^T + bias) as the panels of the next GEMM's A: a PanelsSource{panels, rows, depth}. Not of int8,
/// whose scales are known only when a row is complete.
template <class T>
struct PanelsSink {
  T* panels;
  Index depth;  ///< of the next GEMM: the outputs of this one
  const real<T>* bias = nullptr;
  Activation activation = Activation::none;

  void put(const Kernels<T>& k, Index row, Index rows, Index column, Index columns, real<T>* tile) const {
    if (bias) k.add_bias(tile, rows, columns, bias + column);
    if (activation != Activation::none) k.activate(activation, tile, rows * tile_width, tile);
    k.pack_panel(tile, tile_width, rows, 0, column, columns, nullptr, rows, panels + row * padded<T>(depth));
  }
};

namespace detail {

/// How a GEMM is cut into tasks of row_blocks x column_blocks, each of which runs through all depth_blocks, of
/// words.
struct Grid {
  Panels panels, depth_blocks, row_blocks, column_blocks;

  /// The longest block of k, in words, the same number of which fit the depth; 1 if there is no depth.
  template <class T>
  static constexpr Index steps(Index depth, const Blocking& block) {
    return Panels(std::max<Index>(1, words<T>(depth)), block.template steps<T>()).height(0);
  }
  /// As wide as a task may be, but narrower where strands would otherwise wait for the last one: none of it shows
  /// in the result.
  template <class T>
  static constexpr Grid of(Index rows, Index depth, Index strips, int strands, const Kernels<T>& k) {
    const Index tall = std::max<Index>(1, k.blocking.words / steps<T>(depth, k.blocking) / k.panel_rows);
    const Panels panels(rows, k.panel_rows), row_blocks(panels.count, tall);
    Panels column_blocks((strips + 1) / 2, k.blocking.pairs);
    Index least = 100;  // of 100 turns
    for (Index pairs = k.blocking.pairs; pairs > 0 && least > 2; --pairs) {
      const Panels blocks((strips + 1) / 2, pairs);
      const Index tasks = row_blocks.count * blocks.count, turns = (tasks + strands - 1) / strands * strands;
      const Index idle = 100 * (turns - tasks) / turns;
      if (idle < least) least = idle, column_blocks = blocks;
    }
    return {
        panels, {std::max<Index>(1, words<T>(depth)), k.blocking.template steps<T>()}, row_blocks, column_blocks};
  }
};

/// The tiles of row block rb and column block cb. `a` holds the panels of the row block and `scale` the scales of
/// its rows, if they have any; `tiles` gemm_scratch numbers.
template <class T, class Sink>
void multiply_block(const Grid& grid, Index rb, Index cb, const T* a, const float* scale,
                    const PackedMatrix<T>& weights, const Sink& sink, real<T>* tiles, const Kernels<T>& k) {
  constexpr Index word = word_size<T>;
  const Index depth = words<T>(weights.depth()), outputs = weights.rows();
  const Index first_panel = grid.row_blocks.first(rb), end_panel = grid.row_blocks.first(rb + 1);
  const Index first_row = grid.panels.first(first_panel), height = grid.panels.first(end_panel) - first_row;
  const Index first_pair = grid.column_blocks.first(cb), end_pair = grid.column_blocks.first(cb + 1);
  const bool whole = grid.depth_blocks.count == 1;  // or the tiles wait, [pair][row][tile_width]
  for (Index db = 0; db < grid.depth_blocks.count; ++db) {
    const Index begin = grid.depth_blocks.first(db);
    const Index steps = std::min(depth, grid.depth_blocks.first(db + 1)) - begin;
    const bool last = db + 1 == grid.depth_blocks.count;
    for (Index pair = first_pair; pair < end_pair; ++pair) {
      const T* const w = weights.strip(2 * pair) + begin * strip_width * word;
      const int strips = static_cast<int>(std::min<Index>(2, weights.strips() - 2 * pair));
      const Index column = 2 * pair * strip_width, columns = std::min(tile_width, outputs - column);
      for (Index p = first_panel; p < end_panel; ++p) {
        const Index row = grid.panels.first(p), panel_height = grid.panels.height(p);
        if constexpr (requires { sink.prefetch(row, row, row, row); }) {
          if (last) sink.prefetch(row, panel_height, column, columns);
        }
        real<T>* const tile = whole ? tiles : tiles + ((pair - first_pair) * height + row - first_row) * tile_width;
        auto* const sums = reinterpret_cast<accumulator<T>*>(tile);
        k.multiply(static_cast<int>(panel_height), strips, steps,
                   a + ((row - first_row) * depth + begin * panel_height) * word, w, strip_width,
                   depth * strip_width, db > 0, sums);
        if (!last) continue;
        if constexpr (std::is_same_v<T, int8>) {
          k.dequantise(sums, panel_height, columns, weights.correction() + column, scale + row - first_row,
                       weights.scale() + column);
        }
        sink.put(k, row, panel_height, column, columns, tile);
      }
    }
  }
}

/// Numbers of scratch for a strand of a GEMM: the tiles that wait for the next block of k, or the only one that
/// does not.
template <class T>
constexpr Index gemm_scratch(Index rows, Index depth, const Blocking& block) {
  constexpr Index tallest_panel = 16;
  if (words<T>(depth) <= block.template steps<T>()) return tallest_panel * tile_width;
  return std::min(rows, std::max(tallest_panel, block.words / Grid::steps<T>(depth, block))) * block.pairs *
         tile_width;
}

template <class T>
void require_fit(Index depth, const PackedMatrix<T>& weights) {
  require(!weights.is_planned(), errc::bad_state, "a product was asked of a matrix without numbers");
  if (depth == weights.depth()) return;  // not `require`, which would compose the sentence at every call
  throw Error(errc::bad_input_shape, "a linear layer of " + std::to_string(weights.depth()) +
                                         " inputs was given rows of " + std::to_string(depth));
}

}  // namespace detail

/// Bytes of a Workspace that `gemm` uses while it runs, for A [rows, depth] that is `packed` already or is not.
template <class T>
constexpr std::size_t gemm_arena(Index rows, Index depth, int strands, bool packed = false) {
  if (rows == 0) return 0;
  return (packed ? 0 : panels_bytes<T>(rows, depth)) +
         static_cast<std::size_t>(strands) * arena_bytes<real<T>>(detail::gemm_scratch<T>(rows, depth, Blocking{}));
}

/// sink <- source W^T for A [rows, depth] and W [outputs, depth].
/// Errors: bad_input_shape if the depths differ; bad_state where there are no weights.
template <class T, class Source, class Sink>
void gemm(const Source& source, const PackedMatrix<T>& weights, const Sink& sink, Workspace& workspace,
          const Kernels<T>& k) {
  detail::require_fit(source.depth, weights);
  const Index rows = source.rows, depth = source.depth, outputs = weights.rows();
  if (rows == 0 || outputs == 0) return;
  const auto scope = workspace.scope();
  const PanelsSource<T> a = pack(source, workspace, k);

  const auto grid = detail::Grid::of<T>(rows, depth, weights.strips(), workspace.strands(), k);
  const std::size_t scratch_bytes = arena_bytes<real<T>>(detail::gemm_scratch<T>(rows, depth, k.blocking));
  const Index scratch_size = static_cast<Index>(scratch_bytes / sizeof(real<T>));
  auto* const scratch = workspace.take<real<T>>(scratch_size * workspace.strands());

  // Tasks in a row share their rows of A, which stay in L2 while W streams past.
  workspace.parallel_for(grid.row_blocks.count * grid.column_blocks.count, [&](Index task, int strand) {
    const Index rb = task / grid.column_blocks.count, cb = task % grid.column_blocks.count;
    const Index first = grid.panels.first(grid.row_blocks.first(rb));
    detail::multiply_block(grid, rb, cb, a.panels + first * padded<T>(depth), a.scale ? a.scale + first : nullptr,
                           weights, sink, scratch + strand * scratch_size, k);
  });
}

namespace detail {
/// Bytes and flops of a product, in place of running it.
template <class T>
constexpr void count_product(Index rows, const PackedMatrix<T>& weights, std::size_t bytes, Workspace& workspace) {
  const auto multiplied = static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(weights.depth());
  workspace.count(rows == 0 ? 0 : bytes, 2 * multiplied * static_cast<std::uint64_t>(weights.rows()));
}
}  // namespace detail

/// The same with the kernels that are active; a meter counts it.
template <class T, class Source, class Sink>
constexpr void gemm(const Source& source, const PackedMatrix<T>& weights, const Sink& sink, Workspace& workspace) {
  if (workspace.counts()) {
    constexpr bool packed = std::is_same_v<Source, PanelsSource<T>>;
    const std::size_t bytes = gemm_arena<T>(source.rows, source.depth, workspace.strands(), packed);
    return detail::count_product(source.rows, weights, bytes, workspace);
  }
  gemm(source, weights, sink, workspace, kernels<T>());
}

namespace detail {
/// The most rows of a task.
template <class T>
constexpr Index block_rows(Index rows, Index depth, const Blocking& block) {
  return std::min<Index>(rows, std::max<Index>(16, block.words / Grid::steps<T>(depth, block)));
}
/// Few rows are packed at one time, so that strands share them and divide the columns.
template <class T>
constexpr bool few_rows(Index rows, Index depth, int strands, const Blocking& block) {
  return rows < 2 * strands * block_rows<T>(rows, depth, block);
}
}  // namespace detail

/// Bytes of a Workspace that `gemm_in_blocks` uses while it runs.
template <class T>
constexpr std::size_t gemm_in_blocks_arena(Index rows, Index depth, int strands) {
  constexpr Blocking block{};
  if (detail::few_rows<T>(rows, depth, strands, block)) return gemm_arena<T>(rows, depth, strands);
  return static_cast<std::size_t>(strands) * (panels_bytes<T>(detail::block_rows<T>(rows, depth, block), depth) +
                                              arena_bytes<real<T>>(detail::gemm_scratch<T>(rows, depth, block)));
}

/// The same as `gemm`, bit for bit, for very many rows: no more of them are packed at a time than stay in the
/// caches, each block by the strand that multiplies it.
template <class T, class Source, class Sink>
void gemm_in_blocks(const Source& source, const PackedMatrix<T>& weights, const Sink& sink, Workspace& workspace,
                    const Kernels<T>& k) {
  const Index rows = source.rows, depth = source.depth;
  const int strands = workspace.strands();
  if (detail::few_rows<T>(rows, depth, strands, k.blocking)) return gemm(source, weights, sink, workspace, k);
  detail::require_fit(depth, weights);
  const auto scope = workspace.scope();
  const auto grid = detail::Grid::of<T>(rows, depth, weights.strips(), /*strands=*/1, k);
  const Index step = padded<T>(depth), most = detail::block_rows<T>(rows, depth, k.blocking);
  const auto rounded_up = [](Index n, auto type) {
    return static_cast<Index>(arena_bytes<decltype(type)>(n) / sizeof type);
  };
  const Index panels_size = rounded_up(most * step, T{}), scales_size = rounded_up(most, float{});
  const Index scratch_size = rounded_up(detail::gemm_scratch<T>(rows, depth, k.blocking), real<T>{});
  T* const panels = workspace.take<T>(panels_size * strands);
  float* const scales = std::is_same_v<T, int8> ? workspace.take<float>(scales_size * strands) : nullptr;
  auto* const scratch = workspace.take<real<T>>(scratch_size * strands);
  workspace.parallel_for(grid.row_blocks.count, [&](Index rb, int strand) {
    T* const own = panels + strand * panels_size;
    float* const scale = scales ? scales + strand * scales_size : nullptr;
    const Index first = grid.panels.first(grid.row_blocks.first(rb));
    for (Index p = grid.row_blocks.first(rb); p < grid.row_blocks.first(rb + 1); ++p) {
      const Index row = grid.panels.first(p);
      pack_panel(k, source, row, grid.panels.height(p), own + (row - first) * step,
                 scale ? scale + row - first : nullptr);
    }
    for (Index cb = 0; cb < grid.column_blocks.count; ++cb) {
      detail::multiply_block(grid, rb, cb, own, scale, weights, sink, scratch + strand * scratch_size, k);
    }
  });
}

/// The same with the kernels that are active.
template <class T, class Source, class Sink>
void gemm_in_blocks(const Source& source, const PackedMatrix<T>& weights, const Sink& sink, Workspace& workspace) {
  gemm_in_blocks(source, weights, sink, workspace, kernels<T>());
}

}}  // namespace dit
