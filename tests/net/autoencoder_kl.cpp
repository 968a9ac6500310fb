/// AutoencoderKL, with a convolution of the latents before the decoder and without.

#include "decoders.hpp"

namespace {

using namespace net;

constexpr dit::AutoencoderKLConfig quantised{.channels = {8, 16, 20}, .blocks = 2, .groups = 4};
constexpr dit::AutoencoderKLConfig shifted{.latent_channels = 8,
                                           .channels = {16, 24},
                                           .blocks = 2,
                                           .groups = 8,
                                           .post_quant_conv = false,
                                           .scaling_factor_e5 = 153050,
                                           .shift_factor_e5 = 6090};
template <class T>
using Quantised = dit::AutoencoderKL<quantised, T>;
template <class T>
using Shifted = dit::AutoencoderKL<shifted, T>;

const Cases cases([] {
  decoder_cases<NET_TYPE, Quantised>("autoencoder_kl/quantised");
  decoder_cases<NET_TYPE, Shifted>("autoencoder_kl/shifted");
});

}  // namespace
