/// Blocks and whole models at their published sizes, and the sampler of the shipped checkpoint. Weights are random:
/// no kernel looks at them. Counters: GFLOPS, and `peak`, its share of an FMA loop in the same process.

#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "dit/dit.hpp"
#include "models/digits.hpp"
#include "random_model.hpp"
#include "report.hpp"

namespace {

using dit::Index;

template <class T>
void DiTBlock_XL(benchmark::State& state) {
  constexpr int width = 1152;
  using Block = dit::DiTBlock<dit::dit_xl_2.block(), T>;
  const auto block = dit::bench::random_model<Block>();
  dit::Workspace workspace(static_cast<int>(state.range(1)));
  const Index n = state.range(0);
  std::vector<float> x(static_cast<std::size_t>(n * width), 0.5f), c(6 * width, 0.1f);
  const dit::Tokens<float, width> tokens{x.data(), 1, n};
  const typename Block::Modulations modulations{c.data()};
  for (auto _ : state) block(tokens, modulations, workspace);
  const auto pass = [n](const Block& one, dit::Workspace& meter) {
    one(dit::Tokens<float, width>{nullptr, 1, n}, typename Block::Modulations{}, meter);
  };
  dit::bench::report<T>(state, dit::plan_of<Block>(1, pass).flops, workspace.executor());
}
// clang-format off
BENCHMARK(DiTBlock_XL<float>)->ArgNames({"tokens", "threads"})->ArgsProduct({{256, 1024}, {1, 2}})->UseRealTime();
BENCHMARK(DiTBlock_XL<dit::bf16>)->ArgNames({"tokens", "threads"})->ArgsProduct({{256, 1024}, {1, 2}})->UseRealTime();
BENCHMARK(DiTBlock_XL<dit::int8>)->ArgNames({"tokens", "threads"})->ArgsProduct({{256, 1024}, {1, 2}})->UseRealTime();
// clang-format on

/// range(0): side of the latent, range(1): threads.
template <dit::DiTConfig config, class T = float>
void DiT(benchmark::State& state) {
  using Model = dit::DiT<config, T>;
  static const auto model = std::make_unique<Model>(dit::bench::random_model<Model>());
  const Index side = state.range(0);
  dit::Workspace workspace(static_cast<int>(state.range(1)));
  dit::Tensor<float, 4> x(1, config.in_channels, side, side), out(1, config.out_channels(), side, side);
  x.setConstant(0.5f);
  const std::vector<float> t{500};
  const std::vector<int> y{207};
  for (auto _ : state) (*model)(x, t, y, out, workspace);
  dit::bench::report<T>(state, dit::plan<Model>(1, {side, side}, 1).flops, workspace.executor());
}
// clang-format off
BENCHMARK(DiT<dit::dit_s_2>)->Name("DiT-S/2")->ArgNames({"latent", "threads"})->Args({32, 1})->Args({32, 2})->UseRealTime();
BENCHMARK(DiT<dit::dit_b_2>)->Name("DiT-B/2")->ArgNames({"latent", "threads"})->Args({32, 2})->UseRealTime();
BENCHMARK(DiT<dit::dit_l_2>)->Name("DiT-L/2")->ArgNames({"latent", "threads"})->Args({32, 2})->UseRealTime();
BENCHMARK(DiT<dit::dit_xl_2>)->Name("DiT-XL/2")->ArgNames({"latent", "threads"})->Args({32, 1})->Args({32, 2})->Args({64, 2})->UseRealTime();
BENCHMARK(DiT<dit::dit_xl_2, dit::bf16>)->Name("DiT-XL/2 bf16")->ArgNames({"latent", "threads"})->Args({32, 1})->Args({32, 2})->Args({64, 2})->UseRealTime();
BENCHMARK(DiT<dit::dit_xl_2, dit::int8>)->Name("DiT-XL/2 int8")->ArgNames({"latent", "threads"})->Args({32, 1})->Args({32, 2})->Args({64, 2})->UseRealTime();
// clang-format on

/// 50 Euler steps with guidance; range(0): images at once. Counts images per second.
void Digits(benchmark::State& state) {
  static const auto model = dit::load<dit::DiT<digits>>(DIT_MODELS_DIR "/digits.safetensors");
  const Index images = state.range(0);
  dit::Workspace workspace(static_cast<int>(state.range(1)));
  std::vector<int> classes(static_cast<std::size_t>(2 * images), 3);
  std::fill(classes.begin() + images, classes.end(), model.null_class);
  const auto schedule = dit::Schedule::uniform(50);
  dit::Conditioned conditioned(model, classes, workspace);
  conditioned.prepare(schedule.times<float>());
  dit::BatchedGuidance field(std::ref(conditioned), dit::Guidance{1.25});
  dit::TorchGenerator generator(0);
  const auto noise = dit::randn<4>({images, 1, 8, 8}, generator);
  for (auto _ : state) benchmark::DoNotOptimize(dit::sample(noise, schedule, field).x);
  state.counters["images/s"] =
      benchmark::Counter(static_cast<double>(images), benchmark::Counter::kIsIterationInvariantRate);
  dit::bench::report(state, 50 * dit::plan<dit::DiT<digits>>(2 * images, {8, 8}, 1).flops, workspace.executor());
}
BENCHMARK(Digits)->ArgNames({"images", "threads"})->ArgsProduct({{1, 10, 100}, {1, 2}})->UseRealTime();

}  // namespace
