// Objects with different machine flags in one program. The fastest comes first on the linker's line, so a body that
// they shared would be the one that lesser machines cannot run; odr/symbols says that they share none.

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

std::vector<float> baseline(int bytes);
#ifdef DIT_ODR_PARTS
std::vector<float> avx2(int bytes);
std::vector<float> avx512(int bytes);
#endif

namespace {

// One machine, one set of kernels: only what the compiler contracts in the code around them may differ, in a last
// bit. Where that bit decides a rounding to bf16 or int8 a number of some thousands goes to its neighbour, 2^-7
// away.
void expect_near(const std::vector<float>& a, const std::vector<float>& b, double most) {
  ASSERT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  EXPECT_LE(std::sqrt(difference), most * std::sqrt(norm));
}

TEST(Odr, ObjectsWithDifferentMachineFlagsComputeTheSameBlock) {
  for (const int bytes : {4, 2, 1}) {
    SCOPED_TRACE(bytes);
    [[maybe_unused]] const double most = bytes == 4 ? 1e-6 : 1e-3;
    const std::vector<float> expected = baseline(bytes);
    ASSERT_FALSE(expected.empty());
#ifdef DIT_ODR_PARTS
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) expect_near(avx2(bytes), expected, most);
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      expect_near(avx512(bytes), expected, most);
    }
#endif
    EXPECT_EQ(baseline(bytes), expected);
  }
}

/// The types are not the same block under three names.
TEST(Odr, TheTypesOfWeightsDifferAsTheirRoundingsDo) {
  const auto exact = baseline(4);
  expect_near(baseline(2), exact, 0.01);
  expect_near(baseline(1), exact, 0.03);
  EXPECT_NE(baseline(2), exact);
  EXPECT_NE(baseline(1), exact);
  EXPECT_NE(baseline(1), baseline(2));
}

}  // namespace
