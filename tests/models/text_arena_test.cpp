/// Memory of models that are told a text: what the plan says is what a pass takes, to the byte, and the step loop
/// allocates nothing.

#include "core/allocations.hpp"
#include "dit/nn/plan.hpp"
#include "dit/sampling/euler.hpp"
#include "dit/sampling/guidance.hpp"
#include "dit/sampling/skip_layer.hpp"
#include "models/text_models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class M>
class TextArenas : public testing::Test {};
TYPED_TEST_SUITE(TextArenas, TextModels, ModelName);

struct Pass {
  Index batch, height, width, text;
  int threads;
};
// Few tokens, where the embeddings and modulations take most; many of the text; many of the image.
constexpr Pass passes[] = {{1, 8, 8, 7, 1},   {3, 8, 8, 7, 2},   {2, 6, 10, 5, 3}, {1, 2, 2, 1, 2},
                           {4, 24, 20, 7, 2}, {1, 4, 4, 150, 2}, {2, 2, 2, 33, 5}, {1, 24, 24, 1, 7}};

std::string describe(const Pass& r) {
  return dit::to_string(std::array<Index, 5>{r.batch, r.height, r.width, r.text, r.threads});
}

TYPED_TEST(TextArenas, AreWhatAPassTakes) {
  using M = TypeParam;
  const auto model = random_model<M>(1);
  for (const Pass& r : passes) {
    Workspace workspace(r.threads);
    run_text(model, random_latents<M>(r.batch, r.height, r.width, 2), random_condition<M>(r.batch, 3, r.text),
             workspace);
    EXPECT_EQ(workspace.high_water(), (plan<M>(r.batch, {r.height, r.width}, r.text, r.threads).arena))
        << describe(r);
  }
}

TEST(TextArena, OfAnMMDiTWithoutSecondAttentionIsWhatAPassTakes) {
  using M = MMDiT<sd3_mini>;
  const auto model = random_model<M>(1);
  for (const Pass& r : passes) {
    Workspace workspace(r.threads);
    run_text(model, random_latents<M>(r.batch, r.height, r.width, 2), random_condition<M>(r.batch, 3, r.text),
             workspace);
    EXPECT_EQ(workspace.high_water(), (plan<M>(r.batch, {r.height, r.width}, r.text, r.threads).arena))
        << describe(r);
  }
}

TEST(TextArena, OfAFluxWithAReferenceIsWhatAPassTakes) {
  using M = Flux<flux_mini>;
  const auto model = random_model<M>(1);
  for (const Pass& r : passes) {
    for (const auto& [height, width] : {std::pair<Index, Index>{2, 2}, {12, 6}, {20, 20}}) {
      auto condition = random_condition<M>(r.batch, 3, r.text);
      condition.reference = random_latents<M>(r.batch, height, width, 5);
      Workspace workspace(r.threads);
      run_text(model, random_latents<M>(r.batch, r.height, r.width, 2), condition, workspace);
      EXPECT_EQ(workspace.high_water(),
                (plan<M>(r.batch, {r.height, r.width}, r.text, r.threads, height / 2 * (width / 2)).arena))
          << describe(r) << ", reference " << height << " x " << width;
    }
  }
}

TEST(TextArena, OfAFluxWithControlIsWhatAPassTakes) {
  using M = Flux<fill_mini>;
  const auto model = random_model<M>(1);
  for (const Pass& r : passes) {
    auto condition = random_condition<M>(r.batch, 3, r.text);
    condition.control = normal<float, 4>({r.batch, 20, r.height, r.width}, 5);
    Workspace workspace(r.threads);
    run_text(model, random_latents<M>(r.batch, r.height, r.width, 2), condition, workspace);
    EXPECT_EQ(workspace.high_water(), (plan<M>(r.batch, {r.height, r.width}, r.text, r.threads).arena))
        << describe(r);
  }
}

TEST(TextArena, OfAFluxWithoutSingleBlocksIsWhatAPassTakes) {
  constexpr FluxConfig config{.width = 48,
                              .heads = 3,
                              .double_blocks = 1,
                              .single_blocks = 0,
                              .channels = 4,
                              .context = 20,
                              .pooled = 12,
                              .guidance = false,
                              .axes = {4, 6, 6}};
  using M = Flux<config>;
  const auto model = random_model<M>(1);
  for (const Pass& r : passes) {
    Workspace workspace(r.threads);
    run_text(model, random_latents<M>(r.batch, r.height, r.width, 2), random_condition<M>(r.batch, 3, r.text),
             workspace);
    EXPECT_EQ(workspace.high_water(), (plan<M>(r.batch, {r.height, r.width}, r.text, r.threads).arena))
        << describe(r);
  }
}

TYPED_TEST(TextArenas, ThatWerePlannedAllocateNothingOnceTheTextIsEmbedded) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  for (const Pass& r : passes) {
    const auto x = random_latents<M>(r.batch, r.height, r.width, 2);
    Tensor<R, 4> v(x.dimensions());
    Workspace workspace(r.threads, plan<M>(r.batch, {r.height, r.width}, r.text, r.threads).arena);
    Conditioned field(model, random_condition<M>(r.batch, 3, r.text), workspace);
    const long before = allocations::count;
    field(x, R(0.5), v);  // the first pass of all
    EXPECT_EQ(allocations::count - before, 0) << describe(r);
  }
}

TYPED_TEST(TextArenas, OfOtherShapesGrowOnceAndThenAllocateNothing) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  for (const Pass& r : passes) {
    const auto x = random_latents<M>(r.batch, r.height, r.width, 2);
    Tensor<R, 4> v(x.dimensions());
    Conditioned field(model, random_condition<M>(r.batch, 3, r.text), workspace);
    field(x, R(0.5), v);
    const long before = allocations::count;
    field(x, R(0.5), v);
    EXPECT_EQ(allocations::count - before, 0) << describe(r);
  }
}

TYPED_TEST(TextArenas, OfTheStepLoopAllocateNothingAfterTheFirstStep) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  for (const bool prepared : {true, false}) {
    Workspace workspace(2, plan<M>(4, {8, 8}, 7, 2).arena);
    Conditioned both(model, random_condition<M>(4, 3), workspace);  // [conditional | unconditional]
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
    Conditioned negative(model, random_condition<M>(2, 5), workspace);
    expect_no_allocations(SequentialGuidance(std::ref(both), std::ref(negative), Guidance{.scale = 5}),
                          "guided twice");
    if constexpr (!is_flux<M>) {
      expect_no_allocations(
          SkipLayerGuidance(BatchedGuidance(std::ref(both), Guidance{.scale = 5}), both.skipping({1}), SkipLayer{}),
          "guided, layers skipped");
    }
  }
}

TEST(TextArena, CountsAllocations) {  // or the tests above would pass whatever happens
  const long before = allocations::count;
  const auto text = random_text<MMDiT<sd3_mini>>(1, 1);
  EXPECT_EQ(text.samples(), 1);
  EXPECT_GT(allocations::count - before, 1);
}

}  // namespace
