/// What the library's own pool promises beyond other executors.

#include "dit/core/thread_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <latch>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include "core/allocations.hpp"
#include "sanitized.hpp"

namespace {

using dit::errc;
using dit::Error;
using dit::Index;
using dit::ThreadPool;

/// Counts the calls of each strand, and on which thread they were.
struct Calls {
  std::vector<int> count;
  std::vector<std::thread::id> thread;

  explicit Calls(ThreadPool& pool)
      : count(static_cast<std::size_t>(pool.strands())), thread(static_cast<std::size_t>(pool.strands())) {
    pool.run(
        [](void* context, int i) noexcept {
          auto& calls = *static_cast<Calls*>(context);
          ++calls.count[static_cast<std::size_t>(i)];
          calls.thread[static_cast<std::size_t>(i)] = std::this_thread::get_id();
        },
        this);
  }
  bool once_each() const {
    return std::all_of(count.begin(), count.end(), [](int n) { return n == 1; });
  }
};

Index sum_of_tasks(dit::Executor& executor, Index tasks) {
  std::atomic<Index> sum{0};
  executor.parallel_for(tasks, [&](Index task, int) { sum += task + 1; });
  return sum;
}

TEST(ThreadPool, HasOneStrandForEveryCoreThatTheProcessMayUse) {
  EXPECT_EQ(ThreadPool().strands(), dit::available_cores());
  EXPECT_EQ(ThreadPool(1).strands(), 1);
  EXPECT_EQ(ThreadPool(5).strands(), 5);
#if defined(__linux__)
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  EXPECT_LE(dit::available_cores(), CPU_COUNT(&before));  // a container may be given less
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(dit::available_cores(), 1);
  EXPECT_EQ(ThreadPool().strands(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
#endif
}

TEST(ThreadPool, RefusesNumbersOfThreadsThatCannotBeMeant) {
  const ThreadPool::Launch none = [](const std::function<void()>&) -> std::thread { throw std::bad_alloc(); };
  for (const int threads : {-1, -1000, 1025, 1 << 30}) {
    try {
      const ThreadPool pool(threads, none);
      ADD_FAILURE() << threads << " threads were accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), errc::bad_option);
      EXPECT_NE(std::string(error.what()).find(std::to_string(threads)), std::string::npos) << error.what();
    }
  }
  EXPECT_EQ(ThreadPool(1024, none).strands(), 1);
}

TEST(ThreadPool, MakesDoWithTheThreadsThatItGets) {
  for (int allowed = 0; allowed < 5; ++allowed) {
    int made = 0;
    ThreadPool pool(5, [&](std::function<void()> f) {
      if (made == allowed) throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
      ++made;
      return std::thread(std::move(f));
    });
    EXPECT_EQ(pool.strands(), std::min(allowed, 4) + 1);
    EXPECT_TRUE(Calls(pool).once_each());
    EXPECT_EQ(sum_of_tasks(pool, 100), 5050);
  }
}

TEST(ThreadPool, SurvivesTheFailureOfAnyAllocation) {
  for (long k = 0;; ++k) {
    bool failed = false;
    try {
      const allocations::FailAfter fail(k);
      ThreadPool pool(4);
      failed = fail.failed();
      EXPECT_EQ(sum_of_tasks(pool, 100), 5050);
    } catch (const Error& error) {
      failed = true;
      EXPECT_EQ(error.code(), errc::out_of_memory);
    }
    if (!failed) {
      EXPECT_GT(k, 2);
      break;
    }
  }
}

TEST(ThreadPool, RunsTheFirstStrandOnTheCaller) {
  ThreadPool pool(3);
  EXPECT_EQ(Calls(pool).thread[0], std::this_thread::get_id());
}

TEST(ThreadPool, DoesNotWaitForAThreadThatIsLate) {
  std::latch gate(1);
  ThreadPool pool(4, [&gate](std::function<void()> f) {
    return std::thread([&gate, f = std::move(f)] {
      gate.wait();
      f();
    });
  });
  struct Count {
    std::atomic<int> calls{0}, elsewhere{0};
    std::thread::id caller = std::this_thread::get_id();
  } count;
  for (int i = 0; i < 10; ++i) {  // no worker has begun: all strands are the caller's
    pool.run(
        [](void* context, int) noexcept {
          auto& c = *static_cast<Count*>(context);
          ++c.calls;
          c.elsewhere += std::this_thread::get_id() != c.caller;
        },
        &count);
    EXPECT_EQ(count.calls, 4 * (i + 1));
  }
  gate.count_down();
  for (int i = 0; i < 10000; ++i) std::this_thread::yield();
  EXPECT_EQ(count.calls, 40) << "a worker that came late took a strand that was done";
  EXPECT_EQ(count.elsewhere, 0);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(Calls(pool).once_each());
}

TEST(ThreadPool, UsesAllItsThreadsAtTheSameTime) {
  for (const int threads : {2, 3, 8}) {  // each strand waits until all have begun, which takes as many threads
    ThreadPool pool(threads);
    std::latch all(threads);
    pool.run([](void* context, int) noexcept { static_cast<std::latch*>(context)->arrive_and_wait(); }, &all);
    EXPECT_TRUE(all.try_wait());
  }
}

TEST(ThreadPool, NamesEveryTaskThatRunsByAnotherStrand) {
  for (const int threads : {2, 3, 8}) {
    ThreadPool pool(threads);
    std::latch all(threads);
    std::vector<int> strands(static_cast<std::size_t>(threads));
    pool.parallel_for(threads, [&](Index task, int strand) {
      all.arrive_and_wait();
      strands[static_cast<std::size_t>(task)] = strand;
    });
    std::sort(strands.begin(), strands.end());
    for (int i = 0; i < threads; ++i) EXPECT_EQ(strands[static_cast<std::size_t>(i)], i);
  }
}

TEST(ThreadPool, ThrowsOneOfTheExceptionsThatComeAtOnce) {
  ThreadPool pool(4);
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::latch all(4);
    EXPECT_THROW(pool.parallel_for(4,
                                   [&](Index, int) {
                                     all.arrive_and_wait();
                                     throw std::runtime_error("one of four");
                                   }),
                 std::runtime_error);
  }
}

TEST(ThreadPool, LosesNoStrandInManyShortRuns) {
  for (const int threads : {2, 8}) {  // awake between runs, and (more threads than cores) asleep
    ThreadPool pool(threads);
    for (int i = 0; i < 5000; ++i) ASSERT_TRUE(Calls(pool).once_each());
  }
}

TEST(ThreadPool, RunsANestedCallOnTheThreadThatMakesIt) {
  ThreadPool pool(3);
  std::vector<Index> sums(50);
  pool.parallel_for(50, [&](Index task, int) {
    const std::thread::id here = std::this_thread::get_id();
    const Calls calls(pool);
    bool all_here = calls.once_each();
    for (const auto id : calls.thread) all_here = all_here && id == here;
    Index sum = 0;  // of one thread: no atomic
    pool.parallel_for(20, [&](Index inner, int) { pool.parallel_for(3, [&](Index, int) { sum += inner; }); });
    sums[static_cast<std::size_t>(task)] = all_here ? sum : -1;
  });
  EXPECT_EQ(sums, std::vector<Index>(50, 3 * 190));
}

TEST(ThreadPool, MayCallAnotherPoolFromAStrand) {
  ThreadPool outer(3), inner(2);
  std::atomic<Index> sum{0};
  outer.parallel_for(20, [&](Index, int) { sum += sum_of_tasks(inner, 10); });
  EXPECT_EQ(sum, 20 * 55);
}

TEST(ThreadPool, TakesCallsFromSeveralThreads) {
  ThreadPool pool(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 300; ++repeat) {
        if (sum_of_tasks(pool, 10) != 55) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPool, LetsASecondCallerWaitForTheFirst) {
  ThreadPool pool(2);
  struct State {
    std::atomic<bool> first_inside{false}, overlap{false};
  } state;
  std::thread second([&] {
    while (!state.first_inside) std::this_thread::yield();
    pool.run(
        [](void* context, int) noexcept {
          auto& s = *static_cast<State*>(context);
          if (s.first_inside) s.overlap = true;
        },
        &state);
  });
  pool.run(
      [](void* context, int i) noexcept {
        auto& s = *static_cast<State*>(context);
        if (i != 0) return;
        s.first_inside = true;
        for (int k = 0; k < 10000; ++k) std::this_thread::yield();
        s.first_inside = false;
      },
      &state);
  second.join();
  EXPECT_FALSE(state.overlap);
}

TEST(ThreadPool, SharesNothingWithAnotherPool) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] {
      ThreadPool pool(3);
      for (int repeat = 0; repeat < 500; ++repeat) {
        if (sum_of_tasks(pool, 10) != 55) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPool, EndsWhetherOrNotItWasEverUsed) {
  for (int i = 0; i < 100; ++i) {
    ThreadPool idle(4);
    ThreadPool used(4);
    EXPECT_EQ(sum_of_tasks(used, 4), 10);
  }
}

TEST(ThreadPool, AllocatesNothingInARun) {
  ThreadPool pool(4);
  const long before = allocations::count;
  std::atomic<Index> sum{0};
  for (int i = 0; i < 100; ++i) pool.parallel_for(100, [&](Index task, int) { sum += task; });
  EXPECT_EQ(allocations::count, before);
  EXPECT_EQ(sum, 100 * 4950);
}

#if defined(__GLIBC__) && !DIT_TEST_TSAN  // whose own bookkeeping does not fit
TEST(ThreadPool, WorksOnSmallStacks) {
  pthread_attr_t before, small;
  ASSERT_EQ(pthread_getattr_default_np(&before), 0);
  ASSERT_EQ(pthread_attr_init(&small), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&small, std::size_t{64} << 10), 0);
  ASSERT_EQ(pthread_setattr_default_np(&small), 0);
  {
    ThreadPool pool(4);
    EXPECT_EQ(pool.strands(), 4);
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(Calls(pool).once_each());
  }
  ASSERT_EQ(pthread_setattr_default_np(&before), 0);
  pthread_attr_destroy(&before);
  pthread_attr_destroy(&small);
}
#endif

}  // namespace
