/// dit_xl_2 on the small model of the goldens: from files to a PNG, and what it says when a file is wrong.

#include "xl_2.hpp"

#include "examples/programs.hpp"

namespace {

using namespace dit_test;
using text_to_image::Candidate, text_to_image::DitRecipe;
using Model = dit::DiT<mini>;

class Xl2 : public Program {
 protected:
  const char* name() const override { return "dit_xl_2"; }
  int main(int argc, const char* const* argv) const override {
    return text_to_image::xl_2<dit::AutoencoderKL<mini_vae>, dit::AutoencoderTiny<mini_taesd>>(
        argc, argv, Candidate<Model, DitRecipe>{"mini", {8}});
  }

  const std::string vae = golden("vae_mini.safetensors");
  const Arguments given{
      "--model", golden("dit_mini.safetensors"), "--vae", vae, "--seed", "3", "--steps", "5", "--class", "7", "2"};
};

/// eps and variance logits, guided by 4 on three of four channels: models.py, forward_with_cfg.
Tensor<float, 4> official(const Model& model, const Tensor<float, 4>& x, int t, Workspace& workspace) {
  Tensor<float, 4> both(4, 4, 8, 8);
  std::copy_n(x.data(), x.size(), std::copy_n(x.data(), x.size(), both.data()));
  const std::vector<float> times(4, static_cast<float>(t));
  Tensor<float, 4> out = model(both, times, std::vector<int>{7, 2, 10, 10}, workspace);
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < 3 * 64; ++i) {
      float& conditional = out.data()[b * 8 * 64 + i];
      const float unconditional = out.data()[(b + 2) * 8 * 64 + i];
      conditional = unconditional + 4 * (conditional - unconditional);
    }
  return out;
}

TEST_F(Xl2, DrawsWhatTheOfficialCodeDraws) {
  // diffusion/gaussian_diffusion.py, p_sample_loop on [x | x], whose second half is dropped.
  const auto model = golden_model<Model>("dit_mini");
  Workspace workspace(2);
  dit::TorchGenerator generator(3);
  Tensor<float, 4> x = dit::randn<4>({2, 4, 8, 8}, generator);
  const dit::DiffusionSchedule chain(dit::respaced_steps(5));
  for (int k = 4; k >= 0; --k) {
    const auto out = official(model, x, chain.time(k), workspace);
    const auto fresh = dit::randn<4>({4, 4, 8, 8}, generator);
    const double abar = chain.alpha_bar(k), before = chain.alpha_bar(k - 1), beta = chain.beta(k);
    const double low = chain.log_posterior_variance(k), high = std::log(beta);
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < 4 * 64; ++i) {
        float& state = x.data()[b * 4 * 64 + i];
        const double now = static_cast<double>(state), eps = static_cast<double>(out.data()[b * 8 * 64 + i]),
                     logit = static_cast<double>(out.data()[b * 8 * 64 + 4 * 64 + i]);
        const double image = now / std::sqrt(abar) - std::sqrt(1 / abar - 1) * eps;
        const double mean =
            beta * std::sqrt(before) / (1 - abar) * image + (1 - before) * std::sqrt(1 - beta) / (1 - abar) * now;
        const double variance = (logit + 1) / 2 * high + (1 - logit) / 2 * low;
        const double noise = static_cast<double>(fresh.data()[b * 4 * 64 + i]);
        state = static_cast<float>(mean + (k > 0 ? std::exp(variance / 2) * noise : 0));
      }
  }
  EXPECT_TRUE(close(draw(given), x, whole_run));
  const auto decoder = golden_model<dit::AutoencoderKL<mini_vae>>("vae_mini");
  const auto latents = dit::read_tensor<float, 4>(dit::Safetensors::open(path("out.safetensors")), "latents");
  EXPECT_EQ(read_picture(path("out.png")).pixels, side_by_side(decoder.decode(latents, workspace)));
}

TEST_F(Xl2, DrawsByTheOfficialDdim) {
  const auto model = golden_model<Model>("dit_mini");
  Workspace workspace(2);
  dit::TorchGenerator generator(3);
  Tensor<float, 4> x = dit::randn<4>({2, 4, 8, 8}, generator);
  const dit::DiffusionSchedule chain(dit::ddim_steps(5));
  for (int k = 4; k >= 0; --k) {
    const auto out = official(model, x, chain.time(k), workspace);
    const double abar = chain.alpha_bar(k), before = chain.alpha_bar(k - 1);
    for (Index b = 0; b < 2; ++b)
      for (Index i = 0; i < 4 * 64; ++i) {
        float& state = x.data()[b * 4 * 64 + i];
        const double eps = static_cast<double>(out.data()[b * 8 * 64 + i]);
        const double image = static_cast<double>(state) / std::sqrt(abar) - std::sqrt(1 / abar - 1) * eps;
        state = static_cast<float>(std::sqrt(before) * image + std::sqrt(1 - before) * eps);
      }
  }
  const auto drawn = draw(given.with("--sampler", "ddim"));
  EXPECT_TRUE(close(drawn, x, whole_run));
  // diffusers' keeps the same steps, 5 of 1000, and guides the fourth channel too.
  EXPECT_FALSE(close(draw(given.with("--sampler", "diffusers")), x, whole_run));
  EXPECT_TRUE(same_bits(draw(given.with("--sampler", "diffusers").with("--cfg", "1")),
                        draw(given.with("--sampler", "ddim").with("--cfg", "1"))));
}

TEST_F(Xl2, TakesDiffusersFilesAndPipelines) {
  const auto one = draw(given.with("--model", golden("dit_mini_diffusers.safetensors")));
  EXPECT_FALSE(same_bits(one, draw(given)));  // another time embedding
  put("dit_mini_diffusers.safetensors", "pipeline/transformer/diffusion_pytorch_model.safetensors");
  put("vae_mini.safetensors", "pipeline/vae/diffusion_pytorch_model.safetensors");
  EXPECT_TRUE(same_bits(draw(given.with("--model", path("pipeline")).without("--vae")), one));
}

TEST_F(Xl2, DrawsAnySize) {
  const auto wide = draw(given.with("--width", "112"));
  EXPECT_EQ(dit::to_string(wide.dimensions()), "[2, 4, 8, 14]");
  EXPECT_EQ(read_picture(path("out.png")).width, 224);
}

TEST_F(Xl2, Previews) {
  draw(given.with("--preview", "2"));
  EXPECT_EQ(read_picture(path("out.preview.png")).height, 64);
}

TEST_F(Xl2, SaysWhatIsWrong) {
  expect_refusal(given.with("--model", path("no.safetensors")), "no.safetensors");
  expect_refusal(given.without("--vae"), "name one with --vae");
  expect_refusal(given.with("--model", golden("mmdit_mini.safetensors")), "which is for dit_sd3");
  expect_refusal(given.with("--model", golden("flux_mini.safetensors")), "which is for dit_flux");
  expect_refusal(given.with("--model", golden("dit_tiny.safetensors")), "dit_xl_2 draws with mini");
  expect_refusal(given.with("--vae", golden("taesd_mini.safetensors")), "which is for --preview-vae");
  expect_refusal(given.with("--class", "10"), "classes 0 to 9");
  expect_refusal(given.with("--steps", "1"), "bad_schedule");
  expect_refusal(given.with("--sampler", "ddim").with("--steps", "999"), "bad_schedule");
  expect_refusal(given.with("--class", "-1"), "--class", 2);
  expect_refusal(given.with("--sampler", "euler"), "--sampler", 2);
}

}  // namespace
