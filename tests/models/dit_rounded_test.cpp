/// DiT and PlainDiT with weights of bf16 and int8: near the official models, and what holds for all such models.

#include "models/rounded_models.hpp"

namespace support { namespace {

using namespace dit;

using Models = testing::Types<DiT<tiny, bf16>, DiT<tiny, int8>>;
INSTANTIATE_TYPED_TEST_SUITE_P(DiTs, RoundedModels, Models, ModelName);

template <class T>
class RoundedDiTs : public testing::Test {};
TYPED_TEST_SUITE(RoundedDiTs, RoundedScalars, ScalarName);

template <class M>
void expect_golden(const M& model, const Golden& io, const std::string& prefix) {
  SCOPED_TRACE(prefix);
  Workspace workspace(2);
  const auto out = model(io.tensor<float, 4>(prefix + "x"), io.values<float>(prefix + "t"),
                         io.integers(prefix + "y"), workspace);
  EXPECT_TRUE(close_after_rounding(out, io.tensor<double, 4>(prefix + "out64"), whole_rounded_model<scalar_of<M>>));
}

TYPED_TEST(RoundedDiTs, AreNearTheOfficialModelOnAnyGrid) {
  const auto model = golden_model<DiT<tiny, TypeParam>>("dit_tiny");
  for (const char* grid : {"square.", "wide.", "tall."}) expect_golden(model, Golden("dit_tiny_io"), grid);
}
TYPED_TEST(RoundedDiTs, AreNearTheOfficialModelWithPatch4AndWithoutSigma) {
  expect_golden(golden_model<DiT<tiny_p4, TypeParam>>("dit_tiny_p4"), Golden("dit_tiny_p4_io"), "");
}
TYPED_TEST(RoundedDiTs, AreNearTheOfficialModelFromFilesOfHalfPrecision) {
  const Golden io("dit_mini_io");
  Workspace workspace(2);
  for (const std::string dtype : {"f16", "bf16"}) {
    const auto model = golden_model<DiT<mini, TypeParam>>("dit_mini_" + dtype);
    const auto out = model(io.tensor<float, 4>("x"), io.values<float>("t"), io.integers("y"), workspace);
    EXPECT_TRUE(close_after_rounding(out, io.tensor<double, 4>(dtype + ".out64"), whole_rounded_model<TypeParam>))
        << dtype;
  }
}

TYPED_TEST(RoundedDiTs, OfTheArticleAreNearItAndDoNotSeeThreads) {
  using M = PlainDiT<article, TypeParam>;
  const Golden io("plain_dit_io");
  const auto model = golden_model<M>("plain_dit");
  const auto x = io.tensor<float, 4>("x");
  const auto t = io.tensor<float, 2>("t_emb"), c = io.tensor<float, 2>("cond");
  const auto expected = io.tensor<double, 4>("out64");
  Tensor<float, 4> first;
  for (const int threads : {1, 2, 3, 4}) {
    Tensor<float, 4> v(x.dimensions());
    Workspace workspace(threads);
    model(x, t, c, v, workspace);
    EXPECT_EQ(workspace.high_water(), (plan<M>(x.dimension(0), {x.dimension(2), x.dimension(3)}, threads).arena));
    const long before = allocations::count;
    model(x, t, c, v, workspace);
    EXPECT_EQ(allocations::count - before, 0);
    EXPECT_TRUE(close_after_rounding(v, expected, whole_rounded_model<TypeParam>));
    if (threads == 1) first = v;
    EXPECT_TRUE(same_bits(v, first)) << threads;
  }
  auto h = io.tensor<float, 3>("h");
  auto cond = io.tensor<float, 2>("cond");
  Workspace workspace(2);
  model.blocks[0](tokens<72>(h), tokens<40>(cond), workspace);
  EXPECT_TRUE(close_after_rounding(h, io.tensor<double, 3>("block64"), one_rounded_layer<TypeParam>));
}

}  // namespace
}  // namespace support
