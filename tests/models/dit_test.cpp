/// DiT against the official formulas in PyTorch, and what must hold for any weights.

#include "dit/models/dit.hpp"

#include "dit/nn/init.hpp"
#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class DiTs : public testing::Test {};
TYPED_TEST_SUITE(DiTs, Scalars, ScalarName);

/// out64 of `prefix` is what the model makes of its x, t and y.
template <class M>
void expect_golden(const M& model, const Golden& io, const std::string& prefix) {
  using R = typename M::R;
  SCOPED_TRACE(prefix);
  Workspace workspace(2);
  const auto out =
      model(io.tensor<R, 4>(prefix + "x"), io.values<R>(prefix + "t"), io.integers(prefix + "y"), workspace);
  EXPECT_TRUE(close(out, io.tensor<double, 4>(prefix + "out64"), whole_model<R>));
}

// Batches with fractional times and the null class; in `wide` and `tall` the position table is not the stored one.
TYPED_TEST(DiTs, AreTheOfficialModelOnAnyGrid) {
  const auto model = golden_model<DiT<tiny, TypeParam>>("dit_tiny");
  const Golden io("dit_tiny_io");
  for (const char* grid : {"square.", "wide.", "tall."}) expect_golden(model, io, grid);
}
TYPED_TEST(DiTs, AreTheOfficialModelWithPatch4AndWithoutSigma) {
  expect_golden(golden_model<DiT<tiny_p4, TypeParam>>("dit_tiny_p4"), Golden("dit_tiny_p4_io"), "");
}

TYPED_TEST(DiTs, GiveExactlyZeroWhenFresh) {
  DiT<tiny, TypeParam> model;
  init_adaln_zero(model, 1);
  Workspace workspace(2);
  const auto out = run(model, latents<DiT<tiny, TypeParam>>(2, 8, 8, 2), workspace);
  EXPECT_EQ(out.dimension(1), 8);
  EXPECT_EQ(distance(out, std::vector<double>(static_cast<std::size_t>(out.size()))).max, 0);
}

TYPED_TEST(DiTs, KeepSamplesApartInAnyOrder) {
  using M = DiT<tiny, TypeParam>;
  const auto model = random_model<M>(1);
  const auto x = latents<M>(3, 6, 10, 2);
  Workspace workspace(2);
  const auto all = run(model, x, workspace, {1, 250, 999.5}, {3, 10, 0});
  const std::vector<TypeParam> t{1, 250, 999.5};
  const std::vector<int> y{3, 10, 0};
  for (const Index b : {0, 1, 2}) {
    const auto i = static_cast<std::size_t>(b);
    EXPECT_TRUE(same_bits(run(model, samples(x, b, 1), workspace, {t[i]}, {y[i]}), samples(all, b, 1))) << b;
  }
  Tensor<TypeParam, 4> turned(x.dimensions());
  const Index one = x.size() / 3;
  std::rotate_copy(x.data(), x.data() + one, x.data() + 3 * one, turned.data());
  const auto out = run(model, turned, workspace, {250, 999.5, 1}, {10, 0, 3});
  for (const Index b : {0, 1, 2}) EXPECT_TRUE(same_bits(samples(out, b, 1), samples(all, (b + 1) % 3, 1))) << b;
}

TYPED_TEST(DiTs, HearTimeAndClass) {
  using M = DiT<tiny, TypeParam>;
  const auto model = random_model<M>(1);
  const auto x = latents<M>(1, 8, 8, 2);
  Workspace workspace(2);
  const auto out = run(model, x, workspace, {250}, {3});
  EXPECT_GT(distance(run(model, x, workspace, {250.25}, {3}), out).nmse, 1e-6);
  EXPECT_GT(distance(run(model, x, workspace, {250}, {4}), out).nmse, 1e-3);
  EXPECT_GT(distance(run(model, x, workspace, {250}, {M::null_class}), out).nmse, 1e-3);
}

TEST(DiT, HasANullClassOnlyIfItWasTrainedWithOne) {
  constexpr DiTConfig without{
      .width = 12, .depth = 1, .heads = 3, .patch = 2, .input = 8, .classes = 10, .null_class = false};
  constexpr DiTConfig with{.width = 12, .depth = 1, .heads = 3, .patch = 2, .input = 8, .classes = 10};
  const auto closed = random_model<DiT<without>>(1);
  const auto open = random_model<DiT<with>>(1);
  Workspace workspace(1);
  const auto x = latents<DiT<without>>(1, 8, 8, 2);
  run(closed, x, workspace, {250}, {9});
  EXPECT_ERROR(errc::bad_condition, run(closed, x, workspace, {250}, {10}));
  run(open, x, workspace, {250}, {10});
  EXPECT_ERROR(errc::bad_condition, run(open, x, workspace, {250}, {11}));
}

TEST(DiT, TakesLatentsOfOneTokenAndOfManyMoreThanItsTable) {
  const auto model = random_model<DiT<mini>>(1);
  Workspace workspace(2);
  for (const auto& [height, width] : {std::pair<Index, Index>{2, 2}, {2, 34}, {30, 4}}) {
    const auto out = run(model, latents<DiT<mini>>(1, height, width, 2), workspace);
    EXPECT_EQ(out.dimension(2), height);
    EXPECT_EQ(out.dimension(3), width);
    for (Index i = 0; i < out.size(); ++i) ASSERT_TRUE(std::isfinite(out.data()[i])) << i;
  }
}

}  // namespace
