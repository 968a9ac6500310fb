/// Lazy products and what becomes of them, against the double loop.

#include "dit/nn/linear.hpp"

#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Products : public testing::Test {};
TYPED_TEST_SUITE(Products, Scalars, ScalarName);

/// y = x W^T + b in double, with the layer's own numbers.
template <int in, int out, class T>
std::vector<double> reference(const Linear<in, out, T>& layer, const std::vector<real<T>>& x) {
  std::vector<real<T>> w(static_cast<std::size_t>(in * out));
  layer.weight.get_rows(0, out, w.data());
  const std::size_t rows = x.size() / in;
  std::vector<double> y(rows * out);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t o = 0; o < out; ++o) {
      double sum = static_cast<double>(layer.bias.data()[o]);
      for (std::size_t i = 0; i < in; ++i)
        sum += static_cast<double>(x[r * in + i]) * static_cast<double>(w[o * in + i]);
      y[r * out + o] = sum;
    }
  return y;
}

/// |error| <= (K + 8) eps sum |a b|, and sum |a b| is about 1 here, 6 at most; the NMSE of rounding at random is
/// far less.
template <class T, int in>
constexpr Bound product_bound = rounded<T>({6 * (in + 8) * 0x1p-24, 1e-12});

constexpr int in = 45, out = 33;  // odd, and more than a strip
constexpr Index batch = 3, count = 7;

template <class T>
struct Layer {
  Linear<in, out, T> layer = random_model<Linear<in, out, T>>(1);
  std::vector<T> x = normal<T>(batch * count * in, 2);
  std::vector<double> expected = reference(layer, x);
  Tokens<const T, in> tokens{x.data(), batch, count};
  Workspace workspace{2};
};

TYPED_TEST(Products, AreStored) {
  using T = TypeParam;
  Layer<T> l;
  std::vector<T> y(batch * count * out);
  store(Tokens<T, out>{y.data(), batch, count}, l.layer(l.tokens), l.workspace);
  EXPECT_TRUE(close(y, l.expected, product_bound<T, in>));
}

TYPED_TEST(Products, AreAddedWithTheirSamplesGate) {
  using T = TypeParam;
  Layer<T> l;
  const auto gates = normal<T>(batch * 2 * out, 3), before = normal<T>(batch * count * out, 4);
  auto gated = before, plain = before;
  add_gated(Tokens<T, out>{gated.data(), batch, count}, PerSample<T, out>{gates.data() + out, 2 * out},
            l.layer(l.tokens), l.workspace);
  add(Tokens<T, out>{plain.data(), batch, count}, l.layer(l.tokens), l.workspace);
  std::vector<double> expected_gated(before.size()), expected_plain(before.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    const std::size_t sample = i / (count * out), o = i % out;
    expected_gated[i] =
        static_cast<double>(before[i]) + static_cast<double>(gates[sample * 2 * out + out + o]) * l.expected[i];
    expected_plain[i] = static_cast<double>(before[i]) + l.expected[i];
  }
  const Bound bound{4 * product_bound<T, in>.max, product_bound<T, in>.nmse};
  EXPECT_TRUE(close(gated, expected_gated, bound));
  EXPECT_TRUE(close(plain, expected_plain, bound));
}

TYPED_TEST(Products, AreStoredAsTheNextOnesInput) {
  using T = TypeParam;
  Layer<T> l;
  const auto next = random_model<Linear<out, 50, T>>(5);
  std::vector<T> y(batch * count * out), z(batch * count * 50), direct(z.size());
  const Tokens<T, out> h{y.data(), batch, count};
  store(h, silu(l.layer(l.tokens)), l.workspace);
  store(Tokens<T, 50>{direct.data(), batch, count}, next(h), l.workspace);
  Workspace workspace(2);
  const auto scope = workspace.scope();
  const auto input = store_input(batch, count, silu(l.layer(l.tokens)), workspace);
  store(Tokens<T, 50>{z.data(), batch, count}, next(input), workspace);
  EXPECT_TRUE(same_bits(z, direct));
}

TYPED_TEST(Products, HaveTheActivationThatTheyName) {
  using T = TypeParam;
  Layer<T> l;
  std::vector<T> y(batch * count * out);
  const Tokens<T, out> to{y.data(), batch, count};
  const auto expect = [&](const char* name, double (*f)(double)) {
    std::vector<double> expected = l.expected;
    for (double& x : expected) x = f(x);
    EXPECT_TRUE(close(y, expected, product_bound<T, in>)) << name;
  };
  store(to, gelu_tanh(l.layer(l.tokens)), l.workspace);
  expect("gelu_tanh", [](double x) {
    return x / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
  });
  store(to, gelu_erf(l.layer(l.tokens)), l.workspace);
  expect("gelu_erf", [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); });
  store(to, silu(l.layer(l.tokens)), l.workspace);
  expect("silu", [](double x) { return x / (1 + std::exp(-x)); });
}

TYPED_TEST(Products, OfTheTanhFormAreNotThoseOfTheErfForm) {
  using T = TypeParam;
  Linear<1, 1, T> one;
  fill(one, [](const Path& path, const auto&) { return [w = path.str() == "weight"] { return w ? 1 : 0; }; });
  Workspace workspace(1);
  const auto at = [&](double x, auto activation) {
    T in_ = static_cast<T>(x), out_ = 0;
    store(Tokens<T, 1>{&out_, 1, 1}, activation(one(Tokens<T, 1>{&in_, 1, 1})), workspace);
    return static_cast<double>(out_);
  };
  const auto tanh_form = [](auto p) { return gelu_tanh(p); };
  const auto erf_form = [](auto p) { return gelu_erf(p); };
  constexpr std::pair<double, double> published[] = {{-2, -0.045402306}, {-1, -0.158808009}, {-0.5, -0.154285990},
                                                     {0.5, 0.345714010}, {1, 0.841191991},   {2, 1.954597694},
                                                     {3, 2.996362608}};
  for (const auto& [x, value] : published) EXPECT_NEAR(at(x, tanh_form), value, 2e-7) << x;
  EXPECT_NEAR(at(1, erf_form), 0.841344746, 2e-7);
  EXPECT_NEAR(at(3, erf_form), 2.995950306, 3e-7);
}

TYPED_TEST(Products, GiveTheirMemoryBackWhenTheyEnd) {
  using T = TypeParam;
  Workspace workspace(1);
  {
    const auto scope = workspace.scope();
    auto* first = workspace.take<T>(16);
    {
      auto held_scope = workspace.scope();
      workspace.take<T>(1000);
      const Held held(std::move(held_scope), Product<RowsSource<T>, T, 1>{});
      EXPECT_NE(workspace.take<T>(16), first + 16);
    }
    EXPECT_EQ(workspace.take<T>(16), first + std::max<Index>(16, 64 / sizeof(T)));
  }
  workspace.reserve(1);  // which throws while something is taken
}

TYPED_TEST(Products, GoToAsManyTokensAsTheyHaveRows) {
  using T = TypeParam;
  Layer<T> l;
  std::vector<T> y(batch * count * out);
  for (const auto& shape : {std::pair<Index, Index>{2, 7}, {3, 6}, {4, 7}}) {
    const Index samples = shape.first, each = shape.second;
    const Tokens<T, out> other{y.data(), samples, each};
    EXPECT_ERROR(errc::bad_input_shape, store(other, l.layer(l.tokens), l.workspace));
    EXPECT_ERROR(errc::bad_input_shape, store_input(samples, each, l.layer(l.tokens), l.workspace));
    EXPECT_ERROR(errc::bad_input_shape, add(other, l.layer(l.tokens), l.workspace));
  }
}

TYPED_TEST(Products, OfALayerWithoutWeightsAreABadState) {
  using T = TypeParam;
  const Linear<in, out, T> empty;
  auto used = random_model<Linear<in, out, T>>(1);
  std::vector<T> x(in), y(out);
  Workspace workspace(1);
  const Tokens<T, in> tokens{x.data(), 1, 1};
  EXPECT_ERROR(errc::bad_state, store(Tokens<T, out>{y.data(), 1, 1}, empty(tokens), workspace));
  const auto taken = std::move(used);
  store(Tokens<T, out>{y.data(), 1, 1}, taken(tokens), workspace);
  EXPECT_ERROR(errc::bad_state,
               store(Tokens<T, out>{y.data(), 1, 1}, used(tokens), workspace));  // NOLINT: moved from
}

// What a model of bf16 or of int8 has between two layers.

template <class T>
class StoredProducts : public testing::Test {};
using StoredScalars = testing::Types<float, bf16, int8>;
struct StoredName {
  template <class T>
  static std::string GetName(int) {
    return sizeof(T) == 4 ? "float" : sizeof(T) == 2 ? "bf16" : "int8";
  }
};
TYPED_TEST_SUITE(StoredProducts, StoredScalars, StoredName);

/// What T leaves of a row: NMSE of one of two operands, of which one is rounded to 2^-8, or to steps of max / 127.
template <class T>
constexpr double product_nmse = sizeof(T) == 4   ? 1e-12
                                : sizeof(T) == 2 ? 1e-5
                                                 : 3e-4;

/// The product of numbers that are the layer's own, rounded as they are, in double.
TYPED_TEST(StoredProducts, AreThoseOfTheirWeightsUpToTheRoundingOfTheirInput) {
  using T = TypeParam;
  Linear<in, out, T> layer = random_model<Linear<in, out, T>>(1);
  const auto x = normal<float>(batch * count * in, 2);
  const auto expected = reference(layer, x);
  Workspace workspace(2);
  std::vector<float> y(batch * count * out);
  std::vector<stored<T>> z(y.size());
  store(Tokens<float, out>{y.data(), batch, count}, layer(Tokens<const float, in>{x.data(), batch, count}),
        workspace);
  store(Tokens<stored<T>, out>{z.data(), batch, count}, layer(Tokens<const float, in>{x.data(), batch, count}),
        workspace);
  EXPECT_LE(distance(y, expected).nmse, product_nmse<T>);
  for (std::size_t i = 0; i < y.size(); ++i) {
    ASSERT_EQ(static_cast<float>(z[i]), static_cast<float>(static_cast<stored<T>>(y[i]))) << "rounded once";
  }
}

/// The bits of what was stored in between, and the bytes that were said.
TYPED_TEST(StoredProducts, AreTheNextOnesInput) {
  using T = TypeParam;
  Linear<in, out, T> layer = random_model<Linear<in, out, T>>(1);
  const auto next = random_model<Linear<out, 50, T>>(5);
  const auto x = normal<float>(batch * count * in, 2);
  const Tokens<const float, in> tokens{x.data(), batch, count};
  std::vector<stored<T>> between(batch * count * out);
  std::vector<float> z(batch * count * 50), direct(z.size());
  for (const int threads : {1, 2, 3}) {
    Workspace workspace(threads), of_input(threads);
    const Tokens<stored<T>, out> h{between.data(), batch, count};
    store(h, silu(layer(tokens)), workspace);
    store(Tokens<float, 50>{direct.data(), batch, count}, next(lazy(Tokens<const stored<T>, out>(h))), workspace);
    {
      const auto scope = of_input.scope();
      const auto input = store_input(batch, count, silu(layer(tokens)), of_input);
      const bool as_panels = !std::is_same_v<T, int8>;
      const Index stored_width = as_panels ? padded<T>(out) : out;
      EXPECT_EQ(of_input.high_water(),
                arena_bytes<stored<T>>(batch * count * stored_width) + gemm_arena<T>(batch * count, in, threads));
      Workspace second(threads);
      store(Tokens<float, 50>{z.data(), batch, count}, next(input), second);
      EXPECT_EQ(second.high_water(), gemm_arena<T>(batch * count, out, threads, as_panels));
    }
    EXPECT_TRUE(same_bits(z, direct)) << threads;
  }
}

TYPED_TEST(StoredProducts, AreAddedWithTheirSamplesGate) {
  using T = TypeParam;
  Linear<in, out, T> layer = random_model<Linear<in, out, T>>(1);
  const auto x = normal<float>(batch * count * in, 2), gates = normal<float>(batch * out, 3);
  const auto before = normal<float>(batch * count * out, 4);
  const Tokens<const float, in> tokens{x.data(), batch, count};
  Workspace workspace(2);
  std::vector<float> y(before.size());
  auto gated = before;
  store(Tokens<float, out>{y.data(), batch, count}, layer(tokens), workspace);
  add_gated(Tokens<float, out>{gated.data(), batch, count}, PerSample<float, out>{gates.data(), out}, layer(tokens),
            workspace);
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double term = static_cast<double>(gates[i / (count * out) * out + i % out]) * static_cast<double>(y[i]);
    const double expected = static_cast<double>(before[i]) + term;
    ASSERT_NEAR(gated[i], expected, 0x1p-23 * (std::abs(expected) + std::abs(term))) << i;
  }
}

}  // namespace
