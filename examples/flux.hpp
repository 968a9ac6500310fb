#pragma once
/// dit_flux for any sizes of the model: flux.cpp has the published ones.

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>

#include "text_to_image.hpp"

namespace text_to_image {

/// How a model is sampled, and what it takes beside its text.
struct FluxRecipe {
  int steps;
  float guidance;
  bool masked = false;  ///< the control is a masked image and its mask
};

struct FluxOptions : TextOptions {
  std::string control, reference;
  std::optional<float> guidance;
  double cfg = 1;
};

/// [image] or [masked image | mask], for all samples.
template <class Model>
Latents flux_control(const FluxOptions& o, const FluxRecipe& recipe, dit::Index batch) {
  constexpr auto& config = Model::config;
  if ((config.control_channels > 0) == o.control.empty()) {
    throw std::runtime_error(o.control.empty() ? "this model draws with an image: give its latents with --control"
                                               : "this model has no input for --control");
  }
  if (o.control.empty()) return {};
  Latents image = for_batch(read_latents(o.control, "latents"), batch);
  if (!recipe.masked) return image;
  int scale = 1;  // pixels of the mask along the side of a latent
  while (scale * scale < config.control_channels - config.channels) ++scale;
  return dit::fill_control<float>(image, for_batch(read_latents(o.control, "mask"), batch), scale);
}

template <class Vae, class Tiny, class Model>
void draw_flux(FluxOptions o, const dit::Checkpoint& checkpoint, const char* name, const FluxRecipe& recipe) {
  settle_size(o, o.init.empty() ? o.control : o.init, Vae::factor, 1024);
  constexpr int pixels = static_cast<int>(Vae::factor) * Model::config.patch;
  const dit::Index tokens = dit::Index{o.height / pixels} * (o.width / pixels);
  const int steps = o.steps > 0 ? o.steps : recipe.steps;

  const auto said = load_prompt<Model>(o.text);
  const dit::Index batch = said.samples();
  dit::FluxCondition<float> condition{o.cfg == 1 ? said : load_both_prompts<Model>(o.text)};
  if (!Model::config.guidance && o.guidance) throw std::runtime_error("this model has no input for --guidance");
  if (Model::config.control_channels > 0 && !o.reference.empty())
    throw std::runtime_error("this model has no input for --reference");
  if (Model::config.guidance) condition.guidance = {o.guidance.value_or(recipe.guidance)};
  condition.control = flux_control<Model>(o, recipe, condition.text.samples());
  if (!o.reference.empty())
    condition.reference = for_batch(read_latents(o.reference, "latents"), condition.text.samples());

  Studio<Vae, Tiny> studio(o, checkpoint);
  dit::TorchGenerator generator(o.seed);
  const Start begin =
      start(o, Model::config.guidance ? dit::flux_schedule(steps, tokens) : dit::flux_schnell_schedule(steps),
            studio.noise(batch, generator));
  with_loaded<Model>(o, checkpoint, name, [&](const auto& model) {
    dit::Conditioned conditioned(model, condition, studio.workspace);
    conditioned.prepare(begin.schedule.template times<float>());
    dit::BatchedGuidance guided(std::ref(conditioned), dit::Guidance{o.cfg});
    Velocity field = std::ref(guided);
    dit::EulerSampler<float, 4> sampler;
    sampler.begin(begin.state, begin.schedule);
    studio.draw(sampler, field);
  });
}

/// main() with the candidates for what --model may hold.
template <class Vae, class Tiny, class... Candidates>
int flux(int argc, const char* const* argv, const Candidates&... candidates) {
  FluxOptions o;
  CLI::App app("Draws with FLUX.1: dev, Krea, Kontext, schnell, Fill, Canny, Depth.", "dit_flux");
  add_options(app, o, 16);
  add_text_options(app, o);
  app.add_option("--guidance", o.guidance, "what the model was distilled with: 3.5, Fill and Canny 30, Depth 10")
      ->check(CLI::Range(0.0, 1000.0) & arguments::not_nan());
  app.add_option("--cfg", o.cfg, "scale of a true guidance away from the negative prompt, 1 is none")
      ->check(CLI::Range(0.0, 100.0) & arguments::not_nan())
      ->capture_default_str();
  app.add_option("--control", o.control, "Canny, Depth, Fill: a file of examples/dump_latents.py");
  app.add_option("--reference", o.reference, "Kontext: the image to change, a file of examples/dump_latents.py");
  return arguments::run_program(app, argc, argv, [&] {
    const auto checkpoint = open_transformer(o.model);
    with_model(
        checkpoint, app.get_name(),
        [&](const auto& candidate) {
          using Model = typename std::remove_cvref_t<decltype(candidate)>::Model;
          draw_flux<Vae, Tiny, Model>(o, checkpoint, candidate.name, candidate.recipe);
        },
        candidates...);
  });
}

}  // namespace text_to_image
