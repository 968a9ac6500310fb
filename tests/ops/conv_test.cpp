/// Convolutions and group norms against loops in double.

#include "dit/nn/conv.hpp"

#include "dit/ops/group_norm.hpp"
#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Convolutions : public testing::Test {};
TYPED_TEST_SUITE(Convolutions, Scalars, ScalarName);

template <class T>
using Numbers = std::vector<T>;

/// x convolved with W [out, in, kernel, kernel], zeros around it, channels last.
template <class T>
Numbers<double> convolved(const Numbers<T>& x, Index height, Index width, const Numbers<T>& w, const Numbers<T>& b,
                          Index in, Index out, Index kernel) {
  Numbers<double> y(static_cast<std::size_t>(height * width * out));
  std::size_t at = 0;
  for (Index i = 0; i < height; ++i)
    for (Index j = 0; j < width; ++j)
      for (Index o = 0; o < out; ++o) {
        double sum = static_cast<double>(b[static_cast<std::size_t>(o)]);
        for (Index c = 0; c < in; ++c)
          for (Index k = 0; k < kernel; ++k)
            for (Index l = 0; l < kernel; ++l) {
              const Index row = i + k - kernel / 2, column = j + l - kernel / 2;
              if (row < 0 || row >= height || column < 0 || column >= width) continue;
              sum += static_cast<double>(x[static_cast<std::size_t>((row * width + column) * in + c)]) *
                     static_cast<double>(w[static_cast<std::size_t>(((o * in + c) * kernel + k) * kernel + l)]);
            }
        y[at++] = sum;
      }
  return y;
}

/// A layer with its weights as a checkpoint has them.
template <class T, int in, int out, int kernel>
struct Layer {
  Conv2d<in, out, kernel, T> conv = random_model<Conv2d<in, out, kernel, T>>(1);
  Numbers<T> w = Numbers<T>(static_cast<std::size_t>(out * in * kernel * kernel)), b = Numbers<T>(out);
  Layer() {
    conv.weight.get_rows(0, out, w.data());
    conv.bias.get_rows(0, out, b.data());
  }
  Numbers<double> operator()(const Numbers<T>& x, Index height, Index width) const {
    return convolved(x, height, width, w, b, in, out, kernel);
  }
};

constexpr std::pair<Index, Index> sizes[] = {{1, 1}, {1, 7}, {7, 1}, {2, 2}, {5, 9}, {17, 3}, {13, 31}};

template <class T, int in, int out, int kernel>
void expect_convolution() {
  const Layer<T, in, out, kernel> layer;
  for (const auto& [height, width] : sizes) {
    const auto x = normal<T>(height * width * in, 2);
    Numbers<T> y(static_cast<std::size_t>(height * width * out));
    Workspace workspace(2);
    store(Maps<T, out>{y.data(), height, width}, layer.conv(Maps<const T, in>{x.data(), height, width}), workspace);
    EXPECT_TRUE(close(y, layer(x, height, width), one_layer<T>))
        << in << " to " << out << ", " << height << " x " << width;
  }
}

TYPED_TEST(Convolutions, AreTheSumOverNeighbourhoods) {
  expect_convolution<TypeParam, 1, 1, 3>();
  expect_convolution<TypeParam, 4, 40, 3>();
  expect_convolution<TypeParam, 24, 3, 3>();
  expect_convolution<TypeParam, 70, 33, 3>();
  expect_convolution<TypeParam, 5, 6, 1>();
  expect_convolution<TypeParam, 3, 2, 5>();
}

TYPED_TEST(Convolutions, AreAddedAndActivated) {
  using T = TypeParam;
  constexpr Index height = 5, width = 6;
  const Layer<T, 8, 40, 3> layer;
  const auto x = normal<T>(height * width * 8, 2);
  const auto start = normal<T>(height * width * 40, 3);
  const auto sum = layer(x, height, width);
  Workspace workspace(2);
  for (const bool clipped : {false, true}) {
    auto y = start, z = start;
    const Maps<T, 40> to{y.data(), height, width}, from{z.data(), height, width};
    const auto product = layer.conv(Maps<const T, 8>{x.data(), height, width});
    clipped ? add(to, relu(product), workspace) : add(to, product, workspace);
    clipped ? store(from, relu(product), workspace) : store(from, product, workspace);
    Numbers<double> added(sum.size()), stored(sum.size());
    for (std::size_t i = 0; i < sum.size(); ++i) {
      added[i] = static_cast<double>(start[i]) + sum[i];
      stored[i] = sum[i];
      if (clipped) added[i] = std::max(0.0, added[i]), stored[i] = std::max(0.0, stored[i]);
    }
    EXPECT_TRUE(close(y, added, one_layer<T>));
    EXPECT_TRUE(close(z, stored, one_layer<T>));
  }
}

// The zeros around the maps are zeros of what is convolved: after norm and activation, not before.
TYPED_TEST(Convolutions, ReadScaledActivatedAndEnlargedMaps) {
  using T = TypeParam;
  constexpr Index height = 4, width = 5, in = 20;
  const Layer<T, in, 7, 3> layer;
  const auto x = normal<T>(height * width * in, 2), scale = normal<T>(in, 3), shift = normal<T>(in, 4);
  Numbers<T> large(4 * x.size());
  for (Index i = 0; i < 2 * height; ++i)
    for (Index j = 0; j < 2 * width; ++j)
      for (Index c = 0; c < in; ++c) {
        const auto p = static_cast<std::size_t>((i / 2 * width + j / 2) * in + c),
                   channel = static_cast<std::size_t>(c);
        const double v =
            static_cast<double>(x[p]) * static_cast<double>(scale[channel]) + static_cast<double>(shift[channel]);
        large[static_cast<std::size_t>((i * 2 * width + j) * in + c)] = static_cast<T>(v / (1 + std::exp(-v)));
      }
  Numbers<T> y(static_cast<std::size_t>(4 * height * width * 7));
  Workspace workspace(2);
  const LazyMaps<T, in> lazy{{x.data(), height, width}, scale.data(), shift.data()};
  store(Maps<T, 7>{y.data(), 2 * height, 2 * width}, layer.conv(upsample(silu(lazy))), workspace);
  EXPECT_TRUE(close(y, layer(large, 2 * height, 2 * width), one_layer<T>));
}

TYPED_TEST(Convolutions, GoToPlanes) {
  using T = TypeParam;
  constexpr Index height = 5, width = 6;
  const Layer<T, 8, 3, 3> layer;
  const auto x = normal<T>(height * width * 8, 2);
  const auto sum = layer(x, height, width);
  Tensor<T, 3> image(3, height, width);
  Tensor<double, 3> expected(3, height, width);
  for (Index c = 0; c < 3; ++c)
    for (Index p = 0; p < height * width; ++p)
      expected.data()[c * height * width + p] = 2 * sum[static_cast<std::size_t>(p * 3 + c)] - 1;
  Workspace workspace(2);
  store_planes(View<T, 3>(image), layer.conv(Maps<const T, 8>{x.data(), height, width}), workspace, 2, -1);
  EXPECT_TRUE(close(image, expected, one_layer<T>));
}

// Wide enough for several bands, whose memory is not that of the image.
TYPED_TEST(Convolutions, InBandsAreTheSame) {
  using T = TypeParam;
  constexpr Index height = 40, width = 5000, in = 64;
  const Panels bands = detail::conv_bands(height, (width + 2) * in);
  ASSERT_GE(bands.count, 3);
  const Layer<T, in, 2, 3> layer;
  const auto x = normal<T>(height * width * in, 2);
  Numbers<T> y(static_cast<std::size_t>(height * width * 2));
  Workspace workspace(2);
  store(Maps<T, 2>{y.data(), height, width}, layer.conv(Maps<const T, in>{x.data(), height, width}), workspace);
  EXPECT_EQ(workspace.high_water(), conv_arena<T>(height, width, in, 3, 2));
  EXPECT_LT(workspace.high_water(), sizeof(T) * static_cast<std::size_t>(height * width * in * 9) / 4);
  // Every row by itself, from the three that it sees.
  Numbers<T> three(static_cast<std::size_t>(3 * width * in)), row(static_cast<std::size_t>(3 * width * 2));
  for (Index i = 0; i < height; i += 13) {
    for (Index k = 0; k < 3; ++k) {
      const Index from = i + k - 1;
      const auto to = three.begin() + k * width * in;
      if (from < 0 || from >= height) {
        std::fill(to, to + width * in, T(0));
      } else {
        std::copy_n(x.begin() + from * width * in, width * in, to);
      }
    }
    store(Maps<T, 2>{row.data(), 3, width}, layer.conv(Maps<const T, in>{three.data(), 3, width}), workspace);
    const Numbers<T> middle(row.begin() + width * 2, row.begin() + 2 * width * 2),
        whole(y.begin() + i * width * 2, y.begin() + (i + 1) * width * 2);
    ASSERT_TRUE(same_bits(middle, whole)) << "row " << i;
  }
}

TYPED_TEST(Convolutions, GiveTheSameBitsOnAnyNumberOfThreads) {
  using T = TypeParam;
  constexpr Index height = 37, width = 41, in = 32;
  const Layer<T, in, 40, 3> layer;
  const auto x = normal<T>(height * width * in, 2), weight = normal<T>(in, 3), bias = normal<T>(in, 4);
  Numbers<T> expected;
  for (const int threads : {1, 2, 3, 5}) {
    Numbers<T> y(static_cast<std::size_t>(height * width * 40));
    Workspace workspace(threads);
    const Maps<const T, in> maps{x.data(), height, width};
    store(Maps<T, 40>{y.data(), height, width},
          layer.conv(silu(group_norm<8>(maps, 1e-6, weight.data(), bias.data(), workspace))), workspace);
    if (expected.empty()) expected = y;
    EXPECT_TRUE(same_bits(y, expected)) << threads;
  }
}

TYPED_TEST(Convolutions, GoToMapsOfTheirSizeAlone) {
  using T = TypeParam;
  const Layer<T, 8, 3, 3> layer;
  const auto x = normal<T>(4 * 5 * 8, 2);
  Numbers<T> y(1000);
  Workspace workspace(1);
  const auto product = layer.conv(Maps<const T, 8>{x.data(), 4, 5});
  const auto maps = [&](Index height, Index width) { return Maps<T, 3>{y.data(), height, width}; };
  EXPECT_ERROR(errc::bad_input_shape, store(maps(5, 4), product, workspace));
  EXPECT_ERROR(errc::bad_input_shape, add(maps(4, 6), product, workspace));
  EXPECT_ERROR(errc::bad_input_shape, store_planes(View<T, 3>(y.data(), {2, 4, 5}), product, workspace));
  EXPECT_ERROR(errc::bad_input_shape, store_planes(View<T, 3>(y.data(), {3, 4, 4}), product, workspace));
  store(maps(4, 5), product, workspace);
}

TYPED_TEST(Convolutions, OfALayerWithoutWeightsAreABadState) {
  using T = TypeParam;
  const Conv2d<8, 3, 3, T> empty;
  const Numbers<T> x(8);
  EXPECT_ERROR(errc::bad_state, empty(Maps<const T, 8>{x.data(), 1, 1}));
}

template <class T>
class GroupNorms : public testing::Test {};
TYPED_TEST_SUITE(GroupNorms, Scalars, ScalarName);

/// By the definition, in two passes of long double.
template <class T>
Numbers<double> normalised(const Numbers<T>& x, Index channels, Index groups, double eps, const Numbers<T>& weight,
                           const Numbers<T>& bias) {
  const Index pixels = static_cast<Index>(x.size()) / channels, each = channels / groups;
  Numbers<double> y(x.size());
  for (Index g = 0; g < groups; ++g) {
    const auto for_each = [&](auto&& f) {
      for (Index p = 0; p < pixels; ++p)
        for (Index c = g * each; c < (g + 1) * each; ++c)
          f(static_cast<std::size_t>(p * channels + c), static_cast<std::size_t>(c));
    };
    const auto n = static_cast<long double>(pixels * each);
    long double mean = 0, var = 0;
    for_each([&](std::size_t i, std::size_t) { mean += x[i] / n; });
    for_each([&](std::size_t i, std::size_t) { var += (x[i] - mean) * (x[i] - mean) / n; });
    for_each([&](std::size_t i, std::size_t c) {
      y[i] = static_cast<double>((x[i] - mean) / std::sqrt(var + eps) * weight[c] + bias[c]);
    });
  }
  return y;
}

template <class T, int channels, int groups>
Numbers<T> group_normed(const Numbers<T>& x, double eps, const Numbers<T>& weight, const Numbers<T>& bias,
                        int threads = 2) {
  Workspace workspace(threads);
  const Index pixels = static_cast<Index>(x.size()) / channels;
  const auto lazy =
      group_norm<groups>(Maps<const T, channels>{x.data(), 1, pixels}, eps, weight.data(), bias.data(), workspace);
  Workspace meter(Meter{threads});
  static_cast<void>(group_norm<groups>(Maps<const T, channels>{nullptr, 1, pixels}, eps,
                                       static_cast<const T*>(nullptr), static_cast<const T*>(nullptr), meter));
  EXPECT_EQ(workspace.high_water(), meter.high_water());
  Numbers<T> y(x.size());
  lazy.row(kernels<T>(), 0, y.data());
  return y;
}

template <class T, int channels, int groups>
void expect_group_norm(Index pixels, double size, double offset, Bound bound) {
  auto x = normal<T>(pixels * channels, 5);
  for (T& value : x) value = static_cast<T>(static_cast<double>(value) * size + offset);
  const auto weight = normal<T>(channels, 6), bias = normal<T>(channels, 7);
  EXPECT_TRUE(close(group_normed<T, channels, groups>(x, 1e-6, weight, bias),
                    normalised(x, channels, groups, 1e-6, weight, bias), bound))
      << channels << " in " << groups << " groups, " << pixels << " pixels, " << size << " around " << offset;
}

TYPED_TEST(GroupNorms, AreThoseOfTheDefinition) {
  for (const Index pixels : {1, 2, 17, 255, 256, 257, 700, 4000}) {
    // The variance of a single number is 0, and its rounding is magnified by 1 / sqrt(eps).
    expect_group_norm<TypeParam, 8, 8>(pixels, 1, 0,
                                       pixels == 1 ? rounded<TypeParam>({2e-2, 1e-4}) : one_layer<TypeParam>);
    expect_group_norm<TypeParam, 64, 32>(pixels, 1, 0, one_layer<TypeParam>);
    expect_group_norm<TypeParam, 24, 4>(pixels, 1, 0, one_layer<TypeParam>);
    expect_group_norm<TypeParam, 20, 1>(pixels, 1, 0, one_layer<TypeParam>);
  }
}

TYPED_TEST(GroupNorms, HaveTheirEps) { expect_group_norm<TypeParam, 24, 4>(300, 1e-3, 0, one_layer<TypeParam>); }

// What x * scale + shift loses is the offset's rounding in units of the numbers' size: 100 eps, and the input's
// own.
TYPED_TEST(GroupNorms, DoNotCancelAwayFromZero) {
  expect_group_norm<TypeParam, 24, 4>(3000, 1, 100, rounded<TypeParam>({5e-4, 1e-8}));
}

// A first number far from all others, around which the moments are taken: of 256 such squares all but 1/256
// cancels.
TYPED_TEST(GroupNorms, SurviveAnOutlier) {
  using T = TypeParam;
  auto x = normal<T>(256 * 8, 5);
  for (std::size_t c = 0; c < 8; ++c) x[c] = T(1000);
  const auto weight = normal<T>(8, 6), bias = normal<T>(8, 7);
  EXPECT_TRUE(close(group_normed<T, 8, 4>(x, 1e-6, weight, bias), normalised(x, 8, 4, 1e-6, weight, bias),
                    rounded<T>({5e-3, 1e-8})));
}

TYPED_TEST(GroupNorms, OfAConstantAreItsBias) {
  using T = TypeParam;
  const Numbers<T> x(300 * 8, T(3)), weight(8, T(2)), bias(8, T(0.5));
  const auto y = group_normed<T, 8, 4>(x, 1e-6, weight, bias);
  const double error = 3 * 2 / std::sqrt(1e-6) * static_cast<double>(std::numeric_limits<T>::epsilon());
  for (const T value : y) ASSERT_NEAR(static_cast<double>(value), 0.5, error);
}

TYPED_TEST(GroupNorms, KeepNanInItsGroup) {
  using T = TypeParam;
  auto x = normal<T>(600 * 8, 5);
  x[500 * 8 + 3] = std::numeric_limits<T>::quiet_NaN();
  const Numbers<T> weight(8, T(1)), bias(8, T(0));
  const auto y = group_normed<T, 8, 4>(x, 1e-6, weight, bias);
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(std::isnan(y[i]), i % 8 / 2 == 1) << i;
}

TYPED_TEST(GroupNorms, GiveTheSameBitsOnAnyNumberOfThreads) {
  using T = TypeParam;
  const auto x = normal<T>(5000 * 64, 5), weight = normal<T>(64, 6), bias = normal<T>(64, 7);
  const auto expected = group_normed<T, 64, 32>(x, 1e-6, weight, bias, 1);
  for (const int threads : {2, 3, 5}) {
    EXPECT_TRUE(same_bits(group_normed<T, 64, 32>(x, 1e-6, weight, bias, threads), expected)) << threads;
  }
}

TYPED_TEST(GroupNorms, RefuseANegativeEps) {
  using T = TypeParam;
  const Numbers<T> x(8);
  Workspace workspace(1);
  const auto norm = [&](double eps) {
    group_norm<2>(Maps<const T, 8>{x.data(), 1, 1}, eps, x.data(), x.data(), workspace);
  };
  EXPECT_ERROR(errc::bad_config, norm(-1e-6));
  EXPECT_ERROR(errc::bad_config, norm(NAN));
  norm(0);
}

}  // namespace
