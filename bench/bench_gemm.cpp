/// The packed GEMM at the shapes of real models, tokens x inputs x outputs, in fp32.
///
///     bench_gemm --benchmark_filter=xl_2 --benchmark_repetitions=9 --benchmark_format=json
///
/// GFLOPS counts 2 per multiply-add; `peak` is the share of what the registers allow with the same instruction set
/// and as many threads, measured in the same process. DIT_ISA=avx2 runs another instruction set.

#include <benchmark/benchmark.h>

#include <functional>
#include <string>

#include "dit/kernels/gemm.hpp"
#include "peak.hpp"

namespace dit::bench {
namespace {

struct Shape {
  const char* name;
  Index rows, depth, outputs;
};
constexpr Shape shapes[] = {
    {"xl_2_qkv", 256, 1152, 3456},          {"xl_2_out", 256, 1152, 1152},
    {"xl_2_mlp_up", 256, 1152, 4608},       {"xl_2_mlp_down", 256, 4608, 1152},
    {"sd3_mlp_up", 1024, 1536, 6144},       {"sd3_qkv", 1178, 1536, 4608},
    {"flux_out", 4096, 3072, 3072},         {"xl_2_modulation_1", 1, 1152, 6912},
    {"xl_2_modulation_2", 2, 1152, 6912},   {"xl_2_modulation_16", 16, 1152, 6912},
    {"xl_2_modulation_50", 50, 1152, 6912},
};

/// What a block does around its products.
enum class Edges { plain, norm_to_store, rows_to_gated, norm_to_gelu_panels, panels_to_gated };

void gemm_at(benchmark::State& state, const Shape& shape, Edges edges, int threads) {
  Workspace workspace(threads), memory(1);
  const auto [name_, rows, depth, outputs] = shape;
  const double peak = fma_peak(active_isa(), workspace.executor());
  const auto filled = [&](Index n) {
    float* p = memory.take<float>(n);
    for (Index i = 0; i < n; ++i) p[i] = static_cast<float>(i % 17) / 16.f - 0.5f;
    return p;
  };
  float *const a = filled(rows * depth), *const y = filled(rows * outputs), *const bias = filled(outputs);
  float *const gate = filled(outputs), *const modulation = filled(2 * depth);
  PackedMatrix<float> w(outputs, depth);
  for (Index r = 0; r < outputs; ++r) w.set_rows(r, 1, a);

  const RowsSource<float> from_rows{a, rows, depth};
  const NormSource<float> from_norm{
      a, rows, depth, Norm::layer, 1e-6f, nullptr, nullptr, modulation, modulation + depth, 0, rows};
  const PanelsSource<float> from_panels{a, rows, depth};
  const StoreSink<float> store{y, outputs, bias};
  const AddGatedSink<float> add{y, outputs, bias, gate, 0, rows};
  const PanelsSink<float> panels{y, outputs, bias, Activation::gelu_tanh};
  for (auto _ : state) {
    switch (edges) {
      case Edges::plain:
        gemm(from_rows, w, store, workspace);
        break;
      case Edges::norm_to_store:
        gemm(from_norm, w, store, workspace);
        break;
      case Edges::rows_to_gated:
        gemm(from_rows, w, add, workspace);
        break;
      case Edges::norm_to_gelu_panels:
        gemm(from_norm, w, panels, workspace);
        break;
      case Edges::panels_to_gated:
        gemm(from_panels, w, add, workspace);
        break;
    }
    benchmark::ClobberMemory();
  }
  using benchmark::Counter;
  const double work = 2e-9 * static_cast<double>(rows) * static_cast<double>(depth) * static_cast<double>(outputs);
  state.counters["GFLOPS"] = Counter(work, Counter::kIsIterationInvariantRate);
  state.counters["peak"] = Counter(work / peak, Counter::kIsIterationInvariantRate);
  state.counters["weights_GB"] =
      Counter(4e-9 * static_cast<double>(depth * outputs), Counter::kIsIterationInvariantRate);
  state.SetLabel(std::string(name(active_isa())));
}

const bool registered = [] {
  const auto add = [](const std::string& title, const Shape& shape, Edges edges) {
    const int all = available_cores();
    for (int threads = 1;; threads = all) {
      benchmark::RegisterBenchmark((title + "/threads:" + std::to_string(threads)).c_str(), gemm_at, shape, edges,
                                   threads)
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
      if (threads == all) break;
    }
  };
  for (const Shape& shape : shapes) {
    add("gemm/" + std::string(shape.name) + "/" + std::to_string(shape.rows) + "x" + std::to_string(shape.depth) +
            "x" + std::to_string(shape.outputs),
        shape, Edges::plain);
  }
  add("fused/xl_2_qkv: norm, modulate -> store", shapes[0], Edges::norm_to_store);
  add("fused/xl_2_out: rows -> gate, add", shapes[1], Edges::rows_to_gated);
  add("fused/xl_2_mlp_up: norm, modulate -> gelu, panels", shapes[2], Edges::norm_to_gelu_panels);
  add("fused/xl_2_mlp_down: panels -> gate, add", shapes[3], Edges::panels_to_gated);
  return true;
}();

}  // namespace
}  // namespace dit::bench
