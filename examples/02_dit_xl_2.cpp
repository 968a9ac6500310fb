/// DiT-XL/2 at 256 x 256: one forward pass. With a checkpoint (original names or diffusers' folder) it loads that:
///     02_dit_xl_2 DiT-XL-2-256x256.safetensors

#include <chrono>
#include <cstdio>
#include <exception>

#include "dit/dit.hpp"

using Model = dit::DiT<dit::dit_xl_2>;

int main(int argc, char** argv) try {
  constexpr dit::Plan plan = dit::plan<Model>(/*batch=*/1, {32, 32}, /*strands=*/2);
  std::printf("%.1f M parameters, %.0f MB packed, %.1f MB of workspace\n",
              static_cast<double>(dit::parameter_count<Model>()) / 1e6, static_cast<double>(plan.weights) / 1e6,
              static_cast<double>(plan.arena) / 1e6);

  Model model;
  if (argc > 1) {
    model = dit::load<Model>(argv[1]);
  } else {
    dit::init_adaln_zero(model, /*seed=*/0);  // gives exactly 0, at full cost
  }

  dit::TorchGenerator generator(/*seed=*/1);
  const auto x = dit::randn<4>({1, 4, 32, 32}, generator);
  const std::vector<float> t{999};  // the noisiest step
  const std::vector<int> y{207};    // golden retriever

  dit::Workspace workspace(2, plan.arena);
  model(x, t, y, workspace);  // the first pass wakes the threads and touches the memory
  const auto start = std::chrono::steady_clock::now();
  const dit::Tensor<float, 4> out = model(x, t, y, workspace);  // [1, 8, 32, 32]: eps and variance logits
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;

  std::printf("one pass on %s: %.3f s, first number %g\n", dit::name(dit::active_isa()).data(), time.count(),
              static_cast<double>(out.data()[0]));
  const bool fresh = argc < 2, zero = out.data()[0] == 0;
  return fresh == zero ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
