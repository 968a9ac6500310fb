// Sixteen numbers in a register of AVX-512, for a simd_avx512*.hpp to include in its namespace; with
// DIT_NATIVE_BF16 the machine rounds to bf16 itself.

template <class T>
struct Vec;
/// Sixteen floats.
template <>
struct Vec<float> {
  __m512 all;
};
/// Sixteen integers.
template <>
struct Vec<std::int32_t> {
  __m512i all;
};

inline constexpr int tile_strips = 2;  ///< that the micro-kernel treats at a time
/// 14 rows x 2 strips are 28 sums; with 2 vectors of weights and a broadcast activation that makes 31 of 32
/// registers.
template <class T>
inline constexpr int panel_rows = parts<T> > 1 ? 13 : 14;

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
DIT_INLINE Vec<std::int32_t> load(const std::int32_t* p) { return {_mm512_loadu_si512(p)}; }
DIT_INLINE void store(std::int32_t* p, Vec<std::int32_t> v) { _mm512_storeu_si512(p, v.all); }
DIT_INLINE Vec<std::int32_t> broadcast(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
DIT_INLINE Vec<std::int32_t> operator+(Vec<std::int32_t> a, Vec<std::int32_t> b) {
  return {_mm512_add_epi32(a.all, b.all)};
}
DIT_INLINE Vec<float> to_float(Vec<std::int32_t> a) { return {_mm512_maskz_cvtepi32_ps(every, a.all)}; }
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

// bf16: the upper halves of floats.
DIT_INLINE __m512i bits(Vec<float> a) { return _mm512_castps_si512(a.all); }
DIT_INLINE Vec<float> from_bits(__m512i a) { return {_mm512_castsi512_ps(a)}; }
DIT_INLINE Vec<float> from_halves(__m256i a) {
  return from_bits(_mm512_maskz_slli_epi32(every, _mm512_maskz_cvtepu16_epi32(every, a), 16));
}
DIT_INLINE Vec<float> load(const bf16* p) {
  return from_halves(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
DIT_INLINE Vec<float> load(const bf16* p, Index n) {
  return n >= 16 ? load(p) : from_halves(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
#if DIT_NATIVE_BF16
DIT_INLINE __m256i halves(Vec<float> a) { return (__m256i)_mm512_maskz_cvtneps_pbh(every, a.all); }
DIT_INLINE Vec<float> join(Vec<float> a, Vec<float> b) {
  return from_bits((__m512i)_mm512_maskz_cvtne2ps_pbh(~__mmask32{}, b.all, a.all));
}
DIT_INLINE __m512i rounded(Vec<float> a) { return _mm512_maskz_cvtepu16_epi32(every, halves(a)); }
#else
/// To nearest, ties to even, in the lower halves; a NaN stays one.
DIT_INLINE __m512i rounded(Vec<float> a) {
  const __m512i x = bits(a), odd = _mm512_and_si512(_mm512_maskz_srli_epi32(every, x, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(x, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.all, a.all, _CMP_UNORD_Q);
  return _mm512_maskz_srli_epi32(every, _mm512_mask_or_epi32(up, nan, x, _mm512_set1_epi32(0x400000)), 16);
}
DIT_INLINE __m256i halves(Vec<float> a) { return _mm512_maskz_cvtepi32_epi16(every, rounded(a)); }
/// 32 numbers in a row, as words.
DIT_INLINE Vec<float> join(Vec<float> a, Vec<float> b) {
  const __m512i low = _mm512_maskz_broadcast_i64x4(0x0f, halves(a));
  return from_bits(_mm512_maskz_inserti64x4(0xff, low, halves(b), 1));
}
#endif
DIT_INLINE void store(bf16* p, Vec<float> v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves(v)); }
DIT_INLINE void store(bf16* p, Vec<float> v, Index n) {
  if (n >= 16) return store(p, v);
  _mm256_mask_storeu_epi16(p, first_lanes(n), halves(v));
}
/// Word i is (a_i, b_i).
DIT_INLINE Vec<float> interleave(Vec<float> a, Vec<float> b) {
  return from_bits(_mm512_or_si512(rounded(a), _mm512_maskz_slli_epi32(every, rounded(b), 16)));
}
DIT_INLINE Vec<float> load_words(const void* p) { return {_mm512_loadu_ps(p)}; }

// int8: four to a word.
DIT_INLINE __m128i narrow_part(Vec<float> a) {
  return _mm512_maskz_cvtsepi32_epi8(every, _mm512_maskz_cvtps_epi32(every, a.all));
}
/// 64 numbers in a row, to nearest, as words.
DIT_INLINE Vec<float> narrow(Vec<float> a, Vec<float> b, Vec<float> c, Vec<float> d) {
  __m512i all = _mm512_maskz_broadcast_i32x4(0x000f, narrow_part(a));
  all = _mm512_maskz_inserti32x4(every, all, narrow_part(b), 1);
  all = _mm512_maskz_inserti32x4(every, all, narrow_part(c), 2);
  return from_bits(_mm512_maskz_inserti32x4(every, all, narrow_part(d), 3));
}
/// Every byte 128 larger.
DIT_INLINE Vec<float> lift(Vec<float> words) {
  return from_bits(_mm512_xor_si512(bits(words), _mm512_set1_epi32(static_cast<int>(0x80808080u))));
}
/// max(a, |b|), or NaN.
DIT_INLINE Vec<float> larger(Vec<float> a, Vec<float> b) {
  const __m512i size = _mm512_and_si512(bits(b), _mm512_set1_epi32(0x7fffffff));
  return from_bits(_mm512_maskz_max_epi32(every, bits(a), size));
}

template <class T>
using Operand = Vec<std::conditional_t<std::is_same_v<T, int8>, std::int32_t, float>>;
template <class T>
inline constexpr std::int32_t offset = std::is_same_v<T, int8> ? 128 : 0;
DIT_INLINE __m512i spread_word(const void* p) {
  int word;
  __builtin_memcpy(&word, p, 4);
  return _mm512_set1_epi32(word);
}

template <int part>
DIT_INLINE Vec<float> load_operand(const float* p) {
  return load(p);
}
template <int part>
DIT_INLINE Vec<float> spread_operand(const float* p) {
  return broadcast(*p);
}
