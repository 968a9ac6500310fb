/// Noise against PyTorch's (tests/golden/noise.py), and on its own.

#include "dit/core/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "support.hpp"

namespace {

using dit::Index;
using dit::randn;
using dit::Shape;
using dit::Tensor;
using dit::TorchGenerator;
using dit::View;
using support::same_bits;

const std::uint64_t seeds[] = {0, 1, 42, (1ULL << 40) + 12345, (1ULL << 63) - 1};
const std::size_t sizes[] = {1, 2, 3, 7, 15, 16, 17, 23, 31, 32, 33, 40, 100, 1003};
const std::size_t chain[] = {5, 20, 16, 3, 33};

template <class T>
std::vector<T> draw(std::size_t n, TorchGenerator& generator) {
  std::vector<T> x(n);
  randn(x, generator);
  return x;
}
template <class T>
std::vector<T> draw(std::size_t n, std::uint64_t seed) {
  TorchGenerator generator(seed);
  return draw<T>(n, generator);
}

/// The road of 16 and more floats is our own arithmetic: every bit. The others take log, sin and cos from the C
/// library, which may differ from the golden machine's by an ulp each.
template <class T>
testing::AssertionResult matches(const std::vector<T>& got, const std::vector<T>& golden) {
  if (std::is_same_v<T, float> && got.size() >= 16) return same_bits(got, golden);
  for (std::size_t i = 0; i < std::max(got.size(), golden.size()); ++i) {
    const T bound = 4 * std::numeric_limits<T>::epsilon() * std::abs(golden.at(i));
    if (!(std::abs(got.at(i) - golden[i]) <= bound)) {
      return testing::AssertionFailure() << got[i] << " at " << i << ", not " << golden[i];
    }
  }
  return testing::AssertionSuccess();
}

TEST(Randn, GivesTorchsNumbers) {
  const support::Golden golden("randn_io");
  for (const auto seed : seeds) {
    for (const auto n : sizes) {
      const std::string name = "randn_s" + std::to_string(seed) + "_n" + std::to_string(n);
      EXPECT_TRUE(matches(draw<float>(n, seed), golden.values<float>(name))) << name;
    }
  }
  for (const std::size_t n : {1U, 2U, 5U, 15U, 16U, 17U, 40U}) {
    const std::string name = "randn64_s42_n" + std::to_string(n);
    EXPECT_TRUE(matches(draw<double>(n, 42), golden.values<double>(name))) << name;
  }
}

TEST(Randn, GoesOnFromDrawToDrawAsTorchDoes) {
  const support::Golden golden("randn_io");
  TorchGenerator for_float(7), for_double(7);
  for (std::size_t k = 0; k < std::size(chain); ++k) {
    const auto i = std::to_string(k);
    EXPECT_TRUE(matches(draw<float>(chain[k], for_float), golden.values<float>("chain_s7_" + i))) << k;
    EXPECT_TRUE(matches(draw<double>(chain[k], for_double), golden.values<double>("chain64_s7_" + i))) << k;
  }
}

// Where torch has no AVX2 it rounds the angle once where we round twice (2 pi u, below 2 pi: 2^-22 each), which the
// radius, at most sqrt(-2 log 2^-24) < 5.8, makes longer; what its logarithm and cosine differ by comes to less.
TEST(Randn, IsWithinRoundingOfTorchWithoutVectorInstructions) {
  const support::Golden golden("randn_scalar_io");
  for (const auto seed : seeds) {
    for (const auto n : sizes) {
      if (n < 16) continue;
      const auto expected = golden.values<float>("randn_s" + std::to_string(seed) + "_n" + std::to_string(n));
      EXPECT_TRUE(support::close(draw<float>(n, seed), expected, {5.8 * 3 * 0x1p-22, 1e-12})) << seed << " " << n;
    }
  }
}

TEST(Randn, KnowsTheLowHalfOfASeedOnly) {
  EXPECT_TRUE(same_bits(draw<float>(40, 5), draw<float>(40, 5 + (1ULL << 32))));
  EXPECT_FALSE(same_bits(draw<float>(40, 5), draw<float>(40, 6)));
}

TEST(Randn, ComesBackToAStateThatWasCopied) {
  TorchGenerator generator(3);
  draw<float>(3, generator);  // an odd number: one waits
  TorchGenerator copy = generator;
  const auto expected = draw<float>(21, generator), next = draw<float>(5, generator);
  EXPECT_TRUE(same_bits(draw<float>(21, copy), expected));
  EXPECT_TRUE(same_bits(draw<float>(5, copy), next));
}

TEST(Randn, FillsWhateverHoldsNumbersInMemoryOrder) {
  const auto expected = draw<float>(120, 9);
  Tensor<float, 4> tensor(1, 2, 3, 20);
  std::vector<float> memory(120);
  dit::TensorMap<float, 2> map(memory.data(), 6, 20);
  TorchGenerator for_tensor(9), for_map(9), for_view(9), for_shape(9), for_span(9);
  randn(tensor, for_tensor);
  EXPECT_TRUE(same_bits(tensor, expected));
  randn(map, for_map);
  EXPECT_TRUE(same_bits(memory, expected));
  tensor.setZero();
  randn(View<float, 4>(tensor), for_view);
  EXPECT_TRUE(same_bits(tensor, expected));
  std::fill(memory.begin(), memory.end(), 0.0F);
  randn(std::span(memory), for_span);
  EXPECT_TRUE(same_bits(memory, expected));
  const auto noise = randn(Shape<4>{1, 2, 3, 20}, for_shape);
  EXPECT_TRUE(same_bits(noise, expected));
  EXPECT_EQ(noise.dimension(3), 20);
}

TEST(Randn, OfNothingDrawsNothing) {
  TorchGenerator generator(11);
  draw<float>(0, generator);
  EXPECT_TRUE(same_bits(draw<float>(20, generator), draw<float>(20, 11)));
}

TEST(Randn, HasNoMinusZero) {
  std::array<float, 16> x{};
  dit::detail::box_muller(x.data());
  for (const float value : x) EXPECT_EQ(std::bit_cast<std::uint32_t>(value), 0U);
  std::array<double, 16> y{};
  dit::detail::box_muller(y.data());
  for (const double value : y) EXPECT_EQ(std::bit_cast<std::uint64_t>(value), 0U);
}

// Mean and variance within 4 standard errors, Kolmogorov and Smirnov's distance below the value for 1 in 1000.
TEST(Randn, IsNormal) {
  constexpr std::size_t n = 1000000;
  constexpr double count = n;
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    auto x = draw<float>(n, seed);
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / count;
    double variance = 0;
    for (const float value : x)
      variance += (static_cast<double>(value) - mean) * (static_cast<double>(value) - mean) / count;
    EXPECT_LE(std::abs(mean), 4 / std::sqrt(count)) << "seed " << seed;
    EXPECT_LE(std::abs(variance - 1), 4 * std::sqrt(2 / count)) << "seed " << seed;
    std::sort(x.begin(), x.end());
    double distance = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double expected = 0.5 * std::erfc(-static_cast<double>(x[i]) / std::numbers::sqrt2);
      distance = std::max({distance, std::abs(expected - static_cast<double>(i) / count),
                           std::abs(expected - static_cast<double>(i + 1) / count)});
    }
    EXPECT_LE(distance, 1.95 / std::sqrt(count)) << "seed " << seed;
  }
}

// There are 2^24 uniform floats: all of them. The logarithm is good to 2 ulp, and to 2^-24 where it is small; sine
// and cosine to 2^-23, half the spacing of floats near one and as much again for the angle's reduction.
TEST(Randn, HasALogarithmSineAndCosineThatAreRightForEveryUniformNumber) {
  constexpr auto two_pi = static_cast<float>(2 * std::numbers::pi);
  double log_error = 0, sin_error = 0, cos_error = 0;
  for (std::int32_t i = 0; i < 1 << 24; ++i) {
    const float u = static_cast<float>(i) * 0x1p-24F;
    const double log_x = std::log(static_cast<double>(1 - u));
    log_error = std::max(log_error, std::abs(static_cast<double>(dit::detail::cephes_log(1 - u)) - log_x) /
                                        (std::abs(log_x) + 0x1p-24));
    const auto angle = static_cast<double>(two_pi * u);
    const auto got = dit::detail::cephes_sincos(two_pi * u);
    sin_error = std::max(sin_error, std::abs(static_cast<double>(got.sin) - std::sin(angle)));
    cos_error = std::max(cos_error, std::abs(static_cast<double>(got.cos) - std::cos(angle)));
  }
  EXPECT_LE(log_error, 2 * 0x1p-23);
  EXPECT_LE(sin_error, 0x1p-23);
  EXPECT_LE(cos_error, 0x1p-23);
  RecordProperty("log_ulp", std::to_string(log_error * 0x1p23));
}

}  // namespace
