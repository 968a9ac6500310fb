/// MMDiT with weights of bf16 and int8: near Stable Diffusion 3's own, and what holds for all such models.

#include "models/rounded_models.hpp"

namespace support { namespace {

using namespace dit;

using Models = testing::Types<MMDiT<mixed_mini, bf16>, MMDiT<mixed_mini, int8>>;
INSTANTIATE_TYPED_TEST_SUITE_P(MMDiTs, RoundedModels, Models, ModelName);

template <class T>
class RoundedMMDiTs : public testing::Test {};
TYPED_TEST_SUITE(RoundedMMDiTs, RoundedScalars, ScalarName);

template <class M>
void expect_golden(const M& model, const Golden& io, const std::string& out = "out64") {
  EXPECT_TRUE(
      close_after_rounding(run_golden(model, io), io.tensor<double, 4>(out), whole_rounded_model<scalar_of<M>>));
}

TYPED_TEST(RoundedMMDiTs, AreNearStableDiffusion3) {
  const Golden io("mmdit_mini_io");
  expect_golden(golden_model<MMDiT<sd3_mini, TypeParam>>("mmdit_mini"), io);
  for (const std::string dtype : {"f16", "bf16"})
    expect_golden(golden_model<MMDiT<sd3_mini, TypeParam>>("mmdit_mini_" + dtype), io, dtype + ".out64");
}
TYPED_TEST(RoundedMMDiTs, AreNearStableDiffusion35WithDualBlocksAndNorms) {
  const Golden io("mmdit_mini_35_io");
  expect_golden(golden_model<MMDiT<sd35_mini, TypeParam>>("mmdit_mini_35"), io);
  expect_golden(golden_model<MMDiT<sd35_mini, TypeParam>>("mmdit_mini_35_diffusers"), io);
}
TYPED_TEST(RoundedMMDiTs, AreNearItOnGridsAsHighAsTheirPositionTable) {
  const Golden io("mmdit_mini_io");
  const auto model = golden_model<MMDiT<sd3_mini, TypeParam>>("mmdit_mini");
  Workspace workspace(2);
  const auto out = model(io.tensor<float, 4>("small.x"), pick(io.values<float>("t"), {0}),
                         pick(golden_condition<MMDiT<sd3_mini, TypeParam>>(io), {0}), workspace);
  EXPECT_TRUE(close_after_rounding(out, io.tensor<double, 4>("small.out64"), whole_rounded_model<TypeParam>));
}

}  // namespace
}  // namespace support
