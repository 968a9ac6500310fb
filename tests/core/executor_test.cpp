/// What every executor owes the library: the pool, the calling thread, and two that a user might bring.

#include "dit/core/executor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "dit/core/thread_pool.hpp"

namespace {

using dit::Executor;
using dit::Index;

/// New threads every time.
class SpawningExecutor final : public Executor {
 public:
  int strands() const noexcept override { return 3; }
  void run(void (*strand)(void*, int) noexcept, void* context) override {
    std::vector<std::thread> threads;
    for (int i = 0; i < strands(); ++i) threads.emplace_back(strand, context, i);
    for (std::thread& thread : threads) thread.join();
  }
};

/// Strands one after the other, the last one first.
class BackwardExecutor final : public Executor {
 public:
  int strands() const noexcept override { return 4; }
  void run(void (*strand)(void*, int) noexcept, void* context) override {
    for (int i = strands(); i-- > 0;) strand(context, i);
  }
};

struct Kind {
  std::string name;
  std::function<std::unique_ptr<Executor>()> make;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class EveryExecutor : public testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<Executor> executor_ = GetParam().make();
};

const Index task_counts[] = {0, 1, 2, 3, 7, 64, 1000};

TEST_P(EveryExecutor, RunsEveryStrandExactlyOnce) {
  for (int repeat = 0; repeat < 100; ++repeat) {
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(executor_->strands()));
    executor_->run(
        [](void* context, int i) noexcept {
          ++(*static_cast<std::vector<std::atomic<int>>*>(context))[static_cast<std::size_t>(i)];
        },
        &calls);
    for (const auto& n : calls) ASSERT_EQ(n, 1);
  }
}

TEST_P(EveryExecutor, RunsEveryTaskExactlyOnce) {
  for (const Index tasks : task_counts) {
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(tasks));
    executor_->parallel_for(tasks, [&](Index task, int) { ++calls[static_cast<std::size_t>(task)]; });
    for (const auto& n : calls) ASSERT_EQ(n, 1) << tasks << " tasks";
  }
}

TEST_P(EveryExecutor, GivesNoTwoRunningTasksTheSameStrand) {
  std::vector<std::atomic<bool>> taken(static_cast<std::size_t>(executor_->strands()));
  std::atomic<int> clashes{0};
  executor_->parallel_for(2000, [&](Index, int strand) {
    auto& mine = taken.at(static_cast<std::size_t>(strand));
    if (mine.exchange(true)) ++clashes;
    std::this_thread::yield();
    mine = false;
  });
  EXPECT_EQ(clashes, 0);
}

TEST_P(EveryExecutor, ThrowsATasksExceptionOnceAndCanBeUsedAgain) {
  for (const Index tasks : task_counts) {
    for (const Index thrower : {Index{0}, tasks / 2, tasks - 1}) {
      if (thrower < 0 || thrower >= tasks) continue;
      int caught = 0;
      try {
        executor_->parallel_for(tasks, [&](Index task, int) {
          if (task == thrower) throw std::out_of_range("task " + std::to_string(task));
        });
      } catch (const std::out_of_range& error) {
        ++caught;
        EXPECT_EQ(error.what(), "task " + std::to_string(thrower));
      }
      EXPECT_EQ(caught, 1);
      std::atomic<Index> sum{0};
      executor_->parallel_for(tasks, [&](Index task, int) { sum += task; });
      EXPECT_EQ(sum, tasks * (tasks - 1) / 2);
    }
  }
}

TEST_P(EveryExecutor, ThrowsTheExceptionOfTheFirstTaskWhenManyThrow) {
  for (const Index first : {0, 1, 40}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      try {
        executor_->parallel_for(100, [first](Index task, int) {
          if (task >= first) throw std::domain_error("task " + std::to_string(task));
        });
        FAIL() << "nothing was thrown";
      } catch (const std::domain_error& error) {
        EXPECT_EQ(error.what(), "task " + std::to_string(first));
      }
    }
  }
}

TEST_P(EveryExecutor, GivesTheSameBitsAsTheCallingThread) {
  const auto compute = [](Executor& executor) {
    std::vector<float> result(1000);
    executor.parallel_for(1000, [&](Index task, int) {
      auto x = static_cast<float>(task);
      for (int i = 0; i < 100; ++i) x = std::sin(x) * 1.25F + 0.125F;
      result[static_cast<std::size_t>(task)] = x;
    });
    return result;
  };
  dit::InlineExecutor here;
  EXPECT_EQ(std::memcmp(compute(*executor_).data(), compute(here).data(), 1000 * sizeof(float)), 0);
}

TEST_P(EveryExecutor, MakesTheTasksWritesVisible) {
  for (int repeat = 0; repeat < 200; ++repeat) {
    std::vector<int> written(64, 0);  // plain ints: the thread sanitizer watches
    executor_->parallel_for(64, [&](Index task, int) { written[static_cast<std::size_t>(task)] = repeat + 1; });
    for (const int x : written) ASSERT_EQ(x, repeat + 1);
  }
}

TEST_P(EveryExecutor, CoversEveryItemWithOneRange) {
  for (const Index items : {Index{0}, Index{1}, Index{2}, Index{7}, Index{1000}, Index{100000}}) {
    for (const Index each : {1, 100, 16384, 1 << 20}) {
      std::vector<std::atomic<int>> calls(static_cast<std::size_t>(items));
      std::atomic<int> ranges{0};
      executor_->parallel_ranges(items, each, [&](Index begin, Index end) {
        EXPECT_LT(begin, end);
        ++ranges;
        for (Index i = begin; i < end; ++i) ++calls.at(static_cast<std::size_t>(i));
      });
      for (const auto& n : calls) ASSERT_EQ(n, 1) << items << " items of " << each;
      if (items * each < 1 << 15) {
        EXPECT_EQ(ranges, items > 0) << "too little to be shared";
      } else if (items >= executor_->strands()) {
        EXPECT_GE(ranges, std::min<Index>(executor_->strands(), items * each >> 14))
            << items << " items of " << each;
      }
    }
  }
}

template <class E, class... Args>
Kind kind(const std::string& name, Args... args) {
  return {name, [args...] { return std::make_unique<E>(args...); }};
}

std::vector<Kind> kinds() {
  std::vector<Kind> all = {kind<dit::InlineExecutor>("Inline"), kind<BackwardExecutor>("Backward"),
                           kind<SpawningExecutor>("Spawning")};
  for (const int threads : {1, 2, 3, 8}) {
    all.push_back(kind<dit::ThreadPool>("PoolOf" + std::to_string(threads), threads));
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(, EveryExecutor, testing::ValuesIn(kinds()),
                         [](const auto& test) { return test.param.name; });

TEST(Executor, HandsOutNoMoreTasksOnceOneHasThrown) {
  BackwardExecutor executor;
  int begun = 0;
  EXPECT_THROW(executor.parallel_for(100, [&](Index, int) { ++begun, throw std::domain_error("no"); }),
               std::domain_error);
  EXPECT_EQ(begun, 1);
}

}  // namespace
