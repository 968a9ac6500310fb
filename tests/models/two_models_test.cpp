/// Models in several threads: each with its own, or one that all share, a Workspace each.

#include <thread>

#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

using M = DiT<tiny>;

Tensor<float, 4> expected_of(const M& model, const Tensor<float, 4>& x) {
  Workspace workspace(1);
  return run(model, x, workspace);
}

TEST(TwoModels, RunInTwoThreads) {
  const std::array<M, 2> models{random_model<M>(1), random_model<M>(2)};
  const std::array x{latents<M>(1, 8, 8, 3), latents<M>(2, 6, 10, 4)};
  const std::array expected{expected_of(models[0], x[0]), expected_of(models[1], x[1])};
  std::array<int, 2> right{};
  const auto work = [&](std::size_t i) {
    Workspace workspace(2);
    for (int pass = 0; pass < 5; ++pass)
      right[i] += same_bits(run(models[i], x[i], workspace), expected[i]) ? 1 : 0;
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  EXPECT_EQ(right[0], 5);
  EXPECT_EQ(right[1], 5);
}

TEST(TwoModels, AreBuiltAndRunInTwoThreads) {
  const auto x = latents<M>(1, 8, 8, 3);
  const auto expected = expected_of(random_model<M>(1), x);
  std::array<bool, 2> right{};
  const auto work = [&](std::size_t i) {
    const auto model = random_model<M>(1);
    Workspace workspace(1);
    right[i] = static_cast<bool>(same_bits(run(model, x, workspace), expected));
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  EXPECT_TRUE(right[0] && right[1]);
}

TEST(OneModel, IsSharedByThreadsWithAWorkspaceEach) {
  const auto model = random_model<M>(1);
  const std::array x{latents<M>(1, 8, 8, 3), latents<M>(2, 6, 10, 4)};
  const std::array expected{expected_of(model, x[0]), expected_of(model, x[1])};
  std::array<int, 2> right{};
  const auto work = [&](std::size_t i) {
    Workspace workspace(2);
    for (int pass = 0; pass < 5; ++pass) right[i] += same_bits(run(model, x[i], workspace), expected[i]) ? 1 : 0;
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  EXPECT_EQ(right[0], 5);
  EXPECT_EQ(right[1], 5);
}

TEST(OneModel, MayShareAPoolBetweenWorkspaces) {
  const auto model = random_model<M>(1);
  const std::array x{latents<M>(1, 8, 8, 3), latents<M>(2, 6, 10, 4)};
  const std::array expected{expected_of(model, x[0]), expected_of(model, x[1])};
  ThreadPool pool(2);
  std::array<int, 2> right{};
  const auto work = [&](std::size_t i) {
    Workspace workspace(pool);
    for (int pass = 0; pass < 3; ++pass) right[i] += same_bits(run(model, x[i], workspace), expected[i]) ? 1 : 0;
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  EXPECT_EQ(right[0], 3);
  EXPECT_EQ(right[1], 3);
}

}  // namespace
