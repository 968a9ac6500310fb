#pragma once
/// The kernels in AVX2 with FMA, compiled for it whatever the flags say.

#include <immintrin.h>

#include "dit/kernels/table.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#define DIT_TARGET
#else
#define DIT_TARGET __attribute__((target("avx2,fma"), no_sanitize("undefined")))
#endif
#include "dit/kernels/inline.inl"

namespace dit::inline DIT_ABI::avx2 {

template <class T>
struct Vec;
/// Sixteen floats.
template <>
struct Vec<float> {
  __m256 low, high;
};

inline constexpr Isa isa = Isa::avx2;
inline constexpr int tile_strips = 1;  ///< that the micro-kernel treats at a time
/// 6 rows x 1 strip are 12 sums; with 2 vectors of weights and a broadcast activation that makes 15 of 16
/// registers.
template <class T>
inline constexpr int panel_rows = 6;

DIT_INLINE Vec<float> load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
DIT_INLINE void store(float* p, Vec<float> v) {
  _mm256_storeu_ps(p, v.low);
  _mm256_storeu_ps(p + 8, v.high);
}
/// Ones where a lane is below n.
DIT_INLINE __m256i first_lanes(Index n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
/// The first n numbers, n <= 16, and zeros.
DIT_INLINE Vec<float> load(const float* p, Index n) {
  if (n >= 16) return load(p);
  return {_mm256_maskload_ps(p, first_lanes(n)), _mm256_maskload_ps(p + 8, first_lanes(n - 8))};
}
DIT_INLINE void store(float* p, Vec<float> v, Index n) {
  if (n >= 16) return store(p, v);
  __m256 part = v.low;
  if (n & 8) {
    _mm256_storeu_ps(p, part);
    part = v.high;
    p += 8;
  }
  __m128 rest = _mm256_castps256_ps128(part);
  if (n & 4) {
    _mm_storeu_ps(p, rest);
    rest = _mm256_extractf128_ps(part, 1);
    p += 4;
  }
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
    rest = _mm_movehl_ps(rest, rest);
    p += 2;
  }
  if (n & 1) _mm_store_ss(p, rest);
}
DIT_INLINE Vec<float> broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
DIT_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
DIT_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
DIT_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
DIT_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
/// a > b ? a : b, so b where either is NaN.
DIT_INLINE Vec<float> max(Vec<float> a, Vec<float> b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
/// a < b ? a : b, so b where either is NaN.
DIT_INLINE Vec<float> min(Vec<float> a, Vec<float> b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
/// x < y ? a : b
DIT_INLINE Vec<float> if_less(Vec<float> x, Vec<float> y, Vec<float> a, Vec<float> b) {
  return {_mm256_blendv_ps(b.low, a.low, _mm256_cmp_ps(x.low, y.low, _CMP_LT_OQ)),
          _mm256_blendv_ps(b.high, a.high, _mm256_cmp_ps(x.high, y.high, _CMP_LT_OQ))};
}
/// a * b + c, rounded once.
DIT_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
DIT_INLINE Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) { return multiply_add(a, b, c); }
DIT_INLINE Vec<float> root(Vec<float> a) { return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)}; }
/// Neighbours change places: 1, 0, 3, 2, ...
DIT_INLINE Vec<float> swap_pairs(Vec<float> a) {
  return {_mm256_permute_ps(a.low, 0xb1), _mm256_permute_ps(a.high, 0xb1)};
}
DIT_INLINE Vec<float> round(Vec<float> a) {
  constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.low, nearest), _mm256_round_ps(a.high, nearest)};
}
DIT_INLINE __m256 times_power(__m256 p, __m256 n) {
  const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
  const __m256i other = _mm256_sub_epi32(whole, half);
  const __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  const __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(other, bias), 23));
  return _mm256_mul_ps(_mm256_mul_ps(p, a), b);
}
/// p * 2^n for whole n in [-252, 254], in two factors since 2^128 and 2^-127 are none; NaN if p is.
DIT_INLINE Vec<float> times_power(Vec<float> p, Vec<float> n) {
  return {times_power(p.low, n.low), times_power(p.high, n.high)};
}

/// The 8 x 8 block of rows [row, row + 8) and the low or high lanes, transposed.
template <bool high>
DIT_INLINE void transpose_block(const Vec<float> (&v)[16], int row, __m256 (&out)[8]) {
  __m256 t[8], u[8];
  DIT_UNROLL for (int i = 0; i < 8; i += 2) {
    const __m256 a = high ? v[row + i].high : v[row + i].low, b = high ? v[row + i + 1].high : v[row + i + 1].low;
    t[i] = _mm256_unpacklo_ps(a, b);
    t[i + 1] = _mm256_unpackhi_ps(a, b);
  }
  DIT_UNROLL for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  DIT_UNROLL for (int j = 0; j < 4; ++j) {
    out[j] = _mm256_permute2f128_ps(u[j], u[j + 4], 0x20);
    out[j + 4] = _mm256_permute2f128_ps(u[j], u[j + 4], 0x31);
  }
}
/// Row i, lane j becomes row j, lane i.
DIT_INLINE void transpose(Vec<float> (&v)[16]) {
  __m256 a[8], b[8], c[8], d[8];
  transpose_block<false>(v, 0, a);
  transpose_block<true>(v, 0, b);
  transpose_block<false>(v, 8, c);
  transpose_block<true>(v, 8, d);
  DIT_UNROLL for (int j = 0; j < 8; ++j) {
    v[j] = {a[j], c[j]};
    v[j + 8] = {b[j], d[j]};
  }
}

#include "dit/kernels/body.inl"

}  // namespace dit::inline DIT_ABI::avx2

#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
