/// Draws with FLUX.1, from the original single file or diffusers' folder; Kontext, Fill, Canny and Depth with an
/// image:
///
///     python examples/dump_prompts.py FLUX.1-schnell "a fox in the snow" --tokens 256 --output fox.safetensors
///     dit_flux --model FLUX.1-schnell --text fox.safetensors --seed 7
///     python examples/dump_latents.py FLUX.1-Kontext-dev fox.png --output image.safetensors
///     dit_flux --model FLUX.1-Kontext-dev --text summer.safetensors --reference image.safetensors --guidance 2.5

#include "flux.hpp"

int main(int argc, char** argv) {
  using namespace text_to_image;
  using dit::AutoencoderKL, dit::AutoencoderTiny, dit::Flux;
  return flux<AutoencoderKL<dit::flux_vae>, AutoencoderTiny<dit::taef1>>(
      argc, argv,  // schnell last: its tensors are all in the others
      Candidate<Flux<dit::flux_dev>, FluxRecipe>{"FLUX.1-dev", {28, 3.5F}},
      Candidate<Flux<dit::flux_fill>, FluxRecipe>{"FLUX.1-Fill", {50, 30, /*masked=*/true}},
      Candidate<Flux<dit::flux_canny>, FluxRecipe>{"FLUX.1-Canny or -Depth", {50, 30}},
      Candidate<Flux<dit::flux_schnell>, FluxRecipe>{"FLUX.1-schnell", {4, 0}});
}
