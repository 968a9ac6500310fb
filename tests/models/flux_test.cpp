/// Flux against Black Forest Labs' own formulas and diffusers, and what must hold for any weights.

#include "dit/io/save.hpp"
#include "dit/nn/plan.hpp"
#include "models/text_models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Fluxes : public testing::Test {};
TYPED_TEST_SUITE(Fluxes, Scalars, ScalarName);

template <class M>
void expect_golden(const M& model, const Golden& io) {
  EXPECT_TRUE(close(run_golden(model, io), io.tensor<double, 4>("image.out64"), whole_model<typename M::R>));
}

TYPED_TEST(Fluxes, AreTheOfficialModelInBothLayouts) {
  using M = Flux<flux_mini, TypeParam>;
  const Golden io("flux_mini_io");
  expect_golden(golden_model<M>("flux_mini"), io);
  for (const std::string path : {"", "/diffusion_pytorch_model.safetensors.index.json"}) {
    LoadReport report;
    expect_golden(load<M>(golden_path("flux_mini_diffusers_sharded" + path), {.strict = true}, &report), io);
    EXPECT_EQ(report.layout, Layout::diffusers);
  }
}
TYPED_TEST(Fluxes, AreTheOfficialModelWithoutGuidance) {
  expect_golden(golden_model<Flux<schnell_mini, TypeParam>>("flux_mini_schnell"), Golden("flux_mini_schnell_io"));
}
TYPED_TEST(Fluxes, AreTheOfficialModelWithAReference) {  // Kontext
  using T = TypeParam;
  using M = Flux<flux_mini, T>;
  const auto model = golden_model<M>("flux_mini");
  const Golden io("flux_mini_io");
  auto condition = golden_condition<M>(io);
  condition.reference = io.tensor<T, 4>("kontext.reference");
  EXPECT_TRUE(close(run_golden(model, io, condition), io.tensor<double, 4>("kontext.image.out64"), whole_model<T>));
  EXPECT_GT(distance(run_golden(model, io), io.tensor<double, 4>("kontext.image.out64")).nmse, 1e-3);
}
TYPED_TEST(Fluxes, AreTheOfficialModelWithAMaskToFill) {
  using T = TypeParam;
  using M = Flux<fill_mini, T>;
  const auto model = golden_model<M>("flux_mini_fill");
  const Golden io("flux_mini_fill_io");
  auto condition = golden_condition<M>(io);
  condition.control = golden_control<T>(io);
  EXPECT_TRUE(close(run_golden(model, io, condition), io.tensor<double, 4>("image.out64"), whole_model<T>));
}
TYPED_TEST(Fluxes, AreFoundUnderAPrefix) {  // ComfyUI's
  using M = Flux<flux_mini, TypeParam>;
  const auto model = golden_model<M>("flux_mini");
  for (const Layout layout : {Layout::original, Layout::diffusers}) {
    auto tensors = detail::tensors_of(model, {.layout = layout});
    for (auto& tensor : tensors) tensor.name = "model.diffusion_model." + tensor.name;
    MemorySink sink;
    write_safetensors(sink, std::move(tensors), {});
    LoadReport report;
    expect_golden(load_from_memory<M>(sink.take(), {.strict = true}, &report), Golden("flux_mini_io"));
    EXPECT_EQ(report.prefix, "model.diffusion_model.");
    EXPECT_EQ(report.layout, layout);
  }
}

TYPED_TEST(Fluxes, PackTwoByTwoLatentsWithChannelsFirst) {
  using T = TypeParam;
  const Golden io("flux_packing_io");
  const auto latents = io.tensor<T, 4>("latents");
  const auto packed = io.tensor<T, 3>("packed");
  std::vector<T> tokens(static_cast<std::size_t>(packed.size()));
  patchify<PatchOrder::channel_first>(View<const T, 4>(latents), 2, tokens.data());
  EXPECT_TRUE(same_bits(tokens, packed));
  Tensor<T, 4> back(latents.dimensions());
  unpatchify<PatchOrder::channel_first>(packed.data(), 2, View<T, 4>(back));
  EXPECT_TRUE(same_bits(back, latents));
}

// The mask of 8 x 8 pixels for each latent, packed: the golden's numbers tell the pixels apart.
TYPED_TEST(Fluxes, FoldAMaskIntoChannelsRowByRow) {
  using T = TypeParam;
  const Golden io("flux_packing_io");
  const auto mask = io.tensor<T, 4>("mask");
  const auto masked = normal<T, 4>({1, 3, 2, 4}, 1);
  const auto control = fill_control<T>(View<const T, 4>(masked), View<const T, 4>(mask));
  ASSERT_EQ(to_string(control.dimensions()), "[1, 67, 2, 4]");
  EXPECT_TRUE(std::equal(masked.data(), masked.data() + masked.size(), control.data()));
  std::vector<T> tokens(2 * 256);
  patchify<PatchOrder::channel_first>(View<const T, 4>(control.data() + masked.size(), {1, 64, 2, 4}), 2,
                                      tokens.data());
  EXPECT_TRUE(same_bits(tokens, io.tensor<T, 3>("packed_mask")));
}
TYPED_TEST(Fluxes, FoldMasksOfManySamples) {
  using T = TypeParam;
  const auto masked = normal<T, 4>({3, 2, 2, 4}, 1), mask = normal<T, 4>({3, 1, 16, 32}, 2);
  const auto control = fill_control<T>(View<const T, 4>(masked), View<const T, 4>(mask));
  for (const Index b : {0, 1, 2}) {
    const auto one_masked = pick(masked, {b}), one_mask = pick(mask, {b});
    EXPECT_TRUE(
        same_bits(fill_control<T>(View<const T, 4>(one_masked), View<const T, 4>(one_mask)), pick(control, {b})));
  }
  const auto wrong = normal<T, 4>({3, 1, 16, 31}, 2), few = normal<T, 4>({2, 1, 16, 32}, 2);
  EXPECT_ERROR(errc::bad_input_shape, fill_control<T>(View<const T, 4>(masked), View<const T, 4>(wrong)));
  EXPECT_ERROR(errc::bad_input_shape, fill_control<T>(View<const T, 4>(masked), View<const T, 4>(few)));
  EXPECT_ERROR(errc::bad_input_shape, fill_control<T>(View<const T, 4>(masked), View<const T, 4>(mask), 4));
  EXPECT_ERROR(errc::bad_input_shape, fill_control<T>(View<const T, 4>(), View<const T, 4>()));
}

TYPED_TEST(Fluxes, HearTheirGuidance) {
  using M = Flux<flux_mini, TypeParam>;
  const auto model = random_model<M>(1);
  const auto x = random_latents<M>(1, 6, 10, 2);
  auto condition = random_condition<M>(1, 3);
  Workspace workspace(2);
  const auto out = run_text(model, x, condition, workspace);
  condition.guidance[0] += TypeParam(0.01);
  EXPECT_GT(distance(run_text(model, x, condition, workspace), out).nmse, 1e-5);
}

TYPED_TEST(Fluxes, TakeOneGuidanceForAllSamples) {
  using M = Flux<flux_mini, TypeParam>;
  const auto model = random_model<M>(1);
  const auto x = random_latents<M>(3, 6, 10, 2);
  auto condition = random_condition<M>(3, 3);
  Workspace workspace(2);
  condition.guidance = {3.5, 3.5, 3.5};
  const auto out = run_text(model, x, condition, workspace);
  condition.guidance = {3.5};
  EXPECT_TRUE(same_bits(run_text(model, x, condition, workspace), out));
}

TYPED_TEST(Fluxes, TakeReferencesOfAnySize) {
  using T = TypeParam;
  using M = Flux<flux_mini, T>;
  const auto model = random_model<M>(1);
  const auto x = random_latents<M>(2, 6, 10, 2);
  auto condition = random_condition<M>(2, 3);
  Workspace workspace(2);
  const auto without = run_text(model, x, condition, workspace);
  condition.reference = Tensor<T, 4>(0, 4, 6, 8);  // which is none, whatever its size
  EXPECT_TRUE(same_bits(run_text(model, x, condition, workspace), without));
  for (const auto& [height, width] : {std::pair<Index, Index>{2, 2}, {6, 10}, {20, 4}}) {
    condition.reference = random_latents<M>(2, height, width, 5);
    const auto out = run_text(model, x, condition, workspace);
    EXPECT_EQ(to_string(out.dimensions()), to_string(x.dimensions()));
    EXPECT_GT(distance(out, without).nmse, 1e-6);
    for (const Index b : {0, 1}) {  // each sample has its own
      EXPECT_TRUE(same_bits(
          run_text(model, pick(x, {b}), pick(condition, {b}), workspace, {M::model_time(b == 0 ? 0.75 : 0.3)}),
          pick(out, {b})));
    }
  }
}

TYPED_TEST(Fluxes, MayHaveNoSingleBlocks) {
  constexpr FluxConfig config{.width = 48,
                              .heads = 3,
                              .double_blocks = 1,
                              .single_blocks = 0,
                              .channels = 4,
                              .context = 20,
                              .pooled = 12,
                              .axes = {4, 6, 6}};
  using M = Flux<config, TypeParam>;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(1, 6, 10, 2);
  const auto condition = random_condition<M>(1, 3);
  const auto out = run_text(model, x, condition, workspace);
  for (Index i = 0; i < out.size(); ++i) ASSERT_TRUE(std::isfinite(out.data()[i])) << i;
  EXPECT_EQ(workspace.high_water(), (plan<M>(1, {6, 10}, 7, 2).arena));
}

// What went wrong elsewhere with FLUX.1, one test each.

template <class T>
class FluxBugs : public testing::Test {};
TYPED_TEST_SUITE(FluxBugs, Scalars, ScalarName);

// With the same weights for both, and none for the pooled text, time and guidance may change places.
TYPED_TEST(FluxBugs, GuidanceNotTimes1000) {
  using T = TypeParam;
  using M = Flux<flux_mini, T>;
  auto model = random_model<M>(1);
  copy(model.time_in, model.guidance_in[0]);
  silence(model.vector_in.fc2);
  const auto x = random_latents<M>(1, 6, 10, 2);
  auto condition = random_condition<M>(1, 3);
  Workspace workspace(2);
  condition.guidance = {T(0.25)};
  const auto out = run_text(model, x, condition, workspace, {T(0.625)});
  condition.guidance = {T(0.625)};
  EXPECT_TRUE(same_bits(run_text(model, x, condition, workspace, {T(0.25)}), out));
  condition.guidance = {T(0.5)};
  EXPECT_GT(distance(run_text(model, x, condition, workspace, {T(0.25)}), out).nmse, 1e-4);
}

TYPED_TEST(FluxBugs, TimeAndGuidanceRoundedToBf16) {  // 750 -> 752, 3500 -> 3504
  using T = TypeParam;
  using M = Flux<flux_mini, T>;
  EXPECT_EQ(static_cast<float>(bf16(750.0F)), 752);
  EXPECT_EQ(static_cast<float>(bf16(3500.0F)), 3504);
  const auto model = golden_model<M>("flux_mini");
  const auto x = random_latents<M>(1, 6, 10, 2);
  auto condition = random_condition<M>(1, 3);
  Workspace workspace(2);
  condition.guidance = {T(3.5)};
  const auto out = run_text(model, x, condition, workspace, {T(0.75)});
  EXPECT_GT(distance(run_text(model, x, condition, workspace, {T(0.752)}), out).nmse, 1e-6);
  condition.guidance = {T(3.504)};
  EXPECT_GT(distance(run_text(model, x, condition, workspace, {T(0.75)}), out).nmse, 1e-6);
}

// The same tokens in another grid are another image; the golden's grid is 5 x 9 tokens, so it knows rows from
// columns, and tokens from latents.
TYPED_TEST(FluxBugs, IdsOnTheGridOfTheLatents) {
  using T = TypeParam;
  using M = Flux<flux_mini, T>;
  const auto model = golden_model<M>("flux_mini");
  const Golden io("flux_mini_io");
  expect_golden(model, io);
  const auto x = io.tensor<T, 4>("latents");
  const auto condition = golden_condition<M>(io);
  Workspace workspace(2);
  const auto tokens_on = [&](Index height, Index width) {  // of the model's answer
    std::vector<T> tokens(static_cast<std::size_t>(x.size()));
    patchify<PatchOrder::channel_first>(View<const T, 4>(x), 2, tokens.data());
    Tensor<T, 4> image(2, 4, height, width);
    unpatchify<PatchOrder::channel_first>(tokens.data(), 2, View<T, 4>(image));
    const auto out = model(image, io.values<T>("t"), condition, workspace);
    patchify<PatchOrder::channel_first>(View<const T, 4>(out), 2, tokens.data());
    return tokens;
  };
  const auto packed = io.tensor<double, 3>("out64");
  EXPECT_TRUE(close(tokens_on(10, 18), packed, whole_model<T>));
  for (const auto& [height, width] : {std::pair<Index, Index>{18, 10}, {2, 90}, {30, 6}})
    EXPECT_GT(distance(tokens_on(height, width), packed).nmse, 1e-5) << height << " x " << width;
}

TYPED_TEST(FluxBugs, MasksWhereTrainingHadNone) {  // padding takes part
  using T = TypeParam;
  using M = Flux<flux_mini, T>;
  const auto model = golden_model<M>("flux_mini");
  const auto x = random_latents<M>(1, 6, 10, 2);
  auto condition = random_condition<M>(1, 3, 9);
  std::fill_n(condition.text.context.data() + 7 * 20, 2 * 20, T(0));
  Workspace workspace(2);
  const auto padded = run_text(model, x, condition, workspace);
  condition.text = pick_tokens(condition.text, {0, 1, 2, 3, 4, 5, 6});
  EXPECT_GT(distance(padded, run_text(model, x, condition, workspace)).nmse, 1e-5);
}

// Where a residual in half precision would be infinite.
TYPED_TEST(FluxBugs, TextResidualsBeyondTheRangeOfF16) {
  using T = TypeParam;
  using M = Flux<flux_mini, T>;
  const auto model = golden_model<M>("flux_mini");
  auto condition = random_condition<M>(1, 3);
  auto& context = condition.text.context;
  for (T& number : std::span(context.data(), static_cast<std::size_t>(context.size()))) number *= T(1e7);
  Workspace workspace(2);
  const auto out = run_text(model, random_latents<M>(1, 6, 10, 2), condition, workspace);
  for (Index i = 0; i < out.size(); ++i) ASSERT_TRUE(std::isfinite(out.data()[i])) << i;
}

// Far from the origin the turns of float's model are still those of double's.
TEST(FluxBug, RopeInLowPrecision) {
  using M = Flux<flux_mini>;
  using D = Flux<flux_mini, double>;
  const auto model = golden_model<M>("flux_mini");
  const auto reference = golden_model<D>("flux_mini");
  Workspace workspace(2);
  const auto condition = random_condition<M>(1, 3);
  FluxCondition<double> condition64{{condition.text.context.cast<double>(), condition.text.pooled.cast<double>()},
                                    {1.0}};
  for (const auto& [height, width] : {std::pair<Index, Index>{2, 600}, {600, 2}}) {
    const auto x = random_latents<M>(1, height, width, 2);
    const Tensor<double, 4> x64 = x.cast<double>();
    EXPECT_TRUE(close(run_text(model, x, condition, workspace), run_text(reference, x64, condition64, workspace),
                      {1e-4, 1e-11}));
  }
}

// Weights so small that an eps shows: with 1e-5 the result moves by 6e-7 of its square or more, by rounding 1e-13.
TYPED_TEST(FluxBugs, EpsOfOneKindInNormsOfAnother) {
  const Golden io("flux_eps_io");
  EXPECT_TRUE(close(run_golden(golden_model<Flux<schnell_mini, TypeParam>>("flux_eps"), io),
                    io.template tensor<double, 4>("image.out64"), one_layer<TypeParam>));
}

TYPED_TEST(FluxBugs, GuidanceEmbedderWantedFromSchnell) {
  constexpr FluxConfig dev_of_its_size{.width = 48,
                                       .heads = 3,
                                       .double_blocks = 1,
                                       .single_blocks = 1,
                                       .channels = 4,
                                       .context = 20,
                                       .pooled = 12,
                                       .axes = {4, 6, 6}};
  using Schnell = Flux<schnell_mini, TypeParam>;
  using Dev = Flux<dev_of_its_size, TypeParam>;
  const auto schnell = load<Schnell>(golden_path("flux_mini_schnell.safetensors"), {.strict = true});
  EXPECT_ERROR(errc::tensor_missing, golden_model<Dev>("flux_mini_schnell"));
  // And schnell takes no guidance, dev no picture without.
  const auto x = random_latents<Schnell>(1, 6, 10, 2);
  auto condition = random_condition<Schnell>(1, 3);
  Workspace workspace(1);
  run_text(schnell, x, condition, workspace);
  const auto dev = random_model<Dev>(1);
  EXPECT_ERROR(errc::bad_condition, run_text(dev, x, condition, workspace));
  condition.guidance = {1};
  run_text(dev, x, condition, workspace);
  EXPECT_ERROR(errc::bad_condition, run_text(schnell, x, condition, workspace));
}

}  // namespace
