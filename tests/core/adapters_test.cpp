/// The library on the threads of others: adapters for OpenMP, TBB and Eigen's pool, a few lines each, to be copied
/// where they are wanted. All of them compute the same bits as the library's own pool.

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(DIT_TEST_TBB)
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#endif
#if __has_include(<Eigen/ThreadPool>)
#include <Eigen/ThreadPool>
#else
#include <unsupported/Eigen/CXX11/ThreadPool>
#endif

#include "models/models.hpp"

namespace {

#if defined(_OPENMP)
/// The threads of OpenMP: those that the rest of a program's loops run on.
class OpenMPExecutor final : public dit::Executor {
 public:
  int strands() const noexcept override { return strands_; }
  void run(void (*strand)(void*, int) noexcept, void* context) override {
#pragma omp parallel for schedule(static, 1) num_threads(strands_)
    for (int i = 0; i < strands_; ++i) strand(context, i);
  }

 private:
  int strands_ = omp_get_max_threads();
};
#endif

#if defined(DIT_TEST_TBB)
/// The threads of TBB, which it shares among all who ask.
class TbbExecutor final : public dit::Executor {
 public:
  int strands() const noexcept override { return arena_.max_concurrency(); }
  void run(void (*strand)(void*, int) noexcept, void* context) override {
    arena_.execute([&] { tbb::parallel_for(0, strands(), [&](int i) { strand(context, i); }); });
  }

 private:
  tbb::task_arena arena_;
};
#endif

/// A pool of Eigen's, such as TensorFlow's, and the calling thread, which must not be one of the pool's.
class EigenExecutor final : public dit::Executor {
 public:
  explicit EigenExecutor(Eigen::ThreadPoolInterface& pool) : pool_(&pool) {}
  int strands() const noexcept override { return pool_->NumThreads() + 1; }
  void run(void (*strand)(void*, int) noexcept, void* context) override {
    Eigen::Barrier others(static_cast<unsigned>(strands() - 1));
    for (int i = 1; i < strands(); ++i) {
      pool_->Schedule([&others, strand, context, i] {
        strand(context, i);
        others.Notify();
      });
    }
    strand(context, 0);
    others.Wait();
  }

 private:
  Eigen::ThreadPoolInterface* pool_;
};

/// Each adapter as a test has it, on threads of its own where it needs some.
template <class E>
struct Ready {
  E executor;
};
template <>
struct Ready<EigenExecutor> {
  Eigen::ThreadPool pool{2};
  EigenExecutor executor{pool};
};

template <class E>
class Adapters : public testing::Test {
 protected:
  Ready<E> ready_;
  dit::Executor& executor_ = ready_.executor;
};
using All = testing::Types<
#if defined(_OPENMP)
    OpenMPExecutor,
#endif
#if defined(DIT_TEST_TBB)
    TbbExecutor,
#endif
    EigenExecutor>;
TYPED_TEST_SUITE(Adapters, All);

TYPED_TEST(Adapters, RunEveryStrandExactlyOnce) {
  dit::Executor& executor = this->executor_;
  ASSERT_GE(executor.strands(), 1);
  for (int repeat = 0; repeat < 100; ++repeat) {
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(executor.strands()));
    executor.run(
        [](void* context, int i) noexcept {
          ++(*static_cast<std::vector<std::atomic<int>>*>(context))[static_cast<std::size_t>(i)];
        },
        &calls);
    for (const auto& n : calls) ASSERT_EQ(n, 1);
  }
}

TYPED_TEST(Adapters, GiveTheBitsOfTheOwnPool) {
  using M = dit::DiT<support::tiny>;
  const auto model = support::random_model<M>(1);
  const auto x = support::latents<M>(3, 20, 12, 2);
  dit::Workspace own(2), theirs(this->executor_);
  const auto expected = support::run(model, x, own);
  for (int repeat = 0; repeat < 5; ++repeat)
    EXPECT_TRUE(support::same_bits(support::run(model, x, theirs), expected));
}

TYPED_TEST(Adapters, PassATasksErrorOn) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    EXPECT_ERROR(dit::errc::bad_option, this->executor_.parallel_for(50, [](dit::Index task, int) {
      if (task == 20) throw dit::Error(dit::errc::bad_option, "no");
    }));
  }
}

}  // namespace
