/// dit_flux on the small models of the goldens: from files to a PNG, and what it says when a file is wrong.

#include "flux.hpp"

#include "examples/programs.hpp"

namespace {

using namespace dit_test;
using text_to_image::Candidate, text_to_image::FluxRecipe;

class Flux1 : public Program {
 protected:
  const char* name() const override { return "dit_flux"; }
  int main(int argc, const char* const* argv) const override {
    return text_to_image::flux<dit::AutoencoderKL<mini_vae>, dit::AutoencoderTiny<mini_taesd>>(
        argc, argv, Candidate<Flux<flux_mini>, FluxRecipe>{"mini-dev", {6, 3.5F}},
        Candidate<Flux<fill_mini>, FluxRecipe>{"mini-fill", {2, 30, true}},
        Candidate<Flux<schnell_mini>, FluxRecipe>{"mini-schnell", {4, 0}});
  }

  const Golden io{"flux_sampling_io"};
  const std::string text = write("text.safetensors", {entry("context", io.tensor<float, 3>("txt")),
                                                      entry("pooled", io.tensor<float, 2>("pooled"))});
  const std::string noise = write("noise.safetensors", {entry("noise", io.tensor<float, 4>("noise"))});
  const std::string schnell = golden("flux_mini_schnell.safetensors"), vae = golden("vae_mini.safetensors");
  const Arguments given{"--model",  golden("flux_mini.safetensors"),
                        "--vae",    vae,
                        "--text",   text,
                        "--noise",  noise,
                        "--width",  "80",
                        "--height", "48"};
};

TEST_F(Flux1, DrawsWhatBothRepositoriesDraw) {
  EXPECT_TRUE(close(draw(given), last_state(io, "x64"), whole_run));
  const auto decoder = golden_model<dit::AutoencoderKL<mini_vae>>("vae_mini");
  Workspace workspace(1);
  const auto latents = dit::read_tensor<float, 4>(dit::Safetensors::open(path("out.safetensors")), "latents");
  EXPECT_EQ(read_picture(path("out.png")).pixels, side_by_side(decoder.decode(latents, workspace)));
}

TEST_F(Flux1, GoesFromImageToImageAsDiffusersDoes) {
  const std::string image = write("image.safetensors", {entry("latents", io.tensor<float, 4>("image"))});
  EXPECT_TRUE(close(draw(given.with("--steps", "10").with("--init", image).with("--strength", "0.6")),
                    last_state(io, "img2img.x64"), whole_run));
}

TEST_F(Flux1, TakesDiffusersFolder) {
  EXPECT_TRUE(
      close(draw(given.with("--model", golden("flux_mini_diffusers_sharded"))), last_state(io, "x64"), whole_run));
}

/// The Euler loop over the model alone.
template <class Model>
Tensor<float, 4> by_hand(const std::string& weights, const dit::FluxCondition<float>& condition, Tensor<float, 4> x,
                         const dit::Schedule& schedule) {
  const auto model = golden_model<Model>(weights);
  Workspace workspace(2);
  for (int i = 0; i < schedule.steps(); ++i) {
    const std::vector<float> t(static_cast<std::size_t>(x.dimension(0)), static_cast<float>(schedule[i]));
    const Tensor<float, 4> v = model(x, t, condition, workspace);
    x = x + v * static_cast<float>(schedule[i + 1] - schedule[i]);
  }
  return x;
}

TEST_F(Flux1, DrawsWithSchnellInFourStepsWithoutShift) {
  const dit::FluxCondition<float> condition{dit::load_text<float>(dit::Safetensors::open(text))};
  const auto expected = by_hand<Flux<schnell_mini>>("flux_mini_schnell", condition, io.tensor<float, 4>("noise"),
                                                    dit::Schedule({1, 0.75, 0.5, 0.25, 0}));
  EXPECT_TRUE(close(draw(given.with("--model", schnell)), expected, whole_run));
}

TEST_F(Flux1, FillsWhatTheMaskHides) {
  const auto masked = normal<float, 4>({1, 4, 6, 10}, 5);
  Tensor<float, 4> mask(1, 1, 24, 40);  // of a model with 4 x 4 pixels for one latent
  for (Index i = 0; i < mask.size(); ++i) mask.data()[i] = static_cast<float>(i % 7 == 0);
  const std::string control = write("control.safetensors", {entry("latents", masked), entry("mask", mask)});
  const auto fill = given.with("--model", golden("flux_mini_fill.safetensors"));
  expect_refusal(fill, "give its latents with --control");
  expect_refusal(given.with("--control", control), "no input for --control");
  expect_refusal(fill.with("--control", write("bare.safetensors", {entry("latents", masked)})), "mask");

  // One image for both prompts. The size is the image's.
  dit::FluxCondition<float> condition{dit::load_text<float>(dit::Safetensors::open(text)), {30}};
  const Tensor<float, 4> one = dit::fill_control<float>(masked, mask, 4);
  condition.control = one.broadcast(std::array<Index, 4>{2, 1, 1, 1});
  EXPECT_TRUE(close(draw(fill.with("--control", control).without("--width").without("--height")),
                    by_hand<Flux<fill_mini>>("flux_mini_fill", condition, io.tensor<float, 4>("noise"),
                                             dit::flux_schedule(2, 15)),
                    whole_run));
}

TEST_F(Flux1, ChangesAReference) {
  const auto reference = normal<float, 4>({1, 4, 4, 8}, 5);
  dit::FluxCondition<float> condition{dit::load_text<float>(dit::Safetensors::open(text)), {2.5F}};
  condition.reference = reference.broadcast(std::array<Index, 4>{2, 1, 1, 1});
  const auto drawn = draw(
      given.with("--guidance", "2.5").with("--reference", write("fox.safetensors", {entry("latents", reference)})));
  EXPECT_TRUE(close(
      drawn,
      by_hand<Flux<flux_mini>>("flux_mini", condition, io.tensor<float, 4>("noise"), dit::flux_schedule(6, 15)),
      whole_run));
}

TEST_F(Flux1, IsGuidedAwayFromANegativePromptIfAsked) {
  const auto said = dit::load_text<float>(dit::Safetensors::open(text));
  const std::string same =
      write("same.safetensors", {entry("context", said.context), entry("pooled", said.pooled),
                                 entry("negative_context", said.context), entry("negative_pooled", said.pooled)});
  const std::string other =
      write("other.safetensors",
            {entry("context", said.context), entry("pooled", said.pooled),
             entry("negative_context", normal<float, 3>({2, 7, 20}, 5)), entry("negative_pooled", said.pooled)});
  const auto plain = draw(given);
  EXPECT_TRUE(same_bits(draw(given.with("--text", other)), plain));
  EXPECT_TRUE(same_bits(draw(given.with("--text", same).with("--cfg", "3")), plain));
  EXPECT_FALSE(same_bits(draw(given.with("--text", other).with("--cfg", "3")), plain));
  expect_refusal(given.with("--cfg", "3"), "no negative prompt");
}

TEST_F(Flux1, SaysWhatIsWrong) {
  expect_refusal(given.with("--model", path("no.safetensors")), "no.safetensors");
  expect_refusal(given.with("--model", golden("mmdit_mini.safetensors")), "which is for dit_sd3");
  expect_refusal(given.with("--model", golden("dit_mini_diffusers.safetensors")), "which is for dit_xl_2");
  expect_refusal(given.with("--model", golden("flux_single_block.safetensors")),
                 "dit_flux draws with mini-dev, mini-fill, mini-schnell");
  expect_refusal(given.with("--vae", schnell), "is not the model's autoencoder");
  const std::string sd3 = write("sd3.safetensors", {entry("context", normal<float, 3>({2, 7, 20}, 1)),
                                                    entry("pooled", normal<float, 2>({2, 20}, 2))});
  expect_refusal(given.with("--text", sd3), "was made for another model");
  expect_refusal(given.with("--width", "8"), "--width", 2);
  expect_refusal(given.with("--guidance", "nan"), "--guidance", 2);
}

}  // namespace
