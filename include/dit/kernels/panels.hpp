#pragma once
/// The left operand of a GEMM: how it is cut into panels, and where its rows come from.

#include <algorithm>

#include "dit/core/workspace.hpp"
#include "dit/kernels/kernels.hpp"

namespace dit::inline DIT_ABI {

/// Rows cut into panels of at most `most` rows each and almost equal heights, so there is no small one at the end.
/// A matrix [rows, depth] takes exactly rows * depth numbers as panels: panel p is [depth][height(p)] and starts at
/// first(p) * depth.
struct Panels {
  Index rows, count;

  constexpr Panels(Index rows_, Index most) : rows(rows_), count((rows_ + most - 1) / most) {}
  /// first(count) is `rows`.
  constexpr Index first(Index p) const { return p * (rows / count) + std::min(p, rows % count); }
  constexpr Index height(Index p) const { return first(p + 1) - first(p); }
};

// A source says how the rows of A come to be. It has
//     Index rows, depth;
//     void pack(const Kernels<T>& k, Index first, Index count, T* panel) const;   // panel: [depth][count]
// and `pack` is called at the same time for different rows, once for each.

/// Fills a panel from rows that are made piece by piece: `make(r, begin, count, piece)` writes numbers
/// [begin, begin + count) of the panel's row r. Pieces are at most 64 long.
template <class T, class Make>
void pack_pieces(const Kernels<T>& k, Index count, Index depth, T* panel, Make&& make) {
  constexpr Index longest = 64, most = 16;
  alignas(alignment) T pieces[most * longest];
  for (Index begin = 0; begin < depth; begin += longest) {
    const Index n = std::min(longest, depth - begin);
    for (Index r = 0; r < count; ++r) make(r, begin, n, pieces + r * longest);
    k.transpose(pieces, longest, count, n, panel + begin * count, count);
  }
}

/// Rows as they lie in memory, `stride` apart (0: contiguous).
template <class T>
struct RowsSource {
  const T* x;
  Index rows, depth;
  Index stride = 0;

  void pack(const Kernels<T>& k, Index first, Index count, T* panel) const {
    const Index step = stride ? stride : depth;
    k.transpose(x + first * step, step, count, depth, panel, count);
  }
};

/// activation(x), rows `stride` apart (0: contiguous).
template <class T>
struct ActivatedSource {
  const T* x;
  Index rows, depth;
  Activation activation;
  Index stride = 0;

  void pack(const Kernels<T>& k, Index first, Index count, T* panel) const {
    const Index step = stride ? stride : depth;
    pack_pieces(k, count, depth, panel, [&](Index r, Index begin, Index n, T* piece) {
      k.activate(activation, x + (first + r) * step + begin, n, piece);
    });
  }
};

/// The features of `left`, then those of `right`.
template <class Left, class Right>
struct ConcatSource {
  Left left;
  Right right;
  Index rows = left.rows, depth = left.depth + right.depth;

  template <class T>
  void pack(const Kernels<T>& k, Index first, Index count, T* panel) const {
    left.pack(k, first, count, panel);
    right.pack(k, first, count, panel + left.depth * count);
  }
};

/// (1 + scale[s]) * (norm(x) * weight + bias) + shift[s] with s = row / rows_per_sample; x is contiguous, scale and
/// shift of sample s start s * stride numbers after those of sample 0. Null pointers leave their factor or term
/// out.
template <class T>
struct NormSource {
  const T* x;
  Index rows, depth;
  Norm norm;
  T eps;
  const T* weight = nullptr;
  const T* bias = nullptr;
  const T* scale = nullptr;
  const T* shift = nullptr;
  Index stride = 0;
  Index rows_per_sample = 1;

  void pack(const Kernels<T>& k, Index first, Index count, T* panel) const {
    T mean[16], rstd[16];
    for (Index r = 0; r < count; ++r) k.statistics(norm, x + (first + r) * depth, depth, eps, mean + r, rstd + r);
    const auto at = [](const T* p, Index i) { return p ? p + i : nullptr; };
    pack_pieces(k, count, depth, panel, [&](Index r, Index begin, Index n, T* piece) {
      const Index sample = (first + r) / rows_per_sample * stride + begin;
      k.normalise(x + (first + r) * depth + begin, n, mean[r], rstd[r], at(weight, begin), at(bias, begin),
                  at(scale, sample), at(shift, sample), piece);
    });
  }
};

/// Rows that are panels already: what `pack` or a PanelsSink left.
template <class T>
struct PanelsSource {
  const T* panels;
  Index rows, depth;
};

/// Writes a source's panels, rows * depth numbers, in parallel.
template <class T, class Source>
PanelsSource<T> pack(const Source& source, T* to, Workspace& workspace, const Kernels<T>& k = kernels<T>()) {
  const Panels panels(source.rows, k.panel_rows);
  workspace.parallel_for(panels.count, [&](Index p, int) {
    source.pack(k, panels.first(p), panels.height(p), to + panels.first(p) * source.depth);
  });
  return {to, source.rows, source.depth};
}
template <class T>
PanelsSource<T> pack(const PanelsSource<T>& source, T*, Workspace&, const Kernels<T>& = kernels<T>()) {
  return source;
}

}  // namespace dit::inline DIT_ABI
