#pragma once
/// The kernels in plain C++, for float and double: the reference, and what runs where nothing faster is known.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "dit/kernels/table.hpp"

#if defined(__GNUC__)
#define DIT_TARGET __attribute__((no_sanitize("undefined")))
#else
#define DIT_TARGET
#endif
#include "dit/kernels/inline.inl"

namespace dit { inline namespace DIT_ABI { namespace portable {

/// Sixteen numbers, in parts that every machine has registers for.
template <class T>
struct Vec {
#if defined(__GNUC__)
  typedef T Part __attribute__((vector_size(16)));
#else
  using Part = T;
#endif
  static constexpr int parts = static_cast<int>(16 * sizeof(T) / sizeof(Part));
  Part part[static_cast<std::size_t>(parts)];
};

inline constexpr int tile_strips = 1;  ///< that the micro-kernel treats at a time

/// Rows of a panel: as many as sixteen 16-byte registers take, or thirty-two.
#if defined(__aarch64__)
template <class T>
inline constexpr int panel_rows = sizeof(T) == 4 ? 6 : 3;
#else
template <class T>
inline constexpr int panel_rows = sizeof(T) == 4 ? 2 : 1;
#endif

template <class T>
DIT_INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
DIT_INLINE void store(T* p, const Vec<T>& v) {
  std::memcpy(p, &v, sizeof v);
}
/// The first n numbers, n <= 16, and zeros.
template <class T>
DIT_INLINE Vec<T> load(const T* p, Index n) {
  T lanes[16] = {};
  for (Index i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
template <class T>
DIT_INLINE void store(T* p, const Vec<T>& v, Index n) {
  T lanes[16];
  store(lanes, v);
  for (Index i = 0; i < n; ++i) p[i] = lanes[i];
}
template <class T>
DIT_INLINE Vec<T> broadcast(T x) {
  Vec<T> v;
  DIT_UNROLL for (int i = 0; i < Vec<T>::parts; ++i) v.part[i] = typename Vec<T>::Part{} + x;
  return v;
}
template <class T>
DIT_INLINE Vec<T> operator+(Vec<T> a, const Vec<T>& b) {
  DIT_UNROLL for (int i = 0; i < Vec<T>::parts; ++i) a.part[i] = a.part[i] + b.part[i];
  return a;
}
template <class T>
DIT_INLINE Vec<T> operator-(Vec<T> a, const Vec<T>& b) {
  DIT_UNROLL for (int i = 0; i < Vec<T>::parts; ++i) a.part[i] = a.part[i] - b.part[i];
  return a;
}
template <class T>
DIT_INLINE Vec<T> operator*(Vec<T> a, const Vec<T>& b) {
  DIT_UNROLL for (int i = 0; i < Vec<T>::parts; ++i) a.part[i] = a.part[i] * b.part[i];
  return a;
}
template <class T>
DIT_INLINE Vec<T> operator/(Vec<T> a, const Vec<T>& b) {
  DIT_UNROLL for (int i = 0; i < Vec<T>::parts; ++i) a.part[i] = a.part[i] / b.part[i];
  return a;
}
/// a > b ? a : b, so b where either is NaN.
template <class T>
DIT_INLINE Vec<T> max(Vec<T> a, const Vec<T>& b) {
  DIT_UNROLL for (int i = 0; i < Vec<T>::parts; ++i) a.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
  return a;
}
/// a < b ? a : b, so b where either is NaN.
template <class T>
DIT_INLINE Vec<T> min(Vec<T> a, const Vec<T>& b) {
  DIT_UNROLL for (int i = 0; i < Vec<T>::parts; ++i) a.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
  return a;
}
/// x < y ? a : b
template <class T>
DIT_INLINE Vec<T> if_less(const Vec<T>& x, const Vec<T>& y, const Vec<T>& a, Vec<T> b) {
  DIT_UNROLL for (int i = 0; i < Vec<T>::parts; ++i) b.part[i] = x.part[i] < y.part[i] ? a.part[i] : b.part[i];
  return b;
}

/// f of every number.
template <class T, class F>
DIT_INLINE Vec<T> each(const Vec<T>& a, F f) {
  T x[16];
  store(x, a);
  for (T& value : x) value = f(value);
  return load(x);
}

DIT_INLINE Vec<std::int32_t> multiply_add(const Vec<std::int32_t>& a, const Vec<std::int32_t>& b,
                                          Vec<std::int32_t> c) {
  DIT_UNROLL for (int i = 0; i < Vec<std::int32_t>::parts; ++i) c.part[i] = a.part[i] * b.part[i] + c.part[i];
  return c;
}
/// a * b + c, rounded once where the machine can do that, else twice; the same everywhere in the program.
template <class T>
DIT_INLINE Vec<T> multiply_add(const Vec<T>& a, const Vec<T>& b, Vec<T> c) {
#if defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)
  T x[16], y[16], z[16];
  store(x, a), store(y, b), store(z, c);
  for (int i = 0; i < 16; ++i) z[i] = std::fma(x[i], y[i], z[i]);
  return load(z);
#else
  DIT_UNROLL for (int i = 0; i < Vec<T>::parts; ++i) c.part[i] = a.part[i] * b.part[i] + c.part[i];
  return c;
#endif
}
/// a * b + c, rounded once, whatever it costs.
template <class T>
DIT_INLINE Vec<T> fused(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
  T x[16], y[16], z[16];
  store(x, a), store(y, b), store(z, c);
  for (int i = 0; i < 16; ++i) z[i] = std::fma(x[i], y[i], z[i]);
  return load(z);
}
template <class T>
DIT_INLINE Vec<T> root(const Vec<T>& a) {
  return each(a, [](T x) { return std::sqrt(x); });
}
DIT_INLINE Vec<float> round(const Vec<float>& a) {
  return each(a, [](float x) { return std::rint(x); });
}
/// p * 2^n for whole n in [-252, 254]; NaN if either is.
DIT_INLINE Vec<float> times_power(const Vec<float>& p, const Vec<float>& n) {
  const auto power = [](int e) {
    const std::int32_t bits = (e + 127) << 23;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
  };
  float x[16], e[16];
  store(x, p), store(e, n);
  for (int i = 0; i < 16; ++i) {
    const int whole = e[i] == e[i] ? static_cast<int>(e[i]) : 0;
    x[i] = x[i] * power(whole / 2) * power(whole - whole / 2);
  }
  return load(x);
}
/// Neighbours change places: 1, 0, 3, 2, ...
template <class T>
DIT_INLINE Vec<T> swap_pairs(const Vec<T>& a) {
  T x[16], y[16];
  store(x, a);
  for (int i = 0; i < 16; ++i) y[i] = x[i ^ 1];
  return load(y);
}
/// Row i, lane j becomes row j, lane i.
template <class T>
DIT_INLINE void transpose(Vec<T> (&v)[16]) {
  T from[16][16], to[16][16];
  std::memcpy(from, v, sizeof from);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) to[j][i] = from[i][j];
  }
  std::memcpy(v, to, sizeof to);
}

// Double is the reference: the standard library's functions, one number at a time.
DIT_INLINE Vec<double> exp(const Vec<double>& a) {
  return each(a, [](double x) { return std::exp(x); });
}
DIT_INLINE Vec<double> exp2(const Vec<double>& a) {
  return each(a, [](double x) { return std::exp2(x); });
}
/// x / (1 + e^-y) for y of x's sign, without overflow.
inline double times_sigmoid(double x, double y) {
  const double z = std::exp(-std::abs(y));
  return (y < 0 ? (x < -1000 ? -1000 : x) * z : x) / (1 + z);
}
DIT_INLINE Vec<double> silu(const Vec<double>& a) {
  return each(a, [](double x) { return times_sigmoid(x, x); });
}
DIT_INLINE Vec<double> gelu_tanh(const Vec<double>& a) {
  return each(a, [](double x) { return times_sigmoid(x, 1.5957691216057308 * (x + 0.044715 * x * x * x)); });
}
DIT_INLINE Vec<double> gelu_erf(const Vec<double>& a) {
  return each(a, [](double x) { return 0.5 * (x < -1000 ? -1000 : x) * std::erfc(-0.70710678118654752 * x); });
}

DIT_INLINE Vec<float> to_float(const Vec<std::int32_t>& a) {
  std::int32_t x[16];
  float y[16];
  store(x, a);
  for (int i = 0; i < 16; ++i) y[i] = static_cast<float>(x[i]);
  return load(y);
}

// bf16: the upper halves of floats. Words of several numbers are moved as floats.
DIT_INLINE Vec<float> load(const bf16* p, Index n) {
  std::uint16_t half[16] = {};
  std::memcpy(half, static_cast<const void*>(p), static_cast<std::size_t>(n) * sizeof(bf16));
  float x[16];
  for (int i = 0; i < 16; ++i) x[i] = detail::decode<bf16>(half[i]);
  return load(x);
}
DIT_INLINE Vec<float> load(const bf16* p) { return load(p, 16); }
/// To nearest, ties to even; a NaN stays one.
DIT_INLINE void round_all(const Vec<float>& v, std::uint16_t* half, int step) {
  float x[16];
  store(x, v);
  for (int i = 0; i < 16; ++i) half[i * step] = detail::encode<bf16>(x[i]);
}
DIT_INLINE void store(bf16* p, const Vec<float>& v, Index n) {
  std::uint16_t half[16];
  round_all(v, half, 1);
  std::memcpy(static_cast<void*>(p), half, static_cast<std::size_t>(n) * sizeof(bf16));
}
DIT_INLINE void store(bf16* p, const Vec<float>& v) { store(p, v, 16); }
DIT_INLINE Vec<float> load_words(const void* p) {
  Vec<float> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
/// 32 numbers in a row, as words.
DIT_INLINE Vec<float> join(const Vec<float>& a, const Vec<float>& b) {
  std::uint16_t half[32];
  round_all(a, half, 1);
  round_all(b, half + 16, 1);
  return load_words(half);
}
/// Word i is (a_i, b_i).
DIT_INLINE Vec<float> interleave(const Vec<float>& a, const Vec<float>& b) {
  std::uint16_t half[32];
  round_all(a, half, 2);
  round_all(b, half + 1, 2);
  return load_words(half);
}

// int8: four to a word.
/// 64 numbers in a row, to nearest, as words. What is no number becomes 0.
DIT_INLINE Vec<float> narrow(const Vec<float>& a, const Vec<float>& b, const Vec<float>& c, const Vec<float>& d) {
  float x[64];
  store(x, a), store(x + 16, b), store(x + 32, c), store(x + 48, d);
  int8 bytes[64];
  for (int i = 0; i < 64; ++i) bytes[i] = static_cast<int8>(std::abs(x[i]) <= 127.5F ? std::rint(x[i]) : 0.F);
  return load_words(bytes);
}
DIT_INLINE Vec<float> lift(const Vec<float>& words) { return words; }
/// max(a, |b|), or NaN.
DIT_INLINE Vec<float> larger(const Vec<float>& a, const Vec<float>& b) {
  float x[16], y[16];
  store(x, a), store(y, b);
  for (int i = 0; i < 16; ++i) x[i] = std::abs(y[i]) <= x[i] || x[i] != x[i] ? x[i] : std::abs(y[i]);
  return load(x);
}

DIT_INLINE float widened(const bf16* p) {
  std::uint16_t half;
  std::memcpy(&half, static_cast<const void*>(p), sizeof half);
  return detail::decode<bf16>(half);
}
DIT_INLINE std::int32_t widened(const int8* p) { return *p; }
template <class T>
DIT_INLINE T widened(const T* p) {
  return *p;
}

template <class T>
inline constexpr std::int32_t offset = 0;

// Real numbers are one part; those of a word of bf16 or int8 take turns.
template <class T>
inline constexpr int parts = static_cast<int>(word_size<T>);
template <class T>
using Operand = Vec<accumulator<T>>;
template <int part, class T>
DIT_INLINE Operand<T> load_operand(const T* p) {
  if constexpr (word_size<T> == 1) {
    return load(p);
  } else {
    accumulator<T> x[16];
    for (int i = 0; i < 16; ++i) x[i] = widened(p + i * word_size<T> + part);
    return load(x);
  }
}
template <int part, class T>
DIT_INLINE Operand<T> spread_operand(const T* p) {
  return broadcast(widened(p + part));
}
template <class T>
DIT_INLINE Operand<T> dot(const Operand<T>& a, const Operand<T>& b, const Operand<T>& sum) {
  return multiply_add(a, b, sum);
}

#include "dit/kernels/body_step.inl"

#include "dit/kernels/body.inl"

template <class T>
inline constexpr Products<T> products = make_products<T>("portable");

}}}  // namespace dit::portable

#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
