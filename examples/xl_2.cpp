/// Draws the classes of ImageNet with the official DiT-XL/2, from its weights as safetensors or diffusers' folder:
///
///     dit_xl_2 --model DiT-XL-2-256 --class 207 360 --seed 0 --preview 25
///     dit_xl_2 --model DiT-XL-2-512x512.safetensors --vae sd-vae-ft-mse --class 88 --sampler ddim --steps 50

#include "xl_2.hpp"

namespace text_to_image {

using Vae = dit::AutoencoderKL<dit::sd_vae>;
using Tiny = dit::AutoencoderTiny<dit::taesd>;

// CMake compiles this file once with the sizes of each DIT_PART, and once with main() and the autoencoders.
#define DIT_DRAW(size) \
  void draw_dit<Vae, Tiny, dit::DiT<dit::size>>(DitOptions, const dit::Checkpoint&, const char*, const DitRecipe&)
#ifdef DIT_PART
extern template Decoder load_decoder<Vae>(const Options&, const dit::Checkpoint&);
extern template Decoder load_tiny_decoder<Tiny>(const std::string&);
template DIT_DRAW(dit_xl_2);
template DIT_DRAW(dit_xl_2_512);
#else
template Decoder load_decoder<Vae>(const Options&, const dit::Checkpoint&);
template Decoder load_tiny_decoder<Tiny>(const std::string&);
extern template DIT_DRAW(dit_xl_2);
extern template DIT_DRAW(dit_xl_2_512);
#endif

}  // namespace text_to_image

#ifndef DIT_PART
int main(int argc, char** argv) {
  using namespace text_to_image;
  using dit::DiT;
  return xl_2<Vae, Tiny>(argc, argv,  // diffusers' files do not say which of the two they are
                         Candidate<DiT<dit::dit_xl_2>, DitRecipe>{"DiT-XL/2", {32}},
                         Candidate<DiT<dit::dit_xl_2_512>, DitRecipe>{"DiT-XL/2 at 512 pixels", {64}});
}
#endif
