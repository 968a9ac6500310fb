/// Models that are told a text: the same bits for any number of threads and any executor, batched or alone.

#include <span>

#include "models/text_models.hpp"

namespace {

using namespace dit;
using namespace support;

/// Latents and texts whose tokens fill no block of any kernel evenly, and what one thread makes of them.
template <class M>
struct Case {
  using R = typename M::R;
  M model = random_model<M>(1);
  Tensor<R, 4> x = random_latents<M>(3, 6, 10, 2);
  typename M::Condition condition = random_condition<M>(3, 3);
  std::vector<R> t{M::model_time(0.75), M::model_time(1.0), M::model_time(0.001)};
  Tensor<R, 4> expected{};

  Case() {
    InlineExecutor alone;
    Workspace workspace(alone);
    expected = model(x, t, condition, workspace);
  }
};

template <class M>
class TextDeterminism : public testing::Test {};
TYPED_TEST_SUITE(TextDeterminism, TextModels, ModelName);

TYPED_TEST(TextDeterminism, DoesNotSeeTheNumberOfThreads) {
  const Case<TypeParam> c;
  for (const int threads : {1, 2, 3, 7}) {
    Workspace workspace(threads);
    for (int again = 0; again < 2; ++again) {
      EXPECT_TRUE(same_bits(c.model(c.x, c.t, c.condition, workspace), c.expected)) << threads << " threads";
    }
  }
}

TYPED_TEST(TextDeterminism, DoesNotSeeTheBatch) {
  const Case<TypeParam> c;
  for (const int threads : {1, 3}) {
    Workspace workspace(threads);
    for (const Picks& some : {Picks{0}, {1}, {2}, {1, 2}, {0, 2}}) {
      EXPECT_TRUE(same_bits(c.model(pick(c.x, some), pick(c.t, some), pick(c.condition, some), workspace),
                            pick(c.expected, some)))
          << to_string(some);
    }
  }
}

TYPED_TEST(TextDeterminism, FollowsTheOrderOfTheBatch) {
  const Case<TypeParam> c;
  Workspace workspace(2);
  for (const Picks& order : {Picks{1, 2, 0}, {2, 1, 0}, {1, 1, 0, 2, 0}}) {
    EXPECT_TRUE(same_bits(c.model(pick(c.x, order), pick(c.t, order), pick(c.condition, order), workspace),
                          pick(c.expected, order)))
        << to_string(order);
  }
}

TYPED_TEST(TextDeterminism, DoesNotSeeHowTheModulationsWereMade) {
  using M = TypeParam;
  using R = typename M::R;
  const Case<M> c;
  for (const int threads : {1, 3}) {
    Workspace workspace(threads);
    const auto embedded = c.model.embed(c.condition, workspace);
    // Of three times, the second the one that counts, for three samples each.
    std::vector<R> t{0, 0, 0}, table(static_cast<std::size_t>(9 * M::Modulations::per_vector));
    t.insert(t.end(), c.t.begin(), c.t.end());
    t.insert(t.end(), 3, M::model_time(0.5));
    c.model.modulations(t, embedded, table.data(), workspace);
    Tensor<R, 4> out(c.expected.dimensions());
    c.model(c.x, typename M::Modulations{{table.data(), 9, 3}}, embedded, out, workspace);
    EXPECT_TRUE(same_bits(out, c.expected)) << threads;
  }
}

TYPED_TEST(TextDeterminism, DoesNotSeeAlignment) {
  using R = typename TypeParam::R;
  const Case<TypeParam> c;
  Workspace workspace(2);
  for (const Index offset : {1, 3, 8, 15}) {
    std::vector<R> in(static_cast<std::size_t>(c.x.size() + 16)), out(in.size(), R(-7));
    std::copy_n(c.x.data(), c.x.size(), in.data() + offset);
    const View<const R, 4> x{in.data() + offset, {3, 4, 6, 10}};
    const View<R, 4> result{out.data() + 16 - offset, {3, 4, 6, 10}};
    c.model(x, c.t, c.condition, result, workspace);
    EXPECT_TRUE(same_bits(std::span(result.data, static_cast<std::size_t>(result.size())), c.expected)) << offset;
    for (R* outside = out.data(); outside != result.begin(); ++outside) EXPECT_EQ(*outside, R(-7));
    for (R* outside = result.end(); outside != out.data() + out.size(); ++outside) EXPECT_EQ(*outside, R(-7));
  }
}

TYPED_TEST(TextDeterminism, DoesNotSeeWhatTheWorkspaceHeldBefore) {
  using R = typename TypeParam::R;
  const Case<TypeParam> c;
  Workspace workspace(2);
  {
    const auto scope = workspace.scope();
    std::fill_n(workspace.take<R>(1 << 20), 1 << 20, std::numeric_limits<R>::quiet_NaN());
  }
  EXPECT_TRUE(same_bits(c.model(c.x, c.t, c.condition, workspace), c.expected));
}

TYPED_TEST(TextDeterminism, MayBeSharedByPassesAtOnce) {
  const Case<TypeParam> c;
  ThreadPool pool(3);
  std::array<bool, 4> same{};
  pool.parallel_for(4, [&](Index task, int) {
    Workspace workspace(pool);
    same[static_cast<std::size_t>(task)] =
        static_cast<bool>(same_bits(c.model(c.x, c.t, c.condition, workspace), c.expected));
  });
  EXPECT_TRUE(same[0] && same[1] && same[2] && same[3]);
}

}  // namespace
