// Sixteen numbers in two registers of AVX2, for a simd_avx*.hpp to include in its namespace.

template <class T>
struct Vec;
/// Sixteen floats.
template <>
struct Vec<float> {
  __m256 low, high;
};
/// Sixteen integers.
template <>
struct Vec<std::int32_t> {
  __m256i low, high;
};

inline constexpr int tile_strips = 1;  ///< that the micro-kernel treats at a time
/// 6 rows x 1 strip are 12 sums; with 2 vectors of weights and a broadcast activation that makes 15 of 16
/// registers.
template <class T>
inline constexpr int panel_rows = parts<T> > 1 ? 5 : 6;

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

DIT_INLINE Vec<std::int32_t> load(const std::int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
DIT_INLINE void store(std::int32_t* p, Vec<std::int32_t> v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v.low);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), v.high);
}
DIT_INLINE Vec<std::int32_t> broadcast(std::int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
DIT_INLINE Vec<std::int32_t> operator+(Vec<std::int32_t> a, Vec<std::int32_t> b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
DIT_INLINE Vec<float> to_float(Vec<std::int32_t> a) {
  return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}
DIT_INLINE Vec<float> from_bits(__m256i low, __m256i high) {
  return {_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)};
}

// bf16: the upper halves of floats.
DIT_INLINE Vec<float> load(const bf16* p) {
  const auto* from = reinterpret_cast<const __m128i*>(p);
  return from_bits(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(from)), 16),
                   _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(from + 1)), 16));
}
DIT_INLINE Vec<float> load(const bf16* p, Index n) {
  if (n >= 16) return load(p);
  bf16 some[16];
  __builtin_memset(static_cast<void*>(some), 0, sizeof some);
  __builtin_memcpy(static_cast<void*>(some), p, static_cast<std::size_t>(n) * sizeof(bf16));
  return load(some);
}
/// To nearest, ties to even, in the lower halves; a NaN stays one.
DIT_INLINE __m256i rounded(__m256 a) {
  const __m256i x = _mm256_castps_si256(a), one = _mm256_set1_epi32(1);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(x, 16), one);
  const __m256i up = _mm256_add_epi32(x, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(x, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
}
/// Sixteen halves in a row.
DIT_INLINE __m256i halves(Vec<float> a) {
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded(a.low), rounded(a.high)), 0xd8);
}
DIT_INLINE void store(bf16* p, Vec<float> v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves(v)); }
DIT_INLINE void store(bf16* p, Vec<float> v, Index n) {
  if (n >= 16) return store(p, v);
  bf16 some[16];
  store(some, v);
  __builtin_memcpy(static_cast<void*>(p), some, static_cast<std::size_t>(n) * sizeof(bf16));
}
/// 32 numbers in a row, as words.
DIT_INLINE Vec<float> join(Vec<float> a, Vec<float> b) { return from_bits(halves(a), halves(b)); }
/// Word i is (a_i, b_i).
DIT_INLINE Vec<float> interleave(Vec<float> a, Vec<float> b) {
  return from_bits(_mm256_or_si256(rounded(a.low), _mm256_slli_epi32(rounded(b.low), 16)),
                   _mm256_or_si256(rounded(a.high), _mm256_slli_epi32(rounded(b.high), 16)));
}
DIT_INLINE Vec<float> load_words(const void* p) {
  const auto* from = static_cast<const __m256i*>(p);
  return from_bits(_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1));
}

// int8: four to a word.
/// Thirty-two numbers in a row, to nearest.
DIT_INLINE __m256i narrow_part(Vec<float> a, Vec<float> b) {
  const __m256i ab = _mm256_packs_epi32(_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high));
  const __m256i cd = _mm256_packs_epi32(_mm256_cvtps_epi32(b.low), _mm256_cvtps_epi32(b.high));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packs work on either half by itself
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd), order);
}
/// 64 numbers in a row, as words.
DIT_INLINE Vec<float> narrow(Vec<float> a, Vec<float> b, Vec<float> c, Vec<float> d) {
  return from_bits(narrow_part(a, b), narrow_part(c, d));
}
/// Every byte 128 larger.
DIT_INLINE Vec<float> lift(Vec<float> words) {
  const __m256 sign = _mm256_castsi256_ps(_mm256_set1_epi8(-128));
  return {_mm256_xor_ps(words.low, sign), _mm256_xor_ps(words.high, sign)};
}
DIT_INLINE __m256 larger(__m256 a, __m256 b) {
  const __m256i size = _mm256_and_si256(_mm256_castps_si256(b), _mm256_set1_epi32(0x7fffffff));
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), size));
}
/// max(a, |b|), or NaN.
DIT_INLINE Vec<float> larger(Vec<float> a, Vec<float> b) { return {larger(a.low, b.low), larger(a.high, b.high)}; }

template <class T>
using Operand = Vec<std::conditional_t<std::is_same_v<T, int8>, std::int32_t, float>>;
template <class T>
inline constexpr std::int32_t offset = std::is_same_v<T, int8> ? 128 : 0;
DIT_INLINE __m256i spread_word(const void* p) {
  int word;
  __builtin_memcpy(&word, p, 4);
  return _mm256_set1_epi32(word);
}

template <int part>
DIT_INLINE Vec<float> load_operand(const float* p) {
  return load(p);
}
template <int part>
DIT_INLINE Vec<float> spread_operand(const float* p) {
  return broadcast(*p);
}
