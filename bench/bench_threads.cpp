/// What it costs to share work among threads: of the own pool, of new threads every time, of a plain loop. The
/// tasks do nothing. Times are of one parallel_for; `threads` tasks each.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "dit/core/thread_pool.hpp"

namespace {

using Clock = std::chrono::steady_clock;

void fork_join(dit::Executor& executor, dit::Index tasks) {
  executor.parallel_for(tasks, [](dit::Index task, int) { benchmark::DoNotOptimize(task); });
}

/// One after the other, as in a model: the threads are awake. range(0): threads.
void Awake(benchmark::State& state) {
  dit::ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) fork_join(pool, state.range(0));
}

/// After a pause in which the threads fell asleep, which is not counted: the first of a step. range(0): threads.
void Asleep(benchmark::State& state) {
  dit::ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    const auto start = Clock::now();
    fork_join(pool, state.range(0));
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
  }
}

/// Two microseconds of work for each thread, and what sharing it out adds: `overhead_ns`. The threads do begin
/// here, where in the others the caller may be done before they do. range(0): threads.
void Overhead(benchmark::State& state) {
  const auto work = [] {
    double x = 1;
    for (int i = 0; i < 1400; ++i) benchmark::DoNotOptimize(x = x * 1.0000001 + 0.1);
  };
  constexpr int times = 64;  // at once: asking the clock takes time, too
  const auto nanoseconds = [](auto&& f) {
    const auto start = Clock::now();
    for (int i = 0; i < times; ++i) f();
    return std::chrono::duration<double, std::nano>(Clock::now() - start).count() / times;
  };
  dit::ThreadPool pool(static_cast<int>(state.range(0)));
  std::vector<double> overhead;
  for (auto _ : state) {
    const double alone = nanoseconds(work);
    const double shared = nanoseconds([&] { pool.parallel_for(state.range(0), [&](dit::Index, int) { work(); }); });
    overhead.push_back(shared - alone);
    state.SetIterationTime(shared * 1e-9);
  }
  std::sort(overhead.begin(), overhead.end());
  state.counters["overhead_ns"] = overhead[overhead.size() / 2];
}

/// No threads at all. range(0): tasks.
void Inline(benchmark::State& state) {
  dit::InlineExecutor here;
  for (auto _ : state) fork_join(here, state.range(0));
}

/// New threads every time.
void Spawning(benchmark::State& state) {
  for (auto _ : state) {
    std::vector<std::thread> threads;
    for (int i = 1; i < state.range(0); ++i) threads.emplace_back([] {});
    for (std::thread& thread : threads) thread.join();
  }
}

// clang-format off
BENCHMARK(Awake)->ArgNames({"threads"})->Arg(1)->Arg(2)->Arg(4)->UseRealTime();
BENCHMARK(Asleep)->ArgNames({"threads"})->Arg(2)->Arg(4)->Iterations(1000)->UseManualTime();
BENCHMARK(Overhead)->ArgNames({"threads"})->Arg(2)->Arg(4)->UseManualTime();
BENCHMARK(Inline)->ArgNames({"tasks"})->Arg(2);
BENCHMARK(Spawning)->ArgNames({"threads"})->Arg(2)->Arg(4)->UseRealTime();
// clang-format on

}  // namespace
