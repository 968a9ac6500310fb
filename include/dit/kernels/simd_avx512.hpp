#pragma once
/// The kernels in AVX-512 (F, BW, DQ, VL), compiled for it whatever the flags say.

#include <immintrin.h>

#include "dit/kernels/table.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#define DIT_TARGET
#else
#define DIT_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"), no_sanitize("undefined")))
#endif
#include "dit/kernels/inline.inl"

namespace dit::inline DIT_ABI::avx512 {

template <class T>
struct Vec;
/// Sixteen floats.
template <>
struct Vec<float> {
  __m512 all;
};

inline constexpr Isa isa = Isa::avx512;
inline constexpr int tile_strips = 2;  ///< that the micro-kernel treats at a time
/// 14 rows x 2 strips are 28 sums; with 2 vectors of weights and a broadcast activation that makes 31 of 32
/// registers.
template <class T>
inline constexpr int panel_rows = 14;

/// Intrinsics with this mask compile to the plain instruction. Where the plain intrinsic reads an undefined
/// register to say "do not care", g++ 12 warns about it in every program that includes us; the masked ones have no
/// such register.
inline constexpr __mmask16 every = 0xffff;
DIT_INLINE __mmask16 first_lanes(Index n) { return static_cast<__mmask16>((1u << n) - 1u); }

DIT_INLINE Vec<float> load(const float* p) { return {_mm512_loadu_ps(p)}; }
DIT_INLINE void store(float* p, Vec<float> v) { _mm512_storeu_ps(p, v.all); }
/// The first n numbers, n <= 16, and zeros.
DIT_INLINE Vec<float> load(const float* p, Index n) {
  return n >= 16 ? load(p) : Vec<float>{_mm512_maskz_loadu_ps(first_lanes(n), p)};
}
DIT_INLINE void store(float* p, Vec<float> v, Index n) {
  if (n >= 16) return store(p, v);  // loads that follow a masked store may have to wait for it
  _mm512_mask_storeu_ps(p, first_lanes(n), v.all);
}
DIT_INLINE Vec<float> broadcast(float x) { return {_mm512_set1_ps(x)}; }
DIT_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) { return {_mm512_add_ps(a.all, b.all)}; }
DIT_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) { return {_mm512_sub_ps(a.all, b.all)}; }
DIT_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) { return {_mm512_mul_ps(a.all, b.all)}; }
DIT_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return {_mm512_div_ps(a.all, b.all)}; }
/// a > b ? a : b, so b where either is NaN.
DIT_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return {_mm512_maskz_max_ps(every, a.all, b.all)}; }
/// a < b ? a : b, so b where either is NaN.
DIT_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return {_mm512_maskz_min_ps(every, a.all, b.all)}; }
/// x < y ? a : b
DIT_INLINE Vec<float> if_less(Vec<float> x, Vec<float> y, Vec<float> a, Vec<float> b) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.all, y.all, _CMP_LT_OQ), b.all, a.all)};
}
/// a * b + c, rounded once.
DIT_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm512_fmadd_ps(a.all, b.all, c.all)};
}
DIT_INLINE Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) { return multiply_add(a, b, c); }
DIT_INLINE Vec<float> root(Vec<float> a) { return {_mm512_maskz_sqrt_ps(every, a.all)}; }
DIT_INLINE Vec<float> round(Vec<float> a) {
  return {_mm512_maskz_roundscale_ps(every, a.all, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// p * 2^n for whole n; NaN if either is.
DIT_INLINE Vec<float> times_power(Vec<float> p, Vec<float> n) {
  return {_mm512_maskz_scalef_ps(every, p.all, n.all)};
}

/// Neighbours change places: 1, 0, 3, 2, ...
DIT_INLINE Vec<float> swap_pairs(Vec<float> a) { return {_mm512_maskz_permute_ps(every, a.all, 0xb1)}; }

/// Row i, lane j becomes row j, lane i: pairs of rows, then quadruples, then whole quarters.
DIT_INLINE void transpose(Vec<float> (&v)[16]) {
  __m512 t[16];
  DIT_UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_maskz_unpacklo_ps(every, v[i].all, v[i + 1].all);
    t[i + 1] = _mm512_maskz_unpackhi_ps(every, v[i].all, v[i + 1].all);
  }
  __m512 u[16];  // u[4 b + j]: columns j, j + 4, j + 8, j + 12 of rows 4 b to 4 b + 3
  DIT_UNROLL for (int b = 0; b < 16; b += 4) {
    u[b] = _mm512_maskz_shuffle_ps(every, t[b], t[b + 2], 0x44);
    u[b + 1] = _mm512_maskz_shuffle_ps(every, t[b], t[b + 2], 0xee);
    u[b + 2] = _mm512_maskz_shuffle_ps(every, t[b + 1], t[b + 3], 0x44);
    u[b + 3] = _mm512_maskz_shuffle_ps(every, t[b + 1], t[b + 3], 0xee);
  }
  DIT_UNROLL for (int j = 0; j < 4; ++j) {
    const __m512 low01 = _mm512_maskz_shuffle_f32x4(every, u[j], u[j + 4], 0x88),
                 high01 = _mm512_maskz_shuffle_f32x4(every, u[j], u[j + 4], 0xdd);
    const __m512 low23 = _mm512_maskz_shuffle_f32x4(every, u[j + 8], u[j + 12], 0x88);
    const __m512 high23 = _mm512_maskz_shuffle_f32x4(every, u[j + 8], u[j + 12], 0xdd);
    v[j].all = _mm512_maskz_shuffle_f32x4(every, low01, low23, 0x88);
    v[j + 4].all = _mm512_maskz_shuffle_f32x4(every, high01, high23, 0x88);
    v[j + 8].all = _mm512_maskz_shuffle_f32x4(every, low01, low23, 0xdd);
    v[j + 12].all = _mm512_maskz_shuffle_f32x4(every, high01, high23, 0xdd);
  }
}

#include "dit/kernels/body.inl"

}  // namespace dit::inline DIT_ABI::avx512

#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
