/// The transformer block of DiT, against the official formulas and what must hold for any weights.

#include "dit/nn/dit_block.hpp"

#include "dit/nn/init.hpp"
#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

constexpr BlockConfig config{.width = 72, .heads = 3, .mlp = 288};
template <class T>
using Block = DiTBlock<config, T>;

template <class T>
class DiTBlocks : public testing::Test {};
TYPED_TEST_SUITE(DiTBlocks, Scalars, ScalarName);

/// The block alone, on x [B, N, 72] and c [B, 72].
template <class T>
Tensor<T, 3> run(const Block<T>& block, Tensor<T, 3> x, Tensor<T, 2> c) {
  Workspace workspace(2);
  block(tokens<72>(x), tokens<72>(c), workspace);
  return x;
}
/// With the six chunks given.
template <class T>
Tensor<T, 3> run_modulated(const Block<T>& block, Tensor<T, 3> x, const std::vector<T>& six) {
  Workspace workspace(2);
  block(tokens<72>(x), typename Block<T>::Modulations{six.data()}, workspace);
  return x;
}

TYPED_TEST(DiTBlocks, MatchTheOfficialBlock) {
  const Golden io("dit_block_io");
  const auto block = golden_model<Block<TypeParam>>("dit_block");
  const auto out = run(block, io.tensor<TypeParam, 3>("x"), io.tensor<TypeParam, 2>("c"));
  EXPECT_TRUE(close(out, io.tensor<double, 3>("out64"), one_layer<TypeParam>));
}

TYPED_TEST(DiTBlocks, AreTheIdentityWhenFresh) {
  Block<TypeParam> block;
  init_adaln_zero(block, 1);
  const auto x = normal<TypeParam, 3>({2, 17, 72}, 2);
  EXPECT_TRUE(same_bits(run(block, x, normal<TypeParam, 2>({2, 72}, 3)), x));
}

TYPED_TEST(DiTBlocks, AreTheIdentityAtZeroGates) {
  const auto block = random_model<Block<TypeParam>>(1);
  const auto x = normal<TypeParam, 3>({2, 17, 72}, 2);
  auto six = normal<TypeParam>(2 * 6 * 72, 3);
  for (std::size_t i = 0; i < six.size(); ++i) {
    if (i / 72 % 6 == 2 || i / 72 % 6 == 5) six[i] = 0;
  }
  EXPECT_TRUE(same_bits(run_modulated(block, x, six), x));
}

/// One chunk of six set to ones, or with `also` to a second one.
template <class T>
std::vector<T> only(Index batch, std::initializer_list<std::size_t> chunks) {
  std::vector<T> six(static_cast<std::size_t>(batch) * 6 * 72);
  for (std::size_t i = 0; i < six.size(); ++i) {
    for (const std::size_t chunk : chunks) six[i] += i / 72 % 6 == chunk ? T(1) : T(0);
  }
  return six;
}

TYPED_TEST(DiTBlocks, TakeShiftScaleGateForAttentionThenForTheMlp) {
  using T = TypeParam;
  const auto block = random_model<Block<T>>(1);
  const auto x = normal<T, 3>({2, 17, 72}, 2);
  const std::vector<T> ones(72, T(1)), zeros(72);
  const PerSample<T, 72> one{ones.data(), 0}, none{zeros.data(), 0};
  Workspace workspace(1);
  // x + branch(modulate(LN(x); shift, scale)) by hand
  const auto expect = [&](std::initializer_list<std::size_t> chunks, const auto& branch, PerSample<T, 72> shift,
                          PerSample<T, 72> scale) {
    auto expected = x;
    const auto to = tokens<72>(expected);
    add_gated(to, one, branch(modulate(layer_norm(to, 1e-6), shift, scale), workspace), workspace);
    EXPECT_TRUE(same_bits(run_modulated(block, x, only<T>(2, chunks)), expected)) << *chunks.begin();
  };
  expect({2}, block.attn, none, none);
  expect({0, 2}, block.attn, one, none);
  expect({1, 2}, block.attn, none, one);
  expect({5}, block.mlp, none, none);
  expect({3, 5}, block.mlp, one, none);
  expect({4, 5}, block.mlp, none, one);
}

TYPED_TEST(DiTBlocks, AreAffineInEachGate) {
  using T = TypeParam;
  const auto block = random_model<Block<T>>(1);
  const auto x = normal<T, 3>({2, 17, 72}, 2);
  auto six = normal<T>(2 * 6 * 72, 3), twice = six;
  for (std::size_t i = 0; i < six.size(); ++i) {
    if (i / 72 % 6 == 2) six[i] = twice[i] = 0;  // the MLP alone: attention's gate would change its input
    if (i / 72 % 6 == 5) twice[i] *= 2;
  }
  const auto once = run_modulated(block, x, six), doubled = run_modulated(block, x, twice);
  std::vector<double> expected(static_cast<std::size_t>(x.size()));
  for (Index i = 0; i < x.size(); ++i) {
    expected[static_cast<std::size_t>(i)] =
        static_cast<double>(x.data()[i]) +
        2 * (static_cast<double>(once.data()[i]) - static_cast<double>(x.data()[i]));
  }
  EXPECT_TRUE(close(doubled, expected, rounded<T>({16 * 0x1p-23, 1e-13})));
}

TYPED_TEST(DiTBlocks, TurnWithTheirTokens) {
  const auto block = random_model<Block<TypeParam>>(1);
  const auto x = normal<TypeParam, 3>({1, 17, 72}, 2);
  const auto c = normal<TypeParam, 2>({1, 72}, 3);
  Tensor<TypeParam, 3> turned(x.dimensions());
  std::rotate_copy(x.data(), x.data() + 5 * 72, x.data() + 17 * 72, turned.data());
  auto out = run(block, turned, c);
  std::rotate(out.data(), out.data() + 12 * 72, out.data() + 17 * 72);
  EXPECT_TRUE(close(out, run(block, x, c), one_layer<TypeParam>));
}

TYPED_TEST(DiTBlocks, KeepSamplesApartInAnyOrder) {
  using T = TypeParam;
  const auto block = random_model<Block<T>>(1);
  const auto x = normal<T, 3>({3, 17, 72}, 2);
  const auto c = normal<T, 2>({3, 72}, 3);
  const auto all = run(block, x, c);
  Tensor<T, 3> swapped_x(x.dimensions());
  Tensor<T, 2> swapped_c(c.dimensions());
  for (Index b = 0; b < 3; ++b) {
    Tensor<T, 3> one_x(1, 17, 72);
    Tensor<T, 2> one_c(1, 72);
    std::copy_n(x.data() + b * one_x.size(), one_x.size(), one_x.data());
    std::copy_n(c.data() + b * 72, 72, one_c.data());
    const auto alone = run(block, one_x, one_c);
    EXPECT_TRUE(std::equal(alone.data(), alone.data() + alone.size(), all.data() + b * alone.size())) << b;
    std::copy_n(one_x.data(), one_x.size(), swapped_x.data() + (2 - b) * one_x.size());
    std::copy_n(one_c.data(), 72, swapped_c.data() + (2 - b) * 72);
  }
  const auto swapped = run(block, swapped_x, swapped_c);
  for (Index b = 0; b < 3; ++b) {
    const Index n = 17 * 72;
    EXPECT_TRUE(std::equal(swapped.data() + b * n, swapped.data() + (b + 1) * n, all.data() + (2 - b) * n)) << b;
  }
}

TYPED_TEST(DiTBlocks, RefuseEmptyTokensAndVectorsOfAnotherBatch) {
  using T = TypeParam;
  const auto block = random_model<Block<T>>(1);
  std::vector<T> numbers(4 * 6 * 72);
  Workspace workspace(1);
  const auto x = [&](Index batch, Index count) { return Tokens<T, 72>{numbers.data(), batch, count}; };
  const Tokens<const T, 72> c{numbers.data(), 2, 1};
  EXPECT_ERROR(errc::bad_condition, block(x(3, 1), c, workspace));
  EXPECT_ERROR(errc::bad_condition, block(x(1, 2), c, workspace));
  EXPECT_ERROR(errc::bad_condition, block(x(2, 2), Tokens<T, 72>{numbers.data(), 1, 2}, workspace));
  EXPECT_ERROR(errc::bad_input_shape, block(x(2, 0), c, workspace));
  EXPECT_ERROR(errc::bad_input_shape, block(x(0, 2), Tokens<T, 72>{numbers.data(), 0, 1}, workspace));
  EXPECT_ERROR(errc::bad_input_shape, block(Tokens<T, 72>{nullptr, 2, 2}, c, workspace));
  EXPECT_ERROR(errc::bad_state, Block<T>{}(x(2, 2), c, workspace));
  block(x(2, 2), c, workspace);
}

}  // namespace
