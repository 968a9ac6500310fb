#pragma once
/// Products of int8 in AVX-VNNI (Alder Lake, Zen 5).

#include <limits>

#include "dit/kernels/simd_avx2.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#define DIT_TARGET
#else
#define DIT_TARGET __attribute__((target("avxvnni,avx2,fma"), no_sanitize("undefined")))
#endif
#include "dit/kernels/inline.inl"

namespace dit { inline namespace DIT_ABI { namespace avxvnni {

template <class T>
inline constexpr int parts = 1;

#include "dit/kernels/vec_avx2.inl"

template <int part>
DIT_INLINE Vec<std::int32_t> load_operand(const int8* p) {
  return load(reinterpret_cast<const std::int32_t*>(p));
}
template <int part>
DIT_INLINE Vec<std::int32_t> spread_operand(const int8* p) {
  return {spread_word(p), spread_word(p)};
}
/// a holds bytes without a sign, b bytes with one.
template <class T>
DIT_INLINE Vec<std::int32_t> dot(Vec<std::int32_t> a, Vec<std::int32_t> b, Vec<std::int32_t> sum) {
  return {_mm256_dpbusd_avx_epi32(sum.low, a.low, b.low), _mm256_dpbusd_avx_epi32(sum.high, a.high, b.high)};
}

#include "dit/kernels/body_step.inl"

#include "dit/kernels/body_products.inl"

template <class T>
inline constexpr Products<T> products = make_products<T>("avxvnni");

}}}  // namespace dit::avxvnni

#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
