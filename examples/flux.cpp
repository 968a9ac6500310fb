/// Draws with FLUX.1, from the original single file or diffusers' folder; Kontext, Fill, Canny and Depth with an
/// image:
///
///     python examples/dump_prompts.py FLUX.1-schnell "a fox in the snow" --tokens 256 --output fox.safetensors
///     dit_flux --model FLUX.1-schnell --text fox.safetensors --seed 7
///     python examples/dump_latents.py FLUX.1-Kontext-dev fox.png --output image.safetensors
///     dit_flux --model FLUX.1-Kontext-dev --text summer.safetensors --reference image.safetensors --guidance 2.5

#include "flux.hpp"

namespace text_to_image {

using Vae = dit::AutoencoderKL<dit::flux_vae>;
using Tiny = dit::AutoencoderTiny<dit::taef1>;

// CMake compiles this file once with the sizes of each DIT_PART, and once with main() and the autoencoders.
#define DIT_DRAW(size)                                                                              \
  void draw_flux<Vae, Tiny, dit::Flux<dit::size>>(FluxOptions, const dit::Checkpoint&, const char*, \
                                                  const FluxRecipe&)
#ifdef DIT_PART
extern template Decoder load_decoder<Vae>(const Options&, const dit::Checkpoint&);
extern template Decoder load_tiny_decoder<Tiny>(const std::string&);
template DIT_DRAW(flux_dev);
template DIT_DRAW(flux_fill);
template DIT_DRAW(flux_canny);
template DIT_DRAW(flux_schnell);
#else
template Decoder load_decoder<Vae>(const Options&, const dit::Checkpoint&);
template Decoder load_tiny_decoder<Tiny>(const std::string&);
extern template DIT_DRAW(flux_dev);
extern template DIT_DRAW(flux_fill);
extern template DIT_DRAW(flux_canny);
extern template DIT_DRAW(flux_schnell);
#endif

}  // namespace text_to_image

#ifndef DIT_PART
int main(int argc, char** argv) {
  using namespace text_to_image;
  using dit::Flux;
  return flux<Vae, Tiny>(argc, argv,  // schnell last: its tensors are all in the others
                         Candidate<Flux<dit::flux_dev>, FluxRecipe>{"FLUX.1-dev", {28, 3.5F}},
                         Candidate<Flux<dit::flux_fill>, FluxRecipe>{"FLUX.1-Fill", {50, 30, /*masked=*/true}},
                         Candidate<Flux<dit::flux_canny>, FluxRecipe>{"FLUX.1-Canny or -Depth", {50, 30}},
                         Candidate<Flux<dit::flux_schnell>, FluxRecipe>{"FLUX.1-schnell", {4, 0}});
}
#endif
