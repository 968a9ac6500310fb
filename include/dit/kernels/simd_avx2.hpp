#pragma once
/// The kernels in AVX2 with FMA, compiled for it whatever the flags say.

#include <immintrin.h>

#include <limits>

#include "dit/kernels/table.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#define DIT_TARGET
#else
#define DIT_TARGET __attribute__((target("avx2,fma"), no_sanitize("undefined")))
#endif
#include "dit/kernels/inline.inl"

namespace dit { inline namespace DIT_ABI { namespace avx2 {

template <class T>
inline constexpr int parts = sizeof(T) < 4 ? 2 : 1;

#include "dit/kernels/vec_avx2.inl"

// A word of bf16 in two parts: the numbers of even k, then those of odd k, as floats. Of int8 likewise, as pairs of
// 16 bits: here too the numbers of even and of odd k, times each other and added up by twos.
template <int part>
DIT_INLINE __m256i half_of(__m256i words) {
  if constexpr (part == 0) {
    return _mm256_slli_epi32(words, 16);
  } else {
    return _mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xffff0000u)));
  }
}
template <int part>
DIT_INLINE Vec<float> load_operand(const bf16* p) {
  const auto* from = reinterpret_cast<const __m256i*>(p);
  return from_bits(half_of<part>(_mm256_loadu_si256(from)), half_of<part>(_mm256_loadu_si256(from + 1)));
}
template <int part>
DIT_INLINE Vec<float> spread_operand(const bf16* p) {
  const __m256i word = half_of<part>(spread_word(p));
  return from_bits(word, word);
}
template <int part>
DIT_INLINE __m256i signed_half(__m256i words) {
  return _mm256_srai_epi16(part == 0 ? _mm256_slli_epi16(words, 8) : words, 8);
}
template <int part>
DIT_INLINE Vec<std::int32_t> load_operand(const int8* p) {
  const auto* from = reinterpret_cast<const __m256i*>(p);
  return {signed_half<part>(_mm256_loadu_si256(from)), signed_half<part>(_mm256_loadu_si256(from + 1))};
}
template <int part>
DIT_INLINE Vec<std::int32_t> spread_operand(const int8* p) {
  const __m256i words = spread_word(p);
  const __m256i half =
      part == 0 ? _mm256_and_si256(words, _mm256_set1_epi32(0x00ff00ff)) : _mm256_srli_epi16(words, 8);
  return {half, half};
}
// The compiler would take what both parts need from memory only once, and multiply all words before it adds, which
// leaves it without registers. So it is told when.
#if defined(__GNUC__)
DIT_INLINE __m256 add_product(__m256 a, __m256 b, __m256 sum) {
  __asm__ volatile("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
  return sum;
}
DIT_INLINE __m256i add_product(__m256i a, __m256i b, __m256i sum) {
  __m256i product;
  __asm__ volatile("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(product) : "x"(a), "x"(b));
  return sum;
}
#else
DIT_INLINE __m256 add_product(__m256 a, __m256 b, __m256 sum) { return _mm256_fmadd_ps(a, b, sum); }
DIT_INLINE __m256i add_product(__m256i a, __m256i b, __m256i sum) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}
#endif
template <class T>
DIT_INLINE Vec<float> dot(Vec<float> a, Vec<float> b, Vec<float> sum) {
  if constexpr (1 < parts<T>) return {add_product(a.low, b.low, sum.low), add_product(a.high, b.high, sum.high)};
  return multiply_add(a, b, sum);
}
template <class T>
DIT_INLINE Vec<std::int32_t> dot(Vec<std::int32_t> a, Vec<std::int32_t> b, Vec<std::int32_t> sum) {
  return {add_product(a.low, b.low, sum.low), add_product(a.high, b.high, sum.high)};
}

#include "dit/kernels/body_step.inl"

#include "dit/kernels/body.inl"

template <class T>
inline constexpr Products<T> products = make_products<T>("avx2");

}}}  // namespace dit::avx2

#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
