/// One DiT block, alone: 256 tokens of DiT-XL's width through attention and MLP.

#include <cstdio>
#include <vector>

#include "dit/dit.hpp"

int main() {
  constexpr dit::BlockConfig config{.width = 1152, .heads = 16, .mlp = 4608};
  dit::DiTBlock<config> block;
  dit::init_adaln_zero(block, /*seed=*/1);

  dit::TorchGenerator generator(2);
  std::vector<float> x(256 * 1152), c(1152);
  dit::randn(x, generator);
  dit::randn(c, generator);
  const std::vector<float> before = x;

  dit::Workspace workspace;  // memory and threads
  block(dit::Tokens<float, 1152>{x.data(), 1, 256}, dit::Tokens<float, 1152>{c.data(), 1, 1}, workspace);

  // adaLN-Zero: a fresh block is the identity.
  std::printf("%lld parameters; the fresh block is %s\n",
              static_cast<long long>(dit::parameter_count<decltype(block)>()),
              x == before ? "the identity" : "NOT the identity");
  return x == before ? 0 : 1;
}
