/// The blocks of Stable Diffusion 3 and FLUX.1 at their true sizes, and a step of SD3-medium. Weights are random:
/// no kernel looks at them. Counters: GFLOPS, and `peak`, its share of an FMA loop in the same process.

#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "dit/dit.hpp"
#include "flop.hpp"
#include "report.hpp"

namespace {

using dit::Index;

/// Weights between -0.05 and 0.05, the same few over and over: billions of them are there at once.
template <class M>
M random_model() {
  M model;
  dit::fill(model, [](const dit::Path&, const auto&) {
    return [i = 0u]() mutable { return static_cast<double>(i++ * 2654435761u >> 16 & 1023u) * 1e-4 - 0.05; };
  });
  return model;
}

template <int width>
dit::Tokens<float, width> tokens(std::vector<float>& x) {
  return {x.data(), 1, static_cast<Index>(x.size()) / width};
}

/// range(0): tokens of the image, range(1): of the text, range(2): threads.
template <class Block>
void Joint(benchmark::State& state) {
  constexpr int width = Block::width;
  static const auto block = std::make_unique<Block>(random_model<Block>());
  const Index n = state.range(0), m = state.range(1);
  dit::Workspace workspace(static_cast<int>(state.range(2)));
  std::vector<float> x(static_cast<std::size_t>(n * width), 0.5f),
      context(static_cast<std::size_t>(m * width), 0.5f);
  const std::vector<float> chunks(9 * width, 0.1f);
  const typename Block::Modulations modulations{{chunks.data()}, {chunks.data()}};
  for (auto _ : state) (*block)(tokens<width>(x), tokens<width>(context), modulations, workspace);
  const double d = width, own = static_cast<double>(n);
  constexpr bool dual = Block::Modulations::x_chunks == 9;
  dit::bench::report(
      state,
      dit::bench::block_flop(static_cast<double>(n + m), d) + (dual ? 8 * own * d * d + 4 * own * own * d : 0),
      workspace.executor());
}

/// range(0): tokens of image and text, range(1): threads.
template <class Block>
void Single(benchmark::State& state) {
  constexpr int width = Block::width;
  static const auto block = std::make_unique<Block>(random_model<Block>());
  const Index n = state.range(0);
  dit::Workspace workspace(static_cast<int>(state.range(1)));
  std::vector<float> x(static_cast<std::size_t>(n * width), 0.5f);
  const std::vector<float> chunks(3 * width, 0.1f);
  for (auto _ : state) (*block)(tokens<width>(x), typename Block::Modulations{chunks.data()}, workspace);
  dit::bench::report(state, dit::bench::block_flop(static_cast<double>(n), width), workspace.executor());
}

/// A step without guidance, the modulations prepared. range(0): side of the latent, range(1): threads. 154 tokens
/// of text. Takes 8.4 GB.
void SD3Medium(benchmark::State& state) {
  using Model = dit::MMDiT<dit::sd3_medium>;
  static const auto model = std::make_unique<Model>(random_model<Model>());
  const Index side = state.range(0), m = 154;
  dit::Workspace workspace(static_cast<int>(state.range(1)));
  dit::Text<float> text{dit::Tensor<float, 3>(1, m, Model::config.context),
                        dit::Tensor<float, 2>(1, Model::config.pooled)};
  text.context.setConstant(0.1f);
  text.pooled.setConstant(0.1f);
  dit::Tensor<float, 4> x(1, 16, side, side), v(1, 16, side, side);
  x.setConstant(0.5f);
  dit::Conditioned field(*model, text, workspace);
  field.prepare(std::vector<float>{0.5f});
  for (auto _ : state) field(x, 0.5f, v);
  dit::bench::report(state, dit::bench::mmdit_flop(Model::config, static_cast<double>(side * side / 4), m),
                     workspace.executor());
}

constexpr dit::BlockConfig sd3 = dit::sd3_medium.block(), flux = dit::flux_dev.block();
// clang-format off
BENCHMARK(Joint<dit::MMDiTBlock<sd3>>)->Name("SD3-medium block")->ArgNames({"image", "text", "threads"})->ArgsProduct({{1024, 4096}, {154}, {1, 2}})->UseRealTime();
BENCHMARK(Joint<dit::MMDiTDualBlock<sd3>>)->Name("SD3.5-medium dual block")->ArgNames({"image", "text", "threads"})->ArgsProduct({{1024, 4096}, {333}, {2}})->UseRealTime();
BENCHMARK(Joint<dit::DoubleStreamBlock<flux>>)->Name("FLUX.1 double block")->ArgNames({"image", "text", "threads"})->ArgsProduct({{1024, 4096}, {512}, {2}})->UseRealTime();
BENCHMARK(Single<dit::SingleStreamBlock<flux>>)->Name("FLUX.1 single block")->ArgNames({"tokens", "threads"})->ArgsProduct({{1536, 4608}, {2}})->UseRealTime();
BENCHMARK(SD3Medium)->Name("SD3-medium step")->ArgNames({"latent", "threads"})->Args({64, 1})->Args({64, 2})->Args({128, 2})->UseRealTime();
// clang-format on

}  // namespace
