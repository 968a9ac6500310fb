#pragma once
/// What time, class and place add to the tokens.

#include <algorithm>
#include <cmath>
#include <span>

#include "dit/nn/linear.hpp"
#include "dit/nn/mlp.hpp"
#include "dit/ops/position.hpp"

namespace dit { inline namespace DIT_ABI {

/// errc::bad_schedule for a time that is not a finite number.
template <class R>
constexpr void require_finite(std::span<const R> times, const Workspace& workspace) {
  if (workspace.counts()) return;
  require(std::all_of(times.begin(), times.end(), [](R time) { return std::isfinite(time); }), errc::bad_schedule,
          "a time is not a finite number");
}

/// MLP2(timestep features): Linear 256 -> D, SiLU, Linear D -> D (DiT models.py, TimestepEmbedder).
template <int width, class T = float>
struct TimestepEmbedder {
  static constexpr int features = 256;
  using R = real<T>;

  Mlp<features, width, width, Activation::silu, T> mlp;

  static constexpr void visit(auto&& f, auto&... self) {
    f("mlp.0", self.mlp.fc1...);
    f("mlp.2", self.mlp.fc2...);
  }

  /// times [B], each times `scale`, -> [B, 1, D], lazy. `divisor` spaces the frequencies: 128, in diffusers' DiT
  /// 127.
  constexpr auto operator()(std::span<const R> times, double divisor, Workspace& workspace,
                            double scale = 1) const {
    auto scope = workspace.scope();
    const auto x = take_tokens<R, features>(static_cast<Index>(times.size()), 1, workspace);
    constexpr Index sine = 32;  // times what a copy takes
    workspace.parallel_ranges(x.batch, sine * features, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        timestep_embedding(scale * static_cast<double>(times[static_cast<std::size_t>(i)]), features / 2, divisor,
                           x.data + i * features);
      }
    });
    return Held(std::move(scope), mlp(lazy(Tokens<const R, features>(x)), workspace));
  }
};

/// A table with one row for every class, in models trained with label dropout the null class among them as the last
/// one (DiT models.py, LabelEmbedder).
template <int classes, int width, class T = float>
struct LabelEmbedder {
  using R = real<T>;

  Parameter<R, classes, width> embedding_table;

  static constexpr void visit(auto&& f, auto&... self) { f("embedding_table.weight", self.embedding_table...); }

  /// x[b] <- x[b] + E[labels[b]]; errc::bad_condition for a label outside [0, classes).
  constexpr void add_to(Tokens<R, width> x, std::span<const int> labels, Workspace& workspace) const {
    require(static_cast<Index>(labels.size()) == x.batch && x.count == 1, errc::bad_condition,
            "there must be one label per sample");
    workspace.parallel_ranges(x.batch, width, [&](Index begin, Index end) {
      for (Index b = begin; b < end; ++b) {
        const int label = labels[static_cast<std::size_t>(b)];
        if (label < 0 || label >= classes) {
          throw Error(errc::bad_condition, "class " + std::to_string(label) + " where the table has " +
                                               std::to_string(classes) + ", the null class included");
        }
        const R* row = embedding_table.data() + Index{label} * width;
        for (Index i = 0; i < width; ++i) x.data[b * width + i] += row[i];
      }
    });
  }
};

/// The sin-cos table of a side x side grid, stored in the original checkpoints as `pos_embed` [1, side^2, D]. Other
/// grids get the same formula at their own coordinates: nothing is interpolated.
template <int side, int width, class T = float>
struct PositionEmbedding : Parameter<real<T>, 1, side * side, width> {
  static_assert(width % 4 == 0, "PositionEmbedding: the width must be a multiple of 4");
  using R = real<T>;

  /// Writes the formula's values, for checkpoints that leave the table out.
  void fill() {
    this->allocate();
    std::vector<float> scratch(static_cast<std::size_t>(side * width));
    InlineExecutor here;
    for_each_sincos_2d({side, side}, width, scratch.data(), here,
                       [this](Index n, const float* column, const float* row) {
                         std::copy(column, column + width / 2, this->data() + n * width);
                         std::copy(row, row + width / 2, this->data() + n * width + width / 2);
                       });
  }

  /// x[b, n] <- x[b, n] + table[n]; errc::bad_input_shape unless the tokens are the grid's.
  constexpr void add_to(Tokens<R, width> x, Grid grid, Workspace& workspace) const {
    require(grid.rows > 0 && grid.columns > 0 && x.count == grid.count(), errc::bad_input_shape,
            "the tokens are not as many as their grid's");
    const auto add_halves = [&x](Index n, const auto* first, const auto* second) {
      for (Index b = 0; b < x.batch; ++b) {
        R* token = x.data + (b * x.count + n) * width;
        for (Index i = 0; i < width / 2; ++i) token[i] += static_cast<R>(first[i]);
        for (Index i = 0; i < width / 2; ++i) token[width / 2 + i] += static_cast<R>(second[i]);
      }
    };
    if (grid == Grid{side, side}) {
      const R* const table = this->data();
      workspace.parallel_ranges(grid.count(), x.batch * width, [&](Index begin, Index end) {
        for (Index n = begin; n < end; ++n) add_halves(n, table + n * width, table + n * width + width / 2);
      });
    } else {
      const auto scope = workspace.scope();
      float* scratch = workspace.take<float>((grid.rows + grid.columns) * (width / 2));
      for_each_sincos_2d(grid, width, scratch, workspace, add_halves);
    }
  }
};

/// The learned table of SD3 (mmditx.py, cropped_pos_embed): `pos_embed` [1, side^2, D], of which a smaller grid
/// takes the part around the centre, from row (side - h) / 2 and column (side - w) / 2 on, rounded down.
template <int side, int width, class T = float>
struct PositionTable : Parameter<real<T>, 1, side * side, width> {
  using R = real<T>;

  /// x[b, (r, s)] <- x[b, (r, s)] + table[top + r, left + s]; errc::bad_input_shape for a grid that is larger than
  /// the table.
  constexpr void add_to(Tokens<R, width> x, Grid grid, Workspace& workspace) const {
    require(grid.rows > 0 && grid.columns > 0 && x.count == grid.count(), errc::bad_input_shape,
            "the tokens are not as many as their grid's");
    if (grid.rows > side || grid.columns > side) {
      throw Error(errc::bad_input_shape,
                  "a grid of " + std::to_string(grid.rows) + " x " + std::to_string(grid.columns) +
                      " tokens where the position table has " + std::to_string(side) + " a side");
    }
    const Index top = (side - grid.rows) / 2, left = (side - grid.columns) / 2;
    const R* const corner = advance(this->data(), (top * side + left) * width);
    const Index line_size = grid.columns * width;
    workspace.parallel_ranges(x.batch * grid.rows, line_size, [&](Index begin, Index end) {
      for (Index line = begin; line < end; ++line) {
        const R* row = corner + line % grid.rows * side * width;
        for (Index i = 0; i < line_size; ++i) x.data[line * line_size + i] += row[i];
      }
    });
  }
};

}}  // namespace dit
