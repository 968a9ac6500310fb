/// dit_sd3 on the small models of the goldens: from files to a PNG, and what it says when a file is wrong.

#include "sd3.hpp"

#include "examples/programs.hpp"

namespace {

using namespace dit_test;
using text_to_image::Candidate, text_to_image::Sd3Recipe;

class Sd3 : public Program {
 protected:
  const char* name() const override { return "dit_sd3"; }
  int main(int argc, const char* const* argv) const override {
    return text_to_image::sd3<dit::AutoencoderKL<mini_vae>, dit::AutoencoderTiny<mini_taesd>>(
        argc, argv, Candidate<MMDiT<sd35_mini>, Sd3Recipe>{"mini-3.5", {3, 5, 3, true}},
        Candidate<MMDiT<sd3_mini>, Sd3Recipe>{"mini", {6, 5, 3, true}});
  }

  const Golden io{"sd3_sampling_io"};
  const std::string text =
      write("text.safetensors",
            {entry("context", io.tensor<float, 3>("context")), entry("pooled", io.tensor<float, 2>("pooled")),
             entry("negative_context", io.tensor<float, 3>("null.context")),
             entry("negative_pooled", io.tensor<float, 2>("null.pooled"))});
  const std::string noise = write("noise.safetensors", {entry("noise", io.tensor<float, 4>("noise"))});
  const std::string model = golden("mmdit_mini.safetensors"), vae = golden("vae_mini.safetensors");

  /// All that a run needs, for latents of 6 x 10.
  const Arguments given{"--model", model, "--vae",    vae,  "--text",  text, "--noise", noise,
                        "--width", "80",  "--height", "48", "--steps", "6",  "--cfg",   "5"};
};

TEST_F(Sd3, DrawsWhatDiffusersDraws) {
  const auto latents = draw(given);
  EXPECT_TRUE(close(latents, last_state(io, "euler.x64"), whole_run));
  const auto decoder = golden_model<dit::AutoencoderKL<mini_vae>>("vae_mini");
  Workspace workspace(1);
  const Picture picture = read_picture(path("out.png"));
  EXPECT_EQ(picture.width, 160);
  EXPECT_EQ(picture.height, 48);
  EXPECT_EQ(picture.pixels, side_by_side(decoder.decode(latents, workspace)));
}

TEST_F(Sd3, DrawsWhatTheAuthorsCodeDraws) {
  EXPECT_TRUE(close(draw(given.without("--steps").with("--schedule", "original")), last_state(io, "dpmpp_2m.x64"),
                    whole_run));
}

TEST_F(Sd3, GoesFromImageToImageAsDiffusersDoes) {
  const std::string image = write("image.safetensors", {entry("latents", io.tensor<float, 4>("image"))});
  const auto arguments = given.with("--steps", "10").with("--init", image).with("--strength", "0.6");
  EXPECT_TRUE(close(draw(arguments), last_state(io, "img2img.x64"), whole_run));
  // The size is the image's unless given.
  EXPECT_TRUE(
      close(draw(arguments.without("--width").without("--height")), last_state(io, "img2img.x64"), whole_run));
}

TEST_F(Sd3, TakesEveryLayout) {
  const auto original = draw(given);
  EXPECT_TRUE(same_bits(draw(given.with("--model", golden("mmdit_mini_diffusers.safetensors"))), original));

  put("mmdit_mini_diffusers.safetensors", "pipeline/transformer/diffusion_pytorch_model.safetensors");
  put("vae_mini.safetensors", "pipeline/vae/diffusion_pytorch_model.safetensors");
  EXPECT_TRUE(same_bits(draw(given.without("--vae").with("--model", path("pipeline"))), original));

  // One file with both, as the authors publish it.
  std::vector<dit::TensorToWrite> tensors;
  for (const auto& [file, prefix] :
       {std::pair{"mmdit_mini", "model.diffusion_model."}, std::pair{"vae_mini_original", "first_stage_model."}}) {
    const auto source =
        std::make_shared<dit::Safetensors>(dit::Safetensors::open(golden_path(file + std::string(".safetensors"))));
    for (std::size_t i = 0; i < source->size(); ++i) {
      const dit::TensorInfo info = (*source)[i];
      tensors.push_back({prefix + info.name, info.dtype, info.shape, [source, info](dit::ByteSink& sink) {
                           std::vector<std::byte> bytes(info.end - info.begin);
                           source->read_bytes(info, 0, bytes.size(), bytes.data());
                           sink.write(bytes.data(), bytes.size());
                         }});
    }
  }
  const std::string all = write("all.safetensors", std::move(tensors));
  EXPECT_TRUE(same_bits(draw(given.without("--vae").with("--model", all)), original));
}

TEST_F(Sd3, TellsTheModelFromItsFile) {
  const auto other = given.with("--model", golden("mmdit_mini_35.safetensors"));
  EXPECT_FALSE(same_bits(draw(other), draw(given)));
  const auto original = other.with("--schedule", "original");  // with a recipe of its own: 3 steps
  EXPECT_TRUE(same_bits(draw(original.without("--steps")), draw(original.with("--steps", "3"))));
}

TEST_F(Sd3, DrawsTheNoiseOfATorchGenerator) {
  const auto seeded = given.without("--noise").with("--seed", "7");
  const auto drawn = draw(seeded);
  dit::TorchGenerator generator(7);
  const std::string same = write("same.safetensors", {entry("noise", dit::randn<4>({2, 4, 6, 10}, generator))});
  EXPECT_TRUE(same_bits(draw(given.with("--noise", same)), drawn));
  EXPECT_FALSE(same_bits(draw(seeded.with("--seed", "8")), drawn));
}

TEST_F(Sd3, NeedsNoNegativePromptWithoutGuidance) {
  const std::string alone = write("alone.safetensors", {entry("context", io.tensor<float, 3>("context")),
                                                        entry("pooled", io.tensor<float, 2>("pooled"))});
  expect_refusal(given.with("--text", alone), "dump it with --negative \"\"");
  const auto unguided = draw(given.with("--text", alone).with("--cfg", "1"));
  EXPECT_TRUE(same_bits(draw(given.with("--cfg", "1")), unguided));
  EXPECT_TRUE(same_bits(draw(given.without("--cfg").with("--schedule", "turbo")), unguided));
}

TEST_F(Sd3, PreviewsBySmallPicturesOrATinyAutoencoder) {
  draw(given.with("--preview", "4"));
  const Picture small = read_picture(path("out.preview.png"));
  EXPECT_EQ(small.width, 160);  // few latents are shown as they are
  EXPECT_EQ(small.height, 48);
  std::filesystem::remove(path("out.preview.png"));
  draw(given.with("--preview", "6"));  // the last step is the picture itself
  EXPECT_FALSE(std::filesystem::exists(path("out.preview.png")));

  draw(given.with("--preview", "4").with("--preview-vae", golden("taesd_mini.safetensors")));
  const Picture tiny = read_picture(path("out.preview.png"));
  EXPECT_EQ(tiny.width, 160);
  EXPECT_NE(tiny.pixels, small.pixels);
}

TEST_F(Sd3, ShrinksPreviewsByMeans) {
  Tensor<float, 4> latents(1, 1, 5, 3);
  latents.setValues({{{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {10, 11, 12}, {0, 0, 0}}}});
  const auto small = text_to_image::shrunk(latents, 3);  // by 2: a row and a column are left over
  EXPECT_EQ(dit::to_string(small.dimensions()), "[1, 1, 2, 1]");
  EXPECT_EQ(small(0, 0, 0, 0), 3);
  EXPECT_EQ(small(0, 0, 1, 0), 9);
  EXPECT_TRUE(same_bits(text_to_image::shrunk(latents, 5), latents));
}

TEST_F(Sd3, DecodesInTiles) {
  const auto whole = draw(given);
  const Picture once = read_picture(path("out.png"));
  EXPECT_TRUE(same_bits(draw(given.with("--tile", "8")), whole));
  EXPECT_NE(read_picture(path("out.png")).pixels, once.pixels);
}

TEST_F(Sd3, SaysWhichFileIsMissing) {
  expect_refusal(given.with("--model", path("no.safetensors")), "no.safetensors");
  expect_refusal(given.with("--text", path("no.safetensors")), "no.safetensors");
  expect_refusal(given.with("--vae", path("no.safetensors")), "no.safetensors");
  expect_refusal(given.with("--noise", path("no.safetensors")), "no.safetensors");
  expect_refusal(given.with("--init", path("no.safetensors")), "no.safetensors");
  expect_refusal(given.with("--preview-vae", path("no.safetensors")), "no.safetensors");
  expect_refusal(given.without("--vae"), "name one with --vae");
}

TEST_F(Sd3, SaysWhatAWrongFileIsFor) {
  expect_refusal(given.with("--model", golden("flux_mini.safetensors")), "holds FLUX.1, which is for dit_flux");
  expect_refusal(given.with("--model", golden("dit_mini.safetensors")), "holds DiT, which is for dit_xl_2");
  expect_refusal(given.with("--model", vae), "which is for --vae");
  expect_refusal(given.with("--model", text), "which is for --text");
  expect_refusal(given.with("--model", golden("ops_io.safetensors")), "no model that is known");
  expect_refusal(given.with("--model", golden("mmdit_block.safetensors")), "dit_sd3 draws with mini-3.5, mini");
  expect_refusal(given.with("--vae", golden("taesd_mini.safetensors")), "which is for --preview-vae");
  expect_refusal(given.with("--vae", model), "is not the model's autoencoder");
  expect_refusal(given.with("--preview-vae", vae), "which is for --vae");
  expect_refusal(given.with("--text", model), "has no text embeddings");
  expect_refusal(given.with("--init", noise), "latents");
}

TEST_F(Sd3, SaysWhatDoesNotFit) {
  const auto wide = write("wide.safetensors", {entry("context", normal<float, 3>({2, 7, 24}, 1)),
                                               entry("pooled", normal<float, 2>({2, 12}, 2))});
  expect_refusal(given.with("--text", wide), "24 and 12 wide, this model's are 20 and 12");
  const auto pooled = write("pooled.safetensors", {entry("context", normal<float, 3>({2, 7, 20}, 1)),
                                                   entry("pooled", normal<float, 2>({2, 8}, 2))});
  expect_refusal(given.with("--text", pooled), "20 and 8 wide, this model's are 20 and 12");
  expect_refusal(given.with("--width", "96"), "[2, 4, 6, 12] is needed");
  expect_refusal(given.with("--height", "208"), "at most 192 pixels a side");
  expect_refusal(given.with("--skip-layers"), "bad_option");
  const auto narrow = write("narrow.safetensors", {entry("latents", normal<float, 4>({2, 4, 6, 8}, 3))});
  expect_refusal(given.with("--init", narrow), "bad_input_shape");
  auto sick = io.tensor<float, 3>("context");
  sick(1, 2, 3) = std::numeric_limits<float>::quiet_NaN();
  expect_refusal(given.with("--text", write("sick.safetensors", {entry("context", std::move(sick)),
                                                                 entry("pooled", io.tensor<float, 2>("pooled"))})),
                 "bad_condition");
  Tensor<float, 4> endless(1, 4, 6, 10);
  endless.setConstant(1e38F);
  expect_refusal(given.with("--noise", write("endless.safetensors", {entry("noise", std::move(endless))})),
                 "not finite");
}

TEST_F(Sd3, RefusesDamagedFiles) {
  const std::string whole = slurp(model);
  for (const std::size_t length : {std::size_t{0}, std::size_t{100}, whole.size() / 2, whole.size() - 1}) {
    std::ofstream(path("damaged.safetensors"), std::ios::binary) << whole.substr(0, length);
    expect_refusal(given.with("--model", path("damaged.safetensors")), "damaged.safetensors");
  }
}

TEST_F(Sd3, RefusesWrongOptions) {
  expect_refusal(given.without("--model"), "--model", 2);
  expect_refusal(given.without("--text"), "--text", 2);
  expect_refusal(given.with("--width", "100"), "multiple of 16", 2);
  expect_refusal(given.with("--steps", "0"), "--steps", 2);
  expect_refusal(given.with("--cfg", "nan"), "--cfg", 2);
  expect_refusal(given.with("--schedule", "other"), "--schedule", 2);
  expect_refusal(given.with("--strength", "0.5"), "--init", 2);
  expect_refusal(given.with("--output", path("nowhere/out.png")), "not a folder", 2);
  expect_refusal(given.with("surplus"), "surplus", 2);
}

}  // namespace
