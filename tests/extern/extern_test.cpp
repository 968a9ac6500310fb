/// Bodies in headers and bodies compiled once, in one program.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "dit/core/thread_pool.hpp"

std::vector<float> headers(int seed);
std::vector<float> kernels(int seed);
std::vector<float> once(int seed);

namespace {

TEST(Extern, FilesOfBothKindsGiveTheSame) {
  const auto expected = headers(1);
  EXPECT_EQ(kernels(1), expected);
  EXPECT_EQ(once(1), expected);
  EXPECT_NE(once(2), expected);
}

TEST(Extern, ErrorsThrownInOneAreCaughtInTheOther) {
  try {
    dit::ThreadPool(-1);
    FAIL();
  } catch (const dit::Error& error) {
    EXPECT_EQ(error.code(), dit::errc::bad_option);
    EXPECT_EQ(std::string(error.what()), "bad_option: a pool has 1 to 1024 threads, or 0 for one per core; got -1");
  }
}

}  // namespace
