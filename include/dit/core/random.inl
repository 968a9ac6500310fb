#pragma once

#include <bit>
#include <cmath>
#include <numbers>

#include "dit/core/random.hpp"

namespace dit { inline namespace DIT_ABI {

DIT_ONCE double TorchGenerator::normal() {
  if (second_) {
    const double sample = *second_;
    second_.reset();
    return sample + 0.0;  // never -0
  }
  const double u1 = uniform<double>(), u2 = uniform<double>();
  const double radius = std::sqrt(-2.0 * std::log1p(-u2));
  const double angle = 2.0 * std::numbers::pi * u1;
  second_ = radius * std::sin(angle);
  return radius * std::cos(angle) + 0.0;
}
namespace detail {

/// The logarithm, sine and cosine of Cephes (S. L. Moshier, single precision) with each multiply-add rounded once:
/// what PyTorch's AVX2 code computes, here in portable C++. Nothing below may be reordered. Where a product stands
/// beside a sum outside of std::fma it is exact, so a compiler that contracts it changes nothing.

/// log(x) for a normal x in (0, 1].
DIT_ONCE float cephes_log(float x) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  auto exponent = static_cast<float>(static_cast<int>(bits >> 23) - 126);
  float f = std::bit_cast<float>((bits & 0x007fffffU) | 0x3f000000U);  // x = f 2^exponent, f in [1/2, 1)
  if (f < 0.707106781186547524F) {
    exponent -= 1.0F;
    f += f;
  }
  f -= 1.0F;
  const float square = f * f;
  float y = 7.0376836292e-2F;
  for (const float c : {-1.1514610310e-1F, 1.1676998740e-1F, -1.2420140846e-1F, 1.4249322787e-1F, -1.6668057665e-1F,
                        2.0000714765e-1F, -2.4999993993e-1F, 3.3333331174e-1F}) {
    y = std::fma(y, f, c);
  }
  y *= f;
  const float low = exponent * -2.12194440e-4F;  // log 2 in two parts
  y = std::fma(y, square, low);
  y -= 0.5F * square;
  return std::fma(exponent, 0.693359375F, f + y);
}

/// Sine and cosine of x in [0, 2 pi].
DIT_ONCE SinCos cephes_sincos(float x) noexcept {
  const int octant = (static_cast<int>(x * 1.27323954473516F) + 1) & ~1;  // x = octant pi/4 + r, |r| <= pi/4
  const auto n = static_cast<float>(octant);
  float r = std::fma(n, -0.78515625F, x);  // pi/4 in three parts
  r = std::fma(n, -2.4187564849853515625e-4F, r);
  r = std::fma(n, -3.77489497744594108e-8F, r);

  const float square = r * r;
  float c = std::fma(2.443315711809948e-5F, square, -1.388731625493765e-3F);
  c = std::fma(c, square, 4.166664568298827e-2F);
  c *= square;
  c = std::fma(c, square, -0.5F * square);
  c += 1.0F;
  float s = std::fma(-1.9515295891e-4F, square, 8.3321608736e-3F);
  s = std::fma(s, square, -1.6666654611e-1F);
  s *= square;
  s = std::fma(s, r, r);

  switch (octant & 7) {
    case 0:
      return {s, c};
    case 2:
      return {c, -s};
    case 4:
      return {-s, -c};
    default:
      return {-c, s};
  }
}

/// 16 uniform numbers become 16 normal ones: pairs (i, i + 8).
DIT_ONCE void box_muller(float* x) noexcept {
  constexpr auto two_pi = static_cast<float>(2.0 * std::numbers::pi);
  for (int i = 0; i < 8; ++i) {
    const float radius = std::sqrt(-2.0F * cephes_log(1.0F - x[i]));
    const SinCos angle = cephes_sincos(two_pi * x[i + 8]);
    x[i] = radius * angle.cos + 0.0F;  // never -0
    x[i + 8] = radius * angle.sin + 0.0F;
  }
}

DIT_ONCE void box_muller(double* x) noexcept {
  for (int i = 0; i < 8; ++i) {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - x[i]));
    const double angle = 2.0 * std::numbers::pi * x[i + 8];
    x[i] = radius * std::cos(angle) + 0.0;
    x[i + 8] = radius * std::sin(angle) + 0.0;
  }
}

template <class T>
void fill_randn(T* x, Index n, TorchGenerator& generator) {
  if (n < 16) {
    for (Index i = 0; i < n; ++i) x[i] = static_cast<T>(generator.normal());
    return;
  }
  for (Index i = 0; i < n; ++i) x[i] = generator.uniform<T>();
  for (Index i = 0; i + 16 <= n; i += 16) box_muller(x + i);
  if (n % 16 != 0) {  // the last 16 once more, with new numbers
    for (Index i = n - 16; i < n; ++i) x[i] = generator.uniform<T>();
    box_muller(x + n - 16);
  }
}

DIT_ONCE void randn(float* x, Index n, TorchGenerator& generator) { fill_randn(x, n, generator); }
DIT_ONCE void randn(double* x, Index n, TorchGenerator& generator) { fill_randn(x, n, generator); }

}  // namespace detail

}}  // namespace dit
