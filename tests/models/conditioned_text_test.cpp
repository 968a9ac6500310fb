/// An MMDiT and a FLUX as the fields that a sampler walks along: their texts, their prepared modulations, their
/// guidance, the blocks that are left out.

#include "dit/sampling/guidance.hpp"
#include "dit/sampling/schedule.hpp"
#include "dit/sampling/skip_layer.hpp"
#include "models/text_models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class M>
class TextFields : public testing::Test {};
TYPED_TEST_SUITE(TextFields, TextModels, ModelName);

template <class R, class Field>
Tensor<R, 4> ask(Field&& field, const Tensor<R, 4>& x, std::type_identity_t<R> sigma) {
  Tensor<R, 4> v(x.dimensions());
  v.setConstant(R(-7));
  field(View<const R, 4>(x), sigma, View<R, 4>(v));
  return v;
}

TYPED_TEST(TextFields, AreTheModelAtThatTimePreparedOrNot) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(3, 6, 10, 2);
  const auto condition = random_condition<M>(3, 3);
  const auto schedule = Schedule::uniform(5).shifted(3);
  Conditioned plain(model, condition, workspace), prepared(model, condition, workspace);
  prepared.prepare(schedule.template times<R>());
  for (const R sigma : schedule.template times<R>()) {
    const auto direct = run_text(model, x, condition, workspace, std::vector<R>(3, M::model_time(sigma)));
    EXPECT_TRUE(same_bits(ask<R>(plain, x, sigma), direct)) << sigma;
    EXPECT_TRUE(same_bits(ask<R>(prepared, x, sigma), direct)) << sigma;
  }
  const R other = R(0.123);  // that was not prepared
  EXPECT_TRUE(same_bits(ask<R>(prepared, x, other), ask<R>(plain, x, other)));
  prepared.prepare(std::vector<double>{0.5, 0.25});  // anew, and times of another type
  for (const R sigma : {R(0.5), R(0.25), R(1)})
    EXPECT_TRUE(same_bits(ask<R>(prepared, x, sigma), ask<R>(plain, x, sigma)));
}

TYPED_TEST(TextFields, GiveASmallerBatchTheFirstTexts) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(3, 6, 10, 2);
  const auto condition = random_condition<M>(3, 3);
  for (const bool prepared : {false, true}) {
    Conditioned field(model, condition, workspace);
    if (prepared) field.prepare(std::vector<R>{1, R(0.5)});
    const auto all = ask<R>(field, x, R(0.5));
    EXPECT_TRUE(same_bits(ask<R>(field, pick(x, {0, 1}), R(0.5)), pick(all, {0, 1})));
    EXPECT_TRUE(same_bits(ask<R>(field, pick(x, {0}), R(0.5)), pick(all, {0})));
    EXPECT_FALSE(same_bits(ask<R>(field, pick(x, {1}), R(0.5)), pick(all, {1})));
    EXPECT_TRUE(same_bits(ask<R>(field, x, R(0.5)), all));  // and all of them again
    EXPECT_ERROR(errc::bad_condition, ask<R>(field, random_latents<M>(4, 6, 10, 2), R(0.5)));
  }
}

TYPED_TEST(TextFields, TakeLatentsOfAnySizeOneAfterTheOther) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto condition = random_condition<M>(1, 3);
  Conditioned field(model, condition, workspace);
  for (const auto& [height, width] : {std::pair<Index, Index>{8, 8}, {2, 20}, {24, 6}, {8, 8}}) {
    const auto x = random_latents<M>(1, height, width, 2);
    EXPECT_TRUE(
        same_bits(ask<R>(field, x, R(0.5)), run_text(model, x, condition, workspace, {M::model_time(0.5)})));
  }
}

TYPED_TEST(TextFields, KeepTheirConditionWhenTheCallersIsGone) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(2, 6, 10, 2);
  Conditioned field(model, random_condition<M>(2, 3), workspace);  // a temporary
  auto copied = field;
  field.prepare(std::vector<R>{R(0.5)});
  EXPECT_TRUE(same_bits(ask<R>(field, x, R(0.5)), ask<R>(copied, x, R(0.5))));
  EXPECT_TRUE(same_bits(ask<R>(copied, x, R(0.5)), run_text(model, x, random_condition<M>(2, 3), workspace,
                                                            std::vector<R>(2, M::model_time(0.5)))));
}

TYPED_TEST(TextFields, AreGuidedInOneCallAsInTwoBitForBit) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(2, 6, 10, 2);
  const auto prompts = random_condition<M>(2, 3), negative = random_condition<M>(2, 4);
  auto both = prompts;
  text_of(both) = concat(text_of(prompts), text_of(negative));
  if constexpr (is_flux<M>) both.guidance = {1, 2, 1, 2};
  for (const bool prepared : {false, true}) {
    Conditioned all(model, both, workspace), conditional(model, prompts, workspace),
        unconditional(model, negative, workspace);
    if (prepared) all.prepare(std::vector<R>{R(0.5), R(0.25)});
    const Guidance guidance{.scale = 5, .lo = 0.2, .hi = 0.8};
    BatchedGuidance batched(std::ref(all), guidance);
    SequentialGuidance sequential(std::ref(conditional), std::ref(unconditional), guidance);
    for (const R sigma : {R(0.5), R(0.25), R(0.3), R(1)})
      EXPECT_TRUE(same_bits(ask<R>(batched, x, sigma), ask<R>(sequential, x, sigma))) << sigma;
    EXPECT_TRUE(same_bits(ask<R>(batched, x, R(0.9)), ask<R>(conditional, x, R(0.9))));
    const auto c = ask<R>(conditional, x, R(0.5)), u = ask<R>(unconditional, x, R(0.5));
    const Tensor<R, 4> guided = u + (c - u) * R(5);
    EXPECT_TRUE(close(ask<R>(batched, x, R(0.5)), guided, whole_model<R>));
    EXPECT_GT(distance(guided, c).nmse, 1e-3);
  }
}

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
    const auto whole = ask<T>(field, x, T(0.5));
    const auto expect_skipped = [&](auto skipping, const std::vector<int>& blocks) {
      auto without = random_model<M>(1);
      close_gates(without, blocks);
      const auto v = ask<T>(skipping, x, T(0.5));
      EXPECT_TRUE(same_bits(v, ask<T>(Conditioned(without, text, workspace), x, T(0.5))));
      EXPECT_EQ(distance(v, whole).nmse > 1e-6, !blocks.empty());
    };
    expect_skipped(field.skipping({}), {});
    expect_skipped(field.skipping({0}), {0});
    expect_skipped(field.skipping({1}), {1});
    expect_skipped(field.skipping({2}), {2});
    expect_skipped(field.skipping({2, 0}), {0, 2});
    expect_skipped(field.skipping({0, 1, 2, 1}), {0, 1, 2});
    EXPECT_TRUE(same_bits(ask<T>(field, x, T(0.5)), whole));  // which is none the worse for it
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
  const auto c = ask<T>(both, x, T(0.5)), g = ask<T>(guided, x, T(0.5)), s = ask<T>(both.skipping({1}), x, T(0.5));
  const Tensor<T, 4> expected = g + (c - s) * T(2.8);
  EXPECT_TRUE(close(ask<T>(field, x, T(0.5)), expected, whole_model<T>));
  EXPECT_GT(distance(g, expected).nmse, 1e-4);
  EXPECT_TRUE(same_bits(ask<T>(field, x, T(0.9)), ask<T>(guided, x, T(0.9))));
}

template <class F>
concept Skips = requires(F field) {
  field.skipping({1});
};
static_assert(Skips<Conditioned<MMDiT<mixed_mini>>>);
static_assert(!Skips<Conditioned<Flux<flux_mini>>>);

}  // namespace
