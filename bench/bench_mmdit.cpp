/// The blocks of Stable Diffusion 3 and FLUX.1 at their true sizes, and a step of SD3-medium, in fp32, bf16 and
/// int8. Weights are random: no kernel looks at them. Counters: GFLOPS, and `peak`, its share of what the
/// multiply-adds of the type reach in the same process.

#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "dit/dit.hpp"
#include "random_model.hpp"
#include "report.hpp"

namespace {

using dit::Index;

template <int width>
dit::Tokens<float, width> tokens(std::vector<float>& x) {
  return {x.data(), 1, static_cast<Index>(x.size()) / width};
}

/// range(0): tokens of the image, range(1): of the text, range(2): threads.
template <class Block, class T>
void Joint(benchmark::State& state) {
  constexpr int width = Block::width;
  static const auto block = std::make_unique<Block>(dit::bench::random_model<Block>());
  const Index n = state.range(0), m = state.range(1);
  dit::Workspace workspace(static_cast<int>(state.range(2)));
  std::vector<float> x(static_cast<std::size_t>(n * width), 0.5f),
      context(static_cast<std::size_t>(m * width), 0.5f);
  const std::vector<float> chunks(9 * width, 0.1f);
  const typename Block::Modulations modulations{{chunks.data()}, {chunks.data()}};
  for (auto _ : state) (*block)(tokens<width>(x), tokens<width>(context), modulations, workspace);
  const auto pass = [&](const Block& one, dit::Workspace& meter) {
    one(dit::Tokens<float, width>{nullptr, 1, n}, dit::Tokens<float, width>{nullptr, 1, m},
        typename Block::Modulations{}, meter);
  };
  dit::bench::report<T>(state, dit::plan_of<Block>(1, pass).flops, workspace.executor());
}

/// range(0): tokens of image and text, range(1): threads.
template <class Block, class T>
void Single(benchmark::State& state) {
  constexpr int width = Block::width;
  static const auto block = std::make_unique<Block>(dit::bench::random_model<Block>());
  const Index n = state.range(0);
  dit::Workspace workspace(static_cast<int>(state.range(1)));
  std::vector<float> x(static_cast<std::size_t>(n * width), 0.5f);
  const std::vector<float> chunks(3 * width, 0.1f);
  for (auto _ : state) (*block)(tokens<width>(x), typename Block::Modulations{chunks.data()}, workspace);
  const auto pass = [&](const Block& one, dit::Workspace& meter) {
    one(dit::Tokens<float, width>{nullptr, 1, n}, typename Block::Modulations{}, meter);
  };
  dit::bench::report<T>(state, dit::plan_of<Block>(1, pass).flops, workspace.executor());
}

/// A step without guidance, the modulations prepared. range(0): side of the latent, range(1): threads. 154 tokens
/// of text. Takes 8.4 GB in fp32.
template <class T>
void SD3Medium(benchmark::State& state) {
  using Model = dit::MMDiT<dit::sd3_medium, T>;
  const auto model = std::make_unique<Model>(dit::bench::random_model<Model>());
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
  dit::bench::report<T>(state, dit::plan<Model>(1, {side, side}, m, 1).flops, workspace.executor());
}

constexpr dit::BlockConfig sd3 = dit::sd3_medium.block(), flux = dit::flux_dev.block();

template <class T>
void add() {
  const auto named = [](const char* name, auto* run) {
    const std::string title = std::string(name) + " " + dit::bench::type_name<T>();
    return benchmark::RegisterBenchmark(title.c_str(), run)->UseRealTime();
  };
  named("SD3-medium block", Joint<dit::MMDiTBlock<sd3, T>, T>)
      ->ArgNames({"image", "text", "threads"})
      ->ArgsProduct({{1024, 4096}, {154}, {1, 2}});
  named("SD3.5-medium dual block", Joint<dit::MMDiTDualBlock<sd3, T>, T>)
      ->ArgNames({"image", "text", "threads"})
      ->ArgsProduct({{1024, 4096}, {333}, {2}});
  named("FLUX.1 double block", Joint<dit::DoubleStreamBlock<flux, T>, T>)
      ->ArgNames({"image", "text", "threads"})
      ->ArgsProduct({{1024, 4096}, {512}, {2}});
  named("FLUX.1 single block", Single<dit::SingleStreamBlock<flux, T>, T>)
      ->ArgNames({"tokens", "threads"})
      ->ArgsProduct({{1536, 4608}, {2}});
  named("SD3-medium step", SD3Medium<T>)
      ->ArgNames({"latent", "threads"})
      ->Args({64, 1})
      ->Args({64, 2})
      ->Args({128, 2});
}
const bool added = (add<float>(), add<dit::bf16>(), add<dit::int8>(), true);

}  // namespace
