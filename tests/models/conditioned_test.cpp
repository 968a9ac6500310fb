/// A DiT as the field that a sampler walks along: its time, its classes, its prepared modulations, its guidance.

#include "dit/core/random.hpp"
#include "dit/sampling/ddim.hpp"
#include "dit/sampling/ddpm.hpp"
#include "dit/sampling/guidance.hpp"
#include "dit/sampling/prediction.hpp"
#include "dit/sampling/sample.hpp"
#include "dit/sampling/schedule.hpp"
#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Fields : public testing::Test {};
TYPED_TEST_SUITE(Fields, Scalars, ScalarName);

template <class M, class Field, class Time>
auto ask(Field& field, const Tensor<typename M::R, 4>& x, Time t) {
  using R = typename M::R;
  Tensor<R, 4> out(x.dimension(0), M::config.out_channels(), x.dimension(2), x.dimension(3));
  out.setConstant(R(-7));
  field(View<const R, 4>(x), t, View<R, 4>(out));
  return out;
}

TYPED_TEST(Fields, OfAFlowCountTimeInThousandthsAndOfAChainInSteps) {
  using T = TypeParam;
  using M = DiT<mini, T>;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = latents<M>(2, 8, 8, 2);
  Conditioned field(model, {3, 10}, workspace);
  EXPECT_TRUE(same_bits(ask<M>(field, x, T(0.75)), run(model, x, workspace, {750, 750}, {3, 10})));
  EXPECT_TRUE(same_bits(ask<M>(field, x, T(1)), run(model, x, workspace, {1000, 1000}, {3, 10})));
  EXPECT_TRUE(same_bits(ask<M>(field, x, 750), run(model, x, workspace, {750, 750}, {3, 10})));
  EXPECT_TRUE(same_bits(ask<M>(field, x, 1), run(model, x, workspace, {1, 1}, {3, 10})));
}

TYPED_TEST(Fields, ArePreparedBitForBit) {
  using T = TypeParam;
  using M = DiT<tiny, T>;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = latents<M>(3, 8, 8, 2);
  const auto schedule = Schedule::uniform(7).shifted(3);
  Conditioned plain(model, {3, 10, 0}, workspace), prepared(model, {3, 10, 0}, workspace);
  prepared.prepare(schedule.times<T>());
  for (const T t : schedule.times<T>()) EXPECT_TRUE(same_bits(ask<M>(prepared, x, t), ask<M>(plain, x, t))) << t;
  EXPECT_TRUE(same_bits(ask<M>(prepared, x, T(0.123)), ask<M>(plain, x, T(0.123))))
      << "a time that was not prepared";
  const T last = schedule.times<T>().back();  // the first of the classes for a smaller batch
  EXPECT_TRUE(same_bits(ask<M>(prepared, samples(x, 0, 2), last), samples(ask<M>(plain, x, last), 0, 2)));

  Conditioned chain(model, {3, 10, 0}, workspace);
  chain.prepare(std::vector<int>{999, 500, 0});
  for (const int t : {999, 500, 0, 7}) EXPECT_TRUE(same_bits(ask<M>(chain, x, t), ask<M>(plain, x, t))) << t;
  chain.prepare(std::vector<std::int64_t>{999, 250});  // anew, and steps of any integer type
  for (const int t : {999, 250, 500}) EXPECT_TRUE(same_bits(ask<M>(chain, x, t), ask<M>(plain, x, t))) << t;
}

TYPED_TEST(Fields, RefuseWhatTheModelCannotAnswer) {
  using T = TypeParam;
  using M = DiT<mini, T>;
  const auto model = random_model<M>(1);
  Workspace workspace(1);
  const auto x = latents<M>(2, 8, 8, 2);
  Conditioned good(model, {3, 10}, workspace), few(model, {3}, workspace), beyond(model, {3, 11}, workspace),
      negative(model, {-1, 0}, workspace);
  EXPECT_ERROR(errc::bad_condition, ask<M>(few, x, 750));
  EXPECT_ERROR(errc::bad_condition, ask<M>(beyond, x, 750));
  EXPECT_ERROR(errc::bad_condition, ask<M>(negative, x, 750));
  EXPECT_ERROR(errc::bad_schedule, ask<M>(good, x, std::numeric_limits<T>::quiet_NaN()));
  EXPECT_ERROR(errc::bad_schedule, ask<M>(good, x, std::numeric_limits<T>::infinity()));
  EXPECT_ERROR(errc::bad_condition, beyond.prepare(std::vector<int>{1}));
  EXPECT_ERROR(errc::bad_schedule, good.prepare(std::vector<double>{1, NAN}));
  EXPECT_ERROR(errc::bad_condition, good.prepare(std::vector<int>{}));
  ask<M>(good, x, 750);
}

/// out of `guided.<name>` for each sample of the first half: in the golden every sample has a time of its own.
template <class T, class Make>
void expect_guided(const std::string& name, const Golden& io, Make&& make) {
  using M = DiT<tiny, T>;
  const auto x = io.tensor<T, 4>("guided.x");
  const auto expected = io.tensor<double, 4>("guided." + name + ".out64");
  const auto t = io.values<double>("guided.t");
  const auto y = io.integers("guided.y");
  for (std::size_t i = 0; i < 2; ++i) {
    auto field = make(y[i]);
    const auto b = static_cast<Index>(i);
    EXPECT_TRUE(
        close(ask<M>(field, samples(x, b, 1), static_cast<int>(t[i])), samples(expected, b, 1), whole_model<T>))
        << name << ", sample " << i;
  }
}

// The official code guides 3 of the 4 channels, diffusers all; the variance logits stay the conditional ones.
TYPED_TEST(Fields, AreGuidedAsTheOfficialCodeAndAsDiffusersDo) {
  using T = TypeParam;
  using M = DiT<tiny, T>;
  const auto model = golden_model<M>("dit_tiny");
  const Golden io("dit_tiny_io");
  Workspace workspace(2);
  for (const auto& [name, guidance] : {std::pair<std::string, Guidance>{"s4.0.c3", {.scale = 4, .channels = 3}},
                                       {"s4.0.c4", {.scale = 4}},
                                       {"s1.5.c3", {.scale = 1.5, .channels = 3}},
                                       {"s1.5.c4", {.scale = 1.5, .channels = 4}}}) {
    const Guidance g = guidance;
    expect_guided<T>(name, io, [&](int label) {
      return BatchedGuidance(Conditioned(model, {label, M::null_class}, workspace), g);
    });
    expect_guided<T>(name, io, [&](int label) {
      return SequentialGuidance(Conditioned(model, {label}, workspace),
                                Conditioned(model, {M::null_class}, workspace), g);
    });
  }
}

TYPED_TEST(Fields, AreGuidedInOneCallAsInTwoBitForBit) {
  using T = TypeParam;
  using M = DiT<tiny, T>;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = latents<M>(2, 6, 10, 2);
  Conditioned both(model, {3, 5, 10, 10}, workspace);
  both.prepare(std::vector<T>{T(0.5)});
  BatchedGuidance batched(both, Guidance{.scale = 3, .lo = 0.2, .hi = 0.8});
  SequentialGuidance sequential(Conditioned(model, {3, 5}, workspace), Conditioned(model, {10, 10}, workspace),
                                Guidance{.scale = 3, .lo = 0.2, .hi = 0.8});
  Conditioned conditional(model, {3, 5}, workspace);
  for (const T t : {T(0.5), T(0.25), T(1)}) {
    EXPECT_TRUE(same_bits(ask<M>(batched, x, t), ask<M>(sequential, x, t))) << t;
  }
  EXPECT_TRUE(same_bits(ask<M>(batched, x, T(0.9)), ask<M>(conditional, x, T(0.9))));
  EXPECT_GT(distance(ask<M>(batched, x, T(0.5)), ask<M>(conditional, x, T(0.5))).nmse, 1e-3);
}

/// As the authors sample: a chain with learned variance, guidance on three of four channels.
TYPED_TEST(Fields, WithLearnedVarianceWalkTheirChain) {
  using T = TypeParam;
  using M = DiT<mini, T>;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = latents<M>(2, 8, 8, 2);
  Conditioned both(model, {3, 5, 10, 10}, workspace);
  BatchedGuidance field(std::ref(both), Guidance{.scale = 4, .channels = 3});
  const DiffusionSchedule chain(respaced_steps(5));

  auto draw = [generator = TorchGenerator(7)](auto noise) mutable { randn(noise, generator); };
  auto again = draw;
  const auto sampled = sample<DdpmSampler>(x, chain, field, Unobserved{}, draw);
  EXPECT_EQ(sampled.steps, 5);
  DdpmSampler<T, 4> by_hand;
  by_hand.begin(x, chain);
  while (!by_hand.done()) by_hand.step(field, again);
  const auto expected = by_hand.take();
  EXPECT_TRUE(same_bits(sampled.x, expected));
  EXPECT_FALSE(same_bits(sampled.x, x));

  const auto plain = sample<DdimSampler>(x, chain, WithoutVariance(std::ref(field)));
  DdimSampler<T, 4> ddim;
  ddim.begin(x, chain);
  Tensor<T, 4> out(2, 8, 8, 8);
  const auto eps = [&](View<const T, 4> state, int step, View<T, 4> into) {  // the first half of the channels
    field(state, step, View<T, 4>(out));
    for (Index b = 0; b < 2; ++b) {
      const auto from = View<T, 4>(out)[b];
      std::copy(from.begin(), from.begin() + into.size() / 2, into[b].begin());
    }
  };
  while (!ddim.done()) ddim.step(eps);
  EXPECT_TRUE(same_bits(plain.x, ddim.take()));
}

}  // namespace
