/// A GEMM keeps to its operands: nothing is read or written beyond them, and no NaN gets where it does not belong.

#include "kernels/gemm_support.hpp"

namespace dit { namespace {

using namespace dit::test;

template <class T>
class GemmEdges : public ::testing::Test {};
TYPED_TEST_SUITE(GemmEdges, Weights, WeightName);

/// Rows that are finite are what they were; the others have nothing finite.
template <class R>
void expect_only_row(const Numbers<R>& y, const Numbers<R>& clean, Index poisoned, Index outputs,
                     const std::string& where) {
  for (Index i = 0; i < static_cast<Index>(y.size()); ++i) {
    if (i / outputs == poisoned) {
      ASSERT_FALSE(std::isfinite(y[count(i)])) << where << " row " << poisoned;
    } else {
      ASSERT_EQ(y[count(i)], clean[count(i)]) << where << " row " << i / outputs << " saw row " << poisoned;
    }
  }
}

/// With int8 an infinity makes 0 times infinity, too, which is a NaN; all others keep it what it is.
TYPED_TEST(GemmEdges, KeepWhatIsNotFiniteInItsRow) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(1);
  const Index rows = 30, outputs = 21;
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const Index depth : {1, 13, 70}) {
      const auto a = random_numbers<R>(rows * depth, 8);
      const auto w = packed<T>(random_numbers<R>(outputs * depth, 9), outputs, depth);
      const auto clean = product(a, w, workspace, k);
      for (const Index poisoned : {0, 13, 14, 29}) {
        for (Index at = 0; at < depth; at += depth < 20 ? 1 : 3) {
          for (const R bad : {nan_of<R>, R(INFINITY), R(-INFINITY)}) {
            auto b = a;
            b[count(poisoned * depth + at)] = bad;
            const std::string where = text(isa) + " " + std::to_string(bad) + " at " + std::to_string(at);
            expect_only_row(product(b, w, workspace, k), clean, poisoned, outputs, where);
            // The same as a model stores it.
            const auto stored_a = as_stored<T>(a), stored_b = as_stored<T>(b);
            Numbers<R> y(clean.size()), of_clean(clean.size());
            gemm(RowsSource<stored<T>>{stored_a.data(), rows, depth}, w, StoreSink<R>{of_clean.data(), outputs},
                 workspace, k);
            gemm(RowsSource<stored<T>>{stored_b.data(), rows, depth}, w, StoreSink<R>{y.data(), outputs}, workspace,
                 k);
            expect_only_row(y, of_clean, poisoned, outputs, where + " stored");
          }
        }
      }
    }
  }
}

TYPED_TEST(GemmEdges, KeepWhatIsNotFiniteInItsColumn) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(1);
  const Index rows = 17, outputs = 37, depth = 21;
  const auto a = random_numbers<R>(rows * depth, 8), w = random_numbers<R>(outputs * depth, 9);
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    const auto clean = product(a, packed<T>(w, outputs, depth), workspace, k);
    for (const Index column : {0, 15, 16, 36}) {
      for (const R bad : {nan_of<R>, R(INFINITY)}) {
        auto v = w;
        v[count(column * depth + 7)] = bad;
        const auto y = product(a, packed<T>(v, outputs, depth), workspace, k);
        for (Index i = 0; i < rows * outputs; ++i) {
          if (i % outputs == column) {
            ASSERT_FALSE(std::isfinite(y[count(i)])) << text(isa) << " " << bad;
          } else {
            ASSERT_EQ(y[count(i)], clean[count(i)]) << text(isa) << " " << bad;
          }
        }
      }
    }
  }
}

TYPED_TEST(GemmEdges, GiveZeroForRowsOfZeros) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(1);
  const Index rows = 20, outputs = 21, depth = 37;
  auto a = random_numbers<R>(rows * depth, 8), w = random_numbers<R>(outputs * depth, 9);
  std::fill_n(&a[count(7 * depth)], depth, R(0));
  std::fill_n(&w[count(5 * depth)], depth, R(0));
  for (const Isa isa : isas<T>()) {
    const auto y = product(a, packed<T>(w, outputs, depth), workspace, with_small_blocks<T>(isa));
    for (Index i = 0; i < rows * outputs; ++i) {
      const bool zero = i / outputs == 7 || i % outputs == 5;
      ASSERT_EQ(y[count(i)] == R(0), zero) << text(isa) << " " << i;
    }
  }
}

/// What fills a last strip beyond the outputs is never seen.
TYPED_TEST(GemmEdges, DoNotReadOutputsThatAreNone) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(1);
  const Index rows = 30, depth = 13, outputs = 21, of_last = outputs - 16;
  const auto a = random_numbers<R>(rows * depth, 8);
  const auto w = packed<T>(random_numbers<R>(outputs * depth, 9), outputs, depth);
  for (const Isa isa : isas<T>()) {
    auto poisoned = packed<T>(Numbers<R>(count(outputs * depth)), outputs, depth);
    poisoned.copy(w);
    auto* const strip = const_cast<T*>(poisoned.strip(1));
    for (Index k = 0; k < words<T>(depth); ++k) {
      std::fill(strip + (k * 16 + of_last) * word_size<T>, strip + (k * 16 + 16) * word_size<T>, poison<T>());
    }
    if constexpr (is_int8<T>) {
      std::fill_n(const_cast<float*>(poisoned.scale()) + outputs, 32 - outputs, nan_of<float>);
      std::fill_n(const_cast<std::int32_t*>(poisoned.correction()) + outputs, 32 - outputs, 0x55555555);
    }
    const Kernels<T> k = with_small_blocks<T>(isa);
    EXPECT_TRUE(same_bits(product(a, poisoned, workspace, k), product(a, w, workspace, k))) << text(isa);
  }
}

/// A source's panels, each by itself, in memory of the test's.
template <class T, class Source>
PanelsSource<T> pack_into(const Source& source, T* panels, float* scale, const Kernels<T>& k) {
  const Panels cut(source.rows, k.panel_rows);
  for (Index p = 0; p < cut.count; ++p) {
    const Index first = cut.first(p);
    pack_panel(k, source, first, cut.height(p), panels + first * padded<T>(source.depth),
               scale ? scale + first : scale);
  }
  return {panels, source.rows, source.depth, scale};
}
template <class T>
bool has_nan(const Guarded<T>& x) {
  for (const T value : x.numbers()) {
    if constexpr (!std::is_integral_v<T>) {
      if (std::isnan(static_cast<double>(value))) return true;
    }
  }
  return false;
}

TYPED_TEST(GemmEdges, StayWithinTheirOperands) {
  using T = TypeParam;
  using R = real<T>;
  using S = stored<T>;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const Edge edge : {Edge::before, Edge::after}) {
      for (const Index rows : {1, 5, 14, 15, 29}) {
        for (const Index depth : {1, 2, 15, 33, 65, 130}) {
          for (const Index outputs : {1, 16, 31, 50}) {
            SCOPED_TRACE(text(isa) + " " + to_string(Shape<3>{rows, depth, outputs}));
            const auto w = packed<T>(random_numbers<R>(outputs * depth, 10), outputs, depth);
            const Index size = rows * padded<T>(depth), next_size = rows * padded<T>(outputs);
            Guarded<R> a(random_numbers<R>(rows * depth, 11), edge), y(rows * outputs, edge);
            Guarded<R> bias(random_numbers<R>(outputs, 12), edge), x(random_numbers<R>(rows * outputs, 13), edge);
            Guarded<S> stored_a(as_stored<T>(random_numbers<R>(rows * depth, 11)), edge), z(rows * outputs, edge);
            Guarded<T> panels(size, edge), next(next_size, edge);
            Guarded<R> scale(random_numbers<R>(depth, 14), edge);
            Guarded<float> scales(rows, edge);
            float* const row_scales = is_int8<T> ? scales.data() : nullptr;
            const auto packing = [&](const auto& source) {
              const auto result = pack_into(source, panels.data(), row_scales, k);
              ASSERT_FALSE(has_nan(panels));
              if (row_scales) {
                ASSERT_FALSE(has_nan(scales));
              }
              static_cast<void>(result);
            };
            packing(NormSource<R>{a.data(), rows, depth, Norm::layer, R(1e-6), scale.data(), scale.data(),
                                  scale.data(), scale.data(), 0, rows});
            packing(RowsSource<S>{stored_a.data(), rows, depth});
            const auto source = pack_into(RowsSource<R>{a.data(), rows, depth}, panels.data(), row_scales, k);
            gemm(source, w, StoreSink<R>{y.data(), outputs, bias.data(), Activation::gelu_tanh}, workspace, k);
            gemm(source, w, StoreSink<R, S>{z.data(), outputs, bias.data(), Activation::silu, outputs / 2},
                 workspace, k);
            gemm(source, w, AddGatedSink<R>{x.data(), outputs, bias.data(), bias.data()}, workspace, k);
            if constexpr (!is_int8<T>) {
              gemm(source, w, PanelsSink<T>{next.data(), outputs, bias.data()}, workspace, k);
              ASSERT_FALSE(has_nan(next));
            }
            ASSERT_FALSE(has_nan(y));
            ASSERT_FALSE(has_nan(x));
            ASSERT_FALSE(has_nan(z));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace dit
