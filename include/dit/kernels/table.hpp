#pragma once
/// What an instruction set has to offer: the table of functions that the drivers (gemm, attention, rowwise) call.

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "dit/core/scalar.hpp"
#include "dit/kernels/isa.hpp"

namespace dit { inline namespace DIT_ABI {

/// What becomes of a linear layer's output.
///   gelu_tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))),  gelu_erf: x/2 (1 + erf(x / sqrt 2)),
///   silu: x / (1 + e^-x),  relu: max(x, 0)
enum class Activation : std::uint8_t { none, gelu_tanh, gelu_erf, silu, relu };

///   layer: (x - mean) / sqrt(var + eps),  rms: x / sqrt(mean(x^2) + eps)
enum class Norm : std::uint8_t { layer, rms };

/// Types of weights. The sentence comes once for a type, however many matrices ask.
template <class T>
struct WeightType {
  static constexpr bool known =
      std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16> || std::is_same_v<T, int8>;
  static_assert(known, "the weights of a model are float, double, dit::bf16 or dit::int8");
};

/// Numbers in a row of a tile, which is what two strips give.
inline constexpr Index tile_width = 32;
/// Outputs in a strip, whatever the machine: with words of 4 bytes one cache line per step.
inline constexpr Index strip_width = 16;

/// The micro-kernels go through the depth of a product by words: a word is one float or double, two neighbouring
/// numbers of bf16, or four of int8, and a step multiplies them all.
template <class T>
inline constexpr Index word_size = sizeof(T) < 4 ? 4 / static_cast<Index>(sizeof(T)) : 1;
/// Words that hold n numbers.
template <class T>
constexpr Index words(Index n) {
  return (n + word_size<T> - 1) / word_size<T>;
}
/// Numbers in them, zeros at the end included.
template <class T>
constexpr Index padded(Index n) {
  return words<T>(n) * word_size<T>;
}

/// What products of T add up to in a tile.
template <class T>
using accumulator = std::conditional_t<std::is_same_v<T, int8>, std::int32_t, real<T>>;

/// How the drivers cut their loops. Of all these choices only `depth` (beyond it sums are taken in blocks, which
/// also keeps their error small) and, in attention, `keys` show in the result's last bits. They are the same for
/// every instruction set, since memory is planned before one is chosen.
struct Blocking {
  Index depth = 2304;             ///< most numbers of k between two visits of a tile
  Index words = 161280;           ///< of A that a GEMM task holds on to: five eighths of an L2 cache of 1 MB
  Index pairs = 4;                ///< of strips in a GEMM task, at most
  Index keys = 128;               ///< in a block of attention, even
  Index queries = 64;             ///< in a task of attention, a multiple of tile_width
  Index packed = Index{1} << 26;  ///< numbers of keys and values that attention packs at a time, or one head's

  /// Steps of k between two visits of a tile. Sums of integers are exact, so those may be longer.
  template <class T>
  constexpr Index steps() const {
    return std::is_same_v<T, int8> ? depth : depth / word_size<T>;
  }
};

/// What an instruction set does with numbers of R = float or double. A tile is [rows][tile_width]. Nothing reads or
/// writes beyond the extents given; pointers need no alignment. All lanes are treated alike, so no result depends
/// on where a number lies.
template <class R>
struct Verbs {
  // Tile verbs: `columns` <= tile_width of every row.
  void (*add_bias)(R* tile, Index rows, Index columns, const R* bias);
  void (*store)(const R* tile, Index rows, Index columns, R* y, Index stride);
  /// x += gate * tile; a null gate is 1.
  void (*add_gated)(const R* tile, Index rows, Index columns, const R* gate, R* x, Index stride);

  // Verbs on contiguous numbers; y may be x.
  void (*activate)(Activation activation, const R* x, Index n, R* y);
  /// The two numbers that normalise a row: (x - mean) * rstd. RMS has mean 0.
  void (*statistics)(Norm norm, const R* x, Index n, R eps, R* mean, R* rstd);
  /// sum[c] and squares[c] of x[r * stride + c] - x[c] and its square, r < rows: the moments of every column around
  /// its first number, so that little cancels.
  void (*moments)(const R* x, Index rows, Index columns, Index stride, R* sum, R* squares);
  /// y = (1 + scale) * ((x - mean) * rstd * weight + bias) + shift; a null pointer leaves its factor or term out.
  void (*normalise)(const R* x, Index n, R mean, R rstd, const R* weight, const R* bias, const R* scale,
                    const R* shift, R* y);
  /// y = x * cos + swapped(x) * sin, where neighbours have changed places in swapped(x): with cos and sin of an
  /// angle for every pair, sines with the sign of their lane (-, +), each pair is turned by its angle. n is even.
  void (*rotate)(const R* x, const R* cos, const R* sin, Index n, R* y);
  void (*softmax)(const R* x, Index n, R* y);

  // Attention verbs on tiles; `factor` and `sum` are [tile_width].
  /// tile *= factor, row by row.
  void (*scale)(R* tile, Index rows, const R* factor);
  /// tile /= sum, row by row; 0 where sum is 0.
  void (*divide)(R* tile, Index rows, const R* sum);
};

/// What it does with operands of T = float, double, bf16 or int8. A panel is [words][rows], a strip [words][16],
/// each of words; `stored<T>` are activations that were rounded before.
template <class T>
struct Products {
  using R = real<T>;
  std::string_view name;  ///< of the instructions
  int panel_rows;         ///< the most rows that a panel has here, at most 16
  bool flushes;           ///< rounding to bf16 takes numbers below 2^-126 for 0, as Intel's vcvtneps2bf16 does

  /// tile (+)= panel^T strips: `rows` <= panel_rows, `strips` 1 or 2. Step k of strip s starts k * w_step + s *
  /// w_strip words after w. Each element is one chain of multiply-adds over ascending k, starting from 0; with
  /// `accumulate` the result is added to the tile. Columns of an absent second strip are left alone.
  void (*multiply)(int rows, int strips, Index steps, const T* panel, const T* w, Index w_step, Index w_strip,
                   bool accumulate, accumulator<T>* tile);

  /// Number x[r * stride + c], rounded, becomes part of word to[c / word_size * to_stride + r], for r < rows <= 16,
  /// c < columns; the last word is filled up with zeros. With int8 it is x * inverse[r] that is rounded, elsewhere
  /// `inverse` is not read.
  void (*pack)(const R* x, Index stride, Index rows, Index columns, const R* inverse, T* to, Index to_stride);
  /// Likewise into a panel of `height` rows, from its row `row` and its number `begin` on, a whole word; numbers
  /// that were stored come bit by bit. Within int8's panels numbers are `offset` larger.
  void (*pack_panel)(const R* x, Index stride, Index rows, Index row, Index begin, Index columns, const R* inverse,
                     Index height, T* panel);
  void (*pack_stored)(const stored<T>* x, Index stride, Index rows, Index row, Index begin, Index columns,
                      const R* inverse, Index height, T* panel);
  std::int32_t offset;

  // With 16 bits: what lies in memory.
  void (*store_rounded)(const R* tile, Index rows, Index columns, stored<T>* y, Index stride);
  void (*widen)(const stored<T>* x, Index n, R* y);

  // With int8: highest[r] = max(highest[r], |x[r * stride + c]|), NaN if there is one; and
  // tile[r][c] = (tile[r][c] + correction[c]) * row_scale[r] * column_scale[c], as floats in its place.
  void (*find_highest)(const R* x, Index stride, Index rows, Index columns, R* highest);
  void (*find_highest_stored)(const stored<T>* x, Index stride, Index rows, Index columns, R* highest);
  void (*dequantise)(std::int32_t* tile, Index rows, Index columns, const std::int32_t* correction,
                     const R* row_scale, const R* column_scale);

  // In attention, with T = stored<T>: scores are [keys][tile_width], `highest`, `sum`, `factor` [tile_width].
  /// scores <- 2^(scale * (scores - highest')) with highest' = max(highest, scores), scale > 0; then as two strips,
  /// a key after the other being neighbours in a word, in the same place
  /// factor = 2^(scale * (highest - highest')),  sum <- sum * factor + scores
  void (*online_softmax)(R* scores, Index keys, R scale, R* highest, R* sum, R* factor);
  /// Number c < width <= 16 of row k < depth, a pointer each, becomes part of word to[k / word_size * width + c].
  void (*pack_upright)(const T* const* rows, Index first, Index depth, Index width, T* panel);
  /// to[c * to_stride + r] = from[r * from_stride + c], rounded, for r < rows <= 16, c < columns.
  void (*unpack)(const R* from, Index from_stride, Index rows, Index columns, T* to, Index to_stride);
};

/// The whole table for a model of T.
template <class T>
struct Kernels : Verbs<real<T>>, Products<T> {
  Isa isa;
  Blocking blocking{};
};

}}  // namespace dit
