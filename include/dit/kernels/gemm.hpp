#pragma once
/// The packed GEMM: sink <- source W^T.
///
/// A *source* makes the panels of A (panels.hpp), a *sink* takes the finished tiles. Between them runs one
/// micro-kernel over a grid of tasks that depends on the shapes only. Every element is one chain of multiply-adds
/// over ascending k: neither threads, blocking, batch nor alignment change a bit of it.

#include <algorithm>

#include "dit/core/workspace.hpp"
#include "dit/kernels/kernels.hpp"
#include "dit/kernels/pack.hpp"
#include "dit/kernels/panels.hpp"

namespace dit::inline DIT_ABI {

// A sink has
//     void put(const Kernels<T>& k, Index row, Index rows, Index column, Index columns, T* tile) const;
// which takes the tile [rows][tile_width] at (row, column) of A W^T and may write over it; `rows` is the height of
// a panel and `columns` <= tile_width. It is called once for every tile, at the same time for different ones.

/// y = activation(A W^T + bias), rows `stride` apart; a null bias is 0.
template <class T>
struct StoreSink {
  T* y;
  Index stride;
  const T* bias = nullptr;
  Activation activation = Activation::none;

  void put(const Kernels<T>& k, Index row, Index rows, Index column, Index columns, T* tile) const {
    if (bias) k.add_bias(tile, rows, columns, bias + column);
    if (activation != Activation::none) k.activate(activation, tile, rows * tile_width, tile);
    k.store(tile, rows, columns, y + row * stride + column, stride);
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

  void put(const Kernels<T>& k, Index row, Index rows, Index column, Index columns, T* tile) const {
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

/// activation(A W^T + bias) as the panels of the next GEMM's A: a PanelsSource{panels, rows, depth}.
template <class T>
struct PanelsSink {
  T* panels;
  Index depth;  ///< of the next GEMM: the outputs of this one
  const T* bias = nullptr;
  Activation activation = Activation::none;

  void put(const Kernels<T>& k, Index row, Index rows, Index column, Index columns, T* tile) const {
    if (bias) k.add_bias(tile, rows, columns, bias + column);
    if (activation != Activation::none) k.activate(activation, tile, rows * tile_width, tile);
    k.transpose(tile, tile_width, rows, columns, panels + row * depth + column * rows, rows);
  }
};

namespace detail {
/// Numbers of scratch that a strand of a GEMM needs: the tiles of a task.
constexpr Index gemm_scratch(Index rows, Index block_rows_, Index pairs) {
  return std::min(rows, block_rows_) * pairs * tile_width;
}
template <class Source>
inline constexpr bool is_packed = false;
template <class T>
inline constexpr bool is_packed<PanelsSource<T>> = true;
}  // namespace detail

/// Bytes of a Workspace that `gemm` uses while it runs, for A [rows, depth] that is `packed` already or is not.
template <class T>
constexpr std::size_t gemm_arena(Index rows, Index depth, int strands, bool packed = false) {
  if (rows == 0) return 0;
  return (packed ? 0 : arena_bytes<T>(rows * depth)) +
         static_cast<std::size_t>(strands) * arena_bytes<T>(detail::gemm_scratch(rows, block_rows, block_pairs));
}

/// sink <- source W^T for A [rows, depth] and W [outputs, depth].
/// Throws errc::bad_input_shape if the depths differ.
template <class T, class Source, class Sink>
void gemm(const Source& source, const PackedMatrix<T>& weights, const Sink& sink, Workspace& workspace,
          const Kernels<T>& k = kernels<T>()) {
  require(source.depth == weights.depth(), errc::bad_input_shape,
          "a linear layer of " + std::to_string(weights.depth()) + " inputs was given rows of " +
              std::to_string(source.depth));
  const Index rows = source.rows, depth = source.depth, outputs = weights.rows();
  if (rows == 0 || outputs == 0) return;
  const auto scope = workspace.scope();

  const T* a;
  if constexpr (detail::is_packed<Source>) {
    a = source.panels;
  } else {
    a = pack(source, workspace.take<T>(rows * depth), workspace, k).panels;
  }

  const Blocking& block = k.blocking;
  const Panels panels(rows, k.panel_rows);
  const Panels row_blocks(panels.count, std::max<Index>(1, block.rows / k.panel_rows));  // in panels
  const Index pairs = (weights.strips() + 1) / 2;
  const Panels column_blocks(pairs, block.pairs);  // in pairs of strips
  const Panels depth_blocks(std::max<Index>(1, depth), block.depth);

  const std::size_t scratch_bytes = arena_bytes<T>(detail::gemm_scratch(rows, block.rows, block.pairs));
  const Index scratch_size = static_cast<Index>(scratch_bytes / sizeof(T));
  T* const scratch = workspace.take<T>(scratch_size * workspace.strands());

  workspace.parallel_for(row_blocks.count * column_blocks.count, [&](Index task, int strand) {
    const Index rb = task / column_blocks.count, cb = task % column_blocks.count;
    const Index first_panel = row_blocks.first(rb), end_panel = row_blocks.first(rb + 1);
    const Index first_row = panels.first(first_panel), block_height = panels.first(end_panel) - first_row;
    const Index first_pair = column_blocks.first(cb), end_pair = column_blocks.first(cb + 1);
    T* const tiles = scratch + strand * scratch_size;  // [pair][row][tile_width]
    for (Index db = 0; db < depth_blocks.count; ++db) {
      const Index begin = depth_blocks.first(db), steps = std::min(depth, depth_blocks.first(db + 1)) - begin;
      for (Index pair = first_pair; pair < end_pair; ++pair) {
        const T* w = weights.strip(2 * pair) + begin * strip_width;
        const int strips = static_cast<int>(std::min<Index>(2, weights.strips() - 2 * pair));
        const Index column = 2 * pair * strip_width, columns = std::min(tile_width, outputs - column);
        for (Index p = first_panel; p < end_panel; ++p) {
          const Index row = panels.first(p), height = panels.height(p);
          T* tile = tiles + ((pair - first_pair) * block_height + row - first_row) * tile_width;
          k.multiply(static_cast<int>(height), strips, steps, a + row * depth + begin * height, w, strip_width,
                     depth * strip_width, db > 0, tile);
          if (db + 1 == depth_blocks.count) sink.put(k, row, height, column, columns, tile);
        }
      }
    }
  });
}

}  // namespace dit::inline DIT_ABI
