/// Features of time and place, against PyTorch in float64 and the published constants.

#include "dit/ops/position.hpp"

#include <span>

#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class TimeFeatures : public testing::Test {};
TYPED_TEST_SUITE(TimeFeatures, Scalars, ScalarName);
template <class T>
class Positions : public testing::Test {};
TYPED_TEST_SUITE(Positions, Scalars, ScalarName);

/// A feature is a sine: the phase, up to 1000, is good to a few units of its last place in double, and float rounds
/// what comes out once.
template <class T>
inline constexpr Bound feature{sizeof(T) == 8 ? 1e-12 : 6.1e-8, sizeof(T) == 8 ? 1e-24 : 1e-14};

template <class T>
std::vector<T> time_features(const std::vector<double>& times, double divisor) {
  std::vector<T> features(256 * times.size());
  for (std::size_t i = 0; i < times.size(); ++i)
    timestep_embedding(times[i], 128, divisor, features.data() + 256 * i);
  return features;
}

TYPED_TEST(TimeFeatures, AreThoseOfTheReference) {
  const Golden io("embeddings_io");
  const auto t = io.values<double>("t");
  EXPECT_TRUE(close(time_features<TypeParam>(t, 128), io.values<double>("time128"), feature<TypeParam>));
  EXPECT_TRUE(close(time_features<TypeParam>(t, 127), io.values<double>("time127"), feature<TypeParam>));
}

TYPED_TEST(TimeFeatures, HaveTheDivisorOfTheirLayout) {
  struct Row {
    double t, divisor;
    std::array<double, 8> at;  // of features 0, 1, 2, 127, 128, 129, 130, 255
  };
  constexpr std::array<std::size_t, 8> which{0, 1, 2, 127, 128, 129, 130, 255};
  constexpr Row published[] = {
      {1, 128, {0.5403023, 0.5973753, 0.6479059, 1.0000000, 0.8414710, 0.8019618, 0.7617204, 0.0001075}},
      {1, 127, {0.5403023, 0.5977980, 0.6486526, 1.0000000, 0.8414710, 0.8016468, 0.7610846, 0.0001000}},
      {500, 128, {-0.8838493, 0.9459426, 0.8485145, 0.9985569, -0.4677718, 0.3243341, -0.5291721, 0.0537045}},
      {500, 127, {-0.8838493, 0.9977724, 0.4993174, 0.9987503, -0.4677718, 0.0667106, -0.8664191, 0.0499792}},
      {999, 128, {0.9996499, 0.9637825, -0.3989918, 0.9942432, -0.0264608, -0.2666896, -0.9169545, 0.1071472}},
      {999, 127, {0.9996499, 0.6991956, -0.9837293, 0.9950141, -0.0264608, -0.7149304, -0.1796572, 0.0997339}},
  };
  for (const Row& row : published) {
    const auto features = time_features<TypeParam>({row.t}, row.divisor);
    for (std::size_t i = 0; i < which.size(); ++i) {
      EXPECT_NEAR(features[which[i]], row.at[i], 1.2e-7)
          << "t " << row.t << ", divisor " << row.divisor << ", " << which[i];
    }
  }
}

TYPED_TEST(TimeFeatures, BeginWithTheCosines) {
  const auto features = time_features<TypeParam>({0}, 128);
  for (std::size_t i = 0; i < 256; ++i) EXPECT_EQ(features[i], i < 128 ? 1 : 0) << i;
}

TYPED_TEST(TimeFeatures, TellTimesApart) {
  for (int t = 0; t < 1000; ++t) {
    const auto a = time_features<TypeParam>({static_cast<double>(t)}, 128);
    const auto b = time_features<TypeParam>({t + 1.0}, 128), c = time_features<TypeParam>({t + 0.25}, 128);
    EXPECT_GT(distance(a, b).max, 0.1) << t;
    EXPECT_GT(distance(a, c).max, 0.1) << t;
  }
}

template <class T>
std::vector<T> table(Grid grid, Index width) {
  std::vector<T> scratch(static_cast<std::size_t>((grid.rows + grid.columns) * (width / 2)));
  std::vector<T> rows(static_cast<std::size_t>(grid.count() * width), T(9));
  InlineExecutor here;
  for_each_sincos_2d(grid, width, scratch.data(), here, [&](Index token, const T* column, const T* row) {
    std::copy(column, column + width / 2, rows.begin() + token * width);
    std::copy(row, row + width / 2, rows.begin() + token * width + width / 2);
  });
  return rows;
}

TYPED_TEST(Positions, AreThoseOfTheReferenceOnAnyGrid) {
  const Golden io("embeddings_io");
  EXPECT_TRUE(close(table<TypeParam>({3, 5}, 72), io.values<double>("positions.d72.3x5.64"), feature<TypeParam>));
  EXPECT_TRUE(close(table<TypeParam>({5, 3}, 72), io.values<double>("positions.d72.5x3.64"), feature<TypeParam>));
  const auto wide = table<TypeParam>({4, 7}, 1152);
  const auto expected = io.tensor<double, 2>("positions.d1152.64");
  const auto where = io.integers("positions.d1152.row_column");
  for (Index i = 0; i < expected.dimension(0); ++i) {
    const std::size_t token = static_cast<std::size_t>(where[static_cast<std::size_t>(2 * i)] * 7 +
                                                       where[static_cast<std::size_t>(2 * i + 1)]);
    EXPECT_TRUE(close(std::span(wide).subspan(token * 1152, 1152), std::span(expected.data() + i * 1152, 1152),
                      feature<TypeParam>));
  }
}

TYPED_TEST(Positions, PutTheColumnFirst) {
  const auto check = [](Index width, std::initializer_list<std::pair<std::size_t, double>> published) {
    const auto rows = table<TypeParam>({4, 7}, width);
    for (const auto& [feature, value] : published) {  // of the token at row 3, column 5
      EXPECT_NEAR(rows[static_cast<std::size_t>((3 * 7 + 5) * width) + feature], value, 1.2e-7)
          << width << ", " << feature;
    }
  };
  check(1152, {{0, -0.9589243},
               {1, -0.9915309},
               {287, 0.0005162},
               {288, 0.2836622},
               {289, 0.1298712},
               {575, 0.9999999},
               {576, 0.1411200},
               {577, 0.2338308},
               {864, -0.9899925},
               {1151, 1.0000000}});
  check(384, {{0, -0.9589243},
              {1, -0.9856184},
              {95, 0.0005503},
              {96, 0.2836622},
              {97, -0.1689863},
              {191, 0.9999998},
              {192, 0.1411200},
              {193, 0.4041414},
              {288, -0.9899925},
              {383, 0.9999999}});
}

TYPED_TEST(Positions, HaveRowsOfOneLength) {
  for (const Index width : {4, 12, 72, 1152}) {
    const auto rows = table<TypeParam>({3, 4}, width);
    for (Index token = 0; token < 12; ++token) {
      double squares = 0;
      for (Index i = 0; i < width; ++i)
        squares += std::pow(static_cast<double>(rows[static_cast<std::size_t>(token * width + i)]), 2);
      EXPECT_NEAR(squares, static_cast<double>(width) / 2, 1e-7 * static_cast<double>(width));
    }
  }
}

}  // namespace
