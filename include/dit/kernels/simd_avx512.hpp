#pragma once
/// The kernels in AVX-512 (F, BW, DQ, VL), compiled for it whatever the flags say.

#include <immintrin.h>

#include <limits>

#include "dit/kernels/table.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#define DIT_TARGET
#else
#define DIT_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"), no_sanitize("undefined")))
#endif
#include "dit/kernels/inline.inl"

#define DIT_NATIVE_BF16 0

namespace dit { inline namespace DIT_ABI { namespace avx512 {

template <class T>
inline constexpr int parts = sizeof(T) < 4 ? 2 : 1;

#include "dit/kernels/vec_avx512.inl"

// A word of bf16 in two parts: the numbers of even k, then those of odd k, as floats. Of int8 likewise, as pairs of
// 16 bits: here too the numbers of even and of odd k, times each other and added up by twos.
template <int part>
DIT_INLINE Vec<float> half_of(__m512i words) {
  if constexpr (part == 0) {
    return from_bits(_mm512_maskz_slli_epi32(every, words, 16));
  } else {
    return from_bits(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
}
template <int part>
DIT_INLINE Vec<float> load_operand(const bf16* p) {
  return half_of<part>(_mm512_loadu_si512(p));
}
template <int part>
DIT_INLINE Vec<float> spread_operand(const bf16* p) {
  return half_of<part>(spread_word(p));
}
template <int part>
DIT_INLINE Vec<std::int32_t> load_operand(const int8* p) {
  const __m512i words = _mm512_loadu_si512(p);
  if constexpr (part == 0) {
    return {_mm512_srai_epi16(_mm512_slli_epi16(words, 8), 8)};
  } else {
    return {_mm512_srai_epi16(words, 8)};
  }
}
template <int part>
DIT_INLINE Vec<std::int32_t> spread_operand(const int8* p) {
  if constexpr (part == 0) {
    return {_mm512_and_si512(spread_word(p), _mm512_set1_epi32(0x00ff00ff))};
  } else {
    return {_mm512_srli_epi16(spread_word(p), 8)};
  }
}
// The compiler would take what both parts need from memory only once, and multiply all words before it adds, which
// leaves it without registers. So it is told when.
#if defined(__GNUC__)
DIT_INLINE __m512 add_product(__m512 a, __m512 b, __m512 sum) {
  __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}
DIT_INLINE __m512i add_product(__m512i a, __m512i b, __m512i sum) {
  __m512i product;
  __asm__ volatile("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+v"(sum), "=&v"(product) : "v"(a), "v"(b));
  return sum;
}
#else
DIT_INLINE __m512 add_product(__m512 a, __m512 b, __m512 sum) { return _mm512_fmadd_ps(a, b, sum); }
DIT_INLINE __m512i add_product(__m512i a, __m512i b, __m512i sum) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
}
#endif
template <class T>
DIT_INLINE Vec<float> dot(Vec<float> a, Vec<float> b, Vec<float> sum) {
  if constexpr (1 < parts<T>) return {add_product(a.all, b.all, sum.all)};
  return multiply_add(a, b, sum);
}
template <class T>
DIT_INLINE Vec<std::int32_t> dot(Vec<std::int32_t> a, Vec<std::int32_t> b, Vec<std::int32_t> sum) {
  return {add_product(a.all, b.all, sum.all)};
}

#include "dit/kernels/body_step.inl"

#include "dit/kernels/body.inl"

template <class T>
inline constexpr Products<T> products = make_products<T>("avx512");

}}}  // namespace dit::avx512

#undef DIT_NATIVE_BF16
#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
