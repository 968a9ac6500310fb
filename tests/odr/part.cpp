// Compiled once for each set of machine flags, as the functions DIT_PART of every type of weights: what a program
// gets whose objects differ in their -m flags.

#include <vector>

#include "dit/core/random.hpp"
#include "dit/nn/dit_block.hpp"

namespace {

template <class T>
std::vector<float> block_of() {
  dit::TorchGenerator generator(7);
  dit::DiTBlock<dit::BlockConfig{.width = 72, .heads = 3, .mlp = 144}, T> block;
  dit::fill(block,
            [&generator](const auto&, const auto&) { return [&generator] { return 0.1 * generator.normal(); }; });

  std::vector<float> x(2 * 17 * 72), c(2 * 72);
  dit::randn(x, generator);
  dit::randn(c, generator);
  dit::Workspace workspace(2);
  block(dit::Tokens<float, 72>{x.data(), 2, 17}, dit::Tokens<float, 72>{c.data(), 2, 1}, workspace);
  return x;
}

}  // namespace

std::vector<float> DIT_PART(int bytes) {
  return bytes == 4 ? block_of<float>() : bytes == 2 ? block_of<dit::bf16>() : block_of<dit::int8>();
}
