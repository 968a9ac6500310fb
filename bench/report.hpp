#pragma once
/// Counters in users' units.

#include <benchmark/benchmark.h>

#include <map>
#include <utility>

#include "peak.hpp"

namespace dit::bench {

/// GFLOPS, and `peak`: the share of what an FMA loop reaches in this process, on the same instruction set and
/// strands.
inline void report(benchmark::State& state, double flop_per_iteration, Executor& executor) {
  static std::map<std::pair<Isa, int>, double> peaks;
  double& peak = peaks[{active_isa(), executor.strands()}];
  if (peak == 0) peak = fma_peak(active_isa(), executor);
  using benchmark::Counter;
  state.counters["GFLOPS"] = Counter(flop_per_iteration / 1e9, Counter::kIsIterationInvariantRate);
  state.counters["peak"] = Counter(flop_per_iteration / (peak * 1e9), Counter::kIsIterationInvariantRate);
}

}  // namespace dit::bench
