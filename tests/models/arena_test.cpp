/// Memory: what the plan says is what a pass takes, to the byte, and the step loop allocates nothing.

#include "core/allocations.hpp"
#include "dit/models/plain_dit.hpp"
#include "dit/nn/plan.hpp"
#include "dit/sampling/euler.hpp"
#include "dit/sampling/guidance.hpp"
#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

constexpr PlainDiTConfig article{
    .in_channels = 3, .patch = 2, .width = 72, .heads = 3, .mlp = 100, .depth = 2, .width_c = 40};

template <class T>
class Arenas : public testing::Test {};
TYPED_TEST_SUITE(Arenas, Scalars, ScalarName);

struct Run {
  Index batch, height, width;
  int threads;
};
constexpr Run runs[] = {{1, 8, 8, 1}, {3, 8, 8, 2}, {2, 6, 10, 3}, {1, 2, 2, 2}, {4, 24, 20, 2}, {1, 40, 40, 5}};

std::string describe(const Run& r) {
  return to_string(std::array<Index, 4>{r.batch, r.height, r.width, r.threads});
}

TYPED_TEST(Arenas, OfADiTAreWhatAPassTakes) {
  using M = DiT<tiny, TypeParam>;
  const auto model = random_model<M>(1);
  for (const Run& r : runs) {
    const auto x = latents<M>(r.batch, r.height, r.width, 2);
    Workspace workspace(r.threads);
    support::run(model, x, workspace);
    EXPECT_EQ(workspace.high_water(), (plan<M>(r.batch, {r.height, r.width}, r.threads).arena)) << describe(r);
  }
}

TYPED_TEST(Arenas, OfABlockAreWhatItTakes) {
  using T = TypeParam;
  using Block = DiTBlock<BlockConfig{.width = 72, .heads = 3, .mlp = 288}, T>;
  const auto block = random_model<Block>(1);
  for (const Run& r : runs) {
    auto x = normal<T, 3>({r.batch, r.height * r.width, 72}, 2);
    const auto six = normal<T>(r.batch * 6 * 72, 3);
    Workspace workspace(r.threads);
    block(tokens<72>(x), typename Block::Modulations{six.data()}, workspace);
    EXPECT_EQ(workspace.high_water(), Block::arena(r.batch, r.height * r.width, r.threads)) << describe(r);
  }
}

TYPED_TEST(Arenas, OfAPlainDiTAreWhatAPassTakes) {
  using T = TypeParam;
  using M = PlainDiT<article, T>;
  const auto model = random_model<M>(1);
  for (const Run& r : runs) {
    const auto x = normal<T, 4>({r.batch, 3, r.height, r.width}, 2);
    const auto c = normal<T, 2>({r.batch, 40}, 3);
    Tensor<T, 4> v(x.dimensions());
    Workspace workspace(r.threads);
    model(x, c, c, v, workspace);
    EXPECT_EQ(workspace.high_water(), (plan<M>(r.batch, {r.height, r.width}, r.threads).arena)) << describe(r);
  }
}

TYPED_TEST(Arenas, ThatWerePlannedAllocateNothingInTheFirstPass) {
  using M = DiT<tiny, TypeParam>;
  const auto model = random_model<M>(1);
  for (const Run& r : runs) {
    const auto x = latents<M>(r.batch, r.height, r.width, 2);
    Tensor<TypeParam, 4> out(r.batch, 8, r.height, r.width);
    const std::vector<TypeParam> t(static_cast<std::size_t>(r.batch), 250);
    const std::vector<int> y(static_cast<std::size_t>(r.batch), 3);
    Workspace workspace(r.threads, plan<M>(r.batch, {r.height, r.width}, r.threads).arena);
    const long before = allocations::count;
    model(x, t, y, out, workspace);
    EXPECT_EQ(allocations::count - before, 0) << describe(r);
  }
}

TYPED_TEST(Arenas, OfOtherShapesGrowOnceAndThenAllocateNothing) {
  using M = DiT<tiny, TypeParam>;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  for (const Run& r : runs) {
    const auto x = latents<M>(r.batch, r.height, r.width, 2);
    Tensor<TypeParam, 4> out(r.batch, 8, r.height, r.width);
    const std::vector<TypeParam> t(static_cast<std::size_t>(r.batch), 250);
    const std::vector<int> y(static_cast<std::size_t>(r.batch), 3);
    model(x, t, y, out, workspace);
    const long before = allocations::count;
    model(x, t, y, out, workspace);
    EXPECT_EQ(allocations::count - before, 0) << describe(r);
  }
}

TYPED_TEST(Arenas, OfTheStepLoopAllocateNothingAfterTheFirstStep) {
  using T = TypeParam;
  constexpr DiTConfig flow{
      .width = 72, .depth = 2, .heads = 3, .patch = 2, .input = 8, .learn_sigma = false, .classes = 10};
  using M = DiT<flow, T>;
  const auto model = random_model<M>(1);
  for (const bool prepared : {true, false}) {
    Workspace workspace(2, plan<M>(4, {8, 8}, 2).arena);
    Conditioned both(model, {3, 5, 10, 10}, workspace);
    const auto schedule = Schedule::uniform(6);
    if (prepared) both.prepare(schedule.template times<T>());
    BatchedGuidance field(both, Guidance{.scale = 3});
    EulerSampler<T> sampler;
    sampler.begin(latents<M>(2, 8, 8, 2), schedule);
    sampler.step(field);
    const long before = allocations::count;
    while (!sampler.done()) sampler.step(field);
    EXPECT_EQ(allocations::count - before, 0) << (prepared ? "prepared" : "not prepared");
  }
}

TEST(Arena, CountsAllocations) {  // or the tests above would pass whatever happens
  const long before = allocations::count;
  std::vector<int> v(10);
  EXPECT_EQ(v.size(), 10U);
  EXPECT_EQ(allocations::count - before, 1);
}

}  // namespace
