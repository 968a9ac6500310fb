/// Which instruction set runs, who says so, and what an impossible wish gives.

#include "dit/kernels/isa.hpp"

#include <cstdlib>

#include "kernels/support.hpp"

namespace dit {
namespace {

using namespace dit::test;

errc code_of(std::string_view wish) {
  try {
    static_cast<void>(isa_named(wish));
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error for " << wish;
  return {};
}

TEST(Isa, NamesAreReadAsTheyAreWritten) {
  for (const Isa isa : isas()) EXPECT_EQ(isa_named(name(isa)), isa);
}

TEST(Isa, EverySetIncludesThoseBeforeIt) {
  EXPECT_TRUE(supports(Isa::portable));
  EXPECT_TRUE(supports(best_isa()));
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) EXPECT_EQ(supports(isa), isa <= best_isa());
}

#if DIT_X86 && defined(__GNUC__)
TEST(Isa, IsWhatTheCompilersRuntimeFinds) {
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  EXPECT_EQ(best_isa(), avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::portable);
}
#endif

TEST(Isa, AnUnknownNameIsABadOption) {
  EXPECT_EQ(code_of("avx1024"), errc::bad_option);
  EXPECT_EQ(code_of("AVX2"), errc::bad_option);
  EXPECT_EQ(code_of(" avx2"), errc::bad_option);
  EXPECT_EQ(code_of(""), errc::bad_option);
}

TEST(Isa, WhatTheMachineLacksIsUnsupported) {
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (supports(isa)) {
      EXPECT_NO_THROW(static_cast<void>(kernels<float>(isa)));
    } else {
      EXPECT_EQ(code_of(name(isa)), errc::unsupported_isa);
      EXPECT_THROW(static_cast<void>(kernels<float>(isa)), Error);
    }
  }
}

TEST(Isa, TheActiveOneIsTheBestOrWhatTheEnvironmentAsksFor) {
  const char* asked = std::getenv("DIT_ISA");
  EXPECT_EQ(active_isa(), asked && *asked ? isa_named(asked) : best_isa());
  EXPECT_EQ(kernels<float>().isa, active_isa());
}

TEST(Isa, TableSaysWhichItIs) {
  for (const Isa isa : isas()) {
    EXPECT_EQ(kernels<float>(isa).isa, isa);
    EXPECT_EQ(kernels<double>(isa).isa, Isa::portable) << "double is the reference path";
    EXPECT_LE(kernels<float>(isa).panel_rows, 16);
  }
}

#if GTEST_HAS_DEATH_TEST && !defined(_WIN32)
/// In a process of its own, since the variable is read once.
int exit_code_with(const char* wish) {
  setenv("DIT_ISA", wish, 1);
  try {
    return active_isa() == isa_named(wish) ? 0 : 1;
  } catch (const Error& error) {
    try {
      static_cast<void>(active_isa());  // it does not give in the second time
    } catch (const Error& again) {
      return again.code() == error.code() ? 100 + static_cast<int>(error.code()) : 1;
    }
    return 1;
  }
}

TEST(IsaDeathTest, TheEnvironmentIsObeyedOrRefused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const Isa isa : isas()) {
    const std::string wish = text(isa);
    EXPECT_EXIT(std::_Exit(exit_code_with(wish.c_str())), ::testing::ExitedWithCode(0), "") << wish;
  }
  EXPECT_EXIT(std::_Exit(exit_code_with("sse9")),
              ::testing::ExitedWithCode(100 + static_cast<int>(errc::bad_option)), "");
}
#endif

}  // namespace
}  // namespace dit
