// Objects with different machine flags in one program. The fastest comes first on the linker's line, so a body that
// they shared would be the one that lesser machines cannot run; odr/symbols says that they share none.

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

std::vector<float> baseline();
#ifdef DIT_ODR_PARTS
std::vector<float> avx2();
std::vector<float> avx512();
#endif

namespace {

// One machine, one set of kernels: only what the compiler contracts in the code around them may differ.
void expect_near(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  EXPECT_LE(std::sqrt(difference), 1e-6 * std::sqrt(norm));
}

TEST(Odr, ObjectsWithDifferentMachineFlagsComputeTheSameBlock) {
  const std::vector<float> expected = baseline();
  ASSERT_FALSE(expected.empty());
#ifdef DIT_ODR_PARTS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) expect_near(avx2(), expected);
  if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) expect_near(avx512(), expected);
#endif
  expect_near(baseline(), expected);
}

}  // namespace
