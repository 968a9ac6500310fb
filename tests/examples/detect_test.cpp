#include "doctor/detect.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>

#include "dit/io/writer.hpp"
#include "doctor/scan.hpp"
#include "io/bad_files.hpp"
#include "io/temporary.hpp"

namespace {

using namespace dit_test;
using dit::Checkpoint;
using dit::DType;
using dit::Layout;
using dit::LoadReport;
using dit::detail::Wanted;
using doctor::Architecture;
using doctor::Detected;

using Tensors = std::vector<dit::TensorToWrite>;

/// A checkpoint of these names and shapes, whose numbers are all zero and take no memory.
Checkpoint checkpoint_of(const Tensors& tensors) {
  std::uint64_t bytes = 0;
  for (const auto& tensor : tensors) bytes += dit::detail::byte_size(tensor.shape, tensor.dtype).value();
  const std::string header = dit::detail::make_header(tensors, {});
  return Checkpoint(dit::Safetensors(std::make_unique<GeneratedSource>(
      length_bytes(header.size()) + header, bytes, [](std::uint64_t) { return '\0'; }, "")));
}

Checkpoint checkpoint_of_names(const std::vector<std::string>& names) {
  Tensors tensors;
  for (const auto& name : names) tensors.push_back({name, DType::F32, {1}, nullptr});
  return checkpoint_of(tensors);
}

/// The tensors of a model as the files of a layout have them.
template <class M>
Tensors tensors_of(Layout layout, const std::string& prefix = "", int blocks = 1) {
  const M model{};
  Tensors tensors;
  const auto layouts = dit::detail::spellings(dit::detail::layouts_of<M>(), layout);
  for (const Wanted& wanted : dit::detail::wanted_tensors(model)) {
    for (const auto& piece : dit::detail::spell(wanted.name, wanted.rows, layouts[0].rules)) {
      if (piece.first == 0 && piece.count < piece.rows) continue;  // a swapped half, which was there already
      auto shape = wanted.shape;
      shape[0] = static_cast<std::uint64_t>(piece.rows);
      if (piece.pointwise && shape.size() == 2) shape.insert(shape.end(), 2, 1);
      for (int i = 0; i < (piece.copies.empty() ? 1 : blocks); ++i) {
        const auto name = i == 0 ? piece.name : dit::detail::fill_name(piece.copies, std::to_string(i), {});
        tensors.push_back({prefix + name, DType::F16, shape, nullptr});
      }
    }
  }
  return tensors;
}

std::vector<std::string> preset_names(const Detected& found) {
  std::vector<std::string> names;
  for (const auto* preset : found.presets) names.emplace_back(preset->name);
  return names;
}

bool equal(const LoadReport& a, const LoadReport& b) {
  const auto names = [](const auto& list) {
    std::vector<std::string> all;
    for (const auto& each : list) all.push_back(each.name);
    std::sort(all.begin(), all.end());
    return all;
  };
  return names(a.missing) == names(b.missing) && names(a.misshapen) == names(b.misshapen) &&
         a.unexpected == b.unexpected && a.unneeded == b.unneeded && a.tensors == b.tensors && a.bytes == b.bytes &&
         a.layout == b.layout && a.prefix == b.prefix;
}

/// A whole checkpoint of M is what `detect` says it is, and fits.
template <class M>
void expect_found(Architecture architecture, Layout layout, const std::string& preset, std::size_t count,
                  const std::string& prefix = "", int blocks = 1) {
  SCOPED_TRACE(preset + (layout == Layout::original ? ", original" : ", diffusers"));
  const auto tensors = tensors_of<M>(layout, prefix, blocks);
  if (count > 0) {
    EXPECT_EQ(tensors.size(), count);
  }
  const auto checkpoint = checkpoint_of(tensors);
  ASSERT_EQ(doctor::detect_all(checkpoint).size(), 1U);
  const auto found = doctor::detect(checkpoint);
  EXPECT_EQ(name(found.architecture), name(architecture));
  EXPECT_EQ(found.layout, layout);
  EXPECT_EQ(found.prefix, prefix);
  const auto names = preset_names(found);
  EXPECT_EQ(std::count(names.begin(), names.end(), preset), 1);
  EXPECT_EQ(found.nearest, nullptr);
  const LoadReport report = doctor::inspect(checkpoint, found);
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(report.unexpected_count, 0U);
  EXPECT_TRUE(equal(report, dit::inspect<M>(checkpoint)));
}

// Tensor counts: those of the official files.
TEST(Detect, FindsEveryPublishedDiTByItsShapes) {
  using enum Layout;
  expect_found<dit::DiT<dit::dit_xl_2>>(Architecture::dit, original, "dit_xl_2", 292);
  expect_found<dit::DiT<dit::dit_xl_2>>(Architecture::dit, original, "dit_xl_2", 292, "ema.");
  expect_found<dit::DiT<dit::dit_xl_2>>(Architecture::dit, diffusers, "dit_xl_2", 538, "", 28);
  expect_found<dit::DiT<dit::dit_xl_2_512>>(Architecture::dit, original, "dit_xl_2_512", 292);
  expect_found<dit::DiT<dit::dit_s_8>>(Architecture::dit, original, "dit_s_8", 132);
  expect_found<dit::DiT<dit::dit_l_4>>(Architecture::dit, original, "dit_l_4", 0);
}

TEST(Detect, FindsEveryPublishedMMDiTByItsShapes) {
  using enum Layout;
  const std::string bundle = "model.diffusion_model.";
  expect_found<dit::MMDiT<dit::sd3_medium>>(Architecture::mmdit, original, "sd3_medium", 491, bundle);
  expect_found<dit::MMDiT<dit::sd3_medium>>(Architecture::mmdit, diffusers, "sd3_medium", 683);
  expect_found<dit::MMDiT<dit::sd3_5_medium>>(Architecture::mmdit, original, "sd3_5_medium", 665, bundle);
  expect_found<dit::MMDiT<dit::sd3_5_medium>>(Architecture::mmdit, diffusers, "sd3_5_medium", 909);
  expect_found<dit::MMDiT<dit::sd3_5_large>>(Architecture::mmdit, original, "sd3_5_large", 923, bundle);
  expect_found<dit::MMDiT<dit::sd3_5_large>>(Architecture::mmdit, diffusers, "sd3_5_large", 1227);
}

TEST(Detect, FindsEveryPublishedFluxByItsShapes) {
  using enum Layout;
  expect_found<dit::Flux<dit::flux_dev>>(Architecture::flux, original, "flux_dev", 780);
  expect_found<dit::Flux<dit::flux_dev>>(Architecture::flux, diffusers, "flux_dev", 1160);
  expect_found<dit::Flux<dit::flux_schnell>>(Architecture::flux, original, "flux_schnell", 776);
  expect_found<dit::Flux<dit::flux_schnell>>(Architecture::flux, diffusers, "flux_schnell", 1156);
  expect_found<dit::Flux<dit::flux_fill>>(Architecture::flux, original, "flux_fill", 780);
  expect_found<dit::Flux<dit::flux_canny>>(Architecture::flux, diffusers, "flux_canny", 1160);
}

TEST(Detect, FindsTheAutoencodersByTheirShapes) {
  using enum Layout;
  using dit::AutoencoderKL, dit::AutoencoderTiny;
  const auto kl = Architecture::autoencoder_kl, tiny = Architecture::autoencoder_tiny;
  expect_found<AutoencoderKL<dit::sd_vae>>(kl, diffusers, "sd_vae", 0);
  expect_found<AutoencoderKL<dit::sd_vae>>(kl, original, "sdxl_vae", 0, "first_stage_model.");
  expect_found<AutoencoderKL<dit::sd3_vae>>(kl, diffusers, "sd3_vae", 0);
  expect_found<AutoencoderKL<dit::flux_vae>>(kl, original, "flux_vae", 0);
  expect_found<AutoencoderTiny<dit::taesd>>(tiny, diffusers, "taesd", 0);
  expect_found<AutoencoderTiny<dit::taef1>>(tiny, original, "taef1", 0);
}

TEST(Detect, KnowsByNameWhatTheLibraryDoesNotLoad) {
  using enum Architecture;
  const std::vector<std::pair<Architecture, std::vector<std::string>>> telling{
      {flux_2, {"single_stream_modulation.lin.weight", "double_blocks.0.img_attn.norm.key_norm.scale"}},
      {flux_2, {"single_stream_modulation.linear.weight"}},
      {flux_2,
       {"single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight",
        "single_transformer_blocks.0.attn.norm_q.weight"}},
      {z_image, {"layers.0.adaLN_modulation.0.weight", "cap_embedder.0.weight"}},
      {z_image, {"all_x_embedder.2-1.weight", "layers.0.adaLN_modulation.0.weight"}},
      {lumina_2, {"cap_embedder.0.weight", "layers.0.adaLN_modulation.1.weight"}},
      {lumina_2, {"time_caption_embed.caption_embedder.0.weight"}},
      {aura_flow, {"double_layers.0.attn.w2q.weight"}},
      {aura_flow, {"joint_transformer_blocks.0.attn.to_q.weight", "pos_embed.pos_embed"}},
      {sana, {"blocks.0.cross_attn.q_linear.weight", "attention_y_norm.weight", "y_embedder.y_embedding"}},
      {sana, {"patch_embed.proj.weight", "caption_norm.weight"}},
      {pixart, {"blocks.0.cross_attn.q_linear.weight", "y_embedder.y_embedding"}},
      {pixart, {"adaln_single.linear.weight", "caption_projection.linear_1.weight"}},
      {qwen_image, {"txt_norm.weight", "transformer_blocks.0.attn.add_q_proj.weight"}},
      {clip_text, {"text_model.encoder.layers.0.self_attn.q_proj.weight"}},
      {t5_encoder, {"encoder.block.0.layer.0.SelfAttention.q.weight"}},
      {language_model, {"model.layers.0.self_attn.q_proj.weight"}},
  };
  for (const auto& [architecture, names] : telling) {
    for (const std::string prefix : {"", "model.diffusion_model.", "something.of.its.own."}) {
      auto all = names;
      for (auto& each : all) each = prefix + each;
      const auto checkpoint = checkpoint_of_names(all);
      ASSERT_EQ(doctor::detect_all(checkpoint).size(), 1U) << all[0];
      const auto found = doctor::detect(checkpoint);
      EXPECT_EQ(name(found.architecture), name(architecture)) << all[0];
      EXPECT_EQ(found.prefix, prefix);
      EXPECT_FALSE(found.loadable());
      EXPECT_EQ(found.type(), "");
      EXPECT_EQ(code_of([&] { doctor::inspect(checkpoint, found); }), "bad_option");
    }
  }
}

TEST(Detect, SaysThatItKnowsNothing) {
  for (const auto& names : {std::vector<std::string>{},
                            {"a"},
                            {"xblocks.0.adaLN_modulation.1.weight"},
                            {".", ".."},
                            {"19.weight"},
                            {"blocks.x.adaLN_modulation.1.weight"}}) {
    const auto found = doctor::detect(checkpoint_of_names(names));
    EXPECT_EQ(found.architecture, Architecture::unknown);
    EXPECT_FALSE(found.loadable());
  }
}

struct Golden {
  const char* file;
  Architecture architecture;
  Layout layout;
  const char* type;
  std::vector<std::string_view> unread;
  const char* prefix = "";
};

TEST(Detect, ReadsTheSizesOfFilesThatOthersWrote) {
  using enum Layout;
  const auto dit = Architecture::dit, mmdit = Architecture::mmdit, flux = Architecture::flux;
  const char* const dit_mini =
      "dit::DiT<dit::DiTConfig{.width = 12, .depth = 2, .heads = HEADS, .patch = 2, .input = 8, .classes = 10}>";
  const char* const dit_diffusers =
      "dit::DiT<dit::DiTConfig{.width = 12, .depth = 2, .heads = HEADS, .patch = 2, .input = INPUT, .classes = "
      "10}>";
  const char* const sd3 =
      "dit::MMDiT<dit::MMDiTConfig{.width = 24, .depth = 3, .heads = HEADS, .in_channels = 4, .positions = 12, "
      ".context = 20, .pooled = 12}>";
  const char* const sd35 =
      "dit::MMDiT<dit::MMDiTConfig{.width = 24, .depth = 3, .heads = 3, .in_channels = 4, .positions = 12, "
      ".context = 20, .pooled = 12, .qk_norm = true, .dual_blocks = 2}>";
  const char* const dev =
      "dit::Flux<dit::FluxConfig{.width = 48, .heads = 3, .double_blocks = 2, .single_blocks = 3, .channels = 4, "
      ".context = 20, .pooled = 12, .axes = AXES}>";
  const char* const schnell =
      "dit::Flux<dit::FluxConfig{.width = 48, .heads = 3, .double_blocks = 1, .single_blocks = 1, .channels = 4, "
      ".context = 20, .pooled = 12, .guidance = false, .axes = AXES}>";
  const char* const fill =
      "dit::Flux<dit::FluxConfig{.width = 48, .heads = 3, .double_blocks = 1, .single_blocks = 1, .channels = 4, "
      ".control_channels = 20, .context = 20, .pooled = 12, .axes = AXES}>";
  const char* const vae =
      "dit::AutoencoderKL<dit::AutoencoderKLConfig{.channels = {8, 8, 16, 16}, .blocks = 2, .groups = GROUPS, "
      ".scaling_factor_e5 = SCALING_FACTOR_E5, .shift_factor_e5 = SHIFT_FACTOR_E5}>";
  const char* const taesd = "dit::AutoencoderTiny<dit::AutoencoderTinyConfig{.width = 12}>";
  const std::vector<std::string_view> factors{"groups", "scaling_factor_e5", "shift_factor_e5"};
  const std::vector<Golden> goldens{
      {"dit_mini.safetensors", dit, original, dit_mini, {"heads"}},
      {"dit_mini_f16.safetensors", dit, original, dit_mini, {"heads"}},
      {"dit_mini_diffusers.safetensors", dit, diffusers, dit_diffusers, {"heads", "input"}},
      {"dit_mini_diffusers_sharded", dit, diffusers, dit_diffusers, {"heads", "input"}},
      {"dit_tiny_p4.safetensors",
       dit,
       original,
       "dit::DiT<dit::DiTConfig{.width = 48, .depth = 1, .heads = HEADS, .patch = 4, .input = 16, .in_channels = "
       "3, .learn_sigma = false, .classes = 5}>",
       {"heads"}},
      {"plain_dit.safetensors",
       Architecture::plain_dit,
       original,
       "dit::PlainDiT<dit::PlainDiTConfig{.in_channels = 3, .patch = 2, .width = 72, .heads = HEADS, .mlp = 100, "
       ".depth = 2, .width_c = 40}>",
       {"heads"}},
      {"mmdit_mini.safetensors", mmdit, original, sd3, {"heads"}},
      {"mmdit_mini_f16.safetensors", mmdit, original, sd3, {"heads"}, "model.diffusion_model."},
      {"mmdit_mini_bf16.safetensors", mmdit, original, sd3, {"heads"}, "model.diffusion_model."},
      {"mmdit_mini_diffusers.safetensors", mmdit, diffusers, sd3, {"heads"}},
      {"mmdit_mini_diffusers_sharded", mmdit, diffusers, sd3, {"heads"}},
      {"mmdit_mini_35.safetensors", mmdit, original, sd35, {}},
      {"mmdit_mini_35_diffusers.safetensors", mmdit, diffusers, sd35, {}},
      {"flux_mini.safetensors", flux, original, dev, {"axes"}},
      {"flux_mini_diffusers_sharded", flux, diffusers, dev, {"axes"}},
      {"flux_mini_schnell.safetensors", flux, original, schnell, {"axes"}},
      {"flux_mini_fill.safetensors", flux, original, fill, {"axes"}},
      {"vae_mini.safetensors", Architecture::autoencoder_kl, diffusers, vae, factors},
      {"vae_mini_old.safetensors", Architecture::autoencoder_kl, diffusers, vae, factors},
      {"vae_mini_original.safetensors", Architecture::autoencoder_kl, original, vae, factors},
      {"taesd_mini.safetensors", Architecture::autoencoder_tiny, diffusers, taesd, {}},
      {"taesd_mini_original.safetensors", Architecture::autoencoder_tiny, original, taesd, {}},
  };
  for (const Golden& golden : goldens) {
    SCOPED_TRACE(golden.file);
    const auto checkpoint = Checkpoint::open(std::string(DIT_GOLDEN_DIR "/") + golden.file);
    const auto found = doctor::detect(checkpoint);
    EXPECT_EQ(found.architecture, golden.architecture);
    EXPECT_EQ(found.layout, golden.layout);
    EXPECT_EQ(found.prefix, golden.prefix);
    EXPECT_EQ(found.type(), golden.type);
    EXPECT_EQ(found.unread, golden.unread);
    EXPECT_TRUE(found.presets.empty());
    const auto report = doctor::inspect(checkpoint, found);
    EXPECT_TRUE(report.complete());
    EXPECT_EQ(report.unexpected_count, 0U);
    EXPECT_EQ(report.layout, golden.layout);
  }
}

TEST(Detect, OfAPartOfAModelSaysNothing) {
  for (const char* file : {"mmdit_block", "flux_single_block", "timestep_embedder", "dit_mini_io", "ops_io"}) {
    const auto checkpoint = Checkpoint::open(std::string(DIT_GOLDEN_DIR "/") + file + ".safetensors");
    EXPECT_EQ(doctor::detect(checkpoint).architecture, Architecture::unknown) << file;
  }
}

// A type text is code: these compile, and name the goldens.
static_assert(dit::MMDiT<dit::MMDiTConfig{.width = 24,
                                          .depth = 3,
                                          .heads = 3,
                                          .in_channels = 4,
                                          .positions = 12,
                                          .context = 20,
                                          .pooled = 12,
                                          .qk_norm = true,
                                          .dual_blocks = 2}>::config.patch == 2);
static_assert(dit::AutoencoderTiny<dit::AutoencoderTinyConfig{.width = 12}>::config.latent_channels == 4);

TEST(Detect, FindsAllModelsOfABundleEachUnderItsPrefix) {
  auto tensors = tensors_of<dit::MMDiT<dit::sd3_medium>>(Layout::original, "model.diffusion_model.");
  for (const auto& tensor : tensors_of<dit::AutoencoderKL<dit::sd3_vae>>(Layout::original, "first_stage_model.")) {
    tensors.push_back(tensor);
  }
  tensors.push_back({"text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight",
                     DType::F16,
                     {8, 8},
                     nullptr});
  tensors.push_back({"text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight",
                     DType::F16,
                     {8, 8},
                     nullptr});
  tensors.push_back({"model.diffusion_model.stranger", DType::F16, {1}, nullptr});
  const auto checkpoint = checkpoint_of(tensors);
  const auto all = doctor::detect_all(checkpoint);
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].type(), "dit::MMDiT<dit::sd3_medium>");
  EXPECT_EQ(all[1].type(), "dit::AutoencoderKL<dit::sd3_vae>");
  EXPECT_EQ(all[2].architecture, Architecture::clip_text);
  EXPECT_EQ(all[2].prefix, "text_encoders.clip_l.transformer.");
  EXPECT_EQ(all[3].architecture, Architecture::t5_encoder);
  const auto transformer = doctor::inspect(checkpoint, all[0]), autoencoder = doctor::inspect(checkpoint, all[1]);
  EXPECT_TRUE(transformer.complete());
  EXPECT_TRUE(autoencoder.complete());
  EXPECT_EQ(transformer.unexpected, std::vector<std::string>{"model.diffusion_model.stranger"});
  EXPECT_EQ(transformer.unexpected_count, 1U);
  EXPECT_EQ(autoencoder.unexpected_count, 0U);
}

TEST(Detect, SurvivesTheLossOfAnyTensor) {
  const auto whole = tensors_of<dit::MMDiT<dit::sd3_medium>>(Layout::diffusers);
  for (std::size_t i = 0; i < whole.size(); i += i < 12 || i > 670 ? 1 : 61) {
    auto tensors = whole;
    tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i));
    const auto checkpoint = checkpoint_of(tensors);
    const auto found = doctor::detect(checkpoint);
    ASSERT_EQ(found.type(), "dit::MMDiT<dit::sd3_medium>") << whole[i].name;
    const auto report = doctor::inspect(checkpoint, found);
    ASSERT_EQ(report.missing.size(), 1U) << whole[i].name;
    EXPECT_EQ(report.missing[0].name, whole[i].name);
    EXPECT_EQ(report.misshapen.size() + report.unexpected_count, 0U);
  }
}

TEST(Detect, IsNotMisledByAFewWrongTensors) {
  const auto expect = [](const char* type, Tensors tensors, const char* change, std::size_t missing,
                         std::size_t misshapen) {
    SCOPED_TRACE(change);
    const auto checkpoint = checkpoint_of(tensors);
    const auto found = doctor::detect(checkpoint);
    EXPECT_EQ(found.type(), type);
    const auto report = doctor::inspect(checkpoint, found);
    EXPECT_EQ(report.missing.size(), missing);
    EXPECT_EQ(report.misshapen.size(), misshapen);
  };
  auto tensors = tensors_of<dit::MMDiT<dit::sd3_medium>>(Layout::original);
  std::erase_if(tensors, [](const auto& tensor) { return tensor.name.starts_with("joint_blocks.23."); });
  expect("dit::MMDiT<dit::sd3_medium>", tensors, "the last block is gone", 14, 0);

  const auto with_shape = [](Tensors all, const std::string& name, std::vector<std::uint64_t> shape) {
    for (auto& tensor : all) {
      if (tensor.name == name) tensor.shape = shape;
    }
    return all;
  };
  const auto dit = tensors_of<dit::DiT<dit::dit_xl_2>>(Layout::original);
  expect("dit::DiT<dit::dit_xl_2>", with_shape(dit, "x_embedder.proj.weight", {1152, 4, 3, 3}), "another patch", 0,
         1);
  expect("dit::DiT<dit::dit_xl_2>", with_shape(dit, "x_embedder.proj.weight", {1152, 16}), "a matrix", 0, 1);
  expect("dit::DiT<dit::dit_xl_2>", with_shape(dit, "blocks.3.attn.proj.weight", {1153, 1152}), "one width", 0, 1);
  expect("dit::DiT<dit::dit_xl_2>", with_shape(dit, "blocks.3.mlp.fc1.weight", {5, 1152}), "one mlp", 0, 1);
  expect("dit::DiT<dit::dit_xl_2>", with_shape(dit, "pos_embed", {1, 257, 1152}), "no square table", 0, 1);
}

TEST(Detect, NamesTheNearestWhereASizeIsOnesOwn) {
  constexpr auto deeper = [] {
    auto config = dit::sd3_medium;
    config.depth = config.heads = 25;
    config.width = 1536 / 24 * 25;
    return config;
  }();
  constexpr auto longer = [] {
    auto config = dit::sd3_medium;
    config.context = 2048;
    return config;
  }();
  EXPECT_EQ(doctor::detect(checkpoint_of(tensors_of<dit::MMDiT<deeper>>(Layout::original))).nearest, nullptr);
  const auto found = doctor::detect(checkpoint_of(tensors_of<dit::MMDiT<longer>>(Layout::original)));
  ASSERT_NE(found.nearest, nullptr);
  EXPECT_EQ(found.nearest->name, "sd3_medium");
  EXPECT_EQ(found.differs, std::vector<std::string_view>{"context"});
  EXPECT_EQ(found.type(), "dit::MMDiT<dit::MMDiTConfig{.width = 1536, .depth = 24, .heads = 24, .context = 2048}>");
}

TEST(Detect, TakesNoHarmFromAbsurdShapes) {
  const std::uint64_t huge = std::uint64_t{1} << 24;
  for (const std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1}, huge, huge + 1}) {
    for (const auto& shape : {std::vector<std::uint64_t>{}, {n}, {n, 1}, {1, n}, {1, 1, n, 1}, {n, 1, 1, 1}}) {
      for (const auto& sign : doctor::detail::signs) {
        std::set<std::string> names;
        for (const auto pattern : {sign.any[0], sign.any[1], sign.also}) {
          if (!pattern.empty()) names.insert(dit::detail::fill_name(pattern, "7", "x"));
        }
        if (sign.architecture == Architecture::dit) {
          names.insert({"x_embedder.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight",
                        "blocks.1000.attn.proj.weight", "final_layer.linear.weight"});
        }
        Tensors tensors;
        for (const auto& each : names) tensors.push_back({each, DType::U8, shape, nullptr});
        const auto checkpoint = checkpoint_of(tensors);
        const auto found = doctor::detect(checkpoint);
        EXPECT_EQ(found.architecture, sign.architecture);
        if (found.loadable()) {
          EXPECT_FALSE(doctor::inspect(checkpoint, found).complete());
        }
      }
    }
  }
}

TEST(Detect, AFileCannotBuyAnyNumberOfModels) {
  std::vector<std::string> names;
  for (int i = 0; i < 2000; ++i)
    names.push_back("p" + std::to_string(i) + ".joint_blocks.0.x_block.attn.qkv.weight");
  EXPECT_EQ(doctor::detect_all(checkpoint_of_names(names)).size(), 16U);
}

/// A file of one tensor with these bytes.
dit::Safetensors tensor_of(DType dtype, const std::string& bytes) {
  const std::uint64_t n = bytes.size() * 8 / dit::bits(dtype);
  const std::string header = dit::detail::make_header({{"a", dtype, {n}, nullptr}}, {});
  return dit::Safetensors(std::make_unique<OwningSource>(length_bytes(header.size()) + header + bytes));
}

template <class Bits>
std::string numbers(std::initializer_list<Bits> bits) {
  return {reinterpret_cast<const char*>(bits.begin()), bits.size() * sizeof(Bits)};
}

std::pair<std::uint64_t, std::uint64_t> counted(DType dtype, const std::string& bytes,
                                                std::uint64_t limit = ~std::uint64_t{0}) {
  const auto file = tensor_of(dtype, bytes);
  const auto count = doctor::non_finite(file, file[0], limit);
  return {count.nan, count.infinite};
}

TEST(NonFinite, IsCountedInEveryTypeThatHasIt) {
  using Pair = std::pair<std::uint64_t, std::uint64_t>;
  // 1, -0, the largest, the smallest; infinities; NaN: quiet, signalling, negative.
  EXPECT_EQ(counted(DType::F32, numbers<std::uint32_t>({0x3f800000, 0x80000000, 0x7f7fffff, 1, 0x7f800000,
                                                        0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff})),
            Pair(3, 2));
  EXPECT_EQ(counted(DType::F64, numbers<std::uint64_t>({0x3ff0000000000000, 0x7fefffffffffffff, 0x7ff0000000000000,
                                                        0x7ff0000000000001, 0xfff8000000000000})),
            Pair(2, 1));
  EXPECT_EQ(counted(DType::F16, numbers<std::uint16_t>({0x3c00, 0x7bff, 0x8000, 0x7c00, 0xfc00, 0x7c01, 0xfe00})),
            Pair(2, 2));
  EXPECT_EQ(counted(DType::BF16, numbers<std::uint16_t>({0x3f80, 0x7f7f, 0x7c00, 0x7f80, 0xff80, 0x7f81, 0xffc0})),
            Pair(2, 2));
  EXPECT_EQ(counted(DType::F8_E5M2, numbers<std::uint8_t>({0x3c, 0x7b, 0x7c, 0xfc, 0x7d, 0xff})), Pair(2, 2));
  EXPECT_EQ(counted(DType::F8_E4M3, numbers<std::uint8_t>({0x38, 0x7e, 0x7c, 0x7f, 0xff})), Pair(2, 0));
  EXPECT_EQ(counted(DType::I64, numbers<std::uint64_t>({~std::uint64_t{0}})), Pair(0, 0));
  EXPECT_EQ(counted(DType::F32, ""), Pair(0, 0));
}

TEST(NonFinite, IsFoundAnywhereInALongTensorAndOnlyBeforeTheLimit) {
  std::vector<float> values((std::size_t{5} << 20) / 4 + 3);  // five blocks and a bit
  for (const std::size_t at :
       {std::size_t{0}, (std::size_t{1} << 18) - 1, std::size_t{1} << 18, values.size() - 1}) {
    values[at] = std::numeric_limits<float>::quiet_NaN();
    const std::string bytes(reinterpret_cast<const char*>(values.data()), values.size() * 4);
    EXPECT_EQ(counted(DType::F32, bytes).first, 1U) << at;
    EXPECT_EQ(counted(DType::F32, bytes, 1 << 20).first, at < (std::size_t{1} << 18) ? 1U : 0U) << at;
    values[at] = 0;
  }
}

}  // namespace
