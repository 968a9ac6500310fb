// Sixteen numbers in four registers of NEON, for a simd_neon*.hpp to include in its namespace.

/// What lies at p, whatever it is; alignment and type are the caller's business.
template <class V>
DIT_INLINE V read(const void* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class V>
DIT_INLINE void write(void* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}

template <class T>
struct Vec;
/// Sixteen floats.
template <>
struct Vec<float> {
  float32x4_t part[4];
};
/// Sixteen integers.
template <>
struct Vec<std::int32_t> {
  int32x4_t part[4];
};
/// A quarter of them.
template <class R>
using Part = std::remove_reference_t<decltype(Vec<R>::part[0])>;

inline constexpr int tile_strips = 1;  ///< that the micro-kernel treats at a time

/// Part by part: g++ 12 keeps a Vec that is copied as a whole in memory.
template <class R>
DIT_INLINE Vec<R> read_all(const void* p) {
  Vec<R> v;
  DIT_UNROLL for (int i = 0; i < 4; ++i) v.part[i] = read<Part<R>>(static_cast<const R*>(p) + 4 * i);
  return v;
}
template <class R>
DIT_INLINE void write_all(R* p, const Vec<R>& v) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) write(p + 4 * i, v.part[i]);
}
DIT_INLINE Vec<float> load(const float* p) { return read_all<float>(p); }
DIT_INLINE void store(float* p, const Vec<float>& v) { write_all(p, v); }
DIT_INLINE Vec<std::int32_t> load(const std::int32_t* p) { return read_all<std::int32_t>(p); }
DIT_INLINE void store(std::int32_t* p, const Vec<std::int32_t>& v) { write_all(p, v); }
/// The first n numbers, n <= 16, and zeros.
DIT_INLINE Vec<float> load(const float* p, Index n) {
  if (n >= 16) return load(p);
  float some[16] = {};
  if (n > 0) __builtin_memcpy(some, p, static_cast<std::size_t>(n) * sizeof(float));
  return load(some);
}
DIT_INLINE void store(float* p, Vec<float> v, Index n) {
  if (n >= 16) return store(p, v);
  float32x4_t next = v.part[0], after = v.part[1];
  if (n & 8) {
    write(p, next);
    write(p + 4, after);
    next = v.part[2];
    after = v.part[3];
    p += 8;
  }
  if (n & 4) {
    write(p, next);
    next = after;
    p += 4;
  }
  float32x2_t rest = vget_low_f32(next);
  if (n & 2) {
    write(p, rest);
    rest = vget_high_f32(next);
    p += 2;
  }
  if (n & 1) write(p, vget_lane_f32(rest, 0));
}
DIT_INLINE Vec<float> broadcast(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {{v, v, v, v}};
}
DIT_INLINE Vec<std::int32_t> broadcast(std::int32_t x) {
  const int32x4_t v = vdupq_n_s32(x);
  return {{v, v, v, v}};
}
DIT_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) a.part[i] = vaddq_f32(a.part[i], b.part[i]);
  return a;
}
DIT_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) a.part[i] = vsubq_f32(a.part[i], b.part[i]);
  return a;
}
DIT_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) a.part[i] = vmulq_f32(a.part[i], b.part[i]);
  return a;
}
DIT_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) a.part[i] = vdivq_f32(a.part[i], b.part[i]);
  return a;
}
DIT_INLINE Vec<std::int32_t> operator+(Vec<std::int32_t> a, Vec<std::int32_t> b) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) a.part[i] = vaddq_s32(a.part[i], b.part[i]);
  return a;
}
/// x < y ? a : b
DIT_INLINE Vec<float> if_less(Vec<float> x, Vec<float> y, Vec<float> a, Vec<float> b) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) {
    b.part[i] = vbslq_f32(vcltq_f32(x.part[i], y.part[i]), a.part[i], b.part[i]);
  }
  return b;
}
/// a > b ? a : b, so b where either is NaN.
DIT_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return if_less(b, a, a, b); }
/// a < b ? a : b, so b where either is NaN.
DIT_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return if_less(a, b, a, b); }
/// a * b + c, rounded once.
DIT_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) c.part[i] = vfmaq_f32(c.part[i], a.part[i], b.part[i]);
  return c;
}
DIT_INLINE Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) { return multiply_add(a, b, c); }
DIT_INLINE Vec<float> root(Vec<float> a) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) a.part[i] = vsqrtq_f32(a.part[i]);
  return a;
}
DIT_INLINE Vec<float> round(Vec<float> a) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) a.part[i] = vrndnq_f32(a.part[i]);
  return a;
}
/// 2^n for whole n in [-126, 127].
DIT_INLINE float32x4_t power(int32x4_t n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}
/// p * 2^n for whole n in [-252, 254], in two factors since 2^128 and 2^-127 are none; NaN if p is.
DIT_INLINE Vec<float> times_power(Vec<float> p, Vec<float> n) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) {
    const int32x4_t whole = vcvtq_s32_f32(n.part[i]), half = vshrq_n_s32(whole, 1);
    p.part[i] = vmulq_f32(vmulq_f32(p.part[i], power(half)), power(vsubq_s32(whole, half)));
  }
  return p;
}
/// Neighbours change places: 1, 0, 3, 2, ...
DIT_INLINE Vec<float> swap_pairs(Vec<float> a) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) a.part[i] = vrev64q_f32(a.part[i]);
  return a;
}

/// (a_0, a_1, b_0, b_1) and (a_2, a_3, b_2, b_3).
DIT_INLINE float32x4_t low_halves(float32x4_t a, float32x4_t b) {
  return vcombine_f32(vget_low_f32(a), vget_low_f32(b));
}
DIT_INLINE float32x4_t high_halves(float32x4_t a, float32x4_t b) {
  return vcombine_f32(vget_high_f32(a), vget_high_f32(b));
}
DIT_INLINE int32x4_t low_halves(int32x4_t a, int32x4_t b) { return vcombine_s32(vget_low_s32(a), vget_low_s32(b)); }
DIT_INLINE int32x4_t high_halves(int32x4_t a, int32x4_t b) {
  return vcombine_s32(vget_high_s32(a), vget_high_s32(b));
}
/// Row i, lane j becomes row j, lane i: blocks of 4 x 4, each to its place.
DIT_INLINE void transpose(Vec<float> (&v)[16]) {
  Vec<float> to[16];
  DIT_UNROLL for (int row = 0; row < 4; ++row) {
    DIT_UNROLL for (int column = 0; column < 4; ++column) {
      const float32x4_t a = v[4 * row].part[column], b = v[4 * row + 1].part[column];
      const float32x4_t c = v[4 * row + 2].part[column], d = v[4 * row + 3].part[column];
      const float32x4_t ab_even = vtrn1q_f32(a, b), ab_odd = vtrn2q_f32(a, b);
      const float32x4_t cd_even = vtrn1q_f32(c, d), cd_odd = vtrn2q_f32(c, d);
      to[4 * column].part[row] = low_halves(ab_even, cd_even);
      to[4 * column + 1].part[row] = low_halves(ab_odd, cd_odd);
      to[4 * column + 2].part[row] = high_halves(ab_even, cd_even);
      to[4 * column + 3].part[row] = high_halves(ab_odd, cd_odd);
    }
  }
  DIT_UNROLL for (int i = 0; i < 16; ++i) v[i] = to[i];
}

DIT_INLINE Vec<float> to_float(Vec<std::int32_t> a) {
  Vec<float> v;
  DIT_UNROLL for (int i = 0; i < 4; ++i) v.part[i] = vcvtq_f32_s32(a.part[i]);
  return v;
}

// bf16: the upper halves of floats.
DIT_INLINE float32x4_t from_halves(uint16x4_t a) { return vreinterpretq_f32_u32(vshll_n_u16(a, 16)); }
DIT_INLINE Vec<float> load(const bf16* p) {
  const auto low = read<uint16x8_t>(p), high = read<uint16x8_t>(p + 8);
  return {{from_halves(vget_low_u16(low)), from_halves(vget_high_u16(low)), from_halves(vget_low_u16(high)),
           from_halves(vget_high_u16(high))}};
}
DIT_INLINE Vec<float> load(const bf16* p, Index n) {
  if (n >= 16) return load(p);
  bf16 some[16];
  __builtin_memset(static_cast<void*>(some), 0, sizeof some);
  if (n > 0) __builtin_memcpy(static_cast<void*>(some), p, static_cast<std::size_t>(n) * sizeof(bf16));
  return load(some);
}
/// To nearest, ties to even; a NaN stays one.
DIT_INLINE uint16x4_t rounded(float32x4_t a) {
  const uint32x4_t x = vreinterpretq_u32_f32(a), odd = vandq_u32(vshrq_n_u32(x, 16), vdupq_n_u32(1));
  const uint32x4_t up = vaddq_u32(x, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(x, vdupq_n_u32(0x400000));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(a, a), up, quiet), 16);
}
DIT_INLINE uint16x8_t rounded(float32x4_t a, float32x4_t b) { return vcombine_u16(rounded(a), rounded(b)); }
DIT_INLINE void store(bf16* p, Vec<float> v) {
  write(p, rounded(v.part[0], v.part[1]));
  write(p + 8, rounded(v.part[2], v.part[3]));
}
DIT_INLINE void store(bf16* p, Vec<float> v, Index n) {
  if (n >= 16) return store(p, v);
  bf16 some[16];
  store(some, v);
  __builtin_memcpy(static_cast<void*>(p), some, static_cast<std::size_t>(n) * sizeof(bf16));
}
/// 32 numbers in a row, as words.
DIT_INLINE Vec<float> join(Vec<float> a, Vec<float> b) {
  return {
      {vreinterpretq_f32_u16(rounded(a.part[0], a.part[1])), vreinterpretq_f32_u16(rounded(a.part[2], a.part[3])),
       vreinterpretq_f32_u16(rounded(b.part[0], b.part[1])), vreinterpretq_f32_u16(rounded(b.part[2], b.part[3]))}};
}
/// Word i is (a_i, b_i).
DIT_INLINE Vec<float> interleave(Vec<float> a, Vec<float> b) {
  Vec<float> v;
  DIT_UNROLL for (int i = 0; i < 4; ++i) {
    const uint16x4_t even = rounded(a.part[i]), odd = rounded(b.part[i]);
    v.part[i] = vreinterpretq_f32_u16(vcombine_u16(vzip1_u16(even, odd), vzip2_u16(even, odd)));
  }
  return v;
}
DIT_INLINE Vec<float> load_words(const void* p) { return read_all<float>(p); }

// int8: four to a word.
/// To nearest; NaN to 0.
DIT_INLINE float32x4_t narrow_part(Vec<float> a) {
  const int16x8_t low = vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(a.part[0])), vqmovn_s32(vcvtnq_s32_f32(a.part[1])));
  const int16x8_t high = vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(a.part[2])), vqmovn_s32(vcvtnq_s32_f32(a.part[3])));
  return vreinterpretq_f32_s8(vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
}
/// 64 numbers in a row, as words.
DIT_INLINE Vec<float> narrow(Vec<float> a, Vec<float> b, Vec<float> c, Vec<float> d) {
  return {{narrow_part(a), narrow_part(b), narrow_part(c), narrow_part(d)}};
}
DIT_INLINE Vec<float> lift(Vec<float> words) { return words; }
/// max(a, |b|), or NaN.
DIT_INLINE Vec<float> larger(Vec<float> a, Vec<float> b) {
  DIT_UNROLL for (int i = 0; i < 4; ++i) {
    const int32x4_t size = vreinterpretq_s32_f32(vabsq_f32(b.part[i]));
    a.part[i] = vreinterpretq_f32_s32(vmaxq_s32(vreinterpretq_s32_f32(a.part[i]), size));
  }
  return a;
}

template <class T>
inline constexpr std::int32_t offset = 0;
/// A word of bf16 comes in two parts: the numbers of even k, then those of odd k, as floats.
template <class T>
inline constexpr int parts = std::is_same_v<T, bf16> ? 2 : 1;
template <int part, class T>
DIT_INLINE Part<accumulator<T>> part_of(int32x4_t words) {
  if constexpr (std::is_same_v<T, int8>) {
    return words;
  } else if constexpr (std::is_same_v<T, float>) {
    return vreinterpretq_f32_s32(words);
  } else if constexpr (part == 0) {
    return vreinterpretq_f32_s32(vshlq_n_s32(words, 16));
  } else {
    return vreinterpretq_f32_s32(vandq_s32(words, vdupq_n_s32(static_cast<int>(0xffff0000u))));
  }
}
/// sum + a[lane] b, for a lane that is constant once loops are unrolled; a register that holds copies of a is
/// spared.
DIT_INLINE float32x4_t dot(float32x4_t a, int lane, float32x4_t b, float32x4_t sum) {
  switch (lane) {
    case 0:
      return vfmaq_laneq_f32(sum, b, a, 0);
    case 1:
      return vfmaq_laneq_f32(sum, b, a, 1);
    case 2:
      return vfmaq_laneq_f32(sum, b, a, 2);
    default:
      return vfmaq_laneq_f32(sum, b, a, 3);
  }
}

/// The words of n rows of a panel, four to a register.
template <int n, class T>
DIT_INLINE void load_rows(const T* panel, int32x4_t (&row)[(n + 3) / 4]) {
  constexpr int left = n % 4;
  const T* const rest = panel + (n - left) * word_size<T>;
  DIT_UNROLL for (int i = 0; i < n / 4; ++i) row[i] = read<int32x4_t>(panel + 4 * i * word_size<T>);
  if constexpr (left == 1) row[n / 4] = vdupq_n_s32(read<std::int32_t>(rest));
  if constexpr (left >= 2) row[n / 4] = vcombine_s32(read<int32x2_t>(rest), vdup_n_s32(0));
  if constexpr (left == 3) row[n / 4] = vsetq_lane_s32(read<std::int32_t>(rest + 2 * word_size<T>), row[n / 4], 2);
}
