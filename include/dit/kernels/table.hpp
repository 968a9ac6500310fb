#pragma once
/// What an instruction set has to offer: the table of functions that the drivers (gemm, attention, rowwise) call.

#include <cstdint>

#include "dit/core/eigen.hpp"
#include "dit/kernels/isa.hpp"

namespace dit::inline DIT_ABI {

/// What becomes of a linear layer's output.
///   gelu_tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))),  gelu_erf: x/2 (1 + erf(x / sqrt 2)),
///   silu: x / (1 + e^-x),  relu: max(x, 0)
enum class Activation : std::uint8_t { none, gelu_tanh, gelu_erf, silu, relu };

///   layer: (x - mean) / sqrt(var + eps),  rms: x / sqrt(mean(x^2) + eps)
enum class Norm : std::uint8_t { layer, rms };

/// Numbers in a row of a tile, which is what two strips give.
inline constexpr Index tile_width = 32;

/// How the drivers cut their loops. Of all these choices only `depth` (beyond it sums are taken in blocks, which
/// also keeps their error small) and, in attention, `keys` show in the result's last bits. They are the same for
/// every instruction set, since memory is planned before one is chosen.
struct Blocking {
  Index depth = 2304;             ///< most steps of k between two visits of a tile
  Index numbers = 161280;         ///< of A that a GEMM task holds on to: five eighths of an L2 cache of 1 MB
  Index pairs = 4;                ///< of strips in a GEMM task
  Index keys = 128;               ///< in a block of attention
  Index queries = 64;             ///< in a task of attention, a multiple of tile_width
  Index packed = Index{1} << 26;  ///< numbers of keys and values that attention packs at a time, or one head's
};

/// A tile is [rows][tile_width], a panel [depth][rows], a strip [depth][16]. Nothing reads or writes beyond the
/// extents given; pointers need no alignment. All lanes are treated alike, so no result depends on where a number
/// lies.
template <class T>
struct Kernels {
  Isa isa;
  int panel_rows;  ///< the most rows that a panel has here
  Blocking blocking;

  /// tile (+)= panel^T strips: `rows` <= panel_rows, `strips` 1 or 2. Step k of strip s starts at
  /// w + k * w_step + s * w_strip. Each element is one chain of multiply-adds over ascending k, starting from 0;
  /// with `accumulate` the result is added to the tile. Columns of an absent second strip are left alone.
  void (*multiply)(int rows, int strips, Index depth, const T* panel, const T* w, Index w_step, Index w_strip,
                   bool accumulate, T* tile);

  /// to[c * to_stride + r] = from[r * from_stride + c] for r < rows <= 16, c < columns.
  void (*transpose)(const T* from, Index from_stride, Index rows, Index columns, T* to, Index to_stride);

  // Tile verbs: `columns` <= tile_width of every row.
  void (*add_bias)(T* tile, Index rows, Index columns, const T* bias);
  void (*store)(const T* tile, Index rows, Index columns, T* y, Index stride);
  /// x += gate * tile; a null gate is 1.
  void (*add_gated)(const T* tile, Index rows, Index columns, const T* gate, T* x, Index stride);

  // Verbs on contiguous numbers; y may be x.
  void (*activate)(Activation activation, const T* x, Index n, T* y);
  /// The two numbers that normalise a row: (x - mean) * rstd. RMS has mean 0.
  void (*statistics)(Norm norm, const T* x, Index n, T eps, T* mean, T* rstd);
  /// sum[c] and squares[c] of x[r * stride + c] - x[c] and its square, r < rows: the moments of every column around
  /// its first number, so that little cancels.
  void (*moments)(const T* x, Index rows, Index columns, Index stride, T* sum, T* squares);
  /// y = (1 + scale) * ((x - mean) * rstd * weight + bias) + shift; a null pointer leaves its factor or term out.
  void (*normalise)(const T* x, Index n, T mean, T rstd, const T* weight, const T* bias, const T* scale,
                    const T* shift, T* y);
  /// y = x * cos + swapped(x) * sin, where neighbours have changed places in swapped(x): with cos and sin of an
  /// angle for every pair, sines with the sign of their lane (-, +), each pair is turned by its angle. n is even.
  void (*rotate)(const T* x, const T* cos, const T* sin, Index n, T* y);
  void (*softmax)(const T* x, Index n, T* y);

  // Attention verbs: scores are [keys][tile_width], in units of log 2; `max`, `sum`, `factor` are [tile_width].
  /// scores <- 2^(scores - max') with max' = max(max, scores)
  /// factor = 2^(max - max'),  sum <- sum * factor + scores
  void (*online_softmax)(T* scores, Index keys, T* max, T* sum, T* factor);
  /// tile *= factor, row by row.
  void (*scale)(T* tile, Index rows, const T* factor);
  /// tile /= sum, row by row; 0 where sum is 0.
  void (*divide)(T* tile, Index rows, const T* sum);
};

}  // namespace dit::inline DIT_ABI
