/// Blocks and whole models at their published sizes, and the sampler of the shipped checkpoint. Weights are random:
/// no kernel looks at them. Counters: GFLOPS, and `peak`, its share of an FMA loop in the same process.

#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "dit/dit.hpp"
#include "flop.hpp"
#include "models/digits.hpp"
#include "random_model.hpp"
#include "report.hpp"

namespace {

using dit::Index;

using dit::bench::block_flop;

/// Multiply-adds times two: the blocks with their modulations, and the layers around them.
template <class M>
double model_flop(Index side) {
  constexpr dit::DiTConfig c = M::config;
  const double n = static_cast<double>(side / c.patch * (side / c.patch)), d = c.width, p2 = c.patch * c.patch;
  return c.depth * (block_flop(n, d) + 12 * d * d) + 2 * n * d * p2 * (c.in_channels + c.out_channels()) +
         2 * d * (256 + d) + 4 * d * d;
}

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
  dit::bench::report<T>(state, block_flop(static_cast<double>(n), width), workspace.executor());
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
  dit::bench::report<T>(state, model_flop<Model>(side), workspace.executor());
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
  dit::bench::report(state, 50 * 2 * static_cast<double>(images) * model_flop<dit::DiT<digits>>(8),
                     workspace.executor());
}
BENCHMARK(Digits)->ArgNames({"images", "threads"})->ArgsProduct({{1, 10, 100}, {1, 2}})->UseRealTime();

}  // namespace
