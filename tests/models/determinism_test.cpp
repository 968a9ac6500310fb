/// The same bits for any number of threads, any executor, any alignment, prepared or not, batched or alone.

#include <thread>

#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Determinism : public testing::Test {};
TYPED_TEST_SUITE(Determinism, Scalars, ScalarName);

/// Strands one after the other, the last one first.
class Backwards final : public Executor {
 public:
  int strands() const noexcept override { return 4; }
  void run(void (*strand)(void*, int) noexcept, void* context) override {
    for (int i = strands(); i-- > 0;) strand(context, i);
  }
};
/// A thread for every strand, anew each time.
class Forks final : public Executor {
 public:
  int strands() const noexcept override { return 3; }
  void run(void (*strand)(void*, int) noexcept, void* context) override {
    std::thread one(strand, context, 1), two(strand, context, 2);
    strand(context, 0);
    one.join();
    two.join();
  }
};

/// Latents whose tokens fill no block of any kernel evenly, and what one thread makes of them.
template <class T>
struct Case {
  using M = DiT<tiny, T>;
  M model = random_model<M>(1);
  Tensor<T, 4> x;
  std::vector<T> t{1, 250, T(999.5)};
  std::vector<int> y{3, 10, 0};
  Tensor<T, 4> expected{};

  explicit Case(Index height = 6, Index width = 10) : x(latents<M>(3, height, width, 2)) {
    InlineExecutor alone;
    Workspace workspace(alone);
    expected = model(x, t, y, workspace);
  }
};

TYPED_TEST(Determinism, DoesNotSeeTheNumberOfThreads) {
  for (const Case<TypeParam>& c :
       {Case<TypeParam>(), Case<TypeParam>(8, 8)}) {  // without and with the stored positions
    for (const int threads : {1, 2, 3, 5, 8}) {
      Workspace workspace(threads);
      for (int again = 0; again < 3; ++again) {
        EXPECT_TRUE(same_bits(c.model(c.x, c.t, c.y, workspace), c.expected)) << threads << " threads";
      }
    }
  }
}

TYPED_TEST(Determinism, DoesNotSeeTheExecutor) {
  const Case<TypeParam> c;
  Backwards backwards;
  Forks forks;
  for (Executor* executor : {static_cast<Executor*>(&backwards), static_cast<Executor*>(&forks)}) {
    Workspace workspace(*executor);
    EXPECT_TRUE(same_bits(c.model(c.x, c.t, c.y, workspace), c.expected)) << executor->strands();
  }
}

TYPED_TEST(Determinism, DoesNotSeeThatItRunsInsideItsOwnPool) {
  const Case<TypeParam> c;
  ThreadPool pool(3);
  std::array<bool, 4> same{};
  pool.parallel_for(4, [&](Index task, int) {
    Workspace workspace(pool);
    same[static_cast<std::size_t>(task)] =
        static_cast<bool>(same_bits(c.model(c.x, c.t, c.y, workspace), c.expected));
  });
  EXPECT_TRUE(same[0] && same[1] && same[2] && same[3]);
}

TYPED_TEST(Determinism, DoesNotSeeTheBatch) {
  const Case<TypeParam> c;
  for (const int threads : {1, 2}) {
    Workspace workspace(threads);
    for (const Index b : {0, 1, 2}) {
      const auto i = static_cast<std::size_t>(b);
      EXPECT_TRUE(
          same_bits(run(c.model, samples(c.x, b, 1), workspace, {c.t[i]}, {c.y[i]}), samples(c.expected, b, 1)));
    }
    const auto pair = run(c.model, samples(c.x, 1, 2), workspace, {c.t[1], c.t[2]}, {c.y[1], c.y[2]});
    EXPECT_TRUE(same_bits(pair, samples(c.expected, 1, 2)));
  }
}

TYPED_TEST(Determinism, DoesNotSeeAlignment) {
  using T = TypeParam;
  const Case<T> c;
  Workspace workspace(2);
  for (const Index offset : {1, 2, 3, 5, 7, 8, 13, 15}) {
    std::vector<T> in(static_cast<std::size_t>(c.x.size() + 16)),
        out(static_cast<std::size_t>(c.expected.size() + 16), T(-7));
    std::copy_n(c.x.data(), c.x.size(), in.data() + offset);
    const View<const T, 4> x{in.data() + offset, {3, 4, 6, 10}};
    const View<T, 4> result{out.data() + 16 - offset, {3, 8, 6, 10}};
    c.model(x, c.t, c.y, result, workspace);
    EXPECT_TRUE(std::equal(result.begin(), result.end(), c.expected.data())) << offset;
    for (T* outside = out.data(); outside != result.begin(); ++outside) EXPECT_EQ(*outside, T(-7));
    for (T* outside = result.end(); outside != out.data() + out.size(); ++outside) EXPECT_EQ(*outside, T(-7));
  }
}

TYPED_TEST(Determinism, DoesNotSeeHowTheModulationsWereMade) {
  using T = TypeParam;
  const Case<T> c;
  using M = typename Case<T>::M;
  for (const int threads : {1, 3}) {
    Workspace workspace(threads);
    // In one table with others before and after.
    std::vector<T> t{0, 7, 77}, table(static_cast<std::size_t>(7 * M::Modulations::per_vector));
    std::vector<int> y{1, 2, 9};
    t.insert(t.begin() + 2, c.t.begin(), c.t.end());
    y.insert(y.begin() + 2, c.y.begin(), c.y.end());
    t.push_back(5);
    y.push_back(5);
    c.model.modulations(t, y, table.data(), workspace);
    Tensor<T, 4> out(c.expected.dimensions());
    c.model(c.x, typename M::Modulations{table.data(), 7, 2}, out, workspace);
    EXPECT_TRUE(same_bits(out, c.expected)) << threads;
  }
}

TYPED_TEST(Determinism, DoesNotSeeWhatTheWorkspaceHeldBefore) {
  using T = TypeParam;
  for (const Case<T>& c : {Case<T>(), Case<T>(8, 8)}) {
    Workspace workspace(2);
    {
      const auto scope = workspace.scope();
      std::fill_n(workspace.take<T>(1 << 20), 1 << 20, std::numeric_limits<T>::quiet_NaN());
    }
    EXPECT_TRUE(same_bits(c.model(c.x, c.t, c.y, workspace), c.expected));
  }
}

}  // namespace
