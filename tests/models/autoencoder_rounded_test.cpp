/// Decoders of latents with weights of bf16 and int8: near diffusers', and what holds for all such decoders.

#include "core/allocations.hpp"
#include "dit/io/save.hpp"
#include "models/autoencoders.hpp"

namespace {

using namespace dit;
using namespace support;

template <class M>
class RoundedDecoders : public testing::Test {};
using Models = testing::Types<AutoencoderKL<mini_vae, bf16>, AutoencoderKL<mini_vae, int8>,
                              AutoencoderTiny<mini_taesd, bf16>, AutoencoderTiny<mini_taesd, int8>>;
TYPED_TEST_SUITE(RoundedDecoders, Models, ModelName);

template <class T>
class RoundedAutoencoders : public testing::Test {};
TYPED_TEST_SUITE(RoundedAutoencoders, RoundedScalars, ScalarName);

template <class M>
void expect_golden(const M& model, const Golden& io) {
  Workspace workspace(2);
  EXPECT_TRUE(close_after_rounding(model.decode(io.tensor<float, 4>("latents"), workspace),
                                   io.tensor<double, 4>("out64"), whole_rounded_model<scalar_of<M>>));
}
template <class M>
void expect_golden_tiles(const M& model, const Golden& io, Index tile) {
  Workspace workspace(2);
  EXPECT_TRUE(close_after_rounding(model.decode_tiled(io.tensor<float, 4>("tiled.latents"), workspace, tile),
                                   io.tensor<double, 4>("tiled.out64"), whole_rounded_model<scalar_of<M>>));
}

TYPED_TEST(RoundedAutoencoders, AreNearThoseOfStableDiffusion1) {
  const auto model = golden_model<AutoencoderKL<mini_vae, TypeParam>>("vae_mini");
  expect_golden(model, Golden("vae_mini_io"));
  expect_golden_tiles(model, Golden("vae_mini_io"), 4);
}
TYPED_TEST(RoundedAutoencoders, AreNearThoseOfStableDiffusion3) {
  expect_golden(golden_model<AutoencoderKL<shifted_vae, TypeParam>>("vae_shifted"), Golden("vae_shifted_io"));
}
TYPED_TEST(RoundedAutoencoders, AreNearTinyOnes) {
  const auto model = golden_model<AutoencoderTiny<mini_taesd, TypeParam>>("taesd_mini");
  expect_golden(model, Golden("taesd_mini_io"));
  expect_golden_tiles(model, Golden("taesd_mini_io"), 8);
}

TYPED_TEST(RoundedDecoders, DoNotSeeThreadsOrTheBatchOrAlignment) {
  const auto model = random_model<TypeParam>(1);
  const auto latents = latents_for<TypeParam>(2, 11, 9, 2);
  const View<const float, 4> all(latents), second(latents.data() + latents.size() / 2, {1, all.shape[1], 11, 9});
  for (const bool tiled : {false, true}) {
    const Decoding<TypeParam> decode{tiled};
    Workspace alone(1);
    const auto expected = decode(model, latents, alone);
    for (const int threads : {1, 2, 3, 4}) {
      Workspace workspace(threads);
      EXPECT_TRUE(same_bits(decode(model, latents, workspace), expected)) << threads;
      const auto one = decode(model, second, workspace);
      EXPECT_TRUE(std::equal(one.data(), one.data() + one.size(), expected.data() + one.size())) << threads;
    }
    for (const Index offset : {1, 3, 15}) {
      std::vector<float> in(static_cast<std::size_t>(latents.size() + 16)),
          out(static_cast<std::size_t>(expected.size() + 16), -7);
      std::copy_n(latents.data(), latents.size(), in.data() + offset);
      const View<float, 4> image{out.data() + 16 - offset, View<const float, 4>(expected).shape};
      decode(model, View<const float, 4>{in.data() + offset, all.shape}, image, alone);
      EXPECT_TRUE(std::equal(image.begin(), image.end(), expected.data())) << offset;
      for (float* outside = out.data(); outside != image.begin(); ++outside) EXPECT_EQ(*outside, -7);
      for (float* outside = image.end(); outside != out.data() + out.size(); ++outside) EXPECT_EQ(*outside, -7);
    }
  }
}

TYPED_TEST(RoundedDecoders, TakeWhatWasPlannedAndAllocateNothing) {
  const auto model = random_model<TypeParam>(1);
  for (const Shape<2>& shape : {Shape<2>{1, 1}, {8, 8}, {9, 7}, {5, 21}, {30, 17}}) {
    const bool slow = kernels<scalar_of<TypeParam>>().isa == Isa::portable;
    if (slow && shape[0] * shape[1] > 80) continue;  // and no other case
    for (const bool tiled : {false, true}) {
      const Decoding<TypeParam> decode{tiled};
      const auto latents = latents_for<TypeParam>(1, shape[0], shape[1], 2);
      Tensor<float, 4> images(1, 3, 8 * shape[0], 8 * shape[1]);
      for (const int threads : {1, 3}) {
        const std::uint64_t planned = decode.arena(shape, threads);
        Workspace workspace(threads, planned);
        const long before = allocations::count;
        decode(model, latents, images, workspace);
        EXPECT_EQ(allocations::count - before, 0) << to_string(shape) << ", " << threads << " threads";
        EXPECT_EQ(workspace.high_water(), planned) << to_string(shape) << ", " << threads << " threads, " << tiled;
      }
    }
  }
}

TYPED_TEST(RoundedDecoders, AreCopiedBitByBitAndKeepANaNInItsSample) {
  const auto model = random_model<TypeParam>(1);
  TypeParam to;
  copy(model, to);
  EXPECT_EQ(max_difference(model, to), 0);
  EXPECT_EQ(save_to_memory(model), save_to_memory(to));
  auto latents = latents_for<TypeParam>(2, 3, 5, 2);
  Workspace workspace(2);
  const auto clean = to.decode(latents, workspace);
  EXPECT_TRUE(same_bits(model.decode(latents, workspace), clean));
  latents.data()[7] = std::numeric_limits<float>::quiet_NaN();
  const auto images = to.decode(latents, workspace);
  const Index half = images.size() / 2;
  EXPECT_TRUE(std::equal(clean.data() + half, clean.data() + 2 * half, images.data() + half));
  EXPECT_FALSE(std::isfinite(images.data()[0]));
}

}  // namespace
