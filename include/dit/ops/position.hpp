#pragma once
/// Fixed features of time and place, computed in double and rounded once.

#include <cmath>

#include "dit/core/tensor.hpp"
#include "dit/ops/patch.hpp"

namespace dit::inline DIT_ABI {

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

/// One axis of the sin-cos table: [sin(x w_0), ..., cos(x w_0), ...], w_k = 10000^(-k / q), 2 q numbers.
template <class T>
void sincos_1d(double x, Index q, T* out) {
  for (Index k = 0; k < q; ++k) {
    const double phase = x * std::pow(10000.0, -static_cast<double>(k) / static_cast<double>(q));
    out[k] = static_cast<T>(std::sin(phase));
    out[q + k] = static_cast<T>(std::cos(phase));
  }
}

/// The two-dimensional table of DiT (models.py, get_2d_sincos_pos_embed): the token at (row r, column s) has
/// [sincos(s), sincos(r)], D numbers, **column first**; coordinates are plain integers whatever the grid.
/// Calls `row(token, column_half, row_half)` for every token; `scratch` holds (rows + columns) * D / 2 numbers.
template <class T, class F>
void for_each_sincos_2d(Grid grid, Index width, T* scratch, F&& row) {
  const Index half = width / 2;
  T* const column_table = scratch;
  T* const row_table = scratch + grid.columns * half;
  for (Index s = 0; s < grid.columns; ++s) sincos_1d(static_cast<double>(s), half / 2, column_table + s * half);
  for (Index r = 0; r < grid.rows; ++r) sincos_1d(static_cast<double>(r), half / 2, row_table + r * half);
  for (Index r = 0; r < grid.rows; ++r)
    for (Index s = 0; s < grid.columns; ++s)
      row(r * grid.columns + s, column_table + s * half, row_table + r * half);
}

}  // namespace dit::inline DIT_ABI
