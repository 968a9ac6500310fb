/// Which instruction set runs, who says so, and what an impossible wish gives.

#include "dit/kernels/isa.hpp"

#include <cstdlib>
#include <set>
#include <utility>

#include "kernels/support.hpp"

namespace dit { namespace {

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
  std::set<std::string_view> names;
  for (const Isa isa : all_isas) {
    EXPECT_TRUE(names.insert(name(isa)).second) << name(isa) << " is the name of two";
    if (supports(isa)) {
      EXPECT_EQ(isa_named(name(isa)), isa);
    }
  }
  EXPECT_EQ(name(Isa::portable), "portable");
  EXPECT_EQ(name(Isa::avx512bf16), "avx512bf16");
}

TEST(Isa, EverySetComesWithThoseThatItIncludes) {
  EXPECT_TRUE(supports(Isa::portable));
  constexpr std::pair<Isa, Isa> includes[] = {{Isa::avxvnni, Isa::avx2},      {Isa::avx512, Isa::avx2},
                                              {Isa::avx512vnni, Isa::avx512}, {Isa::avx512bf16, Isa::avx512vnni},
                                              {Isa::neondot, Isa::neon},      {Isa::neonmmla, Isa::neondot}};
  for (const auto& [isa, lesser] : includes) {
    EXPECT_TRUE(!supports(isa) || supports(lesser)) << name(isa) << " without " << name(lesser);
    EXPECT_LT(lesser, isa) << "they are in order";
  }
  EXPECT_TRUE(supports(best_isa()));
  for (const Isa isa : all_isas) EXPECT_TRUE(!supports(isa) || isa <= best_isa()) << name(isa);
}

#if DIT_X86 && defined(__GNUC__)
TEST(Isa, IsWhatTheCompilersRuntimeFinds) {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  EXPECT_EQ(supports(Isa::avx2), avx2);
  EXPECT_EQ(supports(Isa::avx512), avx512);
  EXPECT_EQ(supports(Isa::avx512vnni), vnni);
  EXPECT_EQ(supports(Isa::avx512bf16), vnni && __builtin_cpu_supports("avx512bf16"));
#if !defined(__clang__)
  EXPECT_EQ(supports(Isa::avxvnni), avx2 && __builtin_cpu_supports("avxvnni"));
#endif
}
#endif

TEST(Isa, AnUnknownNameIsABadOption) {
  EXPECT_EQ(code_of("avx1024"), errc::bad_option);
  EXPECT_EQ(code_of("AVX2"), errc::bad_option);
  EXPECT_EQ(code_of(" avx2"), errc::bad_option);
  EXPECT_EQ(code_of(""), errc::bad_option);
}

TEST(Isa, WhatTheMachineLacksIsUnsupported) {
  for (const Isa isa : all_isas) {
    if (supports(isa)) {
      EXPECT_NO_THROW(static_cast<void>(kernels<float>(isa)));
    } else {
      EXPECT_EQ(code_of(name(isa)), errc::unsupported_isa);
      EXPECT_THROW(static_cast<void>(kernels<float>(isa)), Error);
      EXPECT_THROW(static_cast<void>(kernels<double>(isa)), Error);
      EXPECT_THROW(static_cast<void>(kernels<bf16>(isa)), Error);
      EXPECT_THROW(static_cast<void>(kernels<int8>(isa)), Error);
    }
  }
}

TEST(Isa, TheActiveOneIsTheBestOrWhatTheEnvironmentAsksFor) {
  const char* asked = std::getenv("DIT_ISA");
  EXPECT_EQ(active_isa(), asked && *asked ? isa_named(asked) : best_isa());
  EXPECT_EQ(&kernels<float>(), &kernels<float>(active_isa()));
  EXPECT_EQ(&kernels<bf16>(), &kernels<bf16>(active_isa()));
  EXPECT_EQ(&kernels<int8>(), &kernels<int8>(active_isa()));
}

template <class T>
void expect_own_table(Isa isa, Isa of) {
  if (!supports(isa)) return;
  const Kernels<T>& k = kernels<T>(isa);
  EXPECT_EQ(k.isa, of) << WeightName::GetName<T>(0) << " on " << text(isa);
  EXPECT_EQ(k.name, name(of)) << "what its products are called";
  EXPECT_GE(k.panel_rows, 1);
  EXPECT_LE(k.panel_rows, 16);
}

/// Where a set has nothing for T, the table is that of the best one that it includes, and says so.
TEST(Isa, TableSaysWhichKernelsRun) {
  for (const Isa isa : isas()) {
    SCOPED_TRACE(text(isa));
    expect_own_table<double>(isa, Isa::portable);
    // The tables of a set are those of its own, or of another one that this machine has too, and no later.
    for (const Isa of : {kernels<float>(isa).isa, kernels<bf16>(isa).isa, kernels<int8>(isa).isa}) {
      EXPECT_TRUE(supports(of)) << text(of);
      EXPECT_LE(of, isa);
    }
  }
  expect_own_table<float>(Isa::portable, Isa::portable);
  expect_own_table<bf16>(Isa::portable, Isa::portable);
  expect_own_table<int8>(Isa::portable, Isa::portable);
  expect_own_table<float>(Isa::avx2, Isa::avx2);
  expect_own_table<bf16>(Isa::avx2, Isa::avx2);
  expect_own_table<int8>(Isa::avx2, Isa::avx2);
  expect_own_table<float>(Isa::avxvnni, Isa::avx2);
  expect_own_table<bf16>(Isa::avxvnni, Isa::avx2);
  expect_own_table<int8>(Isa::avxvnni, Isa::avxvnni);
  expect_own_table<float>(Isa::avx512, Isa::avx512);
  expect_own_table<bf16>(Isa::avx512, Isa::avx512);
  expect_own_table<int8>(Isa::avx512, Isa::avx512);  // and not avxvnni, which comes before it but may be missing
  expect_own_table<float>(Isa::avx512vnni, Isa::avx512);
  expect_own_table<bf16>(Isa::avx512vnni, Isa::avx512);
  expect_own_table<int8>(Isa::avx512vnni, Isa::avx512vnni);
  expect_own_table<float>(Isa::avx512bf16, Isa::avx512);
  expect_own_table<bf16>(Isa::avx512bf16, Isa::avx512bf16);
  expect_own_table<int8>(Isa::avx512bf16, Isa::avx512vnni);
}

/// A model that was packed moves between them.
TEST(Isa, AllTablesCutTheirLoopsAlike) {
  for (const Isa isa : isas()) {
    const Blocking usual, of = kernels<bf16>(isa).blocking;
    EXPECT_EQ(of.depth, usual.depth);
    EXPECT_EQ(of.words, usual.words);
    EXPECT_EQ(of.pairs, usual.pairs);
    EXPECT_EQ(of.keys, usual.keys);
    EXPECT_EQ(of.keys % 2, 0);
    EXPECT_EQ(of.queries % tile_width, 0);
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
