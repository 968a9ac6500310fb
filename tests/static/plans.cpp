/// Plans of every published size, by the compiler, and what they count beside formulas written by hand. To compile
/// is to pass.

#include "dit/models/autoencoder_kl.hpp"
#include "dit/models/autoencoder_tiny.hpp"
#include "dit/models/dit.hpp"
#include "dit/models/flux.hpp"
#include "dit/models/mmdit.hpp"
#include "dit/nn/plan.hpp"

namespace {

using namespace dit;

// Multiplications and additions. A block of width d over n tokens, an MLP of 4 d included: projections and MLP,
// then attention. It is the same for DiT's blocks, for joint blocks with the tokens of both streams together, and
// for FLUX's single-stream blocks.
constexpr std::uint64_t block_flops(std::uint64_t n, std::uint64_t d) { return 24 * n * d * d + 4 * n * n * d; }

template <class Block>
constexpr std::uint64_t joint(Index n, Index m) {
  return plan_of<Block>(1,
                        [=](const Block& block, Workspace& meter) {
                          using X = Tokens<typename Block::R, Block::width>;
                          block(X{nullptr, 1, n}, X{nullptr, 1, m}, typename Block::Modulations{}, meter);
                        })
      .flops;
}
template <class Block>
constexpr std::uint64_t single(Index n) {
  return plan_of<Block>(
             1,
             [=](const Block& block, Workspace& meter) {
               block(Tokens<typename Block::R, Block::width>{nullptr, 1, n}, typename Block::Modulations{}, meter);
             })
      .flops;
}
static_assert(single<DiTBlock<dit_xl_2.block()>>(250) == block_flops(250, 1152));
static_assert(single<SingleStreamBlock<flux_dev.block(), int8>>(1536) == block_flops(1536, 3072));
static_assert(joint<MMDiTBlock<sd3_medium.block(), bf16>>(1024, 154) == block_flops(1178, 1536));
static_assert(joint<DoubleStreamBlock<flux_dev.block()>>(1024, 512) == block_flops(1536, 3072));
// The image attends once more.
static_assert(joint<MMDiTDualBlock<sd3_medium.block()>>(1024, 333) ==
              block_flops(1357, 1536) + 8 * 1024ull * 1536 * 1536 + 4 * 1024ull * 1024 * 1536);
// Of the text only q, k and v are made, and only k and v are of use.
static_assert(joint<MMDiTLastBlock<sd3_medium.block()>>(1024, 154) ==
              block_flops(1178, 1536) - 18 * 154ull * 1536 * 1536 - 4 * 154ull * 1178 * 1536);

/// A whole DiT: blocks with their modulations, layers around them.
template <DiTConfig c>
constexpr std::uint64_t dit_flops(std::uint64_t side) {
  const std::uint64_t n = side / c.patch * (side / c.patch), d = c.width, p2 = c.patch * c.patch;
  return c.depth * (block_flops(n, d) + 12 * d * d) + 2 * n * d * p2 * (c.in_channels + c.out_channels()) +
         2 * d * (256 + d) + 4 * d * d;
}
static_assert(plan<DiT<dit_xl_2>>(1, {32, 32}, 2).flops == dit_flops<dit_xl_2>(32));
static_assert(plan<DiT<dit_s_4, int8>>(1, {64, 64}, 2).flops == dit_flops<dit_s_4>(64));
static_assert(plan<DiT<dit_xl_2>>(8, {32, 32}, 2).flops == 8 * dit_flops<dit_xl_2>(32));

/// A whole MMDiT over n tokens of the image and m of the text: blocks, layers around them, embeddings, modulations.
template <MMDiTConfig c>
constexpr std::uint64_t mmdit_flops(std::uint64_t n, std::uint64_t m) {
  const std::uint64_t d = c.width, features = c.in_channels * c.patch * c.patch;
  const std::uint64_t blocks = c.depth * block_flops(n + m, d) - 18 * m * d * d - 4 * m * (n + m) * d;
  const std::uint64_t dual = c.dual_blocks * (8 * n * d * d + 4 * n * n * d);
  const std::uint64_t around = 2 * m * c.context * d + 4 * n * features * d;
  const std::uint64_t vectors = 2 * d * (c.pooled + d) + 2 * d * (256 + d);
  return blocks + dual + around + vectors + (12 * c.depth + 3 * c.dual_blocks - 4 + 2) * 2 * d * d;
}
static_assert(plan<MMDiT<sd3_medium, bf16>>(1, {64, 64}, 154, 2).flops == mmdit_flops<sd3_medium>(1024, 154));
static_assert(plan<MMDiT<sd3_5_medium>>(1, {64, 48}, 333, 2).flops == mmdit_flops<sd3_5_medium>(768, 333));

/// A whole FLUX: blocks, the layers around them, embeddings, modulations.
template <FluxConfig c>
constexpr std::uint64_t flux_flops(std::uint64_t n, std::uint64_t m) {
  const std::uint64_t d = c.width, features = c.in_features() + c.channels * c.patch * c.patch;
  constexpr std::uint64_t doubles = c.double_blocks, singles = c.single_blocks, scalars = c.guidance ? 2 : 1;
  const std::uint64_t vectors = 2 * d * (c.pooled + d) + scalars * 2 * d * (256 + d);
  return (doubles + singles) * block_flops(n + m, d) + 2 * m * c.context * d + 2 * n * features * d + vectors +
         (12 * doubles + 3 * singles + 2) * 2 * d * d;
}
static_assert(plan<Flux<flux_dev, int8>>(1, {64, 64}, 512, 2).flops == flux_flops<flux_dev>(1024, 512));
static_assert(plan<Flux<flux_schnell>>(1, {128, 96}, 256, 2).flops == flux_flops<flux_schnell>(64 * 48, 256));

/// All convolutions of a decoder, and its attention; a pixel of the latent is `pixels` of them.
constexpr std::uint64_t conv_flops(std::uint64_t pixels, std::uint64_t kernel, std::uint64_t in,
                                   std::uint64_t out) {
  return 2 * pixels * kernel * kernel * in * out;
}
template <AutoencoderKLConfig c>
constexpr std::uint64_t decoder_flops(std::uint64_t pixels) {
  const std::uint64_t inner = c.level(0), latent = c.latent_channels;
  std::uint64_t flops = (c.post_quant_conv ? conv_flops(pixels, 1, latent, latent) : 0) +
                        conv_flops(pixels, 3, latent, inner) + 4 * conv_flops(pixels, 3, inner, inner) +
                        4 * conv_flops(pixels, 1, inner, inner) + 4 * pixels * pixels * inner;
  constexpr std::uint64_t blocks = c.blocks;
  std::uint64_t in = inner, out = inner;
  for (int l = 0; l < c.levels(); ++l, in = out, pixels *= 4) {
    out = static_cast<std::uint64_t>(c.level(l));
    flops += conv_flops(pixels, 3, in, out) + (2 * blocks - 1) * conv_flops(pixels, 3, out, out);
    if (in != out) flops += conv_flops(pixels, 1, in, out);
    if (l + 1 < c.levels()) flops += conv_flops(4 * pixels, 3, out, out);
  }
  return flops + conv_flops(pixels / 4, 3, out, c.image_channels);
}
static_assert(plan<AutoencoderKL<sd_vae>>(1, {64, 48}, 2).flops == decoder_flops<sd_vae>(64 * 48));
static_assert(plan<AutoencoderKL<flux_vae, bf16>>(3, {128, 128}, 2).flops == 3 * decoder_flops<flux_vae>(16384));
// Of 96 x 96 latents tiles begin at 0, 64 long, and at 48, 48 long.
static_assert(plan_tiled<AutoencoderKL<sd_vae>>(1, {64, 64}, 2).flops == decoder_flops<sd_vae>(4096));
static_assert(plan_tiled<AutoencoderKL<sd_vae>>(1, {96, 96}, 2).flops ==
              decoder_flops<sd_vae>(64 * 64) + 2 * decoder_flops<sd_vae>(64 * 48) + decoder_flops<sd_vae>(48 * 48));

/// Eight pictures of 1024 x 1024 of every preset, in every type of weights.
template <class M>
constexpr bool planned = [] {
  constexpr Plan p = [] {
    if constexpr (detail::TakesText<M>) {
      return plan<M>(8, {128, 128}, 512, 2);
    } else {
      return plan<M>(8, {128, 128}, 2);
    }
  }();
  return p.weights > 0 && p.arena > 0 && p.flops > 0;
}();
template <class M>
constexpr bool tiled = plan_tiled<M>(8, {512, 300}, 2).arena < plan<M>(8, {512, 300}, 2).arena;

static_assert(planned<DiT<dit_s_2>> && planned<DiT<dit_s_4>> && planned<DiT<dit_s_8>> && planned<DiT<dit_b_2>>);
static_assert(planned<DiT<dit_b_4>> && planned<DiT<dit_b_8>> && planned<DiT<dit_l_2>> && planned<DiT<dit_l_4>>);
static_assert(planned<DiT<dit_l_8>> && planned<DiT<dit_xl_2, int8>> && planned<DiT<dit_xl_4, double>>);
static_assert(planned<DiT<dit_xl_8>> && planned<DiT<dit_xl_2_512, bf16>>);
static_assert(planned<MMDiT<sd3_medium>> && planned<MMDiT<sd3_5_medium, int8>> &&
              planned<MMDiT<sd3_5_large, bf16>>);
static_assert(planned<Flux<flux_dev, int8>> && planned<Flux<flux_schnell, bf16>> && planned<Flux<flux_fill>>);
static_assert(planned<Flux<flux_canny, double>>);
static_assert(planned<AutoencoderKL<sd_vae>> && planned<AutoencoderKL<sdxl_vae, bf16>>);
static_assert(planned<AutoencoderKL<sd3_vae, int8>> && planned<AutoencoderKL<flux_vae>>);
static_assert(planned<AutoencoderTiny<taesd>> && planned<AutoencoderTiny<taef1, int8>>);
static_assert(tiled<AutoencoderKL<sd_vae>> && tiled<AutoencoderKL<flux_vae, int8>> &&
              tiled<AutoencoderTiny<taesd3>>);

// FLUX.1-dev in int8 at 512 x 512 with 512 tokens: to the byte, beside what was measured at full size (README).
constexpr Plan flux = plan<Flux<flux_dev, int8>>(1, {64, 64}, 512, 2);
static_assert(flux.weights == 11'935'191'808 && flux.arena == 114'419'712);
static_assert(flux.prepared(28) == 12'172'196'608 && flux.prepared(28) >> 20 == 11'608);
static_assert(flux.released(28) == 8'913'124'096 && flux.released(28) >> 20 == 8'500);

}  // namespace
