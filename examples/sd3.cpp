/// Draws with Stable Diffusion 3 and 3.5, from the original single file or diffusers' folder:
///
///     python examples/dump_prompts.py stable-diffusion-3.5-medium "a fox" --negative "" --output fox.safetensors
///     dit_sd3 --model stable-diffusion-3.5-medium --text fox.safetensors --seed 7 --preview 4
///     dit_sd3 --model sd3_medium.safetensors --text fox.safetensors --schedule original --width 768 --height 1344

#include "sd3.hpp"

namespace text_to_image {

using Vae = dit::AutoencoderKL<dit::sd3_vae>;
using Tiny = dit::AutoencoderTiny<dit::taesd3>;

// CMake compiles this file once with the sizes of each DIT_PART, and once with main() and the autoencoders.
#define DIT_DRAW(size) \
  void draw_sd3<Vae, Tiny, dit::MMDiT<dit::size>>(Sd3Options, const dit::Checkpoint&, const char*, const Sd3Recipe&)
#ifdef DIT_PART
extern template Decoder load_decoder<Vae>(const Options&, const dit::Checkpoint&);
extern template Decoder load_tiny_decoder<Tiny>(const std::string&);
#if DIT_PART == 1
template DIT_DRAW(sd3_medium);
template DIT_DRAW(sd3_5_medium);
#elif DIT_PART == 2
template DIT_DRAW(sd3_5_large);
#endif
#else
template Decoder load_decoder<Vae>(const Options&, const dit::Checkpoint&);
template Decoder load_tiny_decoder<Tiny>(const std::string&);
extern template DIT_DRAW(sd3_medium);
extern template DIT_DRAW(sd3_5_medium);
extern template DIT_DRAW(sd3_5_large);
#endif

}  // namespace text_to_image

#ifndef DIT_PART
int main(int argc, char** argv) {
  using namespace text_to_image;
  using dit::MMDiT;
  return sd3<Vae, Tiny>(argc, argv,  // with the settings of Stability-AI/sd3.5, sd3_infer.py
                        Candidate<MMDiT<dit::sd3_medium>, Sd3Recipe>{"SD3-medium", {50, 5, 1, true}},
                        Candidate<MMDiT<dit::sd3_5_medium>, Sd3Recipe>{"SD3.5-medium", {50, 5, 3, true}},
                        Candidate<MMDiT<dit::sd3_5_large>, Sd3Recipe>{"SD3.5-large", {40, 4.5, 3, true}});
}
#endif
