/// Draws the classes of ImageNet with the official DiT-XL/2, from its weights as safetensors or diffusers' folder:
///
///     dit_xl_2 --model DiT-XL-2-256 --class 207 360 --seed 0 --preview 25
///     dit_xl_2 --model DiT-XL-2-512x512.safetensors --vae sd-vae-ft-mse --class 88 --sampler ddim --steps 50

#include "xl_2.hpp"

int main(int argc, char** argv) {
  using namespace text_to_image;
  using dit::AutoencoderKL, dit::AutoencoderTiny, dit::DiT;
  return xl_2<AutoencoderKL<dit::sd_vae>, AutoencoderTiny<dit::taesd>>(
      argc, argv,  // diffusers' files do not say which of the two they are
      Candidate<DiT<dit::dit_xl_2>, DitRecipe>{"DiT-XL/2", {32}},
      Candidate<DiT<dit::dit_xl_2_512>, DitRecipe>{"DiT-XL/2 at 512 pixels", {64}});
}
