/// MMDiT against Stable Diffusion 3's own formulas and diffusers, and what must hold for any weights.

#include "models/text_models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class MMDiTs : public testing::Test {};
TYPED_TEST_SUITE(MMDiTs, Scalars, ScalarName);

template <class M>
void expect_golden(const M& model, const Golden& io, const std::string& out = "out64") {
  EXPECT_TRUE(close(run_golden(model, io), io.tensor<double, 4>(out), whole_model<typename M::R>));
}

TYPED_TEST(MMDiTs, AreTheOfficialModelInBothLayouts) {
  for (const std::string file : {"mmdit_mini", "mmdit_mini_diffusers"})
    expect_golden(golden_model<MMDiT<sd3_mini, TypeParam>>(file), Golden("mmdit_mini_io"));
  for (const std::string file : {"mmdit_mini_35", "mmdit_mini_35_diffusers"})
    expect_golden(golden_model<MMDiT<sd35_mini, TypeParam>>(file), Golden("mmdit_mini_35_io"));
}

// As published: half precision, under a prefix, with text encoders and an autoencoder in the same file, in shards.
TYPED_TEST(MMDiTs, AreTheOfficialModelFromFilesAsPublished) {
  using M = MMDiT<sd3_mini, TypeParam>;
  const Golden io("mmdit_mini_io");
  for (const std::string dtype : {"f16", "bf16"}) {
    LoadReport report;
    const auto model = load<M>(golden_path("mmdit_mini_" + dtype + ".safetensors"), {}, &report);
    expect_golden(model, io, dtype + ".out64");
    EXPECT_EQ(report.prefix, "model.diffusion_model.");
    EXPECT_EQ(report.layout, Layout::original);
    EXPECT_EQ(report.unexpected_count, 3U);  // what is bundled
    EXPECT_ERROR(errc::unexpected_tensor,
                 load<M>(golden_path("mmdit_mini_" + dtype + ".safetensors"), {.strict = true}));
  }
  for (const std::string path : {"", "/diffusion_pytorch_model.safetensors.index.json"}) {
    LoadReport report;
    const auto model = load<M>(golden_path("mmdit_mini_diffusers_sharded" + path), {.strict = true}, &report);
    expect_golden(model, io, "f16.out64");
    EXPECT_EQ(report.layout, Layout::diffusers);
  }
}

TYPED_TEST(MMDiTs, TakeGridsAsHighAsTheirPositionTable) {
  using T = TypeParam;
  const auto model = golden_model<MMDiT<sd3_mini, T>>("mmdit_mini");
  const Golden io("mmdit_mini_io");
  Workspace workspace(2);
  const auto out = model(io.tensor<T, 4>("small.x"), pick(io.values<T>("t"), {0}),
                         pick(golden_condition<MMDiT<sd3_mini, T>>(io), {0}), workspace);
  EXPECT_TRUE(close(out, io.tensor<double, 4>("small.out64"), whole_model<T>));
}

TYPED_TEST(MMDiTs, WithoutPositionsDoNotSeeTheOrderOfImageTokens) {
  using T = TypeParam;
  using M = MMDiT<mixed_mini, T>;
  auto model = random_model<M>(1);
  const auto x = random_latents<M>(1, 6, 10, 2);
  const auto text = random_condition<M>(1, 3);
  const auto moved = [](const Tensor<T, 4>& image) {  // rows of patches, and columns
    Tensor<T, 4> to(image.dimensions());
    for (Index c = 0; c < 4; ++c)
      for (Index y = 0; y < 6; ++y)
        for (Index s = 0; s < 10; ++s) to(0, c, (y + 2) % 6, (s + 4) % 10) = image(0, c, y, s);
    return to;
  };
  Workspace workspace(2);
  EXPECT_GT(distance(run_text(model, moved(x), text, workspace), moved(run_text(model, x, text, workspace))).nmse,
            1e-5);
  model.pos_embed.allocate();  // zeros
  EXPECT_TRUE(close(run_text(model, moved(x), text, workspace), moved(run_text(model, x, text, workspace)),
                    whole_model<T>));
}

// Of a table of 12 x 12: rows from (12 - h) / 2 and columns from (12 - w) / 2 on, rounded down.
TYPED_TEST(MMDiTs, ReadTheCentreOfThePositionTableAndNothingElse) {
  using T = TypeParam;
  using M = MMDiT<mixed_mini, T>;
  constexpr Index side = 12;
  const auto model = random_model<M>(1);
  const auto text = random_condition<M>(1, 3);
  Workspace workspace(2);
  struct Crop {
    Index rows, columns, top, left;
  };
  for (const Crop& crop : {Crop{5, 9, 3, 1}, Crop{4, 12, 4, 0}, Crop{11, 1, 0, 5}, Crop{12, 12, 0, 0}}) {
    const auto x = random_latents<M>(1, 2 * crop.rows, 2 * crop.columns, 2);
    const auto out = run_text(model, x, text, workspace);
    auto cropped = random_model<M>(1);
    T* table = cropped.pos_embed.data();
    for (Index r = 0; r < side; ++r)
      for (Index s = 0; s < side; ++s) {
        const bool inside =
            r >= crop.top && r < crop.top + crop.rows && s >= crop.left && s < crop.left + crop.columns;
        if (!inside) std::fill_n(table + (r * side + s) * M::width, M::width, std::numeric_limits<T>::quiet_NaN());
      }
    EXPECT_TRUE(same_bits(run_text(cropped, x, text, workspace), out)) << crop.rows << " x " << crop.columns;
    // And each of its corners.
    for (const Index corner : {0, 1, 2, 3}) {
      const Index r = crop.top + (corner / 2) * (crop.rows - 1), s = crop.left + (corner % 2) * (crop.columns - 1);
      T& number = table[(r * side + s) * M::width];
      const T before = std::exchange(number, number + 1);
      EXPECT_GT(distance(run_text(cropped, x, text, workspace), out).nmse, 1e-9) << r << ", " << s;
      number = before;
    }
  }
}

TYPED_TEST(MMDiTs, RefuseGridsLargerThanTheirPositionTable) {
  using M = MMDiT<mixed_mini, TypeParam>;
  const auto model = random_model<M>(1);
  const auto text = random_condition<M>(1, 3);
  Workspace workspace(1);
  run_text(model, random_latents<M>(1, 24, 24, 2), text, workspace);
  EXPECT_ERROR(errc::bad_input_shape, run_text(model, random_latents<M>(1, 26, 24, 2), text, workspace));
  EXPECT_ERROR(errc::bad_input_shape, run_text(model, random_latents<M>(1, 2, 26, 2), text, workspace));
}

// What went wrong elsewhere with Stable Diffusion 3, one test each.

template <class T>
class MMDiTBugs : public testing::Test {};
TYPED_TEST_SUITE(MMDiTBugs, Scalars, ScalarName);

TYPED_TEST(MMDiTBugs, LastTextBlockHalvesNotSwapped) {
  const Golden io("mmdit_mini_io");
  for (const std::string file : {"mmdit_mini", "mmdit_mini_diffusers"}) {
    auto model = golden_model<MMDiT<sd3_mini, TypeParam>>(file);
    expect_golden(model, io);
    swap_halves(model.joint_blocks.last.context_block.adaLN_modulation);
    EXPECT_GT(distance(run_golden(model, io), io.template tensor<double, 4>("out64")).nmse, 1e-4);
  }
}
TYPED_TEST(MMDiTBugs, HalvesOfOtherBlocksSwapped) {  // in diffusers only the last block's are
  const auto original = golden_model<MMDiT<sd3_mini, TypeParam>>("mmdit_mini"),
             diffusers = golden_model<MMDiT<sd3_mini, TypeParam>>("mmdit_mini_diffusers");
  EXPECT_EQ(max_difference(original.joint_blocks.ordinary[1], diffusers.joint_blocks.ordinary[1]), 0);
  EXPECT_EQ(max_difference(original.joint_blocks.last, diffusers.joint_blocks.last), 0);
}
TYPED_TEST(MMDiTBugs, LastTextBlockTakenForAnOrdinaryOne) {
  constexpr MMDiTConfig shorter{
      .width = 24, .depth = 2, .heads = 3, .in_channels = 4, .positions = 12, .context = 20, .pooled = 12};
  constexpr MMDiTConfig longer{
      .width = 24, .depth = 4, .heads = 3, .in_channels = 4, .positions = 12, .context = 20, .pooled = 12};
  for (const std::string file : {"mmdit_mini", "mmdit_mini_diffusers"}) {
    // Six chunks where there should be two.
    EXPECT_ERROR(errc::shape_mismatch, (golden_model<MMDiT<shorter, TypeParam>>(file)));
    EXPECT_ERROR(errc::tensor_missing, (golden_model<MMDiT<longer, TypeParam>>(file)));
  }
}

// diffusers' DiT divides by 127, its SD3 by 128 as all others: both layouts are one model.
TYPED_TEST(MMDiTBugs, FrequencyDivisorOfAnotherModel) {
  const Golden io("mmdit_mini_io");
  auto model = golden_model<MMDiT<sd3_mini, TypeParam>>("mmdit_mini_diffusers");
  const auto out = run_golden(model, io);
  EXPECT_TRUE(close(out, io.template tensor<double, 4>("out64"), whole_model<TypeParam>));
  model.set_layout(Layout::original);
  EXPECT_TRUE(same_bits(run_golden(model, io), out));
}

TYPED_TEST(MMDiTBugs, TimeRoundedToBf16) {  // 750 -> 752
  using T = TypeParam;
  using M = MMDiT<sd3_mini, T>;
  EXPECT_EQ(static_cast<float>(bf16(750.0F)), 752);
  const auto model = golden_model<M>("mmdit_mini_bf16");
  const auto x = random_latents<M>(1, 6, 10, 2);
  const auto text = random_condition<M>(1, 3);
  Workspace workspace(2);
  const auto at_750 = run_text(model, x, text, workspace, {750});
  EXPECT_GT(distance(at_750, run_text(model, x, text, workspace, {752})).nmse, 1e-5);
}

// Weights so small that an eps shows: with 1e-5 the result moves by 1e-6 of its square, by rounding 1e-12.
TYPED_TEST(MMDiTBugs, EpsOfOneKindInNormsOfAnother) {
  const Golden io("mmdit_eps_io");
  EXPECT_TRUE(close(run_golden(golden_model<MMDiT<sd35_mini, TypeParam>>("mmdit_eps"), io),
                    io.template tensor<double, 4>("out64"), one_layer<TypeParam>));
}

TYPED_TEST(MMDiTBugs, MasksWhereTrainingHadNone) {  // padding takes part
  using T = TypeParam;
  using M = MMDiT<sd3_mini, T>;
  const auto model = golden_model<M>("mmdit_mini");
  const auto x = random_latents<M>(1, 6, 10, 2);
  auto padded = random_condition<M>(1, 3, 9);
  std::fill_n(padded.context.data() + 7 * 20, 2 * 20, T(0));
  const auto text = pick_tokens(padded, {0, 1, 2, 3, 4, 5, 6});
  Workspace workspace(2);
  EXPECT_GT(distance(run_text(model, x, padded, workspace), run_text(model, x, text, workspace)).nmse, 1e-4);
}

// Where a residual in half precision would be infinite.
TYPED_TEST(MMDiTBugs, TextResidualsBeyondTheRangeOfF16) {
  using T = TypeParam;
  using M = MMDiT<sd3_mini, T>;
  const auto model = golden_model<M>("mmdit_mini_f16");
  auto text = random_condition<M>(1, 3);
  for (T& number : std::span(text.context.data(), static_cast<std::size_t>(text.context.size()))) number *= T(1e7);
  Workspace workspace(2);
  const auto out = run_text(model, random_latents<M>(1, 6, 10, 2), text, workspace);
  for (Index i = 0; i < out.size(); ++i) ASSERT_TRUE(std::isfinite(out.data()[i])) << i;
}

TYPED_TEST(MMDiTBugs, DualAttentionForgotten) {
  using T = TypeParam;
  constexpr MMDiTConfig without{.width = 24,
                                .depth = 3,
                                .heads = 3,
                                .in_channels = 4,
                                .positions = 12,
                                .context = 20,
                                .pooled = 12,
                                .qk_norm = true};
  for (const std::string file : {"mmdit_mini_35", "mmdit_mini_35_diffusers"}) {
    EXPECT_ERROR(errc::shape_mismatch, (golden_model<MMDiT<without, T>>(file)));
    auto model = golden_model<MMDiT<sd35_mini, T>>(file);
    const Golden io("mmdit_mini_35_io");
    silence(model.joint_blocks.dual[1].x_block.attn2.proj);
    EXPECT_GT(distance(run_golden(model, io), io.template tensor<double, 4>("out64")).nmse, 1e-3);
  }
}

// What the second attention adds to the image is the same whatever the first one added.
TYPED_TEST(MMDiTBugs, DualAttentionOnTheUpdatedStream) {
  using T = TypeParam;
  using Block = MMDiTDualBlock<mixed_mini.block(), T>;
  auto block = random_model<Block>(1);
  const auto x = normal<T, 3>({2, 15, 24}, 2), context = normal<T, 3>({2, 7, 24}, 3);
  auto x_chunks = normal<T>(2 * 9 * 24, 4);
  const auto context_chunks = normal<T>(2 * 6 * 24, 5);
  const auto chunk = [&](Index sample, Index i) { return x_chunks.begin() + (sample * 9 + i) * 24; };
  for (const Index sample : {0, 1}) std::fill_n(chunk(sample, 5), 24, T(0));  // the MLP's gate
  Workspace workspace(2);
  const auto run_block = [&] {
    auto image = x;
    auto text = context;
    block(tokens<24>(image), tokens<24>(text),
          typename Block::Modulations{{x_chunks.data()}, {context_chunks.data()}}, workspace);
    return image;
  };
  const Tensor<T, 3> both = run_block();
  silence(block.x_block.attn.proj);
  const Tensor<T, 3> second = run_block();
  EXPECT_GT(distance(second, both).nmse, 1e-2);
  for (const Index sample : {0, 1}) std::fill_n(chunk(sample, 8), 24, T(0));
  EXPECT_EQ(distance(run_block(), x).max, 0);
  randomise(block, 1);
  const Tensor<T, 3> first = run_block();
  const Tensor<T, 3> sum = first + second - x;
  EXPECT_TRUE(close(sum, both, one_layer<T>));
}

}  // namespace
