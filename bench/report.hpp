#pragma once
/// Counters in users' units.

#include <benchmark/benchmark.h>

#include <map>
#include <string>

#include "peak.hpp"

namespace dit::bench {

/// GFLOPS, and `peak`: the share of what the instruction that multiplies numbers of T reaches in this process, on
/// the same instruction set and strands.
template <class T = float>
void report(benchmark::State& state, double flop_per_iteration, Executor& executor) {
  static std::map<int, double> peaks;
  double& peak = peaks[executor.strands()];
  if (peak == 0) peak = peak_of<T>(active_isa(), executor);
  using benchmark::Counter;
  state.counters["GFLOPS"] = Counter(flop_per_iteration / 1e9, Counter::kIsIterationInvariantRate);
  state.counters["peak"] = Counter(flop_per_iteration / (peak * 1e9), Counter::kIsIterationInvariantRate);
  state.SetLabel(std::string(type_name<T>()) + ", " + std::string(name(active_isa())));
}

}  // namespace dit::bench
