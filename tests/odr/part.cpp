// Compiled once for each set of machine flags, as the function DIT_PART: what a program gets whose objects differ
// in their -m flags.

#include <vector>

#include "dit/core/random.hpp"
#include "dit/nn/dit_block.hpp"

std::vector<float> DIT_PART() {
  dit::TorchGenerator generator(7);
  dit::DiTBlock<dit::BlockConfig{.width = 72, .heads = 3, .mlp = 144}> block;
  dit::fill(block,
            [&generator](const auto&, const auto&) { return [&generator] { return 0.1 * generator.normal(); }; });

  std::vector<float> x(2 * 17 * 72), c(2 * 72);
  dit::randn(x, generator);
  dit::randn(c, generator);
  dit::Workspace workspace(2);
  block(dit::Tokens<float, 72>{x.data(), 2, 17}, dit::Tokens<float, 72>{c.data(), 2, 1}, workspace);
  return x;
}
