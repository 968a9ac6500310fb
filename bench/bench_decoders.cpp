/// Decoders of latents at their published sizes. Weights are random: no kernel looks at them. Counters: GFLOPS, and
/// `peak`, its share of an FMA loop in the same process.

#include <benchmark/benchmark.h>

#include <memory>

#include "dit/models/autoencoder_kl.hpp"
#include "dit/models/autoencoder_tiny.hpp"
#include "random_model.hpp"
#include "report.hpp"

namespace {

using dit::Index;

/// Multiply-adds times two of a convolution.
double conv_flop(double pixels, double kernel, double in, double out) {
  return 2 * pixels * kernel * kernel * in * out;
}

/// Of all convolutions and of attention; a pixel of the latent is `pixels` of them.
template <dit::AutoencoderKLConfig c>
double decoder_flop(double pixels) {
  const double inner = c.level(0);
  double flop = conv_flop(pixels, 3, c.latent_channels, inner) + 4 * conv_flop(pixels, 3, inner, inner) +
                4 * conv_flop(pixels, 1, inner, inner) + 4 * pixels * pixels * inner;
  double in = inner, out = inner;
  for (int l = 0; l < c.levels(); ++l, in = out, pixels *= 4) {
    out = c.level(l);
    flop += conv_flop(pixels, 3, in, out) + (2 * c.blocks - 1) * conv_flop(pixels, 3, out, out);
    if (in != out) flop += conv_flop(pixels, 1, in, out);
    if (l + 1 < c.levels()) flop += conv_flop(4 * pixels, 3, out, out);
  }
  return flop + conv_flop(pixels / 4, 3, out, c.image_channels);
}
template <dit::AutoencoderTinyConfig c>
double decoder_flop(double pixels) {
  double flop = conv_flop(pixels, 3, c.latent_channels, c.width);
  for (int stage = 0; stage < 3; ++stage, pixels *= 4) flop += (9 + 4) * conv_flop(pixels, 3, c.width, c.width);
  return flop + 3 * conv_flop(pixels, 3, c.width, c.width) + conv_flop(pixels, 3, c.width, c.image_channels);
}

/// range(0): side of the latent, range(1): threads.
template <class Model>
void decode(benchmark::State& state) {
  static const auto model = std::make_unique<Model>(dit::bench::random_model<Model>());
  const Index side = state.range(0);
  dit::Workspace workspace(static_cast<int>(state.range(1)));
  dit::Tensor<float, 4> latents(1, Model::channels, side, side), image(1, 3, 8 * side, 8 * side);
  latents.setConstant(0.5f);
  for (auto _ : state) model->decode(latents, image, workspace);
  state.counters["arena"] = static_cast<double>(workspace.high_water());
  dit::bench::report<typename Model::scalar>(state, decoder_flop<Model::config>(static_cast<double>(side * side)),
                                             workspace.executor());
}

// clang-format off
BENCHMARK(decode<dit::AutoencoderKL<dit::sd3_vae>>)->Name("AutoencoderKL-SD3")->ArgNames({"latent", "threads"})->Args({32, 2})->Args({64, 1})->Args({64, 2})->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(decode<dit::AutoencoderKL<dit::sd3_vae, dit::bf16>>)->Name("AutoencoderKL-SD3 bf16")->ArgNames({"latent", "threads"})->Args({32, 2})->Args({64, 1})->Args({64, 2})->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(decode<dit::AutoencoderTiny<dit::taesd3>>)->Name("TAESD3")->ArgNames({"latent", "threads"})->Args({32, 2})->Args({64, 1})->Args({64, 2})->Unit(benchmark::kMillisecond)->UseRealTime();
// clang-format on

}  // namespace
