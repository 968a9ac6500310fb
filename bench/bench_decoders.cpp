/// Decoders of latents at their published sizes. Weights are random: no kernel looks at them. Counters: GFLOPS, and
/// `peak`, its share of an FMA loop in the same process.

#include <benchmark/benchmark.h>

#include <memory>

#include "dit/models/autoencoder_kl.hpp"
#include "dit/models/autoencoder_tiny.hpp"
#include "dit/nn/plan.hpp"
#include "random_model.hpp"
#include "report.hpp"

namespace {

using dit::Index;

/// range(0): side of the latent, range(1): threads.
template <class Model>
void decode(benchmark::State& state) {
  static const auto model = std::make_unique<Model>(dit::bench::random_model<Model>());
  const Index side = state.range(0);
  dit::Workspace workspace(static_cast<int>(state.range(1)));
  dit::Tensor<float, 4> latents(1, Model::channels, side, side), image(1, 3, 8 * side, 8 * side);
  latents.setConstant(0.5f);
  for (auto _ : state) model->decode(latents, image, workspace);
  state.counters["arena"] = static_cast<double>(workspace.high_water());
  dit::bench::report<dit::scalar_of<Model>>(state, dit::plan<Model>(1, {side, side}, 1).flops,
                                            workspace.executor());
}

// clang-format off
BENCHMARK(decode<dit::AutoencoderKL<dit::sd3_vae>>)->Name("AutoencoderKL-SD3")->ArgNames({"latent", "threads"})->Args({32, 2})->Args({64, 1})->Args({64, 2})->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(decode<dit::AutoencoderKL<dit::sd3_vae, dit::bf16>>)->Name("AutoencoderKL-SD3 bf16")->ArgNames({"latent", "threads"})->Args({32, 2})->Args({64, 1})->Args({64, 2})->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(decode<dit::AutoencoderTiny<dit::taesd3>>)->Name("TAESD3")->ArgNames({"latent", "threads"})->Args({32, 2})->Args({64, 1})->Args({64, 2})->Unit(benchmark::kMillisecond)->UseRealTime();
// clang-format on

}  // namespace
