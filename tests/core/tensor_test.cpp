/// The border: Eigen's tensors and maps become views without a copy.

#include "dit/core/tensor.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <type_traits>
#include <vector>

namespace {

using dit::Index;
using dit::Shape;
using dit::Tensor;
using dit::TensorMap;
using dit::Tokens;
using dit::View;

/// Counts up from zero in memory order.
Tensor<float, 3> counting(Index a, Index b, Index c) {
  Tensor<float, 3> t(a, b, c);
  std::iota(t.data(), t.data() + t.size(), 0.0F);
  return t;
}

TEST(View, OfATensorSeesTheSameMemoryAndShape) {
  Tensor<float, 3> t = counting(2, 3, 4);
  const View<float, 3> view = t;
  EXPECT_EQ(view.data, t.data());
  EXPECT_EQ(view.shape, (Shape<3>{2, 3, 4}));
  EXPECT_EQ(view.size(), 24);
  view.data[23] = 5;
  EXPECT_EQ(t(1, 2, 3), 5);
}

TEST(View, OfAConstTensorCanOnlyBeRead) {
  const Tensor<float, 3> t = counting(2, 3, 4);
  const View<const float, 3> view = t;
  EXPECT_EQ(view.data, t.data());
  static_assert(std::is_same_v<decltype(view.begin()), const float*>);
}

TEST(View, OfAMapSeesTheUsersMemory) {
  std::vector<float> memory(6);
  TensorMap<float, 2> map(memory.data(), 2, 3);
  const View<float, 2> view = map;
  EXPECT_EQ(view.data, memory.data());
  EXPECT_EQ(view.shape, (Shape<2>{2, 3}));
  const Eigen::TensorMap<const Tensor<float, 2>> const_map(memory.data(), 3, 2);
  const View<const float, 2> const_view = const_map;
  EXPECT_EQ(const_view.data, memory.data());
  EXPECT_EQ(const_view.shape, (Shape<2>{3, 2}));
}

TEST(View, OfATensorWithNarrowIndicesHasWideOnes) {
  Eigen::Tensor<float, 2, Eigen::RowMajor, int> t(2, 3);
  const View<float, 2> view = t;
  EXPECT_EQ(view.shape, (Shape<2>{2, 3}));
}

TEST(View, MayAlwaysBeRead) {
  Tensor<float, 3> t = counting(2, 3, 4);
  const View<float, 3> view = t;
  const View<const float, 3> read = view;
  EXPECT_EQ(read.data, view.data);
  EXPECT_EQ(read.shape, view.shape);
  static_assert(!std::is_convertible_v<View<const float, 3>, View<float, 3>>);
}

TEST(View, SlicesAlongTheFirstAxis) {
  Tensor<float, 3> t = counting(2, 3, 4);
  const View<float, 3> view = t;
  for (Index i = 0; i < 2; ++i) {
    EXPECT_EQ(view[i].shape, (Shape<2>{3, 4}));
    for (Index j = 0; j < 3; ++j) {
      EXPECT_EQ(view[i][j].shape, (Shape<1>{4}));
      for (Index k = 0; k < 4; ++k) EXPECT_EQ(view[i][j].data[k], t(i, j, k));
    }
  }
}

TEST(View, IsARangeOfItsNumbers) {
  Tensor<float, 3> t = counting(2, 3, 4);
  Index n = 0;
  for (const float x : View<float, 3>(t)) EXPECT_EQ(x, static_cast<float>(n++));
  EXPECT_EQ(n, 24);
}

TEST(View, MayBeEmptyOrAScalar) {
  const View<float, 2> none;
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(none.begin(), none.end());
  Tensor<float, 2> empty(0, 5);
  EXPECT_EQ((View<float, 2>(empty).size()), 0);
  float x = 3;
  const View<float, 0> scalar(&x, {});
  EXPECT_EQ(scalar.size(), 1);
  EXPECT_EQ(*scalar.begin(), 3);
}

TEST(Shape, IsCountedByTheCompilerAndPrintsLikePython) {
  static_assert(dit::size(Shape<0>{}) == 1 && dit::size(Shape<3>{2, 3, 4}) == 24 && dit::size(Shape<2>{0, 7}) == 0);
  EXPECT_EQ(dit::to_string(Shape<4>{2, 4, 32, 32}), "[2, 4, 32, 32]");
  EXPECT_EQ(dit::to_string(Shape<1>{7}), "[7]");
  EXPECT_EQ(dit::to_string(Shape<0>{}), "[]");
  EXPECT_EQ(dit::to_string(std::vector<int>{-1, 2}), "[-1, 2]");
}

TEST(Tokens, KnowTheirWidthAtCompileTime) {
  std::vector<float> memory(2 * 3 * 8);
  const Tokens<float, 8> tokens{memory.data(), 2, 3};
  static_assert(decltype(tokens)::width == 8);
  EXPECT_EQ(tokens.rows(), 6);
  EXPECT_EQ(tokens.size(), 48);
  const Tokens<const float, 8> read = tokens;
  EXPECT_EQ(read.data, memory.data());
  EXPECT_EQ(read.rows(), 6);
  static_assert(!std::is_convertible_v<Tokens<const float, 8>, Tokens<float, 8>>);
  static_assert(!std::is_convertible_v<Tokens<float, 8>, Tokens<float, 4>>);
}

}  // namespace
