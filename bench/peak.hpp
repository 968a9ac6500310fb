#pragma once
/// The yardstick: multiply-adds per second that the registers allow, by instruction set and number of threads.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

#include "dit/core/executor.hpp"
#include "dit/kernels/isa.hpp"
#if DIT_X86
#include <immintrin.h>
#endif

namespace dit::bench {

/// Independent chains: more than latency times units on any machine, few enough for the registers.
inline constexpr int chains = 12;

// Each returns a number that depends on every step, so that none is optimised away. 2 * 12 * lanes operations a
// step.
inline float portable_loop(long steps) {
  typedef float Four __attribute__((vector_size(16)));
  Four sum[chains] = {}, a = Four{} + 0.999f, b = Four{} + 0.001f;
  for (long i = 0; i < steps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < chains; ++j) sum[j] = sum[j] * a + b;
  }
  float all = 0;
  for (const Four& v : sum) all += v[0];
  return all;
}

#if DIT_X86
__attribute__((target("avx2,fma"))) inline float avx2_loop(long steps) {
  __m256 sum[chains], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
  for (__m256& v : sum) v = b;
  for (long i = 0; i < steps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < chains; ++j) sum[j] = _mm256_fmadd_ps(sum[j], a, b);
  }
  float all = 0;
  for (const __m256& v : sum) all += _mm256_cvtss_f32(v);
  return all;
}

__attribute__((target("avx512f"))) inline float avx512_loop(long steps) {
  __m512 sum[chains], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
  for (__m512& v : sum) v = b;
  for (long i = 0; i < steps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < chains; ++j) sum[j] = _mm512_fmadd_ps(sum[j], a, b);
  }
  float all = 0;
  for (const __m512& v : sum) all += _mm512_cvtss_f32(v);
  return all;
}
#endif

/// GFLOP/s of all strands together: the best of `tries` runs of about a millisecond and a half.
inline double fma_peak(Isa isa, Executor& executor, int tries = 20) {
  float (*loop)(long) = portable_loop;
  int lanes = 4;
#if DIT_X86
  if (isa == Isa::avx2) loop = avx2_loop, lanes = 8;
  if (isa == Isa::avx512) loop = avx512_loop, lanes = 16;
#endif
  constexpr long steps = 1 << 20;
  struct Context {
    float (*loop)(long);
    std::vector<float> sink;
  } context{loop, std::vector<float>(static_cast<std::size_t>(executor.strands()))};
  double best = 0;
  for (int i = 0; i < tries; ++i) {
    const auto start = std::chrono::steady_clock::now();
    executor.run(
        [](void* p, int strand) noexcept {
          auto& c = *static_cast<Context*>(p);
          c.sink[static_cast<std::size_t>(strand)] = c.loop(steps);
        },
        &context);
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * chains * lanes * steps * executor.strands() / time.count());
  }
  return best;
}

}  // namespace dit::bench
