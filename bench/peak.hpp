#pragma once
/// The yardstick: multiply-adds per second that the registers allow, by instruction set and number of threads.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <numeric>
#include <type_traits>
#include <vector>

#include "dit/core/executor.hpp"
#include "dit/core/scalar.hpp"
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

/// Two products a lane, in more chains: the instruction takes longer.
inline constexpr int bf16_chains = 16;
__attribute__((target("avx512f,avx512bf16"))) inline float avx512bf16_loop(long steps) {
  __m512 sum[bf16_chains];
  const auto a = (__m512bh)_mm512_set1_epi32(0x3c003c00), b = (__m512bh)_mm512_set1_epi32(0x3a003a00);
  for (__m512& v : sum) v = _mm512_set1_ps(0.001f);
  for (long i = 0; i < steps; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < bf16_chains; ++j) sum[j] = _mm512_dpbf16_ps(sum[j], a, b);
  }
  float all = 0;
  for (const __m512& v : sum) all += _mm512_cvtss_f32(v);
  return all;
}

/// Four products a lane.
__attribute__((target("avx512f,avx512vnni"))) inline float avx512vnni_loop(long steps) {
  __m512i sum[chains], a = _mm512_set1_epi32(0x01020304), b = _mm512_set1_epi32(0x01ff01ff);
  for (__m512i& v : sum) v = b;
  for (long i = 0; i < steps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < chains; ++j) sum[j] = _mm512_dpbusd_epi32(sum[j], a, b);
  }
  int all[16 * chains];
  for (int j = 0; j < chains; ++j) _mm512_storeu_si512(all + 16 * j, sum[j]);
  return static_cast<float>(std::accumulate(all, all + 16 * chains, 0u));
}
__attribute__((target("avx2,avxvnni"))) inline float avxvnni_loop(long steps) {
  __m256i sum[chains], a = _mm256_set1_epi32(0x01020304), b = _mm256_set1_epi32(0x01ff01ff);
  for (__m256i& v : sum) v = b;
  for (long i = 0; i < steps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < chains; ++j) sum[j] = _mm256_dpbusd_avx_epi32(sum[j], a, b);
  }
  int all = 0;
  for (const __m256i& v : sum) all += _mm_cvtsi128_si32(_mm256_castsi256_si128(v));
  return static_cast<float>(all);
}
#endif

/// GFLOP/s of all strands together, of the instruction that multiplies numbers of T on this set (where it has none
/// for T, of its floats): the best of `tries` runs of about a millisecond and a half.
template <class T = float>
double peak_of(Isa isa, Executor& executor, int tries = 20) {
  float (*loop)(long) = portable_loop;
  int products = 4 * chains;  // a step
#if DIT_X86
  if (isa >= Isa::avx2) loop = avx2_loop, products = 8 * chains;
  if (isa >= Isa::avx512) loop = avx512_loop, products = 16 * chains;
  if (std::is_same_v<T, bf16> && isa >= Isa::avx512bf16) loop = avx512bf16_loop, products = 32 * bf16_chains;
  if (std::is_same_v<T, int8> && isa == Isa::avxvnni) loop = avxvnni_loop, products = 32 * chains;
  if (std::is_same_v<T, int8> && isa >= Isa::avx512vnni) loop = avx512vnni_loop, products = 64 * chains;
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
    best = std::max(best, 2.0 * products * steps * executor.strands() / time.count());
  }
  return best;
}
inline double fma_peak(Isa isa, Executor& executor, int tries = 20) { return peak_of<float>(isa, executor, tries); }

template <class T>
constexpr const char* type_name() {
  return std::is_same_v<T, bf16> ? "bf16" : std::is_same_v<T, int8> ? "int8" : "fp32";
}

}  // namespace dit::bench
