/// Blocks of transformers alone, with the conditioning vector before its SiLU.

#include "net.hpp"

namespace {

using namespace net;
using dit::HeadNorm;

/// One stream, x <- block(x, c, rest...).
template <class T, int width, class Block>
void one_stream(const std::string& name, const Block& block) {
  using R = Real<T>;
  for (const Index count : {1, 17, 150}) {
    compute<T>(name + "/" + std::to_string(count), [&](Workspace& workspace, Index batch) {
      auto x = tensor<R, 3>("x", {batch, count, width}), c = tensor<R, 3>("c", {batch, 1, width});
      block(tokens<width>(x, workspace), tokens<width>(c, workspace), workspace);
      return x;
    });
  }
}

/// Image and text, the text first in the attention, with angles or none.
template <class T, int width, class Block>
void two_streams(const std::string& name, const Block& block) {
  using R = Real<T>;
  for (const Index count : {1, 15, 140}) {
    compute<T>(name + "/" + std::to_string(count), [&](Workspace& workspace, Index batch) {
      auto x = tensor<R, 3>("x", {batch, count, width}), text = tensor<R, 3>("text", {batch, 7, width}),
           c = tensor<R, 3>("c", {batch, 1, width});
      block(tokens<width>(x, workspace), tokens<width>(text, workspace), tokens<width>(c, workspace), workspace);
      return Results<R>(x, text);
    });
  }
}

template <class T>
void dit_blocks() {
  constexpr dit::BlockConfig usual{.width = 72, .heads = 3, .mlp = 288}, ragged{.width = 18, .heads = 3, .mlp = 51};
  one_stream<T, 72>("dit_block/usual", filled<dit::DiTBlock<usual, T>>());
  one_stream<T, 18>("dit_block/ragged", filled<dit::DiTBlock<ragged, T>>());
}

template <class T>
void mmdit_blocks() {
  constexpr dit::BlockConfig usual{.width = 48, .heads = 3, .mlp = 192}, ragged{.width = 18, .heads = 3, .mlp = 51};
  two_streams<T, 48>("mmdit_block/plain", filled<dit::MMDiTBlock<usual, T>>());
  two_streams<T, 18>("mmdit_block/ragged", filled<dit::MMDiTBlock<ragged, T>>());
  two_streams<T, 48>("mmdit_block/normalised", filled<dit::MMDiTBlock<usual, T, HeadNorm::sd3>>());
  two_streams<T, 48>("mmdit_last_block/plain", filled<dit::MMDiTLastBlock<usual, T>>());
  two_streams<T, 48>("mmdit_last_block/normalised", filled<dit::MMDiTLastBlock<usual, T, HeadNorm::sd3>>());
  two_streams<T, 48>("mmdit_dual_block", filled<dit::MMDiTDualBlock<usual, T>>());
}

template <class T>
void flux_blocks() {
  using R = Real<T>;
  constexpr dit::BlockConfig config{.width = 48, .heads = 3, .mlp = 192};
  constexpr std::array axes{4, 6, 6};
  const auto both = filled<dit::DoubleStreamBlock<config, T>>();
  const auto single = filled<dit::SingleStreamBlock<config, T>>();
  two_streams<T, 48>("double_stream_block/still", both);
  one_stream<T, 48>("single_stream_block/still", single);

  for (const Shape<2> grid : {Shape<2>{1, 1}, {3, 5}, {11, 13}}) {
    const Index text_count = 7, count = grid[0] * grid[1];
    compute<T>("double_stream_block/rotated/" + std::to_string(count), [&](Workspace& workspace, Index batch) {
      const Rotation<R> rotation(axes, text_count, grid, workspace);
      auto x = tensor<R, 3>("x", {batch, count, 48}), text = tensor<R, 3>("text", {batch, text_count, 48}),
           c = tensor<R, 3>("c", {batch, 1, 48});
      both(tokens<48>(x, workspace), tokens<48>(text, workspace), tokens<48>(c, workspace), workspace,
           rotation.all(), rotation.image());
      return Results<R>(x, text);
    });
    compute<T>("single_stream_block/rotated/" + std::to_string(count), [&](Workspace& workspace, Index batch) {
      const Rotation<R> rotation(axes, text_count, grid, workspace);
      auto x = tensor<R, 3>("x", {batch, text_count + count, 48}), c = tensor<R, 3>("c", {batch, 1, 48});
      single(tokens<48>(x, workspace), tokens<48>(c, workspace), workspace, rotation.all());
      return x;
    });
  }
}

const Cases cases([] {
  dit_blocks<NET_TYPE>();
  mmdit_blocks<NET_TYPE>();
  flux_blocks<NET_TYPE>();
});

}  // namespace
