#pragma once
/// Counters in users' units.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <map>
#include <string>

#include "peak.hpp"

namespace dit::bench {

/// GFLOPS, and `peak`: the share of what the instruction that multiplies numbers of T reaches in this process, on
/// the same instruction set and strands.
template <class T = float>
void report(benchmark::State& state, std::uint64_t flops_per_iteration, Executor& executor) {
  const auto flops = static_cast<double>(flops_per_iteration);
  static std::map<int, double> peaks;
  double& peak = peaks[executor.strands()];
  if (peak == 0) peak = peak_of<T>(active_isa(), executor);
  using benchmark::Counter;
  state.counters["GFLOPS"] = Counter(flops / 1e9, Counter::kIsIterationInvariantRate);
  state.counters["peak"] = Counter(flops / (peak * 1e9), Counter::kIsIterationInvariantRate);
  state.SetLabel(std::string(type_name<T>()) + ", " + std::string(name(active_isa())));
}

}  // namespace dit::bench
