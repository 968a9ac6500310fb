/// Decoders of latents against diffusers, whole and in tiles, from every spelling of their checkpoints.

#include <map>

#include "dit/io/save.hpp"
#include "models/autoencoders.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Autoencoders : public testing::Test {};
TYPED_TEST_SUITE(Autoencoders, Scalars, ScalarName);

template <class M>
Tensor<typename M::R, 4> decode(const M& model, const Golden& io) {
  Workspace workspace(2);
  return model.decode(io.tensor<typename M::R, 4>("latents"), workspace);
}
template <class M>
void expect_golden(const M& model, const Golden& io) {
  EXPECT_TRUE(close(decode(model, io), io.tensor<double, 4>("out64"), whole_model<typename M::R>));
}
template <class M>
void expect_golden_tiles(const M& model, const Golden& io, Index tile) {
  Workspace workspace(2);
  const auto latents = io.tensor<typename M::R, 4>("tiled.latents");
  const auto expected = io.tensor<double, 4>("tiled.out64");
  EXPECT_TRUE(close(model.decode_tiled(latents, workspace, tile), expected, whole_model<typename M::R>));
  EXPECT_GT(distance(model.decode(latents, workspace), expected).nmse, 1e-3);  // tiles are no detail
}

TYPED_TEST(Autoencoders, AreThoseOfDiffusers) {
  expect_golden(golden_model<AutoencoderKL<mini_vae, TypeParam>>("vae_mini"), Golden("vae_mini_io"));
  expect_golden(golden_model<AutoencoderKL<shifted_vae, TypeParam>>("vae_shifted"), Golden("vae_shifted_io"));
  expect_golden(golden_model<AutoencoderTiny<mini_taesd, TypeParam>>("taesd_mini"), Golden("taesd_mini_io"));
}

TYPED_TEST(Autoencoders, DecodeTilesAsDiffusersDoes) {
  expect_golden_tiles(golden_model<AutoencoderKL<mini_vae, TypeParam>>("vae_mini"), Golden("vae_mini_io"), 4);
  expect_golden_tiles(golden_model<AutoencoderTiny<mini_taesd, TypeParam>>("taesd_mini"), Golden("taesd_mini_io"),
                      8);
}

// Strictly, although the file has an encoder; any other stranger is still one.
template <class M>
void expect_layout(const M& expected, const std::string& file, Layout layout, bool encoder) {
  SCOPED_TRACE(file);
  LoadReport report;
  const auto model = load<M>(golden_path(file + ".safetensors"), {.strict = true}, &report);
  EXPECT_EQ(report.layout, layout);
  EXPECT_EQ(model.layout(), layout);
  EXPECT_EQ(report.unneeded > 0, encoder);
  EXPECT_EQ(report.unexpected_count, 0U);
  EXPECT_EQ(max_difference(model, expected), 0);
}
TYPED_TEST(Autoencoders, AreTheSameFromEverySpelling) {
  const auto kl = golden_model<AutoencoderKL<mini_vae, TypeParam>>("vae_mini");
  expect_layout(kl, "vae_mini", Layout::diffusers, true);
  expect_layout(kl, "vae_mini_old", Layout::diffusers, true);
  expect_layout(kl, "vae_mini_original", Layout::original, true);
  const auto tiny = golden_model<AutoencoderTiny<mini_taesd, TypeParam>>("taesd_mini");
  expect_layout(tiny, "taesd_mini", Layout::diffusers, true);
  expect_layout(tiny, "taesd_mini_original", Layout::original, false);
}

TYPED_TEST(Autoencoders, SavedAndLoadedAndSavedAreTheSameBytes) {
  using M = AutoencoderKL<mini_vae, TypeParam>;
  auto model = golden_model<M>("vae_mini");
  for (const Layout layout : {Layout::diffusers, Layout::original}) {
    model.set_layout(layout);
    const auto bytes = save_to_memory(model);
    const auto again = load_from_memory<M>(bytes, {.strict = true});
    EXPECT_EQ(again.layout(), layout);
    EXPECT_EQ(max_difference(model, again), 0);
    EXPECT_EQ(save_to_memory(again), bytes);
  }
}

/// Shapes and numbers by name, without those of the encoder's half.
auto contents(const Safetensors& file) {
  std::map<std::string, std::pair<std::vector<std::uint64_t>, std::vector<float>>> tensors;
  for (std::size_t i = 0; i < file.size(); ++i) {
    const std::string name(file.name(i));
    if (name.starts_with("encoder") || name.starts_with("quant_conv")) continue;
    tensors[name] = {file[i].shape, file.read<float>(file[i])};
  }
  return tensors;
}
TYPED_TEST(Autoencoders, AreWrittenAsTheirOwnersWriteThem) {
  const auto expect = [](const auto& model, Layout layout, const std::string& file) {
    const auto bytes = save_to_memory(model, {.dtype = DType::F16, .layout = layout});
    EXPECT_EQ(contents(Safetensors::from_memory(bytes)),
              contents(Safetensors::open(golden_path(file + ".safetensors"))))
        << file;
  };
  const auto kl = golden_model<AutoencoderKL<mini_vae, TypeParam>>("vae_mini");
  expect(kl, Layout::diffusers, "vae_mini");
  expect(kl, Layout::original, "vae_mini_original");
  const auto tiny = golden_model<AutoencoderTiny<mini_taesd, TypeParam>>("taesd_mini");
  expect(tiny, Layout::diffusers, "taesd_mini");
  expect(tiny, Layout::original, "taesd_mini_original");
}

/// The bytes of a model under a prefix, beside a stranger.
template <class M>
std::vector<std::byte> bundled(const M& model, const std::string& prefix, Layout layout) {
  auto tensors = detail::tensors_of(model, {.layout = layout});
  for (auto& tensor : tensors) tensor.name = prefix + tensor.name;
  tensors.push_back(tensors.front());
  tensors.back().name = "model.diffusion_model.stranger";
  MemorySink sink;
  write_safetensors(sink, std::move(tensors), {});
  return sink.take();
}
TEST(Autoencoder, IsFoundInABundle) {
  using M = AutoencoderKL<mini_vae>;
  const auto model = golden_model<M>("vae_mini");
  for (const std::string prefix : {"first_stage_model.", "vae."}) {
    for (const Layout layout : {Layout::original, Layout::diffusers}) {
      LoadReport report;
      const auto bytes = bundled(model, prefix, layout);
      EXPECT_EQ(max_difference(load_from_memory<M>(bytes, {}, &report), model), 0);
      EXPECT_EQ(report.prefix, prefix);
      EXPECT_EQ(report.layout, layout);
      EXPECT_EQ(report.unexpected, std::vector<std::string>{"model.diffusion_model.stranger"});
      EXPECT_ERROR(errc::unexpected_tensor, load_from_memory<M>(bytes, {.strict = true}));
    }
  }
}

TEST(Autoencoder, OfAnotherShapeIsRefusedWithATypedError) {
  constexpr AutoencoderKLConfig more_blocks{.channels = {8, 8, 16, 16}, .blocks = 3, .groups = 4};
  constexpr AutoencoderKLConfig less_blocks{.channels = {8, 8, 16, 16}, .blocks = 1, .groups = 4};
  constexpr AutoencoderKLConfig wider{.channels = {8, 8, 16, 32}, .blocks = 2, .groups = 4};
  constexpr AutoencoderKLConfig deeper{.latent_channels = 16, .channels = {8, 8, 16, 16}, .blocks = 2, .groups = 4};
  const auto path = golden_path("vae_mini.safetensors");
  EXPECT_ERROR(errc::tensor_missing, load<AutoencoderKL<more_blocks>>(path));
  EXPECT_ERROR(errc::unexpected_tensor, load<AutoencoderKL<less_blocks>>(path, {.strict = true}));
  EXPECT_ERROR(errc::tensor_missing, load<AutoencoderKL<wider>>(path));  // a shortcut, among other things
  EXPECT_ERROR(errc::shape_mismatch, load<AutoencoderKL<deeper>>(path));
  EXPECT_ERROR(errc::tensor_missing, load<AutoencoderTiny<mini_taesd>>(path));
  EXPECT_ERROR(errc::tensor_missing, load<AutoencoderKL<mini_vae>>(golden_path("taesd_mini.safetensors")));
  EXPECT_ERROR(errc::shape_mismatch, load<AutoencoderTiny<taesd>>(golden_path("taesd_mini.safetensors")));
}

// 1 x 1 convolutions and Linears have the same numbers, but a file is of one kind.
TEST(Autoencoder, WithAttentionOfTheOtherKindIsMisshapen) {
  using M = AutoencoderKL<mini_vae>;
  const auto model = golden_model<M>("vae_mini");
  auto tensors = detail::tensors_of(model, {.layout = Layout::original});
  for (auto& tensor : tensors) {
    if (tensor.name == "decoder.mid.attn_1.q.weight") tensor.shape.resize(2);
  }
  MemorySink sink;
  write_safetensors(sink, std::move(tensors), {});
  EXPECT_ERROR(errc::shape_mismatch, load_from_memory<M>(sink.take()));
}

TYPED_TEST(Autoencoders, HearTheirFactors) {
  using M = AutoencoderKL<shifted_vae, TypeParam>;
  constexpr AutoencoderKLConfig unshifted{.latent_channels = 16,
                                          .channels = {16, 24},
                                          .blocks = 3,
                                          .groups = 8,
                                          .post_quant_conv = false,
                                          .scaling_factor_e5 = 100000};
  using Unscaled = AutoencoderKL<unshifted, TypeParam>;
  const auto model = golden_model<M>("vae_shifted");
  const auto unscaled = golden_model<Unscaled>("vae_shifted");
  const Golden io("vae_shifted_io");
  auto latents = io.tensor<TypeParam, 4>("latents");
  Workspace workspace(2);
  EXPECT_GT(distance(unscaled.decode(latents, workspace), io.tensor<double, 4>("out64")).nmse, 1e-3);
  for (Index i = 0; i < latents.size(); ++i)
    latents.data()[i] = latents.data()[i] / TypeParam(1.5305) + TypeParam(0.0609);
  EXPECT_TRUE(same_bits(unscaled.decode(latents, workspace), decode(model, io)));
}

}  // namespace
