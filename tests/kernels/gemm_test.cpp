/// sink <- source W^T against a loop in double, and what never changes a bit of it.

#include "dit/kernels/gemm.hpp"

#include "kernels/support.hpp"

namespace dit {
namespace {

using namespace dit::test;

template <class T>
class Gemm : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Gemm, Scalars);

/// A W^T in double, and sum |a w|, from which the error bound follows.
template <class T>
void loop(const Numbers<T>& a, const Numbers<T>& w, Index rows, Index depth, Index outputs, Numbers<double>& y,
          Numbers<double>& size) {
  y.assign(count(rows * outputs), 0);
  size.assign(count(rows * outputs), 0);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < outputs; ++j) {
      long double sum = 0, absolute = 0;
      for (Index k = 0; k < depth; ++k) {
        const long double term = static_cast<long double>(a[count(i * depth + k)]) * w[count(j * depth + k)];
        sum += term;
        absolute += std::abs(term);
      }
      y[count(i * outputs + j)] = static_cast<double>(sum);
      size[count(i * outputs + j)] = static_cast<double>(absolute);
    }
  }
}

template <class T>
Numbers<T> product(const Numbers<T>& a, const PackedMatrix<T>& w, Workspace& workspace, const Kernels<T>& k) {
  const Index rows = static_cast<Index>(a.size()) / w.depth();
  Numbers<T> y(count(rows * w.rows()), nan_of<T>);
  gemm(RowsSource<T>{a.data(), rows, w.depth()}, w, StoreSink<T>{y.data(), w.rows()}, workspace, k);
  return y;
}

/// An error of depth + 1 roundings of partial sums, each below sum |a w|; 8 more for good measure.
template <class T>
void expect_product(const Numbers<T>& y, const Numbers<double>& exact, const Numbers<double>& size, Index depth) {
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double error = std::abs(static_cast<double>(y[i]) - exact[i]);
    ASSERT_TRUE(error <= (static_cast<double>(depth) + 8) * eps<T> * size[i] + std::abs(exact[i]) * 1e-16)
        << "element " << i << ": " << y[i] << " instead of " << exact[i];
  }
}

TYPED_TEST(Gemm, MatchesTheDoubleLoopAcrossAllBlockEdges) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    const Index h = k.panel_rows;
    for (const Index rows : {Index{1}, h, h + 1, 2 * h - 1, 2 * h + 1, 4 * h + 1, 5 * h - 1}) {
      for (const Index outputs : {1, 15, 16, 17, 32, 33, 63, 65, 129, 145}) {
        for (const Index depth : {1, 4, 5, 6, 11, 23}) {
          SCOPED_TRACE(text(isa) + " " + to_string(Shape<3>{rows, depth, outputs}));
          const auto a = random_numbers<T>(rows * depth, 1), w = random_numbers<T>(outputs * depth, 2);
          Numbers<double> exact, size;
          loop(a, w, rows, depth, outputs, exact, size);
          expect_product(product(a, packed(w, outputs, depth), workspace, k), exact, size, depth);
        }
      }
    }
  }
}

TYPED_TEST(Gemm, MatchesTheDoubleLoopAcrossTheRealBlockEdges) {
  using T = TypeParam;
  Workspace workspace(2);
  const Blocking block;
  for (const Isa isa : isas()) {
    const Kernels<T>& k = kernels<T>(isa);
    const Index task_rows = block.numbers / block.depth;
    for (const auto& [rows, depth, outputs] :
         {Shape<3>{2, block.depth - 1, 40}, Shape<3>{k.panel_rows + 1, block.depth, 33},
          Shape<3>{task_rows + 1, block.depth + 1, 17}, Shape<3>{task_rows - 1, 2 * block.depth + 1, 8},
          Shape<3>{3, 7, 32 * block.pairs + 1}, Shape<3>{77, 300, 32 * block.pairs - 1}}) {
      SCOPED_TRACE(text(isa) + " " + to_string(Shape<3>{rows, depth, outputs}));
      const auto a = random_numbers<T>(rows * depth, 3), w = random_numbers<T>(outputs * depth, 4);
      Numbers<double> exact, size;
      loop(a, w, rows, depth, outputs, exact, size);
      const auto y = product(a, packed(w, outputs, depth), workspace, k);
      expect_product(y, exact, size, depth);
      EXPECT_LE(nmse(y, exact), 1e-12);
    }
  }
}

TYPED_TEST(Gemm, IsExactOnIntegersOfEverySmallSize) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (Index rows = 1; rows <= 30; rows += rows < 17 ? 1 : 4) {
      for (Index outputs = 1; outputs <= 50; outputs += outputs < 34 ? 1 : 5) {
        for (Index depth = 1; depth <= 12; ++depth) {
          const auto a = random_integers<T>(rows * depth, static_cast<unsigned>(rows), 100);
          const auto w = random_integers<T>(outputs * depth, static_cast<unsigned>(outputs), 100);
          const auto y = product(a, packed(w, outputs, depth), workspace, k);
          for (Index i = 0; i < rows; ++i) {
            for (Index j = 0; j < outputs; ++j) {
              T sum = 0;
              for (Index d = 0; d < depth; ++d) sum += a[count(i * depth + d)] * w[count(j * depth + d)];
              ASSERT_EQ(y[count(i * outputs + j)], sum)
                  << text(isa) << " " << to_string(Shape<3>{rows, depth, outputs});
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(Gemm, TimesTheIdentityIsTheIdentity) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    const Index n = 53, rows = 31;
    Numbers<T> identity(count(n * n), T(0));
    for (Index i = 0; i < n; ++i) identity[count(i * n + i)] = T(1);
    const auto a = random_numbers<T>(rows * n, 5);
    EXPECT_TRUE(same_bits(product(a, packed(identity, n, n), workspace, with_small_blocks<T>(isa)), a))
        << text(isa);
  }
}

TYPED_TEST(Gemm, CommutesWithPowersOfTwo) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    const Index rows = 19, depth = 70, outputs = 37;
    auto a = random_numbers<T>(rows * depth, 6);
    const auto w = packed(random_numbers<T>(outputs * depth, 7), outputs, depth);
    auto y = product(a, w, workspace, kernels<T>(isa));
    for (T& value : a) value *= T(1024);
    for (T& value : y) value *= T(1024);
    EXPECT_TRUE(same_bits(product(a, w, workspace, kernels<T>(isa)), y)) << text(isa);
  }
}

TYPED_TEST(Gemm, KeepsNanInItsRowAndColumnAndOutOfThePadding) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    const Index rows = 30, depth = 13, outputs = 21;
    auto a = random_numbers<T>(rows * depth, 8);
    const auto w = packed(random_numbers<T>(outputs * depth, 9), outputs, depth);
    const auto clean = product(a, w, workspace, with_small_blocks<T>(isa));
    // Poison in the lanes of the last strip that no output has.
    auto* strip = const_cast<T*>(w.strip(1));
    for (Index k = 0; k < depth; ++k) std::fill(strip + k * 16 + outputs - 16, strip + k * 16 + 16, nan_of<T>);
    EXPECT_TRUE(same_bits(product(a, w, workspace, with_small_blocks<T>(isa)), clean)) << text(isa);
    for (const Index poisoned : {0, 13, 14, 29}) {
      auto b = a;
      b[count(poisoned * depth + 5)] = nan_of<T>;
      const auto y = product(b, w, workspace, with_small_blocks<T>(isa));
      for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < outputs; ++j) {
          if (i == poisoned) {
            EXPECT_TRUE(std::isnan(y[count(i * outputs + j)]));
          } else {
            ASSERT_EQ(y[count(i * outputs + j)], clean[count(i * outputs + j)]) << text(isa) << " row " << i;
          }
        }
      }
    }
  }
}

TYPED_TEST(Gemm, StaysWithinItsOperands) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    for (const Edge edge : {Edge::before, Edge::after}) {
      for (const Index rows : {1, 5, 14, 15, 29}) {
        for (const Index depth : {1, 15, 33}) {
          for (const Index outputs : {1, 16, 31, 50}) {
            const Kernels<T> k = with_small_blocks<T>(isa);
            const auto w = packed(random_numbers<T>(outputs * depth, 10), outputs, depth);
            Guarded<T> a(random_numbers<T>(rows * depth, 11), edge), y(rows * outputs, edge);
            Guarded<T> bias(random_numbers<T>(outputs, 12), edge), panels(rows * depth, edge);
            Guarded<T> x(random_numbers<T>(rows * outputs, 13), edge), next(rows * outputs, edge);
            Guarded<T> scale(random_numbers<T>(depth, 14), edge);
            const auto source = pack(RowsSource<T>{a.data(), rows, depth}, panels.data(), workspace, k);
            gemm(source, w, StoreSink<T>{y.data(), outputs, bias.data(), Activation::gelu_tanh}, workspace, k);
            gemm(source, w, AddGatedSink<T>{x.data(), outputs, bias.data(), bias.data()}, workspace, k);
            gemm(source, w, PanelsSink<T>{next.data(), outputs, bias.data()}, workspace, k);
            pack(NormSource<T>{a.data(), rows, depth, Norm::layer, T(1e-6), scale.data(), scale.data(),
                               scale.data(), scale.data(), 0, rows},
                 panels.data(), workspace, k);
            for (const auto* result : {&y, &x, &next, &panels}) {
              for (const T value : result->numbers()) ASSERT_FALSE(std::isnan(value)) << text(isa);
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(Gemm, GivesTheSameBitsForAnyThreadsBlocksBatchAndAlignment) {
  using T = TypeParam;
  const Index rows = 71, depth = 43, outputs = 150;
  const auto a = random_numbers<T>(rows * depth, 15);
  const auto w = packed(random_numbers<T>(outputs * depth, 16), outputs, depth);
  for (const Isa isa : isas()) {
    Workspace one(1);
    const Kernels<T> k = with_small_blocks<T>(isa);
    const auto expected = product(a, w, one, k);
    for (const auto& [numbers, pairs] : {Shape<2>{1, 1}, Shape<2>{1000, 1}, Shape<2>{1, 100}, Shape<2>{160, 3}}) {
      Kernels<T> other = k;
      other.blocking.numbers = numbers, other.blocking.pairs = pairs;
      ASSERT_TRUE(same_bits(product(a, w, one, other), expected)) << text(isa) << numbers << pairs;
    }
    for (const int threads : {1, 2, 3, 5, 8}) {
      Workspace workspace(threads);
      for (int repeat = 0; repeat < 20; ++repeat) {
        ASSERT_TRUE(same_bits(product(a, w, workspace, k), expected)) << text(isa) << threads;
      }
    }
    for (Index first = 0; first < rows; ++first) {  // alone, and with some of its neighbours
      const Index n = 1 + first % 17 < rows - first ? 1 + first % 17 : rows - first;
      const Numbers<T> part(a.begin() + first * depth, a.begin() + (first + n) * depth);
      const auto y = product(part, w, one, k);
      ASSERT_TRUE(same_bits(y.data(), expected.data() + first * outputs, n * outputs)) << text(isa) << first;
    }
    for (Index offset = 0; offset < 16; ++offset) {
      Numbers<T> moved(count(rows * depth + offset)), y(count(rows * outputs + offset));
      std::copy(a.begin(), a.end(), moved.begin() + offset);
      gemm(RowsSource<T>{moved.data() + offset, rows, depth}, w, StoreSink<T>{y.data() + offset, outputs}, one, k);
      ASSERT_TRUE(same_bits(y.data() + offset, expected.data(), rows * outputs)) << text(isa) << offset;
    }
  }
}

TYPED_TEST(Gemm, AgreesAcrossInstructionSets) {
  using T = TypeParam;
  Workspace workspace(1);
  const Index rows = 64, depth = 700, outputs = 96;
  const auto a = random_numbers<T>(rows * depth, 17);
  const auto w = packed(random_numbers<T>(outputs * depth, 18), outputs, depth);
  const auto expected = product(a, w, workspace, kernels<T>(Isa::portable));
  for (const Isa isa : isas())
    EXPECT_LE(nmse(product(a, w, workspace, kernels<T>(isa)), expected), 1e-12) << text(isa);
}

// Sources and sinks: each is a GEMM's edge and a verb, so the plain GEMM with the verb by itself gives the same
// bits.

TYPED_TEST(Gemm, SourcesEqualTheirFormulaFollowedByAPlainGemm) {
  using T = TypeParam;
  const Index rows = 45, depth = 83, outputs = 20, samples = 3, per_sample = 15;
  const auto x = random_numbers<T>(rows * depth, 19, 2);
  const auto modulation = random_numbers<T>(samples * 2 * depth, 20);
  const auto affine = random_numbers<T>(2 * depth, 21);
  const auto w = packed(random_numbers<T>(outputs * depth, 22), outputs, depth);
  Workspace workspace(2);
  for (const Isa isa : isas()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const Norm norm : {Norm::layer, Norm::rms}) {
      for (int which = 0; which < 4; ++which) {
        const T* weight = which & 1 ? affine.data() : nullptr;
        const T* bias = which & 1 ? affine.data() + depth : nullptr;
        const T* shift = which & 2 ? modulation.data() : nullptr;
        const T* scale = which & 2 ? modulation.data() + depth : nullptr;
        Numbers<T> normed(x.size()), y(count(rows * outputs));
        for (Index r = 0; r < rows; ++r) {
          const Index s = r / per_sample * 2 * depth;
          T mean, rstd;
          k.statistics(norm, &x[count(r * depth)], depth, T(1e-6), &mean, &rstd);
          k.normalise(&x[count(r * depth)], depth, mean, rstd, weight, bias, scale ? scale + s : scale,
                      shift ? shift + s : shift, &normed[count(r * depth)]);
        }
        gemm(NormSource<T>{x.data(), rows, depth, norm, T(1e-6), weight, bias, scale, shift, 2 * depth, per_sample},
             w, StoreSink<T>{y.data(), outputs}, workspace, k);
        EXPECT_TRUE(same_bits(y, product(normed, w, workspace, k))) << text(isa) << which;
      }
    }
    for (const Activation activation :
         {Activation::none, Activation::gelu_tanh, Activation::gelu_erf, Activation::silu}) {
      Numbers<T> active(x.size()), y(count(rows * outputs));
      k.activate(activation, x.data(), rows * depth, active.data());
      gemm(ActivatedSource<T>{x.data(), rows, depth, activation}, w, StoreSink<T>{y.data(), outputs}, workspace, k);
      EXPECT_TRUE(same_bits(y, product(active, w, workspace, k))) << text(isa);
    }
    Numbers<T> wide(count(rows * (depth + 7)), nan_of<T>), y(count(rows * outputs));  // rows with gaps between
    for (Index r = 0; r < rows; ++r) std::copy_n(&x[count(r * depth)], depth, &wide[count(r * (depth + 7))]);
    gemm(RowsSource<T>{wide.data(), rows, depth, depth + 7}, w, StoreSink<T>{y.data(), outputs}, workspace, k);
    EXPECT_TRUE(same_bits(y, product(x, w, workspace, k))) << text(isa);
  }
}

/// Rows of `depth` numbers with `gap` NaN after each.
template <class T>
Numbers<T> with_gaps(const Numbers<T>& x, Index depth, Index gap) {
  const Index rows = static_cast<Index>(x.size()) / depth;
  Numbers<T> wide(count(rows * (depth + gap)), nan_of<T>);
  for (Index r = 0; r < rows; ++r) std::copy_n(&x[count(r * depth)], depth, &wide[count(r * (depth + gap))]);
  return wide;
}

TYPED_TEST(Gemm, ActivatesRowsWithGapsBetweenThem) {
  using T = TypeParam;
  Workspace workspace(2);
  for (const Isa isa : isas()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const auto& [rows, depth, gap] : {Shape<3>{1, 1, 3}, Shape<3>{19, 63, 1}, Shape<3>{45, 130, 17}}) {
      const auto x = random_numbers<T>(rows * depth, 61), w = random_numbers<T>(20 * depth, 62);
      const auto wide = with_gaps(x, depth, gap);
      Numbers<T> active(x.size()), y(count(rows * 20), nan_of<T>);
      k.activate(Activation::gelu_tanh, x.data(), rows * depth, active.data());
      Numbers<double> exact, size;
      loop(active, w, rows, depth, 20, exact, size);
      gemm(ActivatedSource<T>{wide.data(), rows, depth, Activation::gelu_tanh, depth + gap}, packed(w, 20, depth),
           StoreSink<T>{y.data(), 20}, workspace, k);
      expect_product(y, exact, size, depth);
      EXPECT_TRUE(same_bits(y, product(active, packed(w, 20, depth), workspace, k))) << text(isa);
    }
  }
}

TYPED_TEST(Gemm, SetsTwoSourcesSideBySide) {
  using T = TypeParam;
  Workspace workspace(2);
  for (const Isa isa : isas()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const auto& [rows, left, right] :
         {Shape<3>{1, 1, 1}, Shape<3>{17, 64, 3}, Shape<3>{45, 5, 130}, Shape<3>{33, 48, 192}}) {
      SCOPED_TRACE(text(isa) + " " + to_string(Shape<3>{rows, left, right}));
      const Index depth = left + right;
      const auto a = random_numbers<T>(rows * left, 63), b = random_numbers<T>(rows * right, 64);
      const auto w = random_numbers<T>(21 * depth, 65);
      Numbers<T> active(b.size()), both(count(rows * depth)), y(count(rows * 21), nan_of<T>);
      k.activate(Activation::gelu_tanh, b.data(), rows * right, active.data());
      for (Index r = 0; r < rows; ++r) {
        std::copy_n(&a[count(r * left)], left, &both[count(r * depth)]);
        std::copy_n(&active[count(r * right)], right, &both[count(r * depth + left)]);
      }
      Numbers<double> exact, size;
      loop(both, w, rows, depth, 21, exact, size);
      const auto wide_a = with_gaps(a, left, 5), wide_b = with_gaps(b, right, 9);
      const ConcatSource<RowsSource<T>, ActivatedSource<T>> source{
          {wide_a.data(), rows, left, left + 5}, {wide_b.data(), rows, right, Activation::gelu_tanh, right + 9}};
      EXPECT_EQ(source.depth, depth);
      gemm(source, packed(w, 21, depth), StoreSink<T>{y.data(), 21}, workspace, k);
      expect_product(y, exact, size, depth);
      EXPECT_TRUE(same_bits(y, product(both, packed(w, 21, depth), workspace, k)));
    }
  }
}

TYPED_TEST(Gemm, SinksEqualAPlainGemmFollowedByTheirFormula) {
  using T = TypeParam;
  const Index rows = 45, depth = 37, outputs = 83, stride = 90, samples = 5, per_sample = 9;
  const auto a = random_numbers<T>(rows * depth, 23), bias = random_numbers<T>(outputs, 24);
  const auto w = packed(random_numbers<T>(outputs * depth, 25), outputs, depth);
  const auto gates = random_numbers<T>(samples * 2 * outputs, 26), before = random_numbers<T>(rows * stride, 27);
  Workspace workspace(2);
  for (const Isa isa : isas()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    const RowsSource<T> source{a.data(), rows, depth};
    auto biased = product(a, w, workspace, k);
    for (std::size_t i = 0; i < biased.size(); ++i) biased[i] += bias[i % count(outputs)];
    for (const Activation activation :
         {Activation::none, Activation::gelu_tanh, Activation::gelu_erf, Activation::silu}) {
      auto expected = biased;
      k.activate(activation, expected.data(), rows * outputs, expected.data());
      auto y = before;
      gemm(source, w, StoreSink<T>{y.data(), stride, bias.data(), activation}, workspace, k);
      Numbers<T> made(biased.size()), wanted(biased.size());
      gemm(source, w, PanelsSink<T>{made.data(), outputs, bias.data(), activation}, workspace, k);
      pack(RowsSource<T>{expected.data(), rows, outputs}, wanted.data(), workspace, k);
      EXPECT_TRUE(same_bits(made, wanted)) << text(isa);
      for (Index r = 0; r < rows; ++r) {
        ASSERT_TRUE(same_bits(&y[count(r * stride)], &expected[count(r * outputs)], outputs)) << text(isa);
        ASSERT_TRUE(
            same_bits(&y[count(r * stride + outputs)], &before[count(r * stride + outputs)], stride - outputs));
      }
    }
    for (const bool gated : {false, true}) {
      auto x = before;
      gemm(source, w,
           AddGatedSink<T>{x.data(), stride, bias.data(), gated ? gates.data() : nullptr, 2 * outputs, per_sample},
           workspace, k);
      for (Index r = 0; r < rows; ++r) {
        for (Index j = 0; j < outputs; ++j) {
          const double gate = gated ? static_cast<double>(gates[count(r / per_sample * 2 * outputs + j)]) : 1;
          const double term = gate * static_cast<double>(biased[count(r * outputs + j)]);
          const double expected = static_cast<double>(before[count(r * stride + j)]) + term;
          EXPECT_NEAR(static_cast<double>(x[count(r * stride + j)]), expected,
                      eps<T> * (std::abs(expected) + std::abs(term)))
              << text(isa);
        }
        ASSERT_TRUE(
            same_bits(&x[count(r * stride + outputs)], &before[count(r * stride + outputs)], stride - outputs));
      }
    }
  }
}

TYPED_TEST(Gemm, DoublingTheGateDoublesTheResidual) {
  using T = TypeParam;
  const Index rows = 17, depth = 20, outputs = 33;
  const auto a = random_numbers<T>(rows * depth, 28), gate = random_numbers<T>(outputs, 29);
  const auto w = packed(random_numbers<T>(outputs * depth, 30), outputs, depth);
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    Numbers<T> once(count(rows * outputs), T(0)), twice = once, doubled = gate;
    for (T& g : doubled) g *= T(2);
    gemm(RowsSource<T>{a.data(), rows, depth}, w,
         AddGatedSink<T>{once.data(), outputs, nullptr, gate.data(), 0, rows}, workspace, kernels<T>(isa));
    gemm(RowsSource<T>{a.data(), rows, depth}, w,
         AddGatedSink<T>{twice.data(), outputs, nullptr, doubled.data(), 0, rows}, workspace, kernels<T>(isa));
    for (T& value : once) value *= T(2);
    EXPECT_TRUE(same_bits(once, twice)) << text(isa);
  }
}

TYPED_TEST(Gemm, TakesExactlyTheArenaThatItSays) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    for (const int threads : {1, 3}) {
      for (const auto& [rows, depth, outputs] : {Shape<3>{1, 1, 1}, Shape<3>{5, 9, 100}, Shape<3>{300, 33, 40},
                                                 Shape<3>{30, 2000, 40}, Shape<3>{150, 1600, 20}}) {
        const PackedMatrix<T> w(outputs, depth);
        const Numbers<T> a(count(rows * depth));
        Numbers<T> y(count(rows * outputs));
        Workspace workspace(threads, gemm_arena<T>(rows, depth, threads)), of_panels(threads);
        if (workspace.strands() != threads) continue;
        gemm(RowsSource<T>{a.data(), rows, depth}, w, StoreSink<T>{y.data(), outputs}, workspace, kernels<T>(isa));
        EXPECT_EQ(workspace.high_water(), gemm_arena<T>(rows, depth, threads)) << text(isa) << rows;
        EXPECT_EQ(workspace.capacity(), gemm_arena<T>(rows, depth, threads)) << "it had to grow";
        gemm(PanelsSource<T>{a.data(), rows, depth}, w, StoreSink<T>{y.data(), outputs}, of_panels,
             kernels<T>(isa));
        EXPECT_EQ(of_panels.high_water(), gemm_arena<T>(rows, depth, threads, true)) << text(isa);
      }
    }
  }
}

TYPED_TEST(Gemm, TakesEmptyOperands) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    const auto bias = random_numbers<T>(20, 31);
    Numbers<T> y(60);
    const PackedMatrix<T> no_inputs(20, 0), no_outputs(0, 4);
    gemm(RowsSource<T>{nullptr, 3, 0}, no_inputs, StoreSink<T>{y.data(), 20, bias.data()}, workspace,
         kernels<T>(isa));
    for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], bias[i % 20]);
    const Numbers<T> a(12);
    gemm(RowsSource<T>{a.data(), 3, 4}, no_outputs, StoreSink<T>{nullptr, 0}, workspace, kernels<T>(isa));
    gemm(RowsSource<T>{nullptr, 0, 0}, no_inputs, StoreSink<T>{nullptr, 20}, workspace, kernels<T>(isa));
  }
}

TYPED_TEST(Gemm, RefusesRowsOfAnotherDepth) {
  using T = TypeParam;
  Workspace workspace(1);
  const PackedMatrix<T> w(8, 16);
  Numbers<T> a(30), y(16);
  try {
    gemm(RowsSource<T>{a.data(), 2, 15}, w, StoreSink<T>{y.data(), 8}, workspace);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), errc::bad_input_shape);
  }
}

TYPED_TEST(Gemm, RunsOnASmallStack) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    on_a_small_stack([isa] {
      InlineExecutor executor;
      Workspace workspace(executor);
      const Index rows = 100, depth = 1600, outputs = 50;
      const auto a = random_numbers<T>(rows * depth, 32);
      Numbers<T> y(count(rows * outputs));
      gemm(NormSource<T>{a.data(), rows, depth, Norm::layer, T(1e-6)}, PackedMatrix<T>(outputs, depth),
           StoreSink<T>{y.data(), outputs, nullptr, Activation::gelu_erf}, workspace, kernels<T>(isa));
      for (const T value : y) ASSERT_EQ(value, T(0));
    });
  }
}

TEST(Panels, HaveAlmostEqualHeightsAndCoverAllRows) {
  for (Index most = 1; most <= 16; ++most) {
    for (Index rows = 1; rows <= 200; ++rows) {
      const Panels panels(rows, most);
      EXPECT_EQ(panels.count, (rows + most - 1) / most);
      EXPECT_EQ(panels.first(0), 0);
      EXPECT_EQ(panels.first(panels.count), rows);
      for (Index p = 0; p < panels.count; ++p) {
        EXPECT_LE(panels.height(p), most);
        EXPECT_GE(panels.height(p), rows / panels.count);
        EXPECT_LE(panels.height(p), rows / panels.count + 1);
      }
    }
  }
}

// The micro-kernel by itself.

TYPED_TEST(Gemm, EveryInstanceOfTheMicroKernelIsExactAndStaysWithinItsOperands) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    const Kernels<T>& k = kernels<T>(isa);
    for (int rows = 1; rows <= k.panel_rows; ++rows) {
      for (const int strips : {1, 2}) {
        for (const Index depth : {0, 1, 7}) {
          for (const Index w_step : {16, 32}) {
            for (const bool accumulate : {false, true}) {
              const Index w_strip = w_step == 32 ? 16 : depth * 16;
              const auto a = random_integers<T>(rows * depth, 33, 50);
              const auto b = random_integers<T>(depth * w_step * (w_step == 32 ? 1 : strips), 34, 50);
              const auto c = random_integers<T>(rows * tile_width, 35, 50);
              for (const Edge edge : {Edge::before, Edge::after}) {
                Guarded<T> panel(a, edge), w(b, edge), tile(c, edge);
                k.multiply(rows, strips, depth, panel.data(), w.data(), w_step, w_strip, accumulate, tile.data());
                for (Index r = 0; r < rows; ++r) {
                  for (Index j = 0; j < tile_width; ++j) {
                    T expected = accumulate || j >= 16 * strips ? c[count(r * tile_width + j)] : T(0);
                    for (Index d = 0; d < depth && j < 16 * strips; ++d) {
                      expected += a[count(d * rows + r)] * b[count(d * w_step + j / 16 * w_strip + j % 16)];
                    }
                    ASSERT_EQ(tile.data()[r * tile_width + j], expected)
                        << text(isa) << " rows " << rows << " strips " << strips << " depth " << depth;
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(Gemm, TransposesAnyBlockExactly) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    const Kernels<T>& k = kernels<T>(isa);
    for (Index rows = 1; rows <= 16; ++rows) {
      for (const Index columns : {1, 2, 15, 16, 17, 33}) {
        for (const Index gap : {0, 3}) {
          const Index from_stride = columns + gap, to_stride = rows + gap;
          const auto from = random_numbers<T>((rows - 1) * from_stride + columns, 36);
          for (const Edge edge : {Edge::before, Edge::after}) {
            Guarded<T> source(from, edge), target((columns - 1) * to_stride + rows, edge);
            k.transpose(source.data(), from_stride, rows, columns, target.data(), to_stride);
            for (Index c = 0; c < columns; ++c) {
              for (Index r = 0; r < rows; ++r) {
                ASSERT_EQ(target.data()[c * to_stride + r], from[count(r * from_stride + c)]) << text(isa) << rows;
              }
              for (Index r = rows; r < to_stride && c + 1 < columns; ++r) {
                ASSERT_TRUE(std::isnan(target.data()[c * to_stride + r]))
                    << text(isa) << " wrote between its columns";
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace dit
