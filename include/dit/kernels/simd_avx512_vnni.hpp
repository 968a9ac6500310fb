#pragma once
/// Products of int8 in AVX512-VNNI (Cascade Lake, Ice Lake, Zen 4).

#include <limits>

#include "dit/kernels/simd_avx512.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#define DIT_TARGET
#else
#define DIT_TARGET \
  __attribute__((target("avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"), no_sanitize("undefined")))
#endif
#include "dit/kernels/inline.inl"
#define DIT_NATIVE_BF16 0

namespace dit { inline namespace DIT_ABI { namespace avx512vnni {

template <class T>
inline constexpr int parts = 1;

#include "dit/kernels/vec_avx512.inl"

template <int part>
DIT_INLINE Vec<std::int32_t> load_operand(const int8* p) {
  return {_mm512_loadu_si512(p)};
}
template <int part>
DIT_INLINE Vec<std::int32_t> spread_operand(const int8* p) {
  return {spread_word(p)};
}
/// a holds bytes without a sign, b bytes with one.
template <class T>
DIT_INLINE Vec<std::int32_t> dot(Vec<std::int32_t> a, Vec<std::int32_t> b, Vec<std::int32_t> sum) {
  return {_mm512_dpbusd_epi32(sum.all, a.all, b.all)};
}

#include "dit/kernels/body_step.inl"

#include "dit/kernels/body_products.inl"

template <class T>
inline constexpr Products<T> products = make_products<T>("avx512vnni");

}}}  // namespace dit::avx512vnni

#undef DIT_NATIVE_BF16
#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
