/// Norms and modulation as a GEMM reads them.

#include "dit/ops/norm.hpp"

#include "dit/kernels/rowwise.hpp"
#include "dit/nn/linear.hpp"
#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Norms : public testing::Test {};
TYPED_TEST_SUITE(Norms, Scalars, ScalarName);

/// The tokens that a lazy source makes.
template <class T, class Source, int width>
std::vector<T> made(const Lazy<Source, width>& source) {
  Workspace workspace(1);
  std::vector<T> y(static_cast<std::size_t>(source.rows() * width));
  store(Tokens<T, width>{y.data(), source.batch, source.count}, source, workspace);
  return y;
}

/// Rounding of a norm: that of the mean, in units of the deviation, and a few of its own.
template <class T>
Bound norm_bound(double mean_over_deviation) {
  const double eps = sizeof(T) == 8 ? 0x1p-53 : 0x1p-24;
  const double one = eps * (8 + 2 * mean_over_deviation);
  return {8 * one, one * one};
}

/// Everything that ops_io has about the norms of `prefix`, whose rows are `width` wide.
template <class T, int width>
void expect_golden(const std::string& prefix, double mean_over_deviation) {
  SCOPED_TRACE(prefix);
  const Golden io("ops_io");
  const auto golden = [&](const std::string& name) { return io.values<double>(prefix + name); };
  const auto gamma = io.values<T>(prefix + "gamma"), beta = io.values<T>(prefix + "beta");
  auto x = io.tensor<T, 2>(prefix + "x");
  const Tokens<const T, width> tokens{x.data(), 1, x.dimension(0)};
  const Bound bound = norm_bound<T>(mean_over_deviation);
  for (const auto& [name, eps] : {std::pair("1e-6", 1e-6), std::pair("1e-5", 1e-5)}) {
    SCOPED_TRACE(name);
    const std::string norm = std::string("layer_norm_") + name;
    EXPECT_TRUE(close(made<T>(layer_norm(tokens, eps)), golden(norm), bound));
    EXPECT_TRUE(close(made<T>(affine(layer_norm(tokens, eps), gamma.data(), beta.data())), golden(norm + ".affine"),
                      bound));
    EXPECT_TRUE(close(made<T>(affine(rms_norm(tokens, eps), gamma.data(), static_cast<const T*>(nullptr))),
                      golden(std::string("rms_norm_") + name), bound));
  }
}

TYPED_TEST(Norms, AreThoseOfTheReference) {
  expect_golden<TypeParam, 7>("w7.", 0);
  expect_golden<TypeParam, 17>("w17.", 0);
  expect_golden<TypeParam, 72>("w72.", 0);
  expect_golden<TypeParam, 100>("w100.", 0);
}
TYPED_TEST(Norms, OfSmallNumbersShowTheirEps) { expect_golden<TypeParam, 72>("tiny.", 0); }
TYPED_TEST(Norms, OfNumbersFarFromZeroDoNotCancel) { expect_golden<TypeParam, 72>("offset.", 1000); }

template <class T>
struct Modulated {
  static constexpr int width = 40;
  static constexpr Index batch = 3, count = 5;
  std::vector<T> x = normal<T>(batch * count * width, 1), c = normal<T>(batch * 2 * width, 2);
  Tokens<const T, width> tokens{x.data(), batch, count};
  Chunks<T, width, 2> chunks{c.data()};
};

TYPED_TEST(Norms, AreModulatedByTheirOwnSample) {
  using T = TypeParam;
  const Modulated<T> m;
  const auto y =
      made<T>(modulate(layer_norm(m.tokens, 1e-6), m.chunks.template chunk<0>(), m.chunks.template chunk<1>()));
  std::vector<double> expected(y.size());
  for (Index row = 0; row < m.batch * m.count; ++row) {
    const T* x = m.x.data() + row * m.width;
    double mean = 0, variance = 0;
    for (int i = 0; i < m.width; ++i) mean += static_cast<double>(x[i]) / m.width;
    for (int i = 0; i < m.width; ++i) variance += std::pow(static_cast<double>(x[i]) - mean, 2) / m.width;
    for (int i = 0; i < m.width; ++i) {
      const T* c = m.c.data() + row / m.count * 2 * m.width;  // shift, scale
      expected[static_cast<std::size_t>(row * m.width + i)] = (1 + static_cast<double>(c[m.width + i])) *
                                                                  (static_cast<double>(x[i]) - mean) /
                                                                  std::sqrt(variance + 1e-6) +
                                                              static_cast<double>(c[i]);
    }
  }
  EXPECT_TRUE(close(y, expected, Bound{8 * norm_bound<T>(0).max, norm_bound<T>(0).nmse}));
}

TYPED_TEST(Norms, WithoutShiftAndScaleAreThemselves) {
  using T = TypeParam;
  const Modulated<T> m;
  const std::vector<T> zeros(m.c.size());
  const Chunks<T, Modulated<T>::width, 2> none{zeros.data()};
  EXPECT_TRUE(
      same_bits(made<T>(modulate(layer_norm(m.tokens, 1e-6), none.template chunk<0>(), none.template chunk<1>())),
                made<T>(layer_norm(m.tokens, 1e-6))));
}

TYPED_TEST(Norms, DoNotSeeScaleAndOffset) {
  using T = TypeParam;
  constexpr int width = 40;
  auto x = normal<T>(6 * width, 3), y = x, z = x;
  for (T& value : y) value *= 4;                // a power of two: the same bits, with eps in step
  for (T& value : z) value = 3 * value + T(5);  // anything: the same up to rounding
  const auto of = [](const std::vector<T>& v) { return Tokens<const T, width>{v.data(), 1, 6}; };
  EXPECT_TRUE(same_bits(made<T>(layer_norm(of(y), 16 * 0x1p-20)), made<T>(layer_norm(of(x), 0x1p-20))));
  EXPECT_TRUE(same_bits(made<T>(rms_norm(of(y), 16 * 0x1p-20)), made<T>(rms_norm(of(x), 0x1p-20))));
  EXPECT_TRUE(close(made<T>(layer_norm(of(z), 0)), made<T>(layer_norm(of(x), 0)), norm_bound<T>(4)));
}

TYPED_TEST(Norms, LetANaNTouchItsOwnTokenOnly) {
  using T = TypeParam;
  const Modulated<T> m;
  auto x = m.x;
  x[7 * m.width + 3] = std::numeric_limits<T>::quiet_NaN();
  const auto clean = made<T>(layer_norm(m.tokens, 1e-6));
  // One row of A; through the GEMM it stays one row.
  const auto y = made<T>(layer_norm(Tokens<const T, Modulated<T>::width>{x.data(), m.batch, m.count}, 1e-6));
  for (Index row = 0; row < m.batch * m.count; ++row) {
    const auto at = static_cast<std::size_t>(row * m.width);
    if (row == 7) {
      EXPECT_TRUE(std::isnan(y[at]));
    } else {
      EXPECT_TRUE(std::equal(y.begin() + static_cast<std::ptrdiff_t>(at),
                             y.begin() + static_cast<std::ptrdiff_t>(at) + m.width,
                             clean.begin() + static_cast<std::ptrdiff_t>(at)))
          << row;
    }
  }
}

TYPED_TEST(Norms, RefuseWhatMakesNoSense) {
  using T = TypeParam;
  std::vector<T> x(2 * 3 * 8, T(1)), m(2 * 8, T(0));
  const Tokens<const T, 8> tokens{x.data(), 2, 3};
  EXPECT_EQ(error_of([&] { layer_norm(tokens, -1e-6); }), errc::bad_config);
  EXPECT_EQ(error_of([&] { rms_norm(tokens, std::nan("")); }), errc::bad_config);
  const PerSample<T, 8> shift{m.data(), 8}, packed{m.data(), 16};
  EXPECT_EQ(error_of([&] { modulate(layer_norm(tokens, 1e-6), shift, packed); }), errc::bad_option);
}

}  // namespace
