/// bf16 and f16 as storage: every code and every float, against rounding worked out in double precision.

#include "dit/core/scalar.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "dit/core/thread_pool.hpp"

namespace {

using dit::bf16;
using dit::convert;
using dit::f16;
using dit::Index;

/// A binary format by its numbers of bits alone: what a code is worth.
struct Format {
  int exponent_bits, mantissa_bits;

  std::uint32_t infinity() const { return ((1U << exponent_bits) - 1) << mantissa_bits; }
  /// Of a code without its sign bit; infinity is worth what would come after the largest number, so that half way
  /// to it is where overflow begins.
  double value(std::uint32_t code) const {
    const int exponent = static_cast<int>(code >> mantissa_bits), bias = (1 << (exponent_bits - 1)) - 1;
    const std::uint32_t mantissa = code & ((1U << mantissa_bits) - 1);
    const std::uint32_t hidden = exponent == 0 ? 0 : 1U << mantissa_bits;
    return std::ldexp(hidden + mantissa, std::max(exponent, 1) - bias - mantissa_bits);
  }
};

template <class T>
constexpr Format format{};
template <>
constexpr Format format<bf16>{8, 7};
template <>
constexpr Format format<f16>{5, 10};

template <class T>
std::uint16_t bits(T x) {
  return std::bit_cast<std::uint16_t>(x);
}
template <class To, class From>
To converted(From x) {
  To y;
  convert(&x, &y, 1);
  return y;
}

/// How many of the floats with bits [first, last) do not become `expected`.
template <class T>
class Checker {
 public:
  std::int64_t wrong(std::uint32_t first, std::uint32_t last, std::uint16_t expected) {
    std::int64_t count = 0;
    for (std::uint32_t at = first; at < last;) {
      const auto n = std::min<std::uint32_t>(last - at, block);
      for (std::uint32_t i = 0; i < n; ++i) in_[i] = std::bit_cast<float>(at + i);
      convert(in_.data(), out_.data(), static_cast<Index>(n));
      for (std::uint32_t i = 0; i < n; ++i) count += bits(out_[i]) != expected;
      at += n;
    }
    return count;
  }

 private:
  static constexpr std::uint32_t block = 2048;
  std::vector<float> in_ = std::vector<float>(block);
  std::vector<T> out_ = std::vector<T>(block);
};

template <class T>
class Storage : public testing::Test {};
struct Name {
  template <class T>
  static std::string GetName(int) {
    return std::is_same_v<T, bf16> ? "bf16" : "f16";
  }
};
using Types = testing::Types<bf16, f16>;
TYPED_TEST_SUITE(Storage, Types, Name);

// The floats between two neighbouring codes go to the nearer one, and the one half way to the even one. Their bits
// count up as they do, so the floats are gone through in order, without a gap, up to infinity, and then the NaNs.
TYPED_TEST(Storage, RoundsEveryFloatToTheNearestTiesToEven) {
  constexpr Format f = format<TypeParam>;
  const std::uint32_t tasks = 256, codes = f.infinity();
  std::atomic<std::int64_t> wrong{0}, tested{0};
  dit::ThreadPool().parallel_for(2 * tasks, [&](Index task, int) {
    Checker<TypeParam> checker;
    const std::uint32_t sign = task % 2 == 0 ? 0 : 1, part = static_cast<std::uint32_t>(task / 2);
    const auto check = [&](std::uint32_t first, std::uint32_t last, std::uint32_t code) {
      wrong += checker.wrong(sign << 31 | first, sign << 31 | last, static_cast<std::uint16_t>(sign << 15 | code));
      tested += last - first;
    };
    const auto float_bits = [](double exact) {
      EXPECT_EQ(static_cast<double>(static_cast<float>(exact)), exact);
      return std::bit_cast<std::uint32_t>(static_cast<float>(exact));
    };
    for (std::uint32_t code = codes * part / tasks; code < codes * (part + 1) / tasks; ++code) {
      const double low = f.value(code), high = f.value(code + 1);
      const std::uint32_t half_way = float_bits((low + high) / 2);
      const std::uint32_t end = code + 1 == codes ? 0x7f800000U : float_bits(high);
      check(float_bits(low), half_way, code);
      check(half_way, half_way + 1, code % 2 == 0 ? code : code + 1);
      check(half_way + 1, end, code + 1);
    }
    if (part == 0) {
      check(0x7f800000U, 0x7f800001U, f.infinity());
      check(0x7f800001U, 0x7fffffffU, f.infinity() | 1U << (f.mantissa_bits - 1));
      check(0x7fffffffU, 0x80000000U, f.infinity() | 1U << (f.mantissa_bits - 1));
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(tested, std::int64_t{1} << 32);
}

TYPED_TEST(Storage, GivesEveryCodesValueToFloatAndDouble) {
  constexpr Format f = format<TypeParam>;
  for (std::uint32_t code = 0; code < 0x10000; ++code) {
    const auto x = std::bit_cast<TypeParam>(static_cast<std::uint16_t>(code));
    const bool negative = code >> 15 != 0;
    const std::uint32_t magnitude = code & 0x7fffU;
    const auto as_float = converted<float>(x);
    const auto as_double = converted<double>(x);
    ASSERT_EQ(std::signbit(as_float), negative) << code;
    if (magnitude > f.infinity()) {
      ASSERT_TRUE(std::isnan(as_float) && std::isnan(as_double)) << code;
      continue;
    }
    const double value = magnitude == f.infinity() ? std::numeric_limits<double>::infinity() : f.value(magnitude);
    ASSERT_EQ(as_double, negative ? -value : value) << code;
    ASSERT_EQ(static_cast<double>(as_float), as_double) << code;
    ASSERT_EQ(bits(converted<TypeParam>(as_float)), code);
    ASSERT_EQ(bits(converted<TypeParam>(as_double)), code);
  }
}

TYPED_TEST(Storage, RoundsADoubleOnce) {
  constexpr Format f = format<TypeParam>;
  const double infinity = std::numeric_limits<double>::infinity();
  for (std::uint32_t code = 0; code < f.infinity(); ++code) {
    const double half_way = (f.value(code) + f.value(code + 1)) / 2;
    const std::uint32_t even = code % 2 == 0 ? code : code + 1;
    for (const double sign : {1.0, -1.0}) {
      const std::uint32_t sign_bit = sign < 0 ? 0x8000U : 0U;
      ASSERT_EQ(bits(converted<TypeParam>(sign * half_way)), sign_bit | even) << code;
      ASSERT_EQ(bits(converted<TypeParam>(sign * std::nextafter(half_way, 0))), sign_bit | code) << code;
      ASSERT_EQ(bits(converted<TypeParam>(sign * std::nextafter(half_way, infinity))), sign_bit | (code + 1))
          << code;
    }
  }
  for (const double large : {1e39, 1e300, infinity}) EXPECT_EQ(bits(converted<TypeParam>(large)), f.infinity());
  EXPECT_EQ(bits(converted<TypeParam>(5e-324)), 0);
  EXPECT_EQ(bits(converted<TypeParam>(-5e-324)), 0x8000);
  EXPECT_TRUE(std::isnan(converted<float>(converted<TypeParam>(-std::numeric_limits<double>::quiet_NaN()))));
}

// Elsewhere the library converts single numbers by Eigen's casts.
TYPED_TEST(Storage, AgreesWithEigensCasts) {
  constexpr Format f = format<TypeParam>;
  for (std::uint32_t code = 0; code < 0x10000; ++code) {
    const auto x = std::bit_cast<TypeParam>(static_cast<std::uint16_t>(code));
    if ((code & 0x7fffU) > f.infinity()) {
      ASSERT_TRUE(std::isnan(static_cast<float>(x)));
      ASSERT_TRUE(std::isnan(converted<float>(static_cast<TypeParam>(converted<float>(x)))));
      continue;
    }
    ASSERT_EQ(static_cast<float>(x), converted<float>(x)) << code;
    const auto low = std::bit_cast<std::uint32_t>(converted<float>(x));
    for (const std::uint32_t offset : {0U, 1U, 0xfffU, 0x1000U, 0x1001U, 0x7fffU, 0x8000U, 0x8001U}) {
      const auto y = std::bit_cast<float>(low + offset);
      if (std::isnan(y)) continue;
      ASSERT_EQ(bits(static_cast<TypeParam>(y)), bits(converted<TypeParam>(y))) << y;
    }
  }
}

TYPED_TEST(Storage, ConvertsAnyNumberOfThemAndNoMore) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  for (Index n = 0; n < 70; ++n) {
    std::vector<float> in(static_cast<std::size_t>(n)), back(in.size() + 1, 42.0F);
    for (float& x : in) x = normal(generator);
    std::vector<TypeParam> out(in.size() + 1, static_cast<TypeParam>(42.0F));
    convert(in.data(), out.data(), n);
    convert(out.data(), back.data(), n);
    for (std::size_t i = 0; i < in.size(); ++i) {
      ASSERT_EQ(bits(out[i]), bits(converted<TypeParam>(in[i])));
      ASSERT_EQ(back[i], converted<float>(out[i]));
    }
    ASSERT_EQ(static_cast<float>(out.back()), 42.0F);
    ASSERT_EQ(back.back(), 42.0F);
  }
}

TEST(Convert, BetweenTheTwoGoesThroughFloat) {
  for (std::uint32_t code = 0; code < 0x10000; ++code) {
    const auto half = std::bit_cast<f16>(static_cast<std::uint16_t>(code));
    const auto brain = std::bit_cast<bf16>(static_cast<std::uint16_t>(code));
    ASSERT_EQ(bits(converted<bf16>(half)), bits(converted<bf16>(converted<float>(half))));
    ASSERT_EQ(bits(converted<f16>(brain)), bits(converted<f16>(converted<float>(brain))));
  }
}

TEST(Convert, BetweenEqualTypesCopiesTheBits) {
  std::vector<std::uint32_t> in = {0, 0x80000000U, 0x7f800001U, 0xffc12345U, 0x3f800000U};
  std::vector<float> from, to(in.size());
  for (const std::uint32_t x : in) from.push_back(std::bit_cast<float>(x));
  convert(from.data(), to.data(), 5);
  for (std::size_t i = 0; i < in.size(); ++i) EXPECT_EQ(std::bit_cast<std::uint32_t>(to[i]), in[i]);
}

TEST(Convert, BetweenFloatAndDoubleIsTheCompilersCast) {
  for (const double x : {0.1, -1e300, 1e-320, 3.0}) EXPECT_EQ(converted<float>(x), static_cast<float>(x));
  EXPECT_EQ(converted<double>(0.1F), static_cast<double>(0.1F));
}

}  // namespace
