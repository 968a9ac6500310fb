/// Flux with weights of bf16 and int8: near Black Forest Labs' own, and what holds for all such models.

#include "models/rounded_models.hpp"

namespace support { namespace {

using namespace dit;

using Models = testing::Types<Flux<flux_mini, bf16>, Flux<flux_mini, int8>>;
INSTANTIATE_TYPED_TEST_SUITE_P(Fluxes, RoundedModels, Models, ModelName);

template <class T>
class RoundedFluxes : public testing::Test {};
TYPED_TEST_SUITE(RoundedFluxes, RoundedScalars, ScalarName);

template <class M>
void expect_golden(const M& model, const Golden& io, const typename M::Condition& condition,
                   const std::string& out = "image.out64") {
  EXPECT_TRUE(close_after_rounding(run_golden(model, io, condition), io.tensor<double, 4>(out),
                                   whole_rounded_model<scalar_of<M>>));
}

TYPED_TEST(RoundedFluxes, AreNearDevAndKontext) {
  using M = Flux<flux_mini, TypeParam>;
  const Golden io("flux_mini_io");
  for (const std::string file : {"flux_mini.safetensors", "flux_mini_diffusers_sharded"}) {
    const auto model = load<M>(golden_path(file));
    auto condition = golden_condition<M>(io);
    expect_golden(model, io, condition);
    condition.reference = io.tensor<float, 4>("kontext.reference");
    expect_golden(model, io, condition, "kontext.image.out64");
  }
}
TYPED_TEST(RoundedFluxes, AreNearSchnell) {
  using M = Flux<schnell_mini, TypeParam>;
  const Golden io("flux_mini_schnell_io");
  expect_golden(golden_model<M>("flux_mini_schnell"), io, golden_condition<M>(io));
}
TYPED_TEST(RoundedFluxes, AreNearFill) {
  using M = Flux<fill_mini, TypeParam>;
  const Golden io("flux_mini_fill_io");
  auto condition = golden_condition<M>(io);
  condition.control = golden_control<float>(io);
  expect_golden(golden_model<M>("flux_mini_fill"), io, condition);
}

TYPED_TEST(RoundedFluxes, WithAReferenceTakeWhatWasPlannedAndDoNotSeeThreads) {
  using M = Flux<flux_mini, TypeParam>;
  const auto model = random_model<M>(1);
  const auto x = random_latents<M>(2, 6, 10, 2);
  auto condition = random_condition<M>(2, 3);
  condition.reference = random_latents<M>(2, 12, 6, 5);
  Tensor<float, 4> first;
  for (const int threads : {1, 2, 4}) {
    Workspace workspace(threads);
    const auto out = run_text(model, x, condition, workspace);
    EXPECT_EQ(workspace.high_water(), (plan<M>(2, {6, 10}, 7, threads, 18).arena));
    if (threads == 1) first = out;
    EXPECT_TRUE(same_bits(out, first)) << threads;
  }
}

}  // namespace
}  // namespace support
