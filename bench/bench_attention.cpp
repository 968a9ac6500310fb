/// Attention at the shapes of real models, in fp32 and bf16. GFLOPS counts the two products only, 4 N M d a head;
/// `peak` is the share of what the registers allow with the same instruction set and threads, measured in the same
/// process.

#include <benchmark/benchmark.h>

#include <string>

#include "dit/kernels/attention.hpp"
#include "report.hpp"

namespace dit::bench { namespace {

struct Shape {
  const char* name;
  Index batch, queries, keys, heads, head_dim;
};
constexpr Shape shapes[] = {
    {"xl_2_256", 1, 256, 256, 16, 72},     {"xl_2_256_guided", 2, 256, 256, 16, 72},
    {"xl_2_512", 1, 1024, 1024, 16, 72},   {"sd3_512", 1, 1178, 1178, 24, 64},
    {"sd3_1024", 1, 4250, 4250, 24, 64},   {"flux_512", 1, 1536, 1536, 24, 128},
    {"flux_1024", 1, 4608, 4608, 24, 128}, {"text_cross", 1, 1024, 120, 16, 72},
};

template <class T>
void attention_at(benchmark::State& state, const Shape& shape, int threads) {
  Workspace workspace(threads), memory(1);
  const auto [name_, batch, queries, keys, heads, d] = shape;
  const Index width = heads * d, tokens = std::max(queries, keys);
  T* const qkv = memory.take<T>(batch * tokens * 3 * width);  // fused, as a block's projection leaves it
  T* const out = memory.take<T>(batch * queries * width);
  for (Index i = 0; i < batch * tokens * 3 * width; ++i)
    qkv[i] = static_cast<T>(static_cast<float>((i * 7919) % 257) / 128.f - 1.f);
  const Index stride = 3 * width;
  const AttentionStream<T> one{qkv,   qkv + width,    qkv + 2 * width, out, queries, stride, tokens * stride,
                               width, queries * width};
  const AttentionStream<T> two[] = {
      {qkv, nullptr, nullptr, out, queries, stride, tokens * stride, width, queries * width},
      {nullptr, qkv + width, qkv + 2 * width, nullptr, keys, stride, tokens * stride, 0, 0}};
  const float scale = 0.12f;
  for (auto _ : state) {
    if (queries == keys) {
      attention(one, batch, heads, d, scale, workspace);
    } else {
      attention(std::span<const AttentionStream<T>>(two), batch, heads, d, scale, workspace);
    }
    benchmark::ClobberMemory();
  }
  report<T>(state, attention_flops(batch * heads, queries, keys, d), workspace.executor());
}

const bool registered = [] {
  const int all = available_cores();
  for (const Shape& shape : shapes) {
    for (int threads = 1;; threads = all) {
      const auto of = [&](const char* type, auto* run) {
        benchmark::RegisterBenchmark(
            ("attention/" + std::string(shape.name) + "/" + std::to_string(shape.batch) + "x" +
             std::to_string(shape.queries) + "x" + std::to_string(shape.keys) + "x" + std::to_string(shape.heads) +
             "x" + std::to_string(shape.head_dim) + "/" + type + "/threads:" + std::to_string(threads))
                .c_str(),
            run, shape, threads)
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      };
      of("fp32", attention_at<float>);
      of("bf16", attention_at<bf16>);
      if (threads == all) break;
    }
  }
  return true;
}();

}  // namespace
}  // namespace dit::bench
