/// Blocks with weights of bf16 and int8, against the official formulas.

#include "dit/nn/depatchify.hpp"
#include "dit/nn/flux_block.hpp"
#include "dit/nn/plan.hpp"
#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class RoundedBlocks : public testing::Test {};
TYPED_TEST_SUITE(RoundedBlocks, RoundedScalars, ScalarName);

TYPED_TEST(RoundedBlocks, AreNearTheOfficialDiTBlock) {
  using Block = DiTBlock<BlockConfig{.width = 72, .heads = 3, .mlp = 288}, TypeParam>;
  const Golden io("dit_block_io");
  auto x = io.tensor<float, 3>("x");
  auto c = io.tensor<float, 2>("c");
  Workspace workspace(2);
  golden_model<Block>("dit_block")(tokens<72>(x), tokens<72>(c), workspace);
  EXPECT_TRUE(close_after_rounding(x, io.tensor<double, 3>("out64"), one_rounded_layer<TypeParam>));
}

/// Two streams of tokens, under their names in the golden, with turns for both or none.
template <class T, class Block, class... Turns>
void expect_golden(const std::string& name, const char* image, const char* text, Turns... turns) {
  constexpr int width = Block::width;
  const Golden io(name + "_io");
  auto x = io.tensor<float, 3>(image), y = io.tensor<float, 3>(text);
  const auto before = y;
  auto c = io.tensor<float, 2>("c");
  Workspace workspace(2);
  const auto block = golden_model<Block>(name);
  block(tokens<width>(x), tokens<width>(y), tokens<width>(c), workspace, turns...);
  const auto out = [&](const char* stream) { return io.tensor<double, 3>(std::string(stream) + ".out64"); };
  EXPECT_TRUE(close_after_rounding(x, out(image), one_rounded_layer<T>)) << name;
  if (name != "mmdit_block_pre_only") {
    EXPECT_TRUE(close_after_rounding(y, out(text), one_rounded_layer<T>)) << name;
  } else {
    EXPECT_TRUE(same_bits(y, before));  // the last block leaves the text alone
  }
}

TYPED_TEST(RoundedBlocks, AreNearTheOfficialMMDiTBlocks) {
  constexpr BlockConfig config{.width = 24, .heads = 3, .mlp = 96};
  expect_golden<TypeParam, MMDiTBlock<config, TypeParam>>("mmdit_block", "x", "context");
  expect_golden<TypeParam, MMDiTBlock<config, TypeParam, HeadNorm::sd3>>("mmdit_block_qk_norm", "x", "context");
  expect_golden<TypeParam, MMDiTLastBlock<config, TypeParam>>("mmdit_block_pre_only", "x", "context");
  expect_golden<TypeParam, MMDiTDualBlock<config, TypeParam>>("mmdit_block_dual", "x", "context");
}

TYPED_TEST(RoundedBlocks, AreNearTheOfficialFluxBlocks) {
  constexpr BlockConfig config{.width = 48, .heads = 3, .mlp = 192};
  for (const std::string name : {"flux_double_block", "flux_single_block"}) {
    const Golden io(name + "_io");
    const auto ids = io.values<double>("ids");
    const Index count = static_cast<Index>(ids.size()) / 3;
    std::vector<float> cos(static_cast<std::size_t>(count * 16)), sin(cos.size());
    Workspace workspace(2);
    const auto rope = rope_table(
        std::array{4, 6, 6}, 1e4, count,
        [&](Index token, int axis) { return ids[static_cast<std::size_t>(3 * token + axis)]; }, cos.data(),
        sin.data(), workspace);
    if (name == "flux_double_block") {
      expect_golden<TypeParam, DoubleStreamBlock<config, TypeParam>>(name, "img", "txt", rope, rope.from(7, 16));
    } else {
      auto z = io.tensor<float, 3>("x");
      auto c = io.tensor<float, 2>("c");
      golden_model<SingleStreamBlock<config, TypeParam>>(name)(tokens<48>(z), tokens<48>(c), workspace, rope);
      EXPECT_TRUE(close_after_rounding(z, io.tensor<double, 3>("out64"), one_rounded_layer<TypeParam>));
    }
  }
}

TYPED_TEST(RoundedBlocks, AreNearTheOfficialFinalLayer) {
  const Golden io("final_layer_io");
  const auto layer = golden_model<FinalLayer<72, 2, 8, TypeParam>>("final_layer");
  auto x = io.tensor<float, 3>("x");
  auto c = io.tensor<float, 2>("c");
  silu(c.data(), c.size(), c.data());
  std::vector<float> table(2 * 2 * 72);
  Tensor<float, 4> image(2, 8, 6, 10);
  Workspace workspace(2);
  layer(tokens<72>(x), layer.adaLN_modulation(tokens<72>(c), table.data(), workspace), View<float, 4>(image),
        workspace);
  EXPECT_TRUE(close_after_rounding(image, io.tensor<double, 4>("image64"), one_rounded_layer<TypeParam>));
}

constexpr BlockConfig odd{.width = 18, .heads = 3, .mlp = 51};

// Of two numbers, or of four: near the block of float, in the memory that was planned.
TYPED_TEST(RoundedBlocks, MayHaveWidthsThatFillNoWord) {
  using Block = DiTBlock<odd, TypeParam>;
  const auto block = random_model<Block>(1);
  const auto exact = random_model<DiTBlock<odd, float>>(1);
  const auto six = normal<float>(2 * 6 * 18, 3);
  for (const int threads : {1, 3}) {
    auto x = normal<float, 3>({2, 13, 18}, 2), expected = x;
    Workspace workspace(threads), other(1);
    block(tokens<18>(x), {six.data()}, workspace);
    exact(tokens<18>(expected), {six.data()}, other);
    EXPECT_TRUE(close_after_rounding(x, expected, one_rounded_layer<TypeParam>));
    const auto pass = [](const Block& one, Workspace& meter) {
      one(Tokens<float, 18>{nullptr, 2, 13}, typename Block::Modulations{}, meter);
    };
    EXPECT_EQ(workspace.high_water(), plan_of<Block>(threads, pass).arena);
  }
}

}  // namespace
