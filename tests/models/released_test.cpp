/// Models whose modulation weights were released: what was prepared goes on, bit for bit; the rest says so.

#include "models/released.hpp"
#include "core/allocations.hpp"
#include "dit/sampling/euler.hpp"
#include "dit/sampling/guidance.hpp"
#include "dit/sampling/schedule.hpp"

namespace support { namespace {

using namespace dit;

template <class M>
Tensor<typename M::R, 4> ask(Conditioned<M>& field, const Tensor<typename M::R, 4>& x,
                             std::type_identity_t<typename M::R> sigma) {
  auto v = output_for<M>(x);
  field(View<const typename M::R, 4>(x), sigma, View<typename M::R, 4>(v));
  return v;
}

/// Sigmas that differ in every bit of the model's time.
template <class R>
std::vector<R> sigmas(int n) {
  std::vector<R> t;
  for (int i = 0; i < n; ++i) t.push_back(1 - static_cast<R>(i) / static_cast<R>(n));
  return t;
}

TYPED_TEST(Released, ModelsServeThePreparedTimesBitForBit) {
  using M = TypeParam;
  using R = typename M::R;
  auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(3, 6, 8, 2);
  const auto condition = random_condition<M>(3, 3);
  Conditioned plain(model, condition, workspace), field(model, condition, workspace),
      other(model, random_condition<M>(3, 4), workspace);
  const auto times = sigmas<R>(5);
  field.prepare(times);
  other.prepare(std::vector<R>{R(0.5)});
  std::vector<Tensor<R, 4>> expected;
  for (const R t : times) expected.push_back(ask(plain, x, t));
  const auto expected_of_other = ask(other, x, R(0.5));
  ASSERT_TRUE(has_modulation(model));

  release_modulation(model);
  EXPECT_FALSE(has_modulation(model));
  for (std::size_t i = 0; i < times.size(); ++i) {
    EXPECT_TRUE(same_bits(ask(field, x, times[i]), expected[i])) << times[i];
  }
  EXPECT_TRUE(same_bits(ask(other, x, R(0.5)), expected_of_other));
  auto copied = field;
  EXPECT_TRUE(same_bits(ask(copied, x, times[1]), expected[1]));
  EXPECT_TRUE(same_bits(ask(field, pick(x, {0}), times[1]), pick(expected[1], {0})));

  // The rest of the model is what it was: with the projections of another it computes again.
  const auto again = random_model<M>(1);
  for_each_parameter(
      [](const Path&, const auto& from, auto& to) {
        if (!to.empty()) return;
        to.allocate();
        to.copy(from);
      },
      again, model);
  EXPECT_TRUE(same_bits(ask(plain, x, times[2]), expected[2]));
  EXPECT_EQ(max_difference(model, again), 0);
}

TYPED_TEST(Released, ModelsSayThatATimeWasNotPrepared) {
  using M = TypeParam;
  using R = typename M::R;
  auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(2, 6, 8, 2);
  Conditioned field(model, random_condition<M>(2, 3), workspace),
      never(model, random_condition<M>(2, 3), workspace);
  field.prepare(sigmas<R>(3));
  const auto expected = ask(field, x, R(1));
  release_modulation(model);
  EXPECT_ERROR(errc::bad_state, ask(never, x, R(1)));
  EXPECT_ERROR(errc::bad_state, field.prepare(sigmas<R>(3)));
  try {
    ask(field, x, R(0.123));
    ADD_FAILURE() << "a time that nobody can compute";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), errc::bad_state);
    EXPECT_NE(std::string(error.what()).find("not prepared"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("released"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(same_bits(ask(field, x, R(1)), expected));  // and goes on with those that are
}

TYPED_TEST(Released, ModelsWalkTheirStepLoopWithoutAnAllocation) {
  using M = TypeParam;
  using R = typename M::R;
  if constexpr (M::family != "dit") {  // whose variance logits are no flow
    auto model = random_model<M>(1);
    Workspace workspace(2);
    Conditioned both(model, random_condition<M>(4, 3), workspace);
    const auto schedule = Schedule::uniform(6);
    both.prepare(schedule.template times<R>());
    BatchedGuidance field(std::ref(both), Guidance{.scale = 5});
    const auto run = [&](long* allocated) {
      EulerSampler<R> sampler;
      sampler.begin(random_latents<M>(2, 8, 8, 2), schedule);
      sampler.step(field);
      const long before = allocations::count;
      while (!sampler.done()) sampler.step(field);
      *allocated = allocations::count - before;
      return sampler.take();
    };
    long allocated = -1;
    const auto expected = run(&allocated);
    release_modulation(model);
    EXPECT_TRUE(same_bits(run(&allocated), expected));
    EXPECT_EQ(allocated, 0);
  }
}

// Many times make several products, of which each has a table of its own: none of that shows.
TYPED_TEST(Released, TablesOfManyTimesAreTheSameBits) {
  using M = TypeParam;
  using R = typename M::R;
  auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(3, 2, 2, 2);
  const auto condition = random_condition<M>(3, 3);
  Conditioned plain(model, condition, workspace), field(model, condition, workspace);
  const auto times = sigmas<R>(200);
  field.prepare(times);
  std::vector<Tensor<R, 4>> expected;
  const int some[] = {0, 1, 83, 84, 85, 86, 127, 169, 170, 171, 198, 199};
  for (const int i : some) expected.push_back(ask(plain, x, times[static_cast<std::size_t>(i)]));
  release_modulation(model);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(same_bits(ask(field, x, times[static_cast<std::size_t>(some[i])]), expected[i])) << some[i];
  }
}

TYPED_TEST(Released, TablesOfManyTimesTakeNoMoreWorkspaceThanOf256Vectors) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  const auto high_water = [&](Index samples, int times) {
    Workspace workspace(2);
    Conditioned field(model, random_condition<M>(samples, 3), workspace);
    field.prepare(sigmas<R>(times));
    return workspace.high_water();
  };
  EXPECT_EQ(high_water(2, 1000), high_water(2, 128));
  EXPECT_GT(high_water(2, 128), high_water(2, 100));
  EXPECT_EQ(high_water(1, 257), high_water(1, 256));
}

}}  // namespace support
