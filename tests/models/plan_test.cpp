/// Memory: what the plan says is what a pass takes, to the byte, and neither the first pass nor the step loop
/// allocates. (Models of bf16 and int8: rounded_models.hpp; decoders: autoencoder_determinism_test.cpp.)

#include "core/allocations.hpp"
#include "dit/models/plain_dit.hpp"
#include "dit/sampling/euler.hpp"
#include "dit/sampling/guidance.hpp"
#include "dit/sampling/skip_layer.hpp"
#include "models/passes.hpp"

namespace {

using namespace dit;
using namespace support;

constexpr DiTConfig flow{
    .width = 72, .depth = 2, .heads = 3, .patch = 2, .input = 8, .learn_sigma = false, .classes = 10};

template <class M>
class Planned : public testing::Test {
 protected:
  M model = random_model<M>(1);
};
using Models = testing::Types<DiT<flow>, DiT<flow, double>, MMDiT<mixed_mini>, MMDiT<mixed_mini, double>,
                              Flux<flux_mini>, Flux<flux_mini, double>>;
TYPED_TEST_SUITE(Planned, Models, ModelName);

/// What a pass with everything computed anew takes.
template <class M>
void expect_planned(const M& model, const typename M::Condition& condition, const Pass& p, Index reference = 0) {
  const std::vector<typename M::R> t(static_cast<std::size_t>(p.batch), M::model_time(0.5));
  Workspace workspace(p.threads);
  model(random_latents<M>(p.batch, p.height, p.width, 2), t, condition, workspace);
  EXPECT_EQ(workspace.high_water(), planned<M>(p, reference).arena) << describe(p) << ", reference " << reference;
}

TYPED_TEST(Planned, IsWhatAPassTakes) {
  for (const Pass& p : passes) expect_planned(this->model, random_condition<TypeParam>(p.batch, 3, p.text), p);
}

TYPED_TEST(Planned, AllocatesNothingInTheFirstPass) {
  using M = TypeParam;
  for (const Pass& p : passes) {
    const auto x = random_latents<M>(p.batch, p.height, p.width, 2);
    auto v = output_for<M>(x);
    Workspace workspace(p.threads, planned<M>(p).arena);
    Conditioned field(this->model, random_condition<M>(p.batch, 3, p.text), workspace);
    const long before = allocations::count;
    field(x, typename M::R(0.5), v);
    EXPECT_EQ(allocations::count - before, 0) << describe(p);
  }
}

TYPED_TEST(Planned, GrowsOnceForOtherShapesAndThenAllocatesNothing) {
  using M = TypeParam;
  Workspace workspace(2);
  for (const Pass& p : passes) {
    const auto x = random_latents<M>(p.batch, p.height, p.width, 2);
    auto v = output_for<M>(x);
    Conditioned field(this->model, random_condition<M>(p.batch, 3, p.text), workspace);
    field(x, typename M::R(0.5), v);
    const long before = allocations::count;
    field(x, typename M::R(0.5), v);
    EXPECT_EQ(allocations::count - before, 0) << describe(p);
  }
}

TYPED_TEST(Planned, AllocatesNothingInTheStepLoopAfterTheFirstStep) {
  using M = TypeParam;
  using R = typename M::R;
  for (const bool prepared : {true, false}) {
    Workspace workspace(2, planned<M>({4, 8, 8, 7, 2}).arena);
    Conditioned both(this->model, random_condition<M>(4, 3), workspace);  // [conditional | unconditional]
    const auto schedule = Schedule::uniform(6);
    if (prepared) both.prepare(schedule.template times<R>());
    const auto expect_no_allocations = [&](auto field, const char* name) {
      EulerSampler<R> sampler;
      sampler.begin(random_latents<M>(2, 8, 8, 2), schedule);
      sampler.step(field);
      const long before = allocations::count;
      while (!sampler.done()) sampler.step(field);
      EXPECT_EQ(allocations::count - before, 0) << name << (prepared ? ", prepared" : ", not prepared");
    };
    expect_no_allocations(std::ref(both), "alone");
    expect_no_allocations(BatchedGuidance(std::ref(both), Guidance{.scale = 5}), "guided");
    Conditioned negative(this->model, random_condition<M>(2, 5), workspace);
    expect_no_allocations(SequentialGuidance(std::ref(both), std::ref(negative), Guidance{.scale = 5}),
                          "guided twice");
    if constexpr (requires { both.skipping({1}); }) {
      expect_no_allocations(
          SkipLayerGuidance(BatchedGuidance(std::ref(both), Guidance{.scale = 5}), both.skipping({1}), SkipLayer{}),
          "guided, layers skipped");
    }
  }
}

// Kinds of models that the others are not.

template <class M>
void expect_planned_with(auto&& tell) {
  const auto model = random_model<M>(1);
  for (const Pass& p : passes) {
    auto condition = random_condition<M>(p.batch, 3, p.text);
    tell(condition, p);
    expect_planned(model, condition, p);
  }
}
constexpr auto nothing_else = [](auto&, const Pass&) {};

TEST(PlannedModel, MayLearnItsSigma) { expect_planned_with<DiT<tiny>>(nothing_else); }

TEST(PlannedModel, MayLackASecondAttention) { expect_planned_with<MMDiT<sd3_mini>>(nothing_else); }

TEST(PlannedModel, MayLackSingleBlocksAndGuidance) {
  constexpr FluxConfig config = [] {
    auto c = schnell_mini;
    c.single_blocks = 0;
    return c;
  }();
  expect_planned_with<Flux<config>>(nothing_else);
}

TEST(PlannedModel, MayTakeAControl) {
  expect_planned_with<Flux<fill_mini>>([](auto& condition, const Pass& p) {
    condition.control = normal<float, 4>({p.batch, 20, p.height, p.width}, 5);
  });
}

TEST(PlannedModel, MayTakeAReference) {
  using M = Flux<flux_mini>;
  const auto model = random_model<M>(1);
  for (const Pass& p : passes) {
    for (const auto& [height, width] : {std::pair<Index, Index>{2, 2}, {12, 6}, {20, 20}}) {
      auto condition = random_condition<M>(p.batch, 3, p.text);
      condition.reference = random_latents<M>(p.batch, height, width, 5);
      expect_planned(model, condition, p, height / 2 * (width / 2));
    }
  }
}

template <class T>
class PlannedPlainDiT : public testing::Test {};
TYPED_TEST_SUITE(PlannedPlainDiT, Scalars, ScalarName);

TYPED_TEST(PlannedPlainDiT, IsWhatAPassTakes) {
  using T = TypeParam;
  using M =
      PlainDiT<PlainDiTConfig{
                   .in_channels = 3, .patch = 2, .width = 72, .heads = 3, .mlp = 100, .depth = 2, .width_c = 40},
               T>;
  const auto model = random_model<M>(1);
  for (const Pass& p : passes) {
    const auto x = normal<T, 4>({p.batch, 3, p.height, p.width}, 2);
    const auto c = normal<T, 2>({p.batch, 40}, 3);
    Tensor<T, 4> v(x.dimensions());
    Workspace workspace(p.threads);
    model(x, c, c, v, workspace);
    EXPECT_EQ(workspace.high_water(), planned<M>(p).arena) << describe(p);
  }
}

TEST(PlannedModel, RefusesToBeRun) {  // it has shapes and no numbers
  plan_of<DiT<flow>>(1, [](const DiT<flow>& model, Workspace&) {
    Workspace workspace(1);
    EXPECT_ERROR(errc::bad_state, support::run(model, latents<DiT<flow>>(1, 8, 8, 1), workspace));
  });
}

TEST(PlannedModel, CountsAllocations) {  // or the tests above would pass whatever happens
  const long before = allocations::count;
  std::vector<int> v(10);
  EXPECT_EQ(v.size(), 10U);
  EXPECT_EQ(allocations::count - before, 1);
}

}  // namespace
