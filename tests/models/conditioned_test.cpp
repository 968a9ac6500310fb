/// A model as the field that a sampler walks along: its time, its classes or texts, its prepared modulations, its
/// guidance, the blocks that are left out.

#include "dit/core/random.hpp"
#include "dit/sampling/ddim.hpp"
#include "dit/sampling/ddpm.hpp"
#include "dit/sampling/guidance.hpp"
#include "dit/sampling/prediction.hpp"
#include "dit/sampling/sample.hpp"
#include "dit/sampling/schedule.hpp"
#include "dit/sampling/skip_layer.hpp"
#include "models/text_models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class M>
class Fields : public testing::Test {};
using AllModels = testing::Types<DiT<tiny>, DiT<tiny, double>, MMDiT<mixed_mini>, MMDiT<mixed_mini, double>,
                                 Flux<flux_mini>, Flux<flux_mini, double>>;
TYPED_TEST_SUITE(Fields, AllModels, ModelName);

template <class M, class Field, class Time>
Tensor<typename M::R, 4> ask(Field&& field, const Tensor<typename M::R, 4>& x, Time time) {
  auto v = output_for<M>(x);
  field(View<const typename M::R, 4>(x), time, View<typename M::R, 4>(v));
  return v;
}

TYPED_TEST(Fields, AreTheModelAtThatTimePreparedOrNot) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(3, 6, 10, 2);
  const auto condition = random_condition<M>(3, 3);
  const auto schedule = Schedule::uniform(7).shifted(3);
  Conditioned plain(model, condition, workspace), prepared(model, condition, workspace);
  prepared.prepare(schedule.template times<R>());
  for (const R sigma : schedule.template times<R>()) {
    const auto direct = run_text(model, x, condition, workspace, std::vector<R>(3, M::model_time(sigma)));
    EXPECT_TRUE(same_bits(ask<M>(plain, x, sigma), direct)) << sigma;
    EXPECT_TRUE(same_bits(ask<M>(prepared, x, sigma), direct)) << sigma;
  }
  const R other = R(0.123);  // that was not prepared
  EXPECT_TRUE(same_bits(ask<M>(prepared, x, other), ask<M>(plain, x, other)));
  prepared.prepare(std::vector<double>{0.5, 0.25});  // anew, and times of another type
  for (const R sigma : {R(0.5), R(0.25), R(1)})
    EXPECT_TRUE(same_bits(ask<M>(prepared, x, sigma), ask<M>(plain, x, sigma)));
}

TYPED_TEST(Fields, GiveASmallerBatchTheFirstConditions) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(3, 6, 10, 2);
  const auto condition = random_condition<M>(3, 3);
  for (const bool prepared : {false, true}) {
    Conditioned field(model, condition, workspace);
    if (prepared) field.prepare(std::vector<R>{1, R(0.5)});
    const auto all = ask<M>(field, x, R(0.5));
    EXPECT_TRUE(same_bits(ask<M>(field, pick(x, {0, 1}), R(0.5)), pick(all, {0, 1})));
    EXPECT_TRUE(same_bits(ask<M>(field, pick(x, {0}), R(0.5)), pick(all, {0})));
    EXPECT_FALSE(same_bits(ask<M>(field, pick(x, {1}), R(0.5)), pick(all, {1})));
    EXPECT_TRUE(same_bits(ask<M>(field, x, R(0.5)), all));  // and all of them again
    EXPECT_ERROR(errc::bad_condition, ask<M>(field, random_latents<M>(4, 6, 10, 2), R(0.5)));
  }
}

TYPED_TEST(Fields, TakeLatentsOfAnySizeOneAfterTheOther) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto condition = random_condition<M>(1, 3);
  Conditioned field(model, condition, workspace);
  for (const auto& [height, width] : {std::pair<Index, Index>{8, 8}, {2, 20}, {24, 6}, {8, 8}}) {
    const auto x = random_latents<M>(1, height, width, 2);
    EXPECT_TRUE(
        same_bits(ask<M>(field, x, R(0.5)), run_text(model, x, condition, workspace, {M::model_time(0.5)})));
  }
}

TYPED_TEST(Fields, KeepTheirConditionWhenTheCallersIsGone) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(2, 6, 10, 2);
  Conditioned field(model, random_condition<M>(2, 3), workspace);  // a temporary
  auto copied = field;
  field.prepare(std::vector<R>{R(0.5)});
  EXPECT_TRUE(same_bits(ask<M>(field, x, R(0.5)), ask<M>(copied, x, R(0.5))));
  EXPECT_TRUE(same_bits(ask<M>(copied, x, R(0.5)), run_text(model, x, random_condition<M>(2, 3), workspace,
                                                            std::vector<R>(2, M::model_time(0.5)))));
}

TYPED_TEST(Fields, AreGuidedInOneCallAsInTwoBitForBit) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(2, 6, 10, 2);
  const auto prompts = random_condition<M>(2, 3), negative = random_condition<M>(2, 4);
  const auto both = joined<M>(prompts, negative);
  for (const bool prepared : {false, true}) {
    Conditioned field(model, both, workspace), conditional(model, prompts, workspace),
        unconditional(model, negative, workspace);
    if (prepared) field.prepare(std::vector<R>{R(0.5), R(0.25)});
    const Guidance guidance{.scale = 5, .lo = 0.2, .hi = 0.8};
    BatchedGuidance batched(std::ref(field), guidance);
    SequentialGuidance sequential(std::ref(conditional), std::ref(unconditional), guidance);
    for (const R sigma : {R(0.5), R(0.25), R(0.3), R(1)})
      EXPECT_TRUE(same_bits(ask<M>(batched, x, sigma), ask<M>(sequential, x, sigma))) << sigma;
    EXPECT_TRUE(same_bits(ask<M>(batched, x, R(0.9)), ask<M>(conditional, x, R(0.9))));
    const auto c = ask<M>(conditional, x, R(0.5)), u = ask<M>(unconditional, x, R(0.5));
    Tensor<R, 4> guided = u + (c - u) * R(5);
    const Index one = x.size() / 2, all = guided.size() / 2;
    for (const Index b : {0, 1}) {  // a DiT's variance logits stay those of its condition
      std::copy(c.data() + b * all + one, c.data() + (b + 1) * all, guided.data() + b * all + one);
    }
    EXPECT_TRUE(close(ask<M>(batched, x, R(0.5)), guided, whole_model<R>));
    EXPECT_GT(distance(guided, c).nmse, 1e-3);
  }
}

// Of a DiT.

template <class T>
class ClassFields : public testing::Test {};
TYPED_TEST_SUITE(ClassFields, Scalars, ScalarName);

TYPED_TEST(ClassFields, OfAFlowCountTimeInThousandthsAndOfAChainInSteps) {
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

TYPED_TEST(ClassFields, OfAChainArePreparedBitForBit) {
  using M = DiT<tiny, TypeParam>;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = latents<M>(3, 8, 8, 2);
  Conditioned plain(model, {3, 10, 0}, workspace), chain(model, {3, 10, 0}, workspace);
  chain.prepare(std::vector<int>{999, 500, 0});
  for (const int t : {999, 500, 0, 7}) EXPECT_TRUE(same_bits(ask<M>(chain, x, t), ask<M>(plain, x, t))) << t;
  chain.prepare(std::vector<std::int64_t>{999, 250});  // anew, and steps of any integer type
  for (const int t : {999, 250, 500}) EXPECT_TRUE(same_bits(ask<M>(chain, x, t), ask<M>(plain, x, t))) << t;
}

TYPED_TEST(ClassFields, RefuseWhatTheModelCannotAnswer) {
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
TYPED_TEST(ClassFields, AreGuidedAsTheOfficialCodeAndAsDiffusersDo) {
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

/// As the authors sample: a chain with learned variance, guidance on three of four channels.
TYPED_TEST(ClassFields, WithLearnedVarianceWalkTheirChain) {
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

// Of models that are told a text.

template <class M>
class TextFields : public testing::Test {};
TYPED_TEST_SUITE(TextFields, TextModels, ModelName);

TYPED_TEST(TextFields, ConcatenateTextsSampleBySample) {
  using M = TypeParam;
  const auto a = random_text<M>(2, 1), b = random_text<M>(3, 2), both = concat(a, b);
  EXPECT_EQ(both.samples(), 5);
  EXPECT_TRUE(same_bits(pick(both, {0, 1}).context, a.context));
  EXPECT_TRUE(same_bits(pick(both, {0, 1}).pooled, a.pooled));
  EXPECT_TRUE(same_bits(pick(both, {2, 3, 4}).context, b.context));
  EXPECT_TRUE(same_bits(pick(both, {2, 3, 4}).pooled, b.pooled));
}

// Skip-layer guidance, in models that have it.

template <class T>
class SkippingFields : public testing::Test {};
TYPED_TEST_SUITE(SkippingFields, Scalars, ScalarName);

/// A block whose gates are closed passes both streams through: the model without it.
template <class M>
void close_gates(M& model, const std::vector<int>& blocks) {
  M::Blocks::visit(
      [&](int i, auto& block) {
        if (std::find(blocks.begin(), blocks.end(), i) == blocks.end()) return;
        silence(block.x_block.adaLN_modulation);
        silence(block.context_block.adaLN_modulation);
      },
      model.joint_blocks);
}

TYPED_TEST(SkippingFields, AreTheModelWithoutThoseBlocks) {
  using T = TypeParam;
  using M = MMDiT<mixed_mini, T>;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(2, 6, 10, 2);
  const auto text = random_condition<M>(2, 3);
  for (const bool prepared : {false, true}) {
    Conditioned field(model, text, workspace);
    if (prepared) field.prepare(std::vector<T>{T(0.5)});
    const auto whole = ask<M>(field, x, T(0.5));
    const auto expect_skipped = [&](auto skipping, const std::vector<int>& blocks) {
      auto without = random_model<M>(1);
      close_gates(without, blocks);
      const auto v = ask<M>(skipping, x, T(0.5));
      EXPECT_TRUE(same_bits(v, ask<M>(Conditioned(without, text, workspace), x, T(0.5))));
      EXPECT_EQ(distance(v, whole).nmse > 1e-6, !blocks.empty());
    };
    expect_skipped(field.skipping({}), {});
    expect_skipped(field.skipping({0}), {0});
    expect_skipped(field.skipping({1}), {1});
    expect_skipped(field.skipping({2}), {2});
    expect_skipped(field.skipping({2, 0}), {0, 2});
    expect_skipped(field.skipping({0, 1, 2, 1}), {0, 1, 2});
    EXPECT_TRUE(same_bits(ask<M>(field, x, T(0.5)), whole));  // which is none the worse for it
  }
}

TYPED_TEST(SkippingFields, GuideAwayFromTheModelWithoutThoseBlocks) {
  using T = TypeParam;
  using M = MMDiT<mixed_mini, T>;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(2, 6, 10, 2);
  Conditioned both(model, concat(random_text<M>(2, 3), random_text<M>(2, 4)), workspace);
  const SkipLayer options{.scale = 2.8, .lo = 0.2, .hi = 0.8};
  BatchedGuidance guided(std::ref(both), Guidance{.scale = 5});
  SkipLayerGuidance field(std::ref(guided), both.skipping({1}), options);
  const auto c = ask<M>(both, x, T(0.5)), g = ask<M>(guided, x, T(0.5)), s = ask<M>(both.skipping({1}), x, T(0.5));
  const Tensor<T, 4> expected = g + (c - s) * T(2.8);
  EXPECT_TRUE(close(ask<M>(field, x, T(0.5)), expected, whole_model<T>));
  EXPECT_GT(distance(g, expected).nmse, 1e-4);
  EXPECT_TRUE(same_bits(ask<M>(field, x, T(0.9)), ask<M>(guided, x, T(0.9))));
}

template <class F>
concept Skips = requires(F field) {
  field.skipping({1});
};
static_assert(Skips<Conditioned<MMDiT<mixed_mini>>>);
static_assert(!Skips<Conditioned<Flux<flux_mini>>>);

}  // namespace
