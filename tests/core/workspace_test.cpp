/// The arena: where blocks lie, what scopes give back, when it allocates.

#include "dit/core/workspace.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/allocations.hpp"

namespace {

using dit::errc;
using dit::Error;
using dit::Index;
using dit::InlineExecutor;
using dit::Workspace;

template <class F>
errc code_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

template <class F>
long allocations_in(F&& f) {
  const long before = allocations::count;
  f();
  return allocations::count - before;
}

TEST(Workspace, GivesAlignedBlocksThatDoNotOverlap) {
  InlineExecutor here;
  Workspace workspace(here);
  struct Block {
    unsigned char* data;
    std::size_t bytes;
  };
  std::vector<Block> blocks;
  const auto take = [&]<class T>(T, Index n) {
    auto* data = reinterpret_cast<unsigned char*>(workspace.take<T>(n));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % 64, 0U);
    const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(T);
    std::memset(data, static_cast<int>(blocks.size()), bytes);
    blocks.push_back({data, bytes});
  };
  for (Index n = 0; n < 70; ++n) take(char{}, n), take(double{}, n), take(float{}, n * n * 17);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto& [data, bytes] = blocks[i];
    ASSERT_TRUE(std::all_of(data, data + bytes, [i](unsigned char x) { return x == (i & 0xff); })) << "block " << i;
  }
}

TEST(Workspace, CountsWholeCacheLines) {
  static_assert(dit::arena_bytes<float>(0) == 0 && dit::arena_bytes<float>(1) == 64);
  static_assert(dit::arena_bytes<float>(16) == 64 && dit::arena_bytes<float>(17) == 128);
  InlineExecutor here;
  Workspace workspace(here);
  {
    const auto scope = workspace.scope();
    workspace.take<float>(1);
    workspace.take<double>(9);
  }
  EXPECT_EQ(workspace.high_water(), 64U + 128U);
}

TEST(Workspace, GivesBackWhatAScopeTook) {
  InlineExecutor here;
  Workspace workspace(here, 4096);
  const auto outer = workspace.scope();
  float* kept = workspace.take<float>(10);
  kept[0] = 42;
  float* first = nullptr;
  for (int i = 0; i < 3; ++i) {
    const auto scope = workspace.scope();
    float* again = workspace.take<float>(100);
    if (first == nullptr) first = again;
    EXPECT_EQ(again, first);
    const auto inner = workspace.scope();
    EXPECT_EQ(workspace.take<float>(1), first + 112);
  }
  EXPECT_EQ(kept[0], 42);
  EXPECT_EQ(workspace.high_water(), 64U + 448U + 64U);
}

/// A pass as a model makes it: things that stay while blocks come and go.
void pass(Workspace& workspace, Index n) {
  const auto scope = workspace.scope();
  float* residual = workspace.take<float>(n);
  std::fill(residual, residual + n, 1.0F);
  for (int block = 0; block < 3; ++block) {
    const auto inner = workspace.scope();
    for (const Index k : {3 * n, 4 * n, n}) std::fill_n(workspace.take<float>(k), k, 2.0F);
    const auto innermost = workspace.scope();
    for (int i = 0; i < block; ++i) std::fill_n(workspace.take<float>(5 * n), 5 * n, 3.0F);
  }
  EXPECT_TRUE(std::all_of(residual, residual + n, [](float x) { return x == 1.0F; }));
}

TEST(Workspace, AllocatesNothingFromTheSecondPassOn) {
  for (const Index n : {1, 1000, 16384, 100000}) {
    InlineExecutor here;
    Workspace workspace(here);
    EXPECT_GT(allocations_in([&] { pass(workspace, n); }), 0);
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(allocations_in([&] { pass(workspace, n); }), 0) << n << " numbers, pass " << i;
    EXPECT_EQ(allocations_in([&] { pass(workspace, n / 2); }), 0);
  }
}

TEST(Workspace, AllocatesNothingFromTheSecondPassOnWhileSomethingElseIsTaken) {
  for (const Index n : {1000, 16384, 100000}) {
    InlineExecutor here;
    Workspace workspace(here);
    const auto scope = workspace.scope();
    float* state = workspace.take<float>(10);
    std::fill_n(state, 10, 7.0F);
    pass(workspace, n);
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(allocations_in([&] { pass(workspace, n); }), 0) << n << " numbers, pass " << i;
    EXPECT_EQ(state[9], 7.0F);
  }
}

TEST(Workspace, AllocatesNothingWhenTheBytesWereReserved) {
  InlineExecutor here;
  Workspace measured(here);
  pass(measured, 5000);
  Workspace workspace(here, measured.high_water());
  EXPECT_EQ(workspace.capacity(), measured.high_water());
  EXPECT_EQ(allocations_in([&] { pass(workspace, 5000); }), 0);
  EXPECT_EQ(workspace.high_water(), measured.high_water());
}

TEST(Workspace, KeepsToTheBytesThatItNeeds) {
  InlineExecutor here;
  for (const std::size_t reserved : {0U, 100U, 1000000U}) {
    Workspace workspace(here, reserved);
    pass(workspace, 100000);
    EXPECT_EQ(workspace.capacity(), workspace.high_water());
  }
}

TEST(Workspace, CanBeReservedOnlyWhileNothingIsTaken) {
  InlineExecutor here;
  Workspace workspace(here, 100);
  workspace.reserve(10);
  EXPECT_EQ(workspace.capacity(), 100U);
  workspace.reserve(1000);
  EXPECT_EQ(workspace.capacity(), 1000U);
  const auto scope = workspace.scope();
  workspace.take<float>(1);
  EXPECT_EQ(code_of([&] { workspace.reserve(5000); }), errc::bad_state);
}

TEST(Workspace, IsBusyForASecondPassOnly) {
  InlineExecutor here;
  Workspace workspace(here);
  for (int i = 0; i < 2; ++i) {
    const auto lease = workspace.lease();
    EXPECT_EQ(code_of([&] { const auto second = workspace.lease(); }), errc::busy);
    EXPECT_EQ(code_of([&] { const auto third = workspace.lease(); }), errc::busy)
        << "a refused lease frees nothing";
  }
  const auto lease = workspace.lease();
}

TEST(Workspace, SaysThatThereIsNoMemoryAndStaysUsable) {
  InlineExecutor here;
  Workspace workspace(here);
  EXPECT_EQ(code_of([&] { workspace.take<double>(Index{1} << 60); }), errc::out_of_memory);
  EXPECT_EQ(code_of([&] { workspace.take<double>(std::numeric_limits<Index>::max()); }), errc::out_of_memory);
  EXPECT_EQ(code_of([&] { workspace.take<float>(-1); }), errc::out_of_memory);
  EXPECT_EQ(code_of([&] { workspace.reserve(std::numeric_limits<std::size_t>::max() / 2); }), errc::out_of_memory);
  pass(workspace, 1000);
}

TEST(Workspace, SurvivesTheFailureOfAnyAllocation) {
  InlineExecutor here;
  for (long k = 0;; ++k) {
    Workspace workspace(here);
    bool failed = false;
    try {
      const allocations::FailAfter fail(k);
      pass(workspace, 20000);
      failed = fail.failed();
    } catch (const Error& error) {
      failed = true;
      EXPECT_EQ(error.code(), errc::out_of_memory);
    }
    pass(workspace, 20000);
    pass(workspace, 20000);
    EXPECT_EQ(allocations_in([&] { pass(workspace, 20000); }), 0) << "after failure " << k;
    if (!failed) {
      EXPECT_GT(k, 2);
      break;
    }
  }
}

TEST(Workspace, RunsOnItsOwnPoolOrOnTheUsersExecutor) {
  Workspace own(3);
  EXPECT_EQ(own.strands(), 3);
  InlineExecutor here;
  Workspace users(here);
  EXPECT_EQ(&users.executor(), &here);
  for (Workspace* workspace : {&own, &users}) {
    std::atomic<Index> sum{0};
    workspace->parallel_for(100, [&](Index task, int) { sum += task; });
    EXPECT_EQ(sum, 4950);
  }
  EXPECT_EQ(code_of([] { const Workspace none(-1); }), errc::bad_option);
}

TEST(Workspace, TwoInTwoThreadsShareNothing) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([] {
      Workspace workspace(2);
      for (int repeat = 0; repeat < 10; ++repeat) {
        const auto lease = workspace.lease();
        const auto scope = workspace.scope();
        float* x = workspace.take<float>(1000);
        workspace.parallel_for(1000, [&](Index task, int) { x[task] = static_cast<float>(task); });
        EXPECT_EQ(x[999], 999.0F);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

/// A pass as a meter goes through it: what is taken, given back, counted; loops of equal passes once.
constexpr std::array<std::uint64_t, 3> metered() {
  Workspace meter(dit::Meter{.strands = 3});
  Index walked = 0;
  const auto scope = meter.scope();
  if (meter.take<float>(10) != nullptr) return {};
  for (const Index i : meter.passes(5)) {
    const auto inner = meter.scope();
    meter.take<double>(100 + i);
    for (const Index j : meter.passes(7)) {
      meter.count(64, 11);
      walked += 1 + j;
    }
    meter.parallel_for(1000, [&](Index, int) { walked += 1000; });
  }
  for (const Index none : meter.passes(0)) walked += 1000 + none;
  meter.count(128, 1);
  return {meter.high_water(), meter.flops(), static_cast<std::uint64_t>(walked)};
}

TEST(Workspace, MadeFromAMeterOnlyCounts) {
  constexpr auto counted = metered();
  static_assert(counted == std::array<std::uint64_t, 3>{64 + 832 + 64, 5 * 7 * 11 + 1, 1});
  Workspace meter(dit::Meter{.strands = 3});
  EXPECT_EQ(meter.strands(), 3);
  EXPECT_TRUE(meter.counts());
  EXPECT_TRUE(meter.holds(nullptr));
  EXPECT_EQ(meter.capacity(), 0U);
  EXPECT_EQ(code_of([&] { meter.executor(); }), errc::bad_state);
  const auto first = meter.lease(), second = meter.lease();  // nobody waits for it
}

TEST(Workspace, GoesThroughAllPassesWhereItRuns) {
  InlineExecutor here;
  Workspace workspace(here);
  std::vector<Index> walked;
  for (const Index i : workspace.passes(4)) walked.push_back(i);
  EXPECT_EQ(walked, (std::vector<Index>{0, 1, 2, 3}));
  EXPECT_FALSE(workspace.counts());
  EXPECT_FALSE(workspace.holds(nullptr));
}

}  // namespace
