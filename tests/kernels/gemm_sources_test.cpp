/// Sources and sinks: each is a GEMM's edge and a verb, so the plain GEMM with the verb by itself gives the same
/// bits, for every type of weights.

#include "kernels/gemm_support.hpp"

namespace dit { namespace {

using namespace dit::test;

template <class T>
class GemmSources : public ::testing::Test {};
TYPED_TEST_SUITE(GemmSources, Weights, WeightName);
template <class T>
class GemmSinks : public ::testing::Test {};
TYPED_TEST_SUITE(GemmSinks, Weights, WeightName);

constexpr Activation activations[] = {Activation::none, Activation::gelu_tanh, Activation::gelu_erf,
                                      Activation::silu, Activation::relu};

template <class T, class Source>
Numbers<real<T>> product_of(const Source& source, const PackedMatrix<T>& w, Workspace& workspace,
                            const Kernels<T>& k) {
  using R = real<T>;
  Numbers<R> y(count(source.rows * w.rows()), nan_of<R>);
  gemm(source, w, StoreSink<R>{y.data(), w.rows()}, workspace, k);
  return y;
}

TYPED_TEST(GemmSources, NormaliseAndModulateByTheirFormula) {
  using T = TypeParam;
  using R = real<T>;
  const Index rows = 45, samples = 3, per_sample = 15, outputs = 20;
  Workspace workspace(2);
  for (const Index depth : {1, 64, 83, 200}) {  // pieces are 64 long
    const auto x = random_numbers<R>(rows * depth, 19, 2);
    const auto modulation = random_numbers<R>(samples * 2 * depth, 20), affine = random_numbers<R>(2 * depth, 21);
    const auto w = random_numbers<R>(outputs * depth, 22);
    const auto weights = packed<T>(w, outputs, depth);
    for (const Isa isa : isas<T>()) {
      const Kernels<T> k = with_small_blocks<T>(isa);
      for (const Norm norm : {Norm::layer, Norm::rms}) {
        for (int which = 0; which < 4; ++which) {
          const R* weight = which & 1 ? affine.data() : nullptr;
          const R* bias = which & 1 ? affine.data() + depth : nullptr;
          const R* shift = which & 2 ? modulation.data() : nullptr;
          const R* scale = which & 2 ? modulation.data() + depth : nullptr;
          Numbers<R> normed(x.size());
          for (Index r = 0; r < rows; ++r) {
            const Index s = r / per_sample * 2 * depth;
            R mean, rstd;
            k.statistics(norm, &x[count(r * depth)], depth, R(1e-6), &mean, &rstd);
            k.normalise(&x[count(r * depth)], depth, mean, rstd, weight, bias, scale ? scale + s : scale,
                        shift ? shift + s : shift, &normed[count(r * depth)]);
          }
          const NormSource<R> source{x.data(), rows,  depth, norm,      R(1e-6),   weight,
                                     bias,     scale, shift, 2 * depth, per_sample};
          const auto y = product_of(source, weights, workspace, k);
          EXPECT_TRUE(same_bits(y, product(normed, weights, workspace, k))) << text(isa) << which << " " << depth;
          expect_product<T>(y, reference<T>(normed, w, rows, depth, outputs), depth);
        }
      }
    }
  }
}

TYPED_TEST(GemmSources, ReadRowsWithGapsBetweenThem) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const auto& [rows, depth, gap] : {Shape<3>{1, 1, 3}, Shape<3>{19, 63, 1}, Shape<3>{45, 130, 17}}) {
      const auto x = random_numbers<R>(rows * depth, 61), w = random_numbers<R>(20 * depth, 62);
      const auto weights = packed<T>(w, 20, depth);
      const auto wide = with_gaps(x, depth, gap);
      EXPECT_TRUE(same_bits(product_of(RowsSource<R>{wide.data(), rows, depth, depth + gap}, weights, workspace, k),
                            product(x, weights, workspace, k)))
          << text(isa);
    }
  }
}

/// Rows that were stored are what their numbers are, once more as real ones.
TYPED_TEST(GemmSources, ReadWhatWasStored) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const auto& [rows, depth, gap] : {Shape<3>{1, 1, 3}, Shape<3>{7, 32, 0}, Shape<3>{19, 63, 1},
                                           Shape<3>{45, 130, 17}, Shape<3>{3, 2305, 2}}) {
      const auto x = as_stored<T>(random_numbers<R>(rows * depth, 66));
      const auto real_x = widened<R>(x);
      const auto w = random_numbers<R>(20 * depth, 67);
      const auto wide = with_gaps(x, depth, gap);
      const auto y = product_of(RowsSource<stored<T>>{wide.data(), rows, depth, depth + gap},
                                packed<T>(w, 20, depth), workspace, k);
      EXPECT_TRUE(same_bits(y, product(real_x, packed<T>(w, 20, depth), workspace, k))) << text(isa) << depth;
      expect_product<T>(y, reference<T>(real_x, w, rows, depth, 20), depth);
    }
  }
}

/// The left one is whole words long.
TYPED_TEST(GemmSources, AreSetSideBySide) {
  using T = TypeParam;
  using R = real<T>;
  using S = stored<T>;
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const auto& [rows, left_words, right] :
         {Shape<3>{1, 1, 1}, Shape<3>{17, 64, 3}, Shape<3>{45, 5, 130}, Shape<3>{33, 48, 192}}) {
      const Index left = left_words * word_size<T>, depth = left + right;
      SCOPED_TRACE(text(isa) + " " + to_string(Shape<3>{rows, left, right}));
      const auto a = random_numbers<R>(rows * left, 63), b = random_numbers<R>(rows * right, 64);
      const auto stored_a = as_stored<T>(a);
      const auto rounded_a = widened<R>(stored_a);
      const auto w = random_numbers<R>(21 * depth, 65);
      const auto weights = packed<T>(w, 21, depth);
      Numbers<R> both(count(rows * depth)), both_stored(both.size());
      for (Index r = 0; r < rows; ++r) {
        std::copy_n(&a[count(r * left)], left, &both[count(r * depth)]);
        std::copy_n(&rounded_a[count(r * left)], left, &both_stored[count(r * depth)]);
        std::copy_n(&b[count(r * right)], right, &both[count(r * depth + left)]);
        std::copy_n(&b[count(r * right)], right, &both_stored[count(r * depth + left)]);
      }
      const auto wide_a = with_gaps(a, left, 5), wide_b = with_gaps(b, right, 9);
      const auto wide_stored = with_gaps(stored_a, left, 5);
      const RowsSource<R> last{wide_b.data(), rows, right, right + 9};
      const ConcatSource<RowsSource<R>, RowsSource<R>> source{{wide_a.data(), rows, left, left + 5}, last};
      const ConcatSource<RowsSource<S>, RowsSource<R>> of_stored{{wide_stored.data(), rows, left, left + 5}, last};
      EXPECT_EQ(source.depth, depth);
      const auto y = product_of(source, weights, workspace, k), z = product_of(of_stored, weights, workspace, k);
      EXPECT_TRUE(same_bits(y, product(both, weights, workspace, k)));
      EXPECT_TRUE(same_bits(z, product(both_stored, weights, workspace, k)));
      expect_product<T>(y, reference<T>(both, w, rows, depth, 21), depth);
      expect_product<T>(z, reference<T>(both_stored, w, rows, depth, 21), depth);
    }
  }
}

/// Packed by itself, a source is the same.
TYPED_TEST(GemmSources, MayBePackedBefore) {
  using T = TypeParam;
  using R = real<T>;
  const Index rows = 45, depth = 37, outputs = 35;
  const auto a = random_numbers<R>(rows * depth, 23);
  const auto w = packed<T>(random_numbers<R>(outputs * depth, 25), outputs, depth);
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const int threads : {1, 3}) {
      Workspace workspace(threads);
      const auto scope = workspace.scope();
      const auto panels = pack(RowsSource<R>{a.data(), rows, depth}, workspace, k);
      EXPECT_EQ(panels.scale != nullptr, is_int8<T>);
      EXPECT_TRUE(same_bits(product_of(panels, w, workspace, k), product(a, w, workspace, k))) << text(isa);
    }
  }
}

/// What the sinks' tests start from: A W^T + bias.
template <class T>
struct Biased {
  using R = real<T>;
  static constexpr Index rows = 45, depth = 37, outputs = 83, stride = 90, samples = 5, per_sample = 9;
  Numbers<R> a = random_numbers<R>(rows * depth, 23), bias = random_numbers<R>(outputs, 24);
  PackedMatrix<T> w = packed<T>(random_numbers<R>(outputs * depth, 25), outputs, depth);
  RowsSource<R> source{a.data(), rows, depth};

  Numbers<R> operator()(Workspace& workspace, const Kernels<T>& k) const {
    auto y = product(a, w, workspace, k);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += bias[i % outputs];
    return y;
  }
};

template <class S>
bool untouched(const Numbers<S>& y, const Numbers<S>& before, Index outputs, Index stride) {
  for (Index r = 0; r < static_cast<Index>(y.size()) / stride; ++r) {
    if (!same_bits(&y[count(r * stride + outputs)], &before[count(r * stride + outputs)], stride - outputs))
      return false;
  }
  return true;
}

TYPED_TEST(GemmSinks, StoreTheirActivation) {
  using T = TypeParam;
  using R = real<T>;
  using S = stored<T>;
  const Biased<T> of;
  constexpr Index outputs = Biased<T>::outputs, stride = Biased<T>::stride;
  const auto before = random_numbers<R>(of.rows * stride, 27);
  const auto stored_before = as_stored<T>(before);
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    const auto biased = of(workspace, k);
    for (const Activation activation : activations) {
      auto active = biased;
      k.activate(activation, active.data(), static_cast<Index>(active.size()), active.data());
      for (const Index from : {0, 1, 16, 31, 32, 40, 64, 82, 83}) {
        if (from != 0 && activation != Activation::gelu_tanh) continue;
        auto y = before;
        auto z = stored_before;
        gemm(of.source, of.w, StoreSink<R>{y.data(), stride, of.bias.data(), activation, from}, workspace, k);
        gemm(of.source, of.w, StoreSink<R, S>{z.data(), stride, of.bias.data(), activation, from}, workspace, k);
        for (Index i = 0; i < of.rows * outputs; ++i) {
          const R expected = (i % outputs < from ? biased : active)[count(i)];
          const auto at = count(i / outputs * stride + i % outputs);
          ASSERT_EQ(y[at], expected) << text(isa) << " from " << from << ", number " << i;
          auto rounded = static_cast<double>(static_cast<S>(expected));
          if (k.flushes && std::abs(expected) < std::numeric_limits<R>::min()) rounded = 0;
          ASSERT_EQ(static_cast<double>(z[at]), rounded) << text(isa) << " from " << from << ", number " << i;
        }
        EXPECT_TRUE(untouched(y, before, outputs, stride)) << text(isa);
        EXPECT_TRUE(untouched(z, stored_before, outputs, stride)) << text(isa);
      }
    }
  }
}

TYPED_TEST(GemmSinks, AddWithTheGateOfEverySample) {
  using T = TypeParam;
  using R = real<T>;
  const Biased<T> of;
  constexpr Index outputs = Biased<T>::outputs, stride = Biased<T>::stride, per_sample = Biased<T>::per_sample;
  const auto gates = random_numbers<R>(of.samples * 2 * outputs, 26),
             before = random_numbers<R>(of.rows * stride, 27);
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    const auto biased = of(workspace, k);
    for (const bool gated : {false, true}) {
      auto x = before;
      gemm(of.source, of.w,
           AddGatedSink<R>{x.data(), stride, of.bias.data(), gated ? gates.data() : nullptr, 2 * outputs,
                           per_sample},
           workspace, k);
      for (Index r = 0; r < of.rows; ++r) {
        for (Index j = 0; j < outputs; ++j) {
          const double gate = gated ? static_cast<double>(gates[count(r / per_sample * 2 * outputs + j)]) : 1;
          const double term = gate * static_cast<double>(biased[count(r * outputs + j)]);
          const double expected = static_cast<double>(before[count(r * stride + j)]) + term;
          EXPECT_NEAR(static_cast<double>(x[count(r * stride + j)]), expected,
                      eps<R> * (std::abs(expected) + std::abs(term)))
              << text(isa);
        }
      }
      EXPECT_TRUE(untouched(x, before, outputs, stride)) << text(isa);
    }
  }
}

TYPED_TEST(GemmSinks, DoubleTheResidualWithTheGate) {
  using T = TypeParam;
  using R = real<T>;
  const Index rows = 17, depth = 20, outputs = 33;
  const auto a = random_numbers<R>(rows * depth, 28), gate = random_numbers<R>(outputs, 29);
  const auto w = packed<T>(random_numbers<R>(outputs * depth, 30), outputs, depth);
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    Numbers<R> once(count(rows * outputs), R(0)), twice = once, doubled = gate;
    for (R& g : doubled) g *= R(2);
    gemm(RowsSource<R>{a.data(), rows, depth}, w,
         AddGatedSink<R>{once.data(), outputs, nullptr, gate.data(), 0, rows}, workspace, kernels<T>(isa));
    gemm(RowsSource<R>{a.data(), rows, depth}, w,
         AddGatedSink<R>{twice.data(), outputs, nullptr, doubled.data(), 0, rows}, workspace, kernels<T>(isa));
    for (R& value : once) value *= R(2);
    EXPECT_TRUE(same_bits(once, twice)) << text(isa);
  }
}

template <class T>
class GemmPanels : public ::testing::Test {};
using PanelTypes = ::testing::Types<float, double, bf16>;
TYPED_TEST_SUITE(GemmPanels, PanelTypes, WeightName);

TYPED_TEST(GemmPanels, AreThoseOfTheNextGemm) {
  using T = TypeParam;
  using R = real<T>;
  const Biased<T> of;
  constexpr Index outputs = Biased<T>::outputs;
  const auto next = packed<T>(random_numbers<R>(40 * outputs, 68), 40, outputs);
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const Activation activation : activations) {
      auto expected = of(workspace, k);
      k.activate(activation, expected.data(), static_cast<Index>(expected.size()), expected.data());
      const auto scope = workspace.scope();
      const auto wanted = pack(RowsSource<R>{expected.data(), of.rows, outputs}, workspace, k);
      Numbers<T> made(count(of.rows * padded<T>(outputs)), poison<T>());
      gemm(of.source, of.w, PanelsSink<T>{made.data(), outputs, of.bias.data(), activation}, workspace, k);
      EXPECT_TRUE(same_bits(made.data(), wanted.panels, static_cast<Index>(made.size()))) << text(isa);
      EXPECT_TRUE(same_bits(product_of(PanelsSource<T>{made.data(), of.rows, outputs}, next, workspace, k),
                            product(expected, next, workspace, k)))
          << text(isa);
    }
  }
}

}  // namespace
}  // namespace dit
