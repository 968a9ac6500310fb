#pragma once
/// The left operand of a GEMM: how it is cut into panels, and where its rows come from.

#include <algorithm>
#include <limits>

#include "dit/core/workspace.hpp"
#include "dit/kernels/kernels.hpp"

namespace dit { inline namespace DIT_ABI {

/// Rows cut into panels of at most `most` rows each and almost equal heights, so there is no small one at the end.
/// A matrix [rows, depth] takes exactly rows * words(depth) words as panels: panel p is [words][height(p)] and
/// starts at word first(p) * words.
struct Panels {
  Index rows, count;

  constexpr Panels(Index rows_, Index most) : rows(rows_), count((rows_ + most - 1) / most) {}
  /// first(count) is `rows`.
  constexpr Index first(Index p) const { return p * (rows / count) + std::min(p, rows % count); }
  constexpr Index height(Index p) const { return first(p + 1) - first(p); }
};

// A source says how the rows of A come to be. It has
//     Index rows, depth;
//     void pack(const Verbs<R>& k, Index first, Index count, const Panel& panel) const;
// and `pack` gives the numbers of rows [first, first + count) to the panel, piece by piece:
//     panel(const S* x, Index stride, Index rows, Index begin, Index n, Index row = 0);
// takes numbers [begin, begin + n) of the panel's rows [row, row + rows) from x, `stride` apart; `begin` is a whole
// word, and n but at the end. S is what they are of, R or stored<T>. `pack` is called at the same time for
// different rows, in the order of the panels' numbers or any other.

namespace detail {

/// The panel [words][height] of T.
template <class T>
struct PanelOf {
  const Kernels<T>& k;
  Index height;
  T* panel;
  const real<T>* inverse = nullptr;

  void operator()(const real<T>* x, Index stride, Index rows, Index begin, Index n, Index row = 0) const {
    k.pack_panel(x, stride, rows, row, begin, n, inverse ? inverse + row : nullptr, height, panel);
  }
  void operator()(const stored<T>* x, Index stride, Index rows, Index begin, Index n, Index row = 0) const
      requires(!std::is_same_v<stored<T>, real<T>>) {
    k.pack_stored(x, stride, rows, row, begin, n, inverse ? inverse + row : nullptr, height, panel);
  }
};

/// What int8 looks at first: the largest number of every row, by size.
struct HighestOf {
  const Kernels<int8>& k;
  float* highest;

  void operator()(const float* x, Index stride, Index rows, Index, Index n, Index row = 0) const {
    k.find_highest(x, stride, rows, n, highest + row);
  }
  void operator()(const bf16* x, Index stride, Index rows, Index, Index n, Index row = 0) const {
    k.find_highest_stored(x, stride, rows, n, highest + row);
  }
};

}  // namespace detail

/// Rows [first, first + count) of a source as a panel of T. With int8 row r is rounded to multiples of scale[r] =
/// max |x[r]| / 127; elsewhere `scale` is not touched.
template <class T, class Source>
void pack_panel(const Kernels<T>& k, const Source& source, Index first, Index count, T* panel, float* scale) {
  if constexpr (std::is_same_v<T, int8>) {
    float highest[16] = {}, inverse[16];
    source.pack(k, first, count, detail::HighestOf{k, highest});
    for (Index r = 0; r < count; ++r) {
      scale[r] = highest[r] / 127;
      constexpr float none = 127 / std::numeric_limits<float>::max();  // so little that 1 / scale would be infinite
      inverse[r] = highest[r] > none ? 127 / highest[r] : 0;
    }
    source.pack(k, first, count, detail::PanelOf<T>{k, count, panel, inverse});
  } else {
    source.pack(k, first, count, detail::PanelOf<T>{k, count, panel});
  }
}

/// Gives a panel rows that are made piece by piece: `make(r, begin, count, piece)` writes numbers [begin, begin +
/// count) of the panel's row r. Pieces are at most 64 long.
template <class R, class Panel, class Make>
void pack_pieces(Index count, Index depth, const Panel& panel, Make&& make) {
  constexpr Index longest = 64, most = 16;
  alignas(alignment) R pieces[most * longest];
  for (Index begin = 0; begin < depth; begin += longest) {
    const Index n = std::min(longest, depth - begin);
    for (Index r = 0; r < count; ++r) make(r, begin, n, pieces + r * longest);
    panel(pieces, longest, count, begin, n);
  }
}

/// Rows as they lie in memory, `stride` apart (0: contiguous).
template <class T>
struct RowsSource {
  const T* x;
  Index rows, depth;
  Index stride = 0;

  template <class K, class Panel>
  void pack(const K&, Index first, Index count, const Panel& panel) const {
    const Index step = stride ? stride : depth;
    panel(x + first * step, step, count, 0, depth);
  }
};

/// The features of `left`, then those of `right`. Those of `left` are whole words of the product's type: an even
/// number with bf16, a multiple of 4 with int8.
template <class Left, class Right>
struct ConcatSource {
  Left left;
  Right right;
  Index rows = left.rows, depth = left.depth + right.depth;

  template <class K, class Panel>
  void pack(const K& k, Index first, Index count, const Panel& panel) const {
    left.pack(k, first, count, panel);
    right.pack(k, first, count,
               [&panel, at = left.depth](const auto* x, Index stride, Index n_rows, Index begin, Index n,
                                         Index row = 0) { panel(x, stride, n_rows, at + begin, n, row); });
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

  template <class Panel>
  void pack(const Verbs<T>& k, Index first, Index count, const Panel& panel) const {
    T mean[16], rstd[16];
    for (Index r = 0; r < count; ++r) k.statistics(norm, x + (first + r) * depth, depth, eps, mean + r, rstd + r);
    const auto at = [](const T* p, Index i) { return p ? p + i : nullptr; };
    pack_pieces<T>(count, depth, panel, [&](Index r, Index begin, Index n, T* piece) {
      const Index sample = (first + r) / rows_per_sample * stride + begin;
      k.normalise(x + (first + r) * depth + begin, n, mean[r], rstd[r], at(weight, begin), at(bias, begin),
                  at(scale, sample), at(shift, sample), piece);
    });
  }
};

/// Rows that are panels already, what `pack` or a PanelsSink left; with int8 and the scale of every row.
template <class T>
struct PanelsSource {
  const T* panels;
  Index rows, depth;
  const float* scale = nullptr;
};

/// Bytes of a Workspace for the panels of A [rows, depth].
template <class T>
constexpr std::size_t panels_bytes(Index rows, Index depth) {
  return arena_bytes<T>(rows * padded<T>(depth)) + (std::is_same_v<T, int8> ? arena_bytes<float>(rows) : 0);
}

/// A source's panels, in parallel, on the workspace, in the caller's scope.
template <class T, class Source>
PanelsSource<T> pack(const Source& source, Workspace& workspace, const Kernels<T>& k) {
  const Panels panels(source.rows, k.panel_rows);
  const Index step = padded<T>(source.depth);
  T* const to = workspace.take<T>(source.rows * step);
  float* const scale = std::is_same_v<T, int8> ? workspace.take<float>(source.rows) : nullptr;
  workspace.parallel_for(panels.count, [&](Index p, int) {
    const Index first = panels.first(p);
    pack_panel(k, source, first, panels.height(p), to + first * step, scale ? scale + first : nullptr);
  });
  return {to, source.rows, source.depth, scale};
}
template <class T>
PanelsSource<T> pack(const PanelsSource<T>& source, Workspace&, const Kernels<T>&) {
  return source;
}

}}  // namespace dit
