#pragma once
/// Fixed features of time and place, computed in double and rounded once.

#include <algorithm>
#include <cmath>

#include "dit/core/tensor.hpp"
#include "dit/ops/patch.hpp"

namespace dit { inline namespace DIT_ABI {

/// Sinusoidal timestep features, cosines first (DiT models.py, TimestepEmbedder; arXiv:1706.03762, 3.5):
///     f_i = 10000^(-i / divisor), i = 0 .. half - 1;   out = [cos(t f_0), ..., sin(t f_0), ...]
/// The original divides by half, diffusers' DiT by half - 1.
template <class T>
void timestep_embedding(double t, Index half, double divisor, T* out) {
  for (Index i = 0; i < half; ++i) {
    const double phase = t * std::exp(-std::log(10000.0) * static_cast<double>(i) / divisor);
    out[i] = static_cast<T>(std::cos(phase));
    out[half + i] = static_cast<T>(std::sin(phase));
  }
}

/// One axis of the sin-cos table, rows of 2 q numbers, [sin(x w_0), ..., cos(x w_0), ...], w_k = 10000^(-k / q),
/// for every x in [first, first + count).
template <class T>
void sincos_1d(Index first, Index count, Index q, T* out) {
  for (Index k = 0; k < q; ++k) {
    const double w = std::pow(10000.0, -static_cast<double>(k) / static_cast<double>(q));
    for (Index i = 0; i < count; ++i) {
      const double phase = static_cast<double>(first + i) * w;
      out[2 * q * i + k] = static_cast<T>(std::sin(phase));
      out[2 * q * i + q + k] = static_cast<T>(std::cos(phase));
    }
  }
}

/// The two-dimensional table of DiT (models.py, get_2d_sincos_pos_embed): the token at (row r, column s) has
/// [sincos(s), sincos(r)], D numbers, **column first**; coordinates are plain integers whatever the grid.
/// Calls `row(token, column_half, row_half)` for every token, at the same time for different ones; `scratch` holds
/// (rows + columns) * D / 2 numbers. `threads` is an Executor or a Workspace.
template <class T, class Threads, class F>
constexpr void for_each_sincos_2d(Grid grid, Index width, T* scratch, Threads& threads, F&& row) {
  constexpr Index sine = 32;  // times what a copy takes
  const Index half = width / 2;
  T* const column_table = scratch;
  T* const row_table = advance(scratch, grid.columns * half);
  threads.parallel_ranges(grid.columns + grid.rows, sine * half, [&](Index begin, Index end) {
    const Index middle = std::clamp(grid.columns, begin, end);
    sincos_1d(begin, middle - begin, half / 2, scratch + begin * half);
    sincos_1d(middle - grid.columns, end - middle, half / 2, scratch + middle * half);
  });
  threads.parallel_ranges(grid.count(), width, [&](Index begin, Index end) {
    for (Index n = begin; n < end; ++n) {
      row(n, column_table + n % grid.columns * half, row_table + n / grid.columns * half);
    }
  });
}

}}  // namespace dit
