/// Small models, one sample at a time: what counts is how long the caller waits. Counters: GFLOPS, and p50_ms and
/// p99_ms of as many calls as there are iterations: --benchmark_min_time=20 for a p99 that means something. Weights
/// are random but for those of the shipped checkpoint: no kernel looks at them.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "dit/dit.hpp"
#include "models/digits.hpp"
#include "random_model.hpp"

namespace {

using dit::Index;

/// Calls f in the benchmark's loop and reports the times that half and 99 % of the calls do not exceed.
template <class F>
void measure(benchmark::State& state, std::uint64_t flops, F&& f) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  f();  // the workspace has its size from now on
  for (auto _ : state) {
    const auto start = Clock::now();
    f();
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  const auto percentile = [&times](std::size_t p) { return times[(times.size() - 1) * p / 100]; };
  state.counters["p50_ms"] = percentile(50);
  state.counters["p99_ms"] = percentile(99);
  state.counters["GFLOPS"] =
      benchmark::Counter(static_cast<double>(flops) / 1e9, benchmark::Counter::kIsIterationInvariantRate);
}

/// What makes a robot's next actions out of noise, of the size of GR00T N1's (arXiv:2503.14734): a token for every
/// action, 16 blocks of width 1536, a class for the kind of robot.
constexpr dit::DiTConfig action_head{.width = 1536,
                                     .depth = 16,
                                     .heads = 24,
                                     .patch = 1,
                                     .input = 1,
                                     .in_channels = 32,
                                     .learn_sigma = false,
                                     .classes = 1,
                                     .null_class = false};

/// A whole chunk of actions, in 4 Euler steps. The times are always the same, so they are prepared beforehand.
/// range(0): tokens, range(1): threads.
template <class T>
void ActionChunk(benchmark::State& state) {
  using Model = dit::DiT<action_head, T>;
  static const auto model = std::make_unique<const Model>(dit::bench::random_model<Model>());
  const Index tokens = state.range(0);
  const auto schedule = dit::Schedule::uniform(4);
  dit::Workspace workspace(static_cast<int>(state.range(1)));
  dit::Conditioned field(*model, {0}, workspace);
  field.prepare(schedule.times<float>());
  dit::TorchGenerator generator(0);
  const auto noise = dit::randn<4>({1, action_head.in_channels, 1, tokens}, generator);
  measure(state, 4 * dit::plan<Model>(1, {1, tokens}, 1).flops,
          [&] { benchmark::DoNotOptimize(dit::sample(noise, schedule, field).x); });
}

/// One digit in 50 Euler steps with guidance: 2 x 16 tokens. range(0): threads.
template <class T>
void Digit(benchmark::State& state) {
  using Model = dit::DiT<digits, T>;
  static const auto model = dit::load<Model>(DIT_MODELS_DIR "/digits.safetensors");
  const auto schedule = dit::Schedule::uniform(50);
  dit::Workspace workspace(static_cast<int>(state.range(0)));
  dit::Conditioned both(model, {3, model.null_class}, workspace);
  both.prepare(schedule.times<float>());
  dit::BatchedGuidance field(std::ref(both), dit::Guidance{1.25});
  dit::TorchGenerator generator(0);
  const auto noise = dit::randn<4>({1, 1, 8, 8}, generator);
  measure(state, 50 * dit::plan<Model>(2, {8, 8}, 1).flops,
          [&] { benchmark::DoNotOptimize(dit::sample(noise, schedule, field).x); });
}

// clang-format off
BENCHMARK(ActionChunk<float>)->Name("action chunk/fp32")->ArgNames({"tokens", "threads"})->ArgsProduct({{16, 32, 50}, {1, 2}})->UseRealTime();
BENCHMARK(ActionChunk<dit::bf16>)->Name("action chunk/bf16")->ArgNames({"tokens", "threads"})->ArgsProduct({{16, 32, 50}, {1, 2}})->UseRealTime();
BENCHMARK(ActionChunk<dit::int8>)->Name("action chunk/int8")->ArgNames({"tokens", "threads"})->ArgsProduct({{16, 32, 50}, {1, 2}})->UseRealTime();
BENCHMARK(Digit<float>)->Name("digit/fp32")->ArgNames({"threads"})->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(Digit<dit::bf16>)->Name("digit/bf16")->ArgNames({"threads"})->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(Digit<dit::int8>)->Name("digit/int8")->ArgNames({"threads"})->Arg(1)->Arg(2)->UseRealTime();
// clang-format on

}  // namespace
