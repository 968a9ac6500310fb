/// The packed GEMM at the shapes of real models, tokens x inputs x outputs, in fp32, bf16 and int8.
///
///     bench_gemm --benchmark_filter=xl_2 --benchmark_repetitions=9 --benchmark_format=json
///
/// GFLOPS counts 2 per multiply-add; `peak` is the share of what the registers allow with the same instruction set
/// and as many threads, measured in the same process. DIT_ISA=avx2 runs another instruction set.

#include <benchmark/benchmark.h>

#include <functional>
#include <string>

#include "dit/kernels/gemm.hpp"
#include "report.hpp"

namespace dit::bench { namespace {

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

template <class T>
void gemm_at(benchmark::State& state, const Shape& shape, Edges edges, int threads) {
  using S = stored<T>;
  Workspace workspace(threads), memory(1);
  const auto [name_, rows, depth, outputs] = shape;
  const auto filled = [&]<class N>(Index n, N) {
    N* p = memory.take<N>(n);
    for (Index i = 0; i < n; ++i) p[i] = static_cast<N>(static_cast<float>(i % 17) / 16.f - 0.5f);
    return p;
  };
  float *const x = filled(rows * depth, 0.f), *const bias = filled(outputs, 0.f);
  float *const y = filled(rows * outputs, 0.f), *const gate = filled(outputs, 0.f);
  float* const modulation = filled(2 * depth, 0.f);
  S *const stored_x = filled(rows * depth, S{}), *const stored_y = filled(rows * outputs, S{});
  PackedMatrix<T> w(outputs, depth);
  for (Index r = 0; r < outputs; ++r) w.set_rows(r, 1, x);

  const RowsSource<S> from_rows{stored_x, rows, depth};
  const NormSource<float> from_norm{
      x, rows, depth, Norm::layer, 1e-6f, nullptr, nullptr, modulation, modulation + depth, 0, rows};
  const auto from_panels = pack(RowsSource<float>{x, rows, depth}, memory, kernels<T>());
  const StoreSink<float, S> store{stored_y, outputs, bias};
  const StoreSink<float, S> gelu{stored_y, outputs, bias, Activation::gelu_tanh};
  const AddGatedSink<float> add{y, outputs, bias, gate, 0, rows};
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
        if constexpr (std::is_same_v<T, int8>) {
          gemm(from_norm, w, gelu, workspace);
        } else {
          gemm(from_norm, w, PanelsSink<T>{stored_y, outputs, bias, Activation::gelu_tanh}, workspace);
        }
        break;
      case Edges::panels_to_gated:
        gemm(from_panels, w, add, workspace);
        break;
    }
    benchmark::ClobberMemory();
  }
  const double weights = static_cast<double>(depth) * static_cast<double>(outputs);
  report<T>(state, static_cast<std::uint64_t>(2 * rows * depth * outputs), workspace.executor());
  state.counters["weights_GB"] = benchmark::Counter(1e-9 * static_cast<double>(sizeof(T)) * weights,
                                                    benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  const auto add = [](const std::string& title, const Shape& shape, Edges edges) {
    const int all = available_cores();
    for (int threads = 1;; threads = all) {
      const auto of = [&](const char* type, auto* run) {
        benchmark::RegisterBenchmark((title + "/" + type + "/threads:" + std::to_string(threads)).c_str(), run,
                                     shape, edges, threads)
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      };
      of("fp32", gemm_at<float>);
      of("bf16", gemm_at<bf16>);
      of("int8", gemm_at<int8>);
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
