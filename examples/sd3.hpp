#pragma once
/// dit_sd3 for any sizes of the model: sd3.cpp has the published ones.

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "text_to_image.hpp"

namespace text_to_image {

/// How a model is sampled.
struct Sd3Recipe {
  int steps;
  double cfg, shift;
  bool dpmpp_2m;  ///< DPM++ 2M, otherwise Euler
};

struct Sd3Options : TextOptions {
  std::string schedule = "diffusers";
  std::optional<double> cfg, shift;
  bool skip_layers = false;
};

/// The recipe of --schedule with what was given beside it; `original` is the model's own.
inline Sd3Recipe recipe_of(const Sd3Options& o, Sd3Recipe original) {
  const std::map<std::string, Sd3Recipe> recipes{
      {"diffusers", {28, 7, 3, false}}, {"turbo", {4, 1, 3, false}}, {"original", original}};
  Sd3Recipe recipe = recipes.at(o.schedule);
  if (o.steps > 0) recipe.steps = o.steps;
  recipe.cfg = o.cfg.value_or(recipe.cfg);
  recipe.shift = o.shift.value_or(recipe.shift);
  return recipe;
}

template <class Vae, class Tiny, class Model>
void draw_sd3(Sd3Options o, const dit::Checkpoint& checkpoint, const char* name, const Sd3Recipe& original) {
  const Sd3Recipe recipe = recipe_of(o, original);
  settle_size(o, o.init, Vae::factor, 1024);
  constexpr int pixels = static_cast<int>(Vae::factor) * Model::config.patch,
                largest = Model::config.positions * pixels;
  if (std::max(o.width, o.height) > largest) {
    throw std::runtime_error("the model draws at most " + std::to_string(largest) + " pixels a side");
  }
  auto text = load_prompt<Model>(o.text);
  const dit::Index batch = text.samples();
  if (recipe.cfg != 1) text = load_both_prompts<Model>(o.text);

  Studio<Vae, Tiny> studio(o, checkpoint);
  dit::TorchGenerator generator(o.seed);
  const Start begin = start(o, dit::sd3_schedule(recipe.steps, recipe.shift), studio.noise(batch, generator));
  with_loaded<Model>(o, checkpoint, name, [&](const auto& model) {
    dit::Conditioned conditioned(model, text, studio.workspace);
    conditioned.prepare(begin.schedule.template times<float>());
    dit::BatchedGuidance guided(std::ref(conditioned), dit::Guidance{recipe.cfg});
    Velocity field = std::ref(guided);
    if (o.skip_layers) {
      field = dit::SkipLayerGuidance(std::ref(guided), conditioned.skipping({7, 8, 9}),
                                     dit::SkipLayer::between(begin.schedule, 0.01, 0.2, 2.5));
    }
    const auto draw = [&](auto sampler) {
      sampler.begin(begin.state, begin.schedule);
      studio.draw(sampler, field);
    };
    recipe.dpmpp_2m ? draw(dit::Dpmpp2mSampler<float, 4>()) : draw(dit::EulerSampler<float, 4>());
  });
}

/// main() with the candidates for what --model may hold.
template <class Vae, class Tiny, class... Candidates>
int sd3(int argc, const char* const* argv, const Candidates&... candidates) {
  Sd3Options o;
  CLI::App app("Draws with Stable Diffusion 3: medium, 3.5 medium, 3.5 large and its turbo.", "dit_sd3");
  add_options(app, o, 16);
  add_text_options(app, o);
  app.add_option("--schedule", o.schedule,
                 "diffusers: 28 Euler steps, guidance 7; original: what the authors' code does; turbo: 4 steps")
      ->check(CLI::IsMember({"diffusers", "original", "turbo"}))
      ->capture_default_str();
  app.add_option("--cfg", o.cfg, "scale of classifier-free guidance, 1 is none")
      ->check(CLI::Range(0.0, 100.0) & arguments::not_nan());
  app.add_option("--shift", o.shift, "of the schedule")->check(CLI::Range(0.01, 100.0) & arguments::not_nan());
  app.add_flag("--skip-layers", o.skip_layers, "skip-layer guidance over blocks 7, 8 and 9, for 3.5 medium");
  return arguments::run_program(app, argc, argv, [&] {
    const auto checkpoint = open_transformer(o.model);
    with_model(
        checkpoint, app.get_name(),
        [&](const auto& candidate) {
          using Model = typename std::remove_cvref_t<decltype(candidate)>::Model;
          draw_sd3<Vae, Tiny, Model>(o, checkpoint, candidate.name, candidate.recipe);
        },
        candidates...);
  });
}

}  // namespace text_to_image
