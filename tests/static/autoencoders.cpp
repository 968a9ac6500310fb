/// What the compiler knows about the decoders: the counts are those of diffusers' modules. To compile is to pass.

#include "dit/models/autoencoder_kl.hpp"
#include "dit/models/autoencoder_tiny.hpp"

namespace {

using namespace dit;

static_assert(parameter_count<AutoencoderKL<sd_vae>>() == 49'490'179 + 20);  // decoder, post_quant_conv
static_assert(tensor_count<AutoencoderKL<sd_vae>>() == 138 + 2);
static_assert(parameter_count<AutoencoderKL<sdxl_vae>>() == parameter_count<AutoencoderKL<sd_vae>>());
static_assert(parameter_count<AutoencoderKL<sd3_vae>>() == 49'545'475);
static_assert(parameter_count<AutoencoderKL<flux_vae>>() == 49'545'475);
static_assert(tensor_count<AutoencoderKL<flux_vae>>() == 138);
static_assert(parameter_count<AutoencoderTiny<taesd>>() == 1'222'531);
static_assert(parameter_count<AutoencoderTiny<taesd3>>() == 1'229'443);
static_assert(parameter_count<AutoencoderTiny<taef1>>() == 1'229'443);
static_assert(tensor_count<AutoencoderTiny<taesd>>() == 67);

static_assert(sd_vae.scaling_factor() == 0.18215 && sd_vae.shift_factor() == 0);
static_assert(sdxl_vae.scaling_factor() == 0.13025);
static_assert(sd3_vae.scaling_factor() == 1.5305 && sd3_vae.shift_factor() == 0.0609);
static_assert(flux_vae.scaling_factor() == 0.3611 && flux_vae.shift_factor() == 0.1159);
static_assert(sd_vae.levels() == 4 && sd_vae.factor() == 8 && sd_vae.level(0) == 512 && sd_vae.level(3) == 128);

// Two maps of 512 x 512 pixels, of 256 and 128 channels, one of 128 while a block runs, and what a convolution
// takes.
constexpr Plan whole = plan<AutoencoderKL<sd3_vae>>(1, {64, 64}, 1);
constexpr std::size_t maps = std::size_t{512} * 512 * (256 + 128 + 128) * 4;
static_assert(whole.arena > maps && whole.arena < maps + (std::size_t{32} << 20));
static_assert(plan<AutoencoderKL<sd3_vae>>(4, {64, 64}, 1).arena == whole.arena);
// Maps are float whatever the weights are.
constexpr Plan in_int8 = plan<AutoencoderKL<sd3_vae, int8>>(1, {64, 64}, 1);
static_assert(in_int8.weights < 50'100'000 && in_int8.weights > 49'545'475);
static_assert(in_int8.arena > maps && in_int8.arena < whole.arena + (std::size_t{32} << 20));
static_assert(weight_bytes<AutoencoderTiny<taesd, bf16>>() < 2 * 1'240'000);
// A large image in tiles takes what one tile takes, and its seams.
static_assert(plan_tiled<AutoencoderKL<sd3_vae>>(1, {256, 256}, 1).arena < whole.arena + (std::size_t{32} << 20));
static_assert(plan_tiled<AutoencoderKL<sd3_vae>>(1, {64, 64}, 1).arena == whole.arena);

}  // namespace
