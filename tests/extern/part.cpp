// Compiled once for each way of having dit's bodies, as the function DIT_PART: in headers, with the kernels
// elsewhere, and with all elsewhere.

#ifdef DIT_PART_KERNELS
#include "dit/kernels/extern.hpp"
#endif
#include "dit/core/random.hpp"
#include "dit/io/load.hpp"
#include "dit/io/save.hpp"
#include "dit/nn/linear.hpp"

/// What a module computes that was written to a file and read from it.
std::vector<float> DIT_PART(int seed) {
  using Module = dit::Linear<24, 40>;
  dit::TorchGenerator generator(static_cast<std::uint64_t>(seed));
  Module written;
  dit::fill(written, [&](const auto&, const auto&) { return [&] { return 0.1 * generator.normal(); }; });
  const auto read = dit::load_from_memory<Module>(dit::save_to_memory(written));

  std::vector<float> x(3 * 24), y(3 * 40);
  dit::randn(x, generator);
  dit::Workspace workspace(2);
  dit::store(dit::Tokens<float, 40>{y.data(), 1, 3}, read(dit::Tokens<const float, 24>{x.data(), 1, 3}), workspace);
  return y;
}
