/// Norms, softmax and activations against double.

#include "dit/kernels/rowwise.hpp"

#include "kernels/support.hpp"

namespace dit { namespace {

using namespace dit::test;

const std::vector<Activation> activations{Activation::gelu_tanh, Activation::gelu_erf, Activation::silu,
                                          Activation::relu};

long double exact(Activation activation, long double x) {
  switch (activation) {
    case Activation::gelu_tanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / 3.14159265358979323846L) * (x + 0.044715L * x * x * x)));
    case Activation::gelu_erf:
      return 0.5L * x * std::erfc(-x / std::sqrt(2.0L));
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::none:
      break;
  }
  return x;
}

/// In units of the last place of a float of that size; below 2^-119, where the e^-|x| of |x| <= 128 is no longer a
/// normal float, in those of 2^-119.
double ulps(float result, long double expected) {
  if (std::isnan(result)) return std::numeric_limits<double>::infinity();
  const float nearest = static_cast<float>(expected);
  const float size = std::max(std::abs(nearest), 128 * std::numeric_limits<float>::min());
  const long double unit = static_cast<long double>(std::nextafter(size, INFINITY)) - size;
  return static_cast<double>(std::abs(result - expected) / unit);
}

TEST(Activations, AreWithinFourUlpsOfDoubleOverAllFloats) {
  for (const Isa isa : isas()) {
    for (const Activation activation : activations) {
      Numbers<float> x;
      for (std::uint32_t bits = 0; bits < 0x7f800000u; bits += 30011) {  // both signs, all magnitudes
        float value;
        std::memcpy(&value, &bits, sizeof value);
        x.insert(x.end(), {value, -value});
      }
      for (float value = -110; value < 20; value += 0.0013f) x.push_back(value);
      Numbers<float> y(x.size());
      kernels<float>(isa).activate(activation, x.data(), static_cast<Index>(x.size()), y.data());
      double worst = 0;
      float at = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double error = ulps(y[i], exact(activation, x[i]));
        if (error > worst) worst = error, at = x[i];
      }
      EXPECT_LE(worst, 4) << text(isa) << ", activation " << static_cast<int>(activation) << " at " << at;
    }
  }
}

TEST(Activations, AreExactInDoubleToItsPrecision) {
  for (const Activation activation : activations) {
    for (double x = -30; x < 30; x += 0.0371) {
      double y;
      kernels<double>().activate(activation, &x, 1, &y);
      const double expected = static_cast<double>(exact(activation, x));
      EXPECT_NEAR(y, expected, 4e-16 * (4 + x * x * std::abs(x)) * std::abs(expected) + 1e-322) << x;
    }
  }
}

TEST(Activations, GoToTheirLimitsAndKeepNan) {
  for (const Isa isa : isas()) {
    for (const Activation activation : activations) {
      const Numbers<float> x{INFINITY, nan_of<float>, -nan_of<float>, 0.f, -0.f, 3e38f, -3e38f, -INFINITY};
      Numbers<float> y(x.size());
      kernels<float>(isa).activate(activation, x.data(), static_cast<Index>(x.size()), y.data());
      EXPECT_EQ(y[0], INFINITY) << text(isa) << static_cast<int>(activation);
      EXPECT_TRUE(std::isnan(y[1]) && std::isnan(y[2])) << text(isa) << static_cast<int>(activation);
      EXPECT_EQ(y[3], 0.f);
      EXPECT_EQ(y[4], 0.f);
      EXPECT_EQ(y[5], 3e38f);
      EXPECT_EQ(y[6], 0.f);
      EXPECT_EQ(y[7], 0.f) << "the limit";
    }
  }
}

template <class T>
class Rows : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Rows, Scalars);

const std::vector<Index> widths = [] {
  std::vector<Index> w;
  for (Index i = 1; i <= 70; ++i) w.push_back(i);
  w.insert(w.end(), {127, 128, 129, 255, 1152, 4607});
  return w;
}();

TYPED_TEST(Rows, NormsMatchDoubleAtEveryWidth) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    for (const Index n : widths) {
      for (const Norm norm : {Norm::layer, Norm::rms}) {
        auto x = random_numbers<T>(n, static_cast<unsigned>(n), 3);
        for (T& value : x) value += T(0.5);
        const auto weight = random_numbers<T>(n, 1), bias = random_numbers<T>(n, 2);
        Numbers<T> y(x.size());
        normalise(norm, x.data(), 1, n, T(1e-6), weight.data(), bias.data(), y.data(), kernels<T>(isa));
        long double mean = 0, squares = 0, largest = 0;
        for (const T value : x) mean += norm == Norm::layer ? static_cast<long double>(value) / n : 0;
        for (const T value : x) squares += (value - mean) * (value - mean) / n;
        for (const T value : x) largest = std::max(largest, std::abs(static_cast<long double>(value)));
        const long double rstd = 1 / std::sqrt(squares + T(1e-6));
        for (std::size_t i = 0; i < x.size(); ++i) {
          const long double expected = (x[i] - mean) * rstd * weight[i] + bias[i];
          // The mean errs by eps times the numbers' size, the rest by a few units of the two terms.
          const long double size = (largest + std::abs(mean)) * rstd * std::abs(weight[i]) + std::abs(bias[i]);
          ASSERT_NEAR(static_cast<double>(y[i]), static_cast<double>(expected),
                      6 * eps<T> * static_cast<double>(size))
              << text(isa) << " width " << n;
        }
      }
    }
  }
}

TYPED_TEST(Rows, LayerNormIgnoresShiftAndScaleOfItsInput) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    for (const Index n : {8, 33, 1152}) {
      const auto x = random_numbers<T>(n, 3);
      Numbers<T> scaled = x, moved = x, y(x.size()), of_scaled(x.size()), of_moved(x.size());
      for (T& value : scaled) value *= T(64);
      for (T& value : moved) value = T(3) * value + T(2);
      const T none = 0;
      const T* null = nullptr;
      layer_norm(x.data(), 1, n, none, null, null, y.data(), kernels<T>(isa));
      layer_norm(scaled.data(), 1, n, none, null, null, of_scaled.data(), kernels<T>(isa));
      layer_norm(moved.data(), 1, n, none, null, null, of_moved.data(), kernels<T>(isa));
      EXPECT_TRUE(same_bits(y, of_scaled)) << text(isa);
      EXPECT_LE(nmse(of_moved, y), 1e-12);
      rms_norm(x.data(), 1, n, none, null, y.data(), kernels<T>(isa));
      rms_norm(scaled.data(), 1, n, none, null, of_scaled.data(), kernels<T>(isa));
      EXPECT_TRUE(same_bits(y, of_scaled)) << text(isa);
    }
  }
}

TYPED_TEST(Rows, ALargeMeanDoesNotSpoilTheVariance) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    Numbers<T> x(1152), y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = T(4096) + (i % 2 ? T(1) : T(-1));
    const T* null = nullptr;
    layer_norm(x.data(), 1, 1152, T(0), null, null, y.data(), kernels<T>(isa));
    for (std::size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(static_cast<double>(y[i]), i % 2 ? 1 : -1, 1e-3) << text(isa);
  }
}

TYPED_TEST(Rows, ZeroModulationIsNoModulation) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    for (const Index n : {5, 16, 37}) {
      const auto x = random_numbers<T>(4 * n, 4);
      const Numbers<T> zero(count(n), T(0));
      Numbers<T> y(x.size());
      modulate(x.data(), 4, n, zero.data(), zero.data(), 0, 4, y.data(), kernels<T>(isa));
      EXPECT_TRUE(same_bits(y, x)) << text(isa);
    }
  }
}

TYPED_TEST(Rows, ModulationTakesTheRowsSample) {
  using T = TypeParam;
  const Index n = 21, rows = 6, per_sample = 3;
  const auto x = random_numbers<T>(rows * n, 5), modulation = random_numbers<T>(2 * 2 * n, 6);
  for (const Isa isa : isas()) {
    Numbers<T> y(x.size());
    modulate(x.data(), rows, n, modulation.data(), modulation.data() + n, 2 * n, per_sample, y.data(),
             kernels<T>(isa));
    for (Index r = 0; r < rows; ++r) {
      for (Index i = 0; i < n; ++i) {
        const T* of_sample = modulation.data() + r / per_sample * 2 * n;
        const double term = (1 + static_cast<double>(of_sample[i])) * static_cast<double>(x[count(r * n + i)]);
        const double shift = static_cast<double>(of_sample[n + i]);
        EXPECT_NEAR(
            static_cast<double>(y[count(r * n + i)]), term + shift,
            2 * eps<T> * (std::abs(term) + std::abs(shift) + std::abs(static_cast<double>(x[count(r * n + i)]))));
      }
    }
  }
}

TYPED_TEST(Rows, SoftmaxMatchesDoubleAndSumsToOne) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    for (const Index n : widths) {
      const auto x = random_numbers<T>(n, static_cast<unsigned>(n), 5);
      Numbers<T> y(x.size());
      softmax(x.data(), 1, n, y.data(), kernels<T>(isa));
      const T top = *std::max_element(x.begin(), x.end());
      long double total = 0, sum = 0;
      for (const T value : x) total += std::exp(static_cast<long double>(value) - top);
      for (std::size_t i = 0; i < x.size(); ++i) {
        // x - top is rounded once, which e^ turns into a relative error of |x - top| eps / 2
        const long double expected = std::exp(static_cast<long double>(x[i]) - top) / total;
        const double bound =
            (std::abs(static_cast<double>(x[i] - top)) + 20) * eps<T> * static_cast<double>(expected);
        ASSERT_NEAR(static_cast<double>(y[i]), static_cast<double>(expected), bound) << text(isa) << " width " << n;
        sum += y[i];
      }
      EXPECT_NEAR(static_cast<double>(sum), 1, 30 * eps<T>) << text(isa) << " width " << n;
    }
  }
}

TYPED_TEST(Rows, SoftmaxSurvivesAnyFiniteScores) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    for (const Index n : {1, 7, 20}) {
      Numbers<T> x(count(n), T(-1e4)), y(count(n));
      x[count(n / 2)] = T(1e4);
      softmax(x.data(), 1, n, y.data(), kernels<T>(isa));
      for (Index i = 0; i < n; ++i) EXPECT_EQ(y[count(i)], i == n / 2 ? T(1) : T(0)) << text(isa);
      std::fill(x.begin(), x.end(), std::numeric_limits<T>::lowest());
      softmax(x.data(), 1, n, y.data(), kernels<T>(isa));
      for (const T value : y)
        EXPECT_NEAR(static_cast<double>(value), 1 / static_cast<double>(n), eps<T>) << text(isa);
    }
  }
}

TYPED_TEST(Rows, DoNotDependOnAlignmentPlaceOrNeighboursAndStayWithinTheRow) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    const Kernels<T>& k = kernels<T>(isa);
    for (const Index n : {1, 7, 15, 16, 17, 31, 40, 65, 130}) {
      const auto values = random_numbers<T>(n, 7);
      const auto one = [&](int which, const T* x, T* y) {
        const T* null = nullptr;
        switch (which) {
          case 0:
            return layer_norm(x, 1, n, T(1e-5), x, x, y, k);
          case 1:
            return rms_norm(x, 1, n, T(1e-5), null, y, k);
          case 2:
            return softmax(x, 1, n, y, k);
          case 3:
            return gelu_tanh(x, n, y, k);
          case 4:
            return gelu_erf(x, n, y, k);
          case 5:
            return silu(x, n, y, k);
          default:
            return modulate(x, 1, n, x, x, 0, 1, y, k);
        }
      };
      for (int which = 0; which < 7; ++which) {
        Numbers<T> expected(values.size());
        one(which, values.data(), expected.data());
        for (const Edge edge : {Edge::before, Edge::after}) {
          Guarded<T> x(values, edge), y(n, edge);
          one(which, x.data(), y.data());
          ASSERT_TRUE(same_bits(y.numbers(), expected)) << text(isa) << " width " << n << " function " << which;
          if (which != 0 && which != 6) {  // (those read their input as weights as well)
            one(which, x.data(), x.data());
            ASSERT_TRUE(same_bits(x.numbers(), expected)) << text(isa) << " in place, function " << which;
          }
        }
        for (std::size_t offset = 0; offset < 16; ++offset) {
          Numbers<T> x(values.size() + offset), y(x.size());
          std::copy(values.begin(), values.end(), x.begin() + static_cast<std::ptrdiff_t>(offset));
          one(which, x.data() + offset, y.data() + offset);
          ASSERT_TRUE(same_bits(y.data() + offset, expected.data(), n)) << text(isa) << " offset " << offset;
        }
      }
    }
  }
}

// Turning pairs of channels.

/// Cosines and sines as `rotate` reads them: a pair has one angle, sines the sign of their lane.
template <class T>
struct Turns {
  Numbers<T> cos, sin;

  template <class Angle>
  Turns(Index n, Angle&& angle) : cos(count(n)), sin(count(n)) {
    for (Index i = 0; i < n; ++i) {
      cos[count(i)] = static_cast<T>(std::cos(angle(i / 2)));
      sin[count(i)] = static_cast<T>((i % 2 ? 1 : -1) * std::sin(angle(i / 2)));
    }
  }
};
const std::vector<Index> even_widths = [] {
  std::vector<Index> w;
  for (Index i = 2; i <= 70; i += 2) w.push_back(i);
  w.push_back(128);
  return w;
}();

TYPED_TEST(Rows, PairsAreTurnedAsInDoubleAtEveryWidth) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    for (const Index n : even_widths) {
      const auto x = random_numbers<T>(n, static_cast<unsigned>(n));
      const Turns<T> t(n, [](Index k) { return 0.3 + 1.7 * static_cast<double>(k); });
      Numbers<T> y(x.size(), nan_of<T>);
      kernels<T>(isa).rotate(x.data(), t.cos.data(), t.sin.data(), n, y.data());
      for (std::size_t i = 0; i < x.size(); i += 2) {
        const long double a = x[i], b = x[i + 1], c = t.cos[i], s = t.sin[i + 1];
        // Two roundings, each of half a unit of what is at most the sum of the terms' sizes.
        const double bound = eps<T> * static_cast<double>(std::abs(a) + std::abs(b));
        ASSERT_NEAR(static_cast<double>(y[i]), static_cast<double>(a * c - b * s), bound) << text(isa) << " " << n;
        ASSERT_NEAR(static_cast<double>(y[i + 1]), static_cast<double>(a * s + b * c), bound)
            << text(isa) << " " << n;
      }
    }
  }
}

TYPED_TEST(Rows, PairsOfAngleZeroStayAsTheyAre) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    for (const Index n : even_widths) {
      const auto x = random_numbers<T>(n, 9, 1e3);
      const Turns<T> t(n, [](Index) { return 0.; });
      Numbers<T> y(x.size());
      kernels<T>(isa).rotate(x.data(), t.cos.data(), t.sin.data(), n, y.data());
      EXPECT_TRUE(same_bits(y, x)) << text(isa) << " " << n;
    }
  }
}

TYPED_TEST(Rows, PairsAreTurnedInPlaceAtAnyAlignmentAndNothingElseIsRead) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    const Kernels<T>& k = kernels<T>(isa);
    for (const Index n : even_widths) {
      const auto x = random_numbers<T>(n, 10);
      const Turns<T> t(n, [](Index i) { return 2.1 * static_cast<double>(i + 1); });
      Numbers<T> expected(x.size());
      k.rotate(x.data(), t.cos.data(), t.sin.data(), n, expected.data());
      for (const Edge edge : {Edge::before, Edge::after}) {
        Guarded<T> in(x, edge), cos(t.cos, edge), sin(t.sin, edge), out(n, edge);
        k.rotate(in.data(), cos.data(), sin.data(), n, out.data());
        ASSERT_TRUE(same_bits(out.numbers(), expected)) << text(isa) << " " << n;
        k.rotate(in.data(), cos.data(), sin.data(), n, in.data());
        ASSERT_TRUE(same_bits(in.numbers(), expected)) << text(isa) << " in place, " << n;
      }
      for (const Index offset : {1, 7, 15}) {  // among NaN, which would show wherever they were read
        const auto among = [&](const Numbers<T>& values) {
          Numbers<T> all(count(n + 32), nan_of<T>);
          std::copy(values.begin(), values.end(), all.begin() + offset);
          return all;
        };
        auto in = among(x);
        const auto wanted = among(expected);
        k.rotate(in.data() + offset, among(t.cos).data() + offset, among(t.sin).data() + offset, n,
                 in.data() + offset);
        ASSERT_TRUE(same_bits(in, wanted)) << text(isa) << " " << n << " at " << offset;
      }
    }
  }
}

TYPED_TEST(Rows, AgreeAcrossInstructionSets) {
  using T = TypeParam;
  const Index rows = 5, n = 203;
  const auto x = random_numbers<T>(rows * n, 8, 2);
  const Turns<T> turns(rows * n, [](Index k) { return static_cast<double>(k); });
  const auto all = [&](Isa isa) {
    Numbers<T> y(count(7 * rows * n), T(0));
    const Kernels<T>& k = kernels<T>(isa);
    const T* null = nullptr;
    layer_norm(x.data(), rows, n, T(1e-6), null, null, y.data(), k);
    rms_norm(x.data(), rows, n, T(1e-6), null, y.data() + rows * n, k);
    softmax(x.data(), rows, n, y.data() + 2 * rows * n, k);
    gelu_tanh(x.data(), rows * n, y.data() + 3 * rows * n, k);
    gelu_erf(x.data(), rows * n, y.data() + 4 * rows * n, k);
    silu(x.data(), rows * n, y.data() + 5 * rows * n, k);
    k.rotate(x.data(), turns.cos.data(), turns.sin.data(), rows * n / 2 * 2, y.data() + 6 * rows * n);
    return y;
  };
  for (const Isa isa : isas()) EXPECT_LE(nmse(all(isa), all(Isa::portable)), 1e-12) << text(isa);
}

}  // namespace
}  // namespace dit
