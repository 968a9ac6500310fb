#pragma once
/// Multiply-adds times two, of blocks and models.

#include "dit/models/flux.hpp"
#include "dit/models/mmdit.hpp"

namespace dit::bench {

/// A block of width d over n tokens, an MLP of 4 d included: projections and MLP, then attention. It is the same
/// for DiT's blocks, for joint blocks with the tokens of all streams together, and for FLUX's single-stream blocks.
constexpr double block_flop(double n, double d) { return 24 * n * d * d + 4 * n * n * d; }

/// One forward pass over n tokens of the image and m of the text: the blocks, of which the last has no more of the
/// text than its keys and values, the second attention of the dual blocks, the layers around the blocks, and the
/// modulations.
constexpr double mmdit_flop(const MMDiTConfig& c, double n, double m) {
  const double d = c.width, features = c.in_channels * c.patch * c.patch;
  const double blocks = c.depth * block_flop(n + m, d) - 18 * m * d * d - 4 * m * (n + m) * d;
  const double dual = c.dual_blocks * (8 * n * d * d + 4 * n * n * d);
  const double around = 2 * m * c.context * d + 4 * n * features * d;
  const double modulations = (12. * c.depth + 3. * c.dual_blocks - 2) * 2 * d * d;
  return blocks + dual + around + modulations;
}

/// One forward pass over n tokens of the image and m of the text: the blocks, double and single ones alike, and the
/// layers around them; the modulations are prepared beforehand.
constexpr double flux_flop(const FluxConfig& c, double n, double m) {
  const double d = c.width, features = c.in_features() + c.channels * c.patch * c.patch;
  return (c.double_blocks + c.single_blocks) * block_flop(n + m, d) + 2 * m * c.context * d + 2 * n * features * d;
}

}  // namespace dit::bench
