#pragma once
/// dit_xl_2 for any sizes of the model: xl_2.cpp has the published ones.

#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "text_to_image.hpp"

namespace text_to_image {

struct DitOptions : Options {
  std::vector<int> classes{207, 360, 387, 974, 88, 979, 417, 279};  ///< those of the official sample.py
  std::string sampler = "ddpm";
  double cfg = 4;
};

/// Square latents of this side unless told otherwise.
struct DitRecipe {
  int side;
};

template <class Vae, class Tiny, class Model>
void draw_dit(DitOptions o, const dit::Checkpoint& checkpoint, const char* name, const DitRecipe& recipe) {
  const bool guided = o.cfg != 1;
  const auto batch = static_cast<dit::Index>(o.classes.size());
  settle_size(o, "", 0, static_cast<int>(Vae::factor) * recipe.side);
  std::vector<int> classes = o.classes;
  for (const int label : classes) {
    if (label >= Model::config.classes) {
      throw std::runtime_error("the model knows classes 0 to " + std::to_string(Model::config.classes - 1));
    }
  }
  if (guided) classes.insert(classes.end(), o.classes.size(), Model::null_class);
  const int steps = o.steps > 0 ? o.steps : o.sampler == "ddpm" ? 250 : 50;
  const dit::DiffusionSchedule chain(o.sampler == "ddpm"   ? dit::respaced_steps(steps)
                                     : o.sampler == "ddim" ? dit::ddim_steps(steps)
                                                           : dit::leading_steps(steps));

  Studio<Vae, Tiny> studio(o, checkpoint);
  dit::TorchGenerator generator(o.seed);
  const Latents noise = studio.noise(batch, generator);
  with_loaded<Model>(o, checkpoint, name, [&](const auto& model) {
    dit::Conditioned conditioned(model, classes, studio.workspace);
    conditioned.prepare(chain.times());
    // The original guides three of the four channels, diffusers all of them.
    const dit::Index channels =
        o.sampler == "diffusers" ? dit::Guidance::all_channels : Model::config.in_channels - 1;
    dit::BatchedGuidance field(std::ref(conditioned), dit::Guidance{.scale = o.cfg, .channels = channels});
    if (o.sampler == "ddpm") {
      // The original draws for [conditional | unconditional] and drops the second half.
      Latents drawn(guided ? 2 * batch : batch, noise.dimension(1), noise.dimension(2), noise.dimension(3));
      const auto draw = [&](dit::View<float, 4> fresh) {
        dit::randn(drawn, generator);
        std::copy_n(drawn.data(), fresh.size(), fresh.data);
      };
      dit::DdpmSampler<float, 4> sampler;
      sampler.begin(noise, chain);
      studio.draw(sampler, field, draw);
    } else {
      dit::WithoutVariance eps(std::ref(field));
      dit::DdimSampler<float, 4> sampler;
      sampler.begin(noise, chain);
      studio.draw(sampler, eps);
    }
  });
}

/// main() with the candidates for what --model may hold.
template <class Vae, class Tiny, class... Candidates>
int xl_2(int argc, const char* const* argv, const Candidates&... candidates) {
  DitOptions o;
  CLI::App app("Draws the classes of ImageNet with DiT-XL/2.", "dit_xl_2");
  add_options(app, o, 16);
  app.add_option("--class", o.classes, "of ImageNet, 0 to 999, as many as you like; eight unless given")
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--sampler", o.sampler,
                 "ddpm: the original, 250 steps; ddim: the original's, 50; diffusers: its DDIM, 50")
      ->check(CLI::IsMember({"ddpm", "ddim", "diffusers"}))
      ->capture_default_str();
  app.add_option("--cfg", o.cfg, "scale of classifier-free guidance, 1 is none")
      ->check(CLI::Range(0.0, 100.0) & arguments::not_nan())
      ->capture_default_str();
  return arguments::run_program(app, argc, argv, [&] {
    const auto checkpoint = open_transformer(o.model);
    with_model(
        checkpoint, app.get_name(),
        [&](const auto& candidate) {
          using Model = typename std::remove_cvref_t<decltype(candidate)>::Model;
          draw_dit<Vae, Tiny, Model>(o, checkpoint, candidate.name, candidate.recipe);
        },
        candidates...);
  });
}

}  // namespace text_to_image
