/// The blocks of the autoencoders alone: against the equations in loops of double, in the memory that they say.

#include "dit/nn/resnet_block.hpp"
#include "dit/nn/plan.hpp"

#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class AutoencoderBlocks : public testing::Test {};
TYPED_TEST_SUITE(AutoencoderBlocks, Scalars, ScalarName);

/// Maps of doubles, channels last, and the layers written out.
struct Image {
  Index height, width, channels;
  std::vector<double> values = std::vector<double>(static_cast<std::size_t>(height * width * channels));
  double& at(Index y, Index x, Index c) { return values[static_cast<std::size_t>((y * width + x) * channels + c)]; }
  double at(Index y, Index x, Index c) const { return const_cast<Image&>(*this).at(y, x, c); }
  template <class F>
  Image mapped(Index h, Index w, Index n, F&& f) const {
    Image image{h, w, n};
    for (Index y = 0; y < h; ++y)
      for (Index x = 0; x < w; ++x)
        for (Index c = 0; c < n; ++c) image.at(y, x, c) = f(y, x, c);
    return image;
  }
};
template <class T>
Image image_of(const std::vector<T>& x, Index height, Index width) {
  Image image{height, width, static_cast<Index>(x.size()) / (height * width)};
  std::copy(x.begin(), x.end(), image.values.begin());
  return image;
}

template <int in, int out, int kernel, class T>
Image conv(const Image& x, const Conv2d<in, out, kernel, T>& layer) {
  std::vector<T> w(static_cast<std::size_t>(layer.weight.size));
  layer.weight.get_rows(0, out, w.data());
  return x.mapped(x.height, x.width, out, [&](Index i, Index j, Index o) {
    auto sum = static_cast<double>(layer.bias.data()[o]);
    for (Index c = 0; c < in; ++c)
      for (Index k = 0; k < kernel; ++k)
        for (Index l = 0; l < kernel; ++l) {
          const Index y = i + k - kernel / 2, z = j + l - kernel / 2;
          if (y < 0 || y >= x.height || z < 0 || z >= x.width) continue;
          sum += x.at(y, z, c) *
                 static_cast<double>(w[static_cast<std::size_t>(((o * in + c) * kernel + k) * kernel + l)]);
        }
    return sum;
  });
}
template <int width, class T>
Image linear(const Image& x, const Linear<width, width, T>& layer) {
  std::vector<T> w(static_cast<std::size_t>(width * width));
  layer.weight.get_rows(0, width, w.data());
  return x.mapped(x.height, x.width, width, [&](Index i, Index j, Index o) {
    auto sum = static_cast<double>(layer.bias.data()[o]);
    for (Index c = 0; c < width; ++c)
      sum += x.at(i, j, c) * static_cast<double>(w[static_cast<std::size_t>(o * width + c)]);
    return sum;
  });
}
template <int channels, int groups, class T>
Image norm(const Image& x, const GroupNorm<channels, groups, T>& layer) {
  constexpr Index each = channels / groups;
  std::vector<double> mean(groups), var(groups);
  const double n = static_cast<double>(x.height * x.width * each);
  const auto for_each = [&](auto&& f) {
    x.mapped(x.height, x.width, channels, [&](Index i, Index j, Index c) {
      f(static_cast<std::size_t>(c / each), x.at(i, j, c));
      return 0.0;
    });
  };
  for_each([&](std::size_t g, double v) { mean[g] += v / n; });
  for_each([&](std::size_t g, double v) { var[g] += (v - mean[g]) * (v - mean[g]) / n; });
  return x.mapped(x.height, x.width, channels, [&](Index i, Index j, Index c) {
    const auto g = static_cast<std::size_t>(c / each);
    return (x.at(i, j, c) - mean[g]) / std::sqrt(var[g] + 1e-6) * static_cast<double>(layer.weight.data()[c]) +
           static_cast<double>(layer.bias.data()[c]);
  });
}
Image silu_of(Image x) {
  for (double& v : x.values) v /= 1 + std::exp(-v);
  return x;
}
Image sum_of(Image x, const Image& y) {
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] += y.values[i];
  return x;
}

template <int in, int out, int groups, class T>
Image resnet(const Image& x, const ResnetBlock<in, out, groups, T>& block) {
  const Image h = conv(silu_of(norm(conv(silu_of(norm(x, block.norm1)), block.conv1), block.norm2)), block.conv2);
  if constexpr (in == out) {
    return sum_of(x, h);
  } else {
    return sum_of(conv(x, block.conv_shortcut), h);
  }
}
template <int channels, int groups, class T>
Image attention_of(const Image& x, const PixelAttention<channels, groups, T>& block) {
  const Image h = norm(x, block.group_norm);
  const Image q = linear(h, block.to_q), k = linear(h, block.to_k), v = linear(h, block.to_v);
  Image o{x.height, x.width, channels};
  const Index pixels = x.height * x.width;
  std::vector<double> p(static_cast<std::size_t>(pixels));
  const auto row = [](const Image& image, Index pixel) { return image.values.data() + pixel * channels; };
  for (Index i = 0; i < pixels; ++i) {
    double total = 0;
    for (Index j = 0; j < pixels; ++j) {
      double score = 0;
      for (Index c = 0; c < channels; ++c) score += row(q, i)[c] * row(k, j)[c];
      total += p[static_cast<std::size_t>(j)] = std::exp(score / std::sqrt(double{channels}));
    }
    for (Index j = 0; j < pixels; ++j)
      for (Index c = 0; c < channels; ++c)
        o.values[static_cast<std::size_t>(i * channels + c)] +=
            p[static_cast<std::size_t>(j)] / total * row(v, j)[c];
  }
  return sum_of(x, linear(o, block.to_out[0]));
}

constexpr std::pair<Index, Index> sizes[] = {{1, 1}, {3, 5}, {7, 4}};

/// In place if the numbers of channels are the same.
template <int in, int out, int groups, class T>
void expect_resnet() {
  const auto block = random_model<ResnetBlock<in, out, groups, T>>(1);
  for (const auto& [height, width] : sizes) {
    auto x = normal<T>(height * width * in, 2);
    std::vector<T> other(static_cast<std::size_t>(height * width * out));
    const Image expected = resnet(image_of(x, height, width), block);
    auto& y = in == out ? x : other;
    Workspace workspace(2);
    block(Maps<const T, in>{x.data(), height, width}, Maps<T, out>{y.data(), height, width}, workspace);
    EXPECT_TRUE(close(y, expected.values, whole_model<T>)) << height << " x " << width;
    const auto pass = [h = height, w = width](const auto& one, Workspace& meter) {
      one(Maps<const T, in>{nullptr, h, w}, Maps<T, out>{nullptr, h, w}, meter);
    };
    EXPECT_EQ(workspace.high_water(), (plan_of<ResnetBlock<in, out, groups, T>>(2, pass).arena));
  }
}
TYPED_TEST(AutoencoderBlocks, ResnetsAreTheirEquation) {
  expect_resnet<16, 16, 4, TypeParam>();
  expect_resnet<24, 16, 8, TypeParam>();
  expect_resnet<8, 40, 2, TypeParam>();
}

TYPED_TEST(AutoencoderBlocks, ThatKeepTheirChannelsWorkInPlaceOnly) {
  using T = TypeParam;
  const auto block = random_model<ResnetBlock<8, 8, 2, T>>(1);
  std::vector<T> x(48), y(48);
  Workspace workspace(1);
  EXPECT_ERROR(errc::aliasing, block(Maps<const T, 8>{x.data(), 2, 3}, Maps<T, 8>{y.data(), 2, 3}, workspace));
}

template <int channels, int groups, class T>
void expect_attention(Index height, Index width) {
  const auto block = random_model<PixelAttention<channels, groups, T>>(1);
  auto x = normal<T>(height * width * channels, 2);
  const Image expected = attention_of(image_of(x, height, width), block);
  Workspace workspace(2);
  block(Maps<T, channels>{x.data(), height, width}, workspace);
  EXPECT_TRUE(close(x, expected.values, whole_model<T>)) << height << " x " << width;
  const auto pass = [=](const auto& one, Workspace& meter) {
    one(Maps<T, channels>{nullptr, height, width}, meter);
  };
  EXPECT_EQ(workspace.high_water(), (plan_of<PixelAttention<channels, groups, T>>(2, pass).arena));
}
TYPED_TEST(AutoencoderBlocks, AttendToAllPixels) {
  expect_attention<16, 4, TypeParam>(1, 1);
  expect_attention<16, 4, TypeParam>(3, 5);
  expect_attention<24, 8, TypeParam>(13, 11);
}
TYPED_TEST(AutoencoderBlocks, AttendWithAHeadOf512Features) { expect_attention<512, 32, TypeParam>(9, 15); }

// The pixels of a 512 x 512 image's latents, of which some are followed in double.
TEST(AutoencoderBlock, AttendsWithAHeadOf512FeaturesTo4096Pixels) {
  constexpr Index pixels = 64 * 64, d = 512;
  const auto q = normal<float>(pixels * d, 1), k = normal<float>(pixels * d, 2), v = normal<float>(pixels * d, 3);
  std::vector<float> keys = k, out = q;
  Workspace workspace(2);
  joint_attention<1>(workspace, Heads<float, d>{out.data(), keys.data(), v.data(), out.data(), 1, pixels, d, d});
  EXPECT_EQ(workspace.high_water(), attention_arena<float>(1, 1, d, pixels, 2));
  const auto at = [](const std::vector<float>& x, Index i, Index c) {
    return static_cast<double>(x[static_cast<std::size_t>(i * d + c)]);
  };
  for (const Index i : {Index{0}, Index{1777}, pixels - 1}) {
    std::vector<double> expected(d);
    double total = 0;
    for (Index j = 0; j < pixels; ++j) {
      double score = 0;
      for (Index c = 0; c < d; ++c) score += at(q, i, c) * at(k, j, c);
      const double p = std::exp(score / std::sqrt(double{d}));
      total += p;
      for (Index c = 0; c < d; ++c) expected[static_cast<std::size_t>(c)] += p * at(v, j, c);
    }
    for (double& x : expected) x /= total;
    EXPECT_TRUE(
        close(std::vector<float>(out.begin() + i * d, out.begin() + (i + 1) * d), expected, one_layer<float>))
        << i;
  }
}

// Keys and values once, in the kernel's layout, and what a strand holds: no matrix of scores, however many pixels.
constexpr std::size_t keys_and_values(Index pixels) {
  return std::size_t{2 * 512 * sizeof(float)} * static_cast<std::size_t>(pixels);
}
static_assert(attention_arena<float>(1, 1, 512, 64 * 64, 1) < keys_and_values(64 * 64) + (1 << 20));
static_assert(attention_arena<float>(1, 1, 512, 128 * 128, 1) < keys_and_values(128 * 128) + (1 << 20));

TYPED_TEST(AutoencoderBlocks, MiddlesAreResnetAttentionResnet) {
  using T = TypeParam;
  const auto block = random_model<MidBlock<16, 4, T>>(1);
  auto x = normal<T>(3 * 5 * 16, 2);
  const Image expected =
      resnet(attention_of(resnet(image_of(x, 3, 5), block.resnets[0]), block.attentions[0]), block.resnets[1]);
  Workspace workspace(2);
  block(Maps<T, 16>{x.data(), 3, 5}, workspace);
  EXPECT_TRUE(close(x, expected.values, whole_model<T>));
  const auto pass = [](const auto& one, Workspace& meter) { one(Maps<T, 16>{nullptr, 3, 5}, meter); };
  EXPECT_EQ(workspace.high_water(), (plan_of<MidBlock<16, 4, T>>(2, pass).arena));
}

template <int in, int out, int blocks, bool upsamples, class T>
void expect_up_block() {
  using Block = UpBlock<in, out, blocks, 4, upsamples, T>;
  const auto block = random_model<Block>(1);
  auto x = normal<T>(3 * 5 * in, 2);
  Image expected = resnet(image_of(x, 3, 5), block.resnets.template get<0>());
  if constexpr (blocks > 1) expected = resnet(expected, block.resnets.template get<1>());
  if constexpr (upsamples) {
    expected =
        conv(expected.mapped(6, 10, out, [&](Index i, Index j, Index c) { return expected.at(i / 2, j / 2, c); }),
             block.upsamplers[0].conv);
  }
  std::vector<T> here(60 * std::max(in, out)), there(here.size());
  std::copy(x.begin(), x.end(), here.begin());
  Turns<T> turns{here.data(), there.data()};
  Workspace workspace(2);
  const auto y = block(Maps<T, in>{here.data(), 3, 5}, turns, workspace);
  EXPECT_EQ(y.data, turns.here);
  EXPECT_TRUE(close(std::vector<T>(y.data, y.data + y.size()), expected.values, whole_model<T>));
  const auto pass = [](const Block& one, Workspace& meter) {
    Turns<T> nowhere{nullptr, nullptr};
    one(Maps<T, in>{nullptr, 3, 5}, nowhere, meter);
  };
  EXPECT_EQ(workspace.high_water(), plan_of<Block>(2, pass).arena);
}
TYPED_TEST(AutoencoderBlocks, OfALevelTakeTurnsInTwoMemories) {
  expect_up_block<16, 16, 2, true, TypeParam>();
  expect_up_block<24, 16, 2, true, TypeParam>();
  expect_up_block<24, 16, 2, false, TypeParam>();
  expect_up_block<16, 16, 1, false, TypeParam>();
}

/// "name [shape]" of every parameter.
template <class M>
std::vector<std::string> names_of() {
  std::vector<std::string> names;
  const M model{};
  for_each_parameter(
      [&]<class P>(const Path& path, const P&) { names.push_back(path.str() + " " + to_string(P::shape)); }, model);
  return names;
}
TEST(AutoencoderBlock, HasDiffusersNames) {
  using Names = std::vector<std::string>;
  EXPECT_EQ((names_of<ResnetBlock<8, 16, 4>>()),
            (Names{"norm1.weight [8]", "norm1.bias [8]", "conv1.weight [16, 8, 3, 3]", "conv1.bias [16]",
                   "norm2.weight [16]", "norm2.bias [16]", "conv2.weight [16, 16, 3, 3]", "conv2.bias [16]",
                   "conv_shortcut.weight [16, 8, 1, 1]", "conv_shortcut.bias [16]"}));
  const auto level = names_of<UpBlock<8, 8, 2, 4, true>>();
  EXPECT_EQ(level.front(), "resnets.0.norm1.weight [8]");
  EXPECT_EQ(level[8], "resnets.1.norm1.weight [8]");
  EXPECT_EQ(level.back(), "upsamplers.0.conv.bias [8]");
  const auto middle = names_of<MidBlock<8, 4>>();
  EXPECT_EQ(middle[2], "attentions.0.to_q.weight [8, 8]");
  EXPECT_EQ(middle[8], "attentions.0.to_out.0.weight [8, 8]");
  EXPECT_EQ(middle[10], "resnets.0.norm1.weight [8]");
}

TYPED_TEST(AutoencoderBlocks, KeepAConvolutionsWeightAsTheFileHasIt) {
  using T = TypeParam;
  const auto w = normal<T>(5 * 3 * 9, 1);
  ConvWeight<T, 5, 3, 3> weight;
  EXPECT_ERROR(errc::bad_state, weight.set_rows(0, 5, w.data()));
  weight.allocate();
  weight.set_rows(0, 2, w.data());
  weight.set_rows(2, 3, w.data() + 2 * 27);
  std::vector<T> all(w.size()), row(27);
  weight.get_rows(0, 5, all.data());
  weight.get_rows(3, 1, row.data());
  EXPECT_TRUE(same_bits(all, w));
  EXPECT_TRUE(same_bits(row, std::vector<T>(w.begin() + 81, w.begin() + 108)));
}

}  // namespace
