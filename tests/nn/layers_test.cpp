/// The layers one by one: patches in and out, plain AdaLN, attention and MLP with their projections, the final
/// layer.

#include "dit/kernels/rowwise.hpp"
#include "dit/nn/depatchify.hpp"
#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Layers : public testing::Test {};
TYPED_TEST_SUITE(Layers, Scalars, ScalarName);

TYPED_TEST(Layers, PatchifyIsTheConvolution) {
  using T = TypeParam;
  const Golden io("plain_dit_io");
  const auto model = golden_model<PlainDiT<article, T>>("plain_dit");
  const auto x = io.tensor<T, 4>("x");
  Tensor<T, 3> h(2, 15, 72);
  Workspace workspace(2);
  store(tokens<72>(h), model.patchify(x, workspace), workspace);
  EXPECT_TRUE(close(h, io.tensor<double, 3>("patchify64"), one_layer<T>));
  const auto wrong = normal<T, 4>({2, 4, 6, 10}, 1), odd = normal<T, 4>({2, 3, 6, 9}, 1);
  EXPECT_ERROR(errc::bad_input_shape, model.patchify(wrong, workspace));
  EXPECT_ERROR(errc::bad_input_shape, model.patchify(odd, workspace));
}

TYPED_TEST(Layers, DepatchifyPutsEveryTokenInItsPlaceChannelsLast) {
  using T = TypeParam;
  const Golden io("plain_dit_io");
  const auto model = golden_model<PlainDiT<article, T>>("plain_dit");
  auto h = io.tensor<T, 3>("h");
  Tensor<T, 4> image(2, 3, 6, 10);
  Workspace workspace(2);
  const auto source = lazy(Tokens<const T, 72>(tokens<72>(h)));
  model.depatchify(source, View<T, 4>(image), workspace);
  EXPECT_TRUE(close(image, io.tensor<double, 4>("depatchify64"), one_layer<T>));

  const auto refuses = [&](const Shape<4>& shape) {
    Tensor<T, 4> other(shape);
    EXPECT_ERROR(errc::bad_input_shape, model.depatchify(source, View<T, 4>(other), workspace));
  };
  refuses({2, 3, 6, 8});
  refuses({1, 3, 6, 10});
  refuses({2, 4, 6, 10});
  refuses({2, 3, 5, 12});
}

TYPED_TEST(Layers, AdaLNIsThatOfTheArticle) {
  using T = TypeParam;
  const Golden io("plain_dit_io");
  const auto model = golden_model<PlainDiT<article, T>>("plain_dit");
  auto h = io.tensor<T, 3>("h");
  auto c = io.tensor<T, 2>("cond");
  Workspace workspace(2);
  // Read through a product with the identity, which changes no number.
  Linear<72, 72, T> identity;
  fill(identity, [](const Path& path, const auto&) {
    return [weight = path.str() == "weight", i = 0]() mutable { return weight && i++ % 73 == 0 ? 1 : 0; };
  });
  Tensor<T, 3> out(2, 15, 72);
  store(tokens<72>(out), identity(model.blocks[0].adaln1(tokens<72>(h), tokens<40>(c), workspace)), workspace);
  EXPECT_TRUE(close(out, io.tensor<double, 3>("adaln64"), one_layer<T>));
  const Tokens<T, 40> too_few{c.data(), 1, 1};
  EXPECT_ERROR(errc::bad_condition, model.blocks[0].adaln1(tokens<72>(h), too_few, workspace));
}

TYPED_TEST(Layers, FinalLayerTakesShiftBeforeScale) {
  using T = TypeParam;
  const Golden io("final_layer_io");
  const auto layer = golden_model<FinalLayer<72, 2, 8, T>>("final_layer");
  auto x = io.tensor<T, 3>("x");
  auto c = io.tensor<T, 2>("c");
  silu(c.data(), c.size(), c.data());
  std::vector<T> table(2 * 2 * 72);
  Tensor<T, 4> image(2, 8, 6, 10);
  Workspace workspace(2);
  const auto m = layer.adaLN_modulation(tokens<72>(c), table.data(), workspace);
  layer(tokens<72>(x), m, View<T, 4>(image), workspace);
  EXPECT_TRUE(close(image, io.tensor<double, 4>("image64"), one_layer<T>));
  std::rotate(table.begin(), table.begin() + 72, table.begin() + 144);
  std::rotate(table.begin() + 144, table.begin() + 216, table.end());
  layer(tokens<72>(x), m, View<T, 4>(image), workspace);
  EXPECT_GT(distance(image, io.tensor<double, 4>("image64")).nmse, 0.1);
}

/// x W^T + b in double
template <int in, int out, class T>
std::vector<double> linear(const Linear<in, out, T>& layer, const std::vector<double>& x) {
  std::vector<T> w(static_cast<std::size_t>(in * out));
  layer.weight.get_rows(0, out, w.data());
  std::vector<double> y(x.size() / in * out);
  for (std::size_t r = 0; r < x.size() / in; ++r)
    for (std::size_t o = 0; o < out; ++o) {
      double sum = static_cast<double>(layer.bias.data()[o]);
      for (std::size_t i = 0; i < in; ++i) sum += x[r * in + i] * static_cast<double>(w[o * in + i]);
      y[r * out + o] = sum;
    }
  return y;
}

template <Activation activation, class T, class F>
void expect_mlp(F&& f) {
  const auto mlp = random_model<Mlp<24, 50, 30, activation, T>>(1);
  const auto x = normal<T>(2 * 7 * 24, 2);
  std::vector<T> y(2 * 7 * 30);
  Workspace workspace(2);
  store(Tokens<T, 30>{y.data(), 2, 7}, mlp(lazy(Tokens<const T, 24>{x.data(), 2, 7}), workspace), workspace);
  auto h = linear(mlp.fc1, {x.begin(), x.end()});
  for (double& value : h) value = f(value);
  EXPECT_TRUE(close(y, linear(mlp.fc2, h), one_layer<T>));
}
TYPED_TEST(Layers, MlpHasTheActivationOfItsType) {
  expect_mlp<Activation::gelu_erf, TypeParam>([](double x) { return x / 2 * std::erfc(-x / std::sqrt(2.0)); });
  expect_mlp<Activation::silu, TypeParam>([](double x) { return x / (1 + std::exp(-x)); });
  expect_mlp<Activation::gelu_tanh, TypeParam>([](double x) {
    return x / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
  });
}

TYPED_TEST(Layers, SelfAttentionProjectsInAndOut) {
  using T = TypeParam;
  const auto layer = random_model<SelfAttention<24, 3, T>>(1);
  const auto x = normal<T>(2 * 7 * 24, 2);
  std::vector<T> y(2 * 7 * 24), again(y.size());
  Workspace workspace(2);
  const auto source = lazy(Tokens<const T, 24>{x.data(), 2, 7});
  store(Tokens<T, 24>{y.data(), 2, 7}, layer(source, workspace), workspace);

  const auto qkv = linear(layer.qkv, {x.begin(), x.end()});  // [tokens, (q k v) (head feature)]
  std::vector<double> heads(x.size());
  for (std::size_t b = 0; b < 2; ++b)
    for (std::size_t h = 0; h < 3; ++h)
      for (std::size_t i = 0; i < 7; ++i) {
        const auto at = [&](std::size_t which, std::size_t token, std::size_t e) {
          return qkv[(b * 7 + token) * 72 + which * 24 + h * 8 + e];
        };
        std::array<double, 7> weight{};
        double sum = 0;
        for (std::size_t j = 0; j < 7; ++j) {
          double score = 0;
          for (std::size_t e = 0; e < 8; ++e) score += at(0, i, e) * at(1, j, e);
          sum += weight[j] = std::exp(score / std::sqrt(8.0));
        }
        for (std::size_t j = 0; j < 7; ++j)
          for (std::size_t e = 0; e < 8; ++e) heads[(b * 7 + i) * 24 + h * 8 + e] += weight[j] / sum * at(2, j, e);
      }
  EXPECT_TRUE(close(y, linear(layer.proj, heads), one_layer<T>));

  // torch.nn.MultiheadAttention is the same layer under other names.
  MultiheadAttention<24, 3, T> torch;
  copy(layer, static_cast<SelfAttention<24, 3, T>&>(torch));
  store(Tokens<T, 24>{again.data(), 2, 7}, torch(source, workspace), workspace);
  EXPECT_TRUE(same_bits(again, y));
  std::string names;
  for_each_parameter([&names](const Path& path, const auto&) { names += path.str() + " "; }, torch);
  EXPECT_EQ(names, "in_proj_weight in_proj_bias out_proj.weight out_proj.bias ");
}

TYPED_TEST(Layers, LayerNormIsAffineWithEps1e5) {
  using T = TypeParam;
  const Golden io("ops_io");
  for (const std::string prefix : {"w72.", "tiny."}) {  // the tiny one shows the eps
    LayerNorm<72, T> norm;
    zero(norm);
    norm.weight.set_rows(0, 72, io.values<T>(prefix + "gamma").data());
    norm.bias.set_rows(0, 72, io.values<T>(prefix + "beta").data());
    auto x = io.tensor<T, 2>(prefix + "x");
    Linear<72, 72, T> identity;
    fill(identity, [](const Path& path, const auto&) {
      return [weight = path.str() == "weight", i = 0]() mutable { return weight && i++ % 73 == 0 ? 1 : 0; };
    });
    Tensor<T, 2> y(x.dimensions());
    Workspace workspace(1);
    store(tokens<72>(y), identity(norm(tokens<72>(x))), workspace);
    EXPECT_TRUE(close(y, io.tensor<double, 2>(prefix + "layer_norm_1e-5.affine"), one_layer<T>)) << prefix;
  }
}

}  // namespace
