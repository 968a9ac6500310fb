#pragma once
/// Products of bf16 in AVX512-BF16 (Cooper Lake, Sapphire Rapids, Zen 4).

#include <limits>

#include "dit/kernels/simd_avx512.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#define DIT_TARGET
#else
#define DIT_TARGET \
  __attribute__((target("avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"), no_sanitize("undefined")))
#endif
#include "dit/kernels/inline.inl"
#define DIT_NATIVE_BF16 1

namespace dit { inline namespace DIT_ABI { namespace avx512bf16 {

template <class T>
inline constexpr int parts = 1;

#include "dit/kernels/vec_avx512.inl"

template <int part>
DIT_INLINE Vec<float> load_operand(const bf16* p) {
  return load_words(p);
}
template <int part>
DIT_INLINE Vec<float> spread_operand(const bf16* p) {
  return from_bits(spread_word(p));
}
/// sum + a_odd b_odd, + a_even b_even, each rounded; subnormal numbers count as 0.
template <class T>
DIT_INLINE Vec<float> dot(Vec<float> a, Vec<float> b, Vec<float> sum) {
  return {_mm512_dpbf16_ps(sum.all, (__m512bh)bits(a), (__m512bh)bits(b))};
}

#include "dit/kernels/body_exp2.inl"
#include "dit/kernels/body_step.inl"

#include "dit/kernels/body_products.inl"

template <class T>
inline constexpr Products<T> products = make_products<T>("avx512bf16", /*flushes=*/true);

}}}  // namespace dit::avx512bf16

#undef DIT_NATIVE_BF16
#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
