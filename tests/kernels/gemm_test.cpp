/// sink <- source W^T against a loop in double, for every type of weights, and what never changes a bit of it.

#include "dit/kernels/gemm.hpp"

#include "kernels/gemm_support.hpp"

namespace dit { namespace {

using namespace dit::test;

template <class T>
class Gemm : public ::testing::Test {};
TYPED_TEST_SUITE(Gemm, Weights, WeightName);

TYPED_TEST(Gemm, MatchesTheDoubleLoopAcrossAllBlockEdges) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    const Index h = k.panel_rows;
    for (const Index rows : {Index{1}, h, h + 1, 2 * h - 1, 2 * h + 1, 4 * h + 1, 5 * h - 1}) {
      for (const Index outputs : {1, 15, 16, 17, 32, 33, 63, 65, 129, 145}) {
        for (const Index words : {1, 4, 5, 6, 11, 23}) {
          for (const Index depth : {words, words * word_size<T>}) {
            SCOPED_TRACE(text(isa) + " " + to_string(Shape<3>{rows, depth, outputs}));
            const auto a = random_numbers<R>(rows * depth, 1), w = random_numbers<R>(outputs * depth, 2);
            expect_product<T>(product(a, packed<T>(w, outputs, depth), workspace, k),
                              reference<T>(a, w, rows, depth, outputs), depth);
            if (word_size<T> == 1) break;
          }
        }
      }
    }
  }
}

TYPED_TEST(Gemm, MatchesTheDoubleLoopAcrossTheRealBlockEdges) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(2);
  constexpr Blocking block;
  constexpr Index depth_block = block.steps<T>() * word_size<T>;
  for (const Isa isa : isas<T>()) {
    const Kernels<T>& k = kernels<T>(isa);
    const Index task_rows = block.words / block.steps<T>();
    for (const auto& [rows, depth, outputs] :
         {Shape<3>{2, depth_block - 1, 40}, Shape<3>{k.panel_rows + 1, depth_block, 33},
          Shape<3>{task_rows + 1, depth_block + 1, 17}, Shape<3>{task_rows - 1, 2 * depth_block + 1, 8},
          Shape<3>{3, 7, 32 * block.pairs + 1}, Shape<3>{77, 300, 32 * block.pairs - 1}}) {
      SCOPED_TRACE(text(isa) + " " + to_string(Shape<3>{rows, depth, outputs}));
      const auto a = random_numbers<R>(rows * depth, 3), w = random_numbers<R>(outputs * depth, 4);
      const auto exact = reference<T>(a, w, rows, depth, outputs);
      const auto y = product(a, packed<T>(w, outputs, depth), workspace, k);
      expect_product<T>(y, exact, depth);
      EXPECT_LE(nmse(y, exact.y), 1e-12);
    }
  }
}

/// Rounding to bf16 errs by at most 2^-8 of a number, evenly: with mantissas as they are a variance of 2.8e-6 for
/// each operand. int8 has steps of max / 127 with a variance of a twelfth of their square, and of some thousand
/// normal numbers none is beyond 5.
TYPED_TEST(Gemm, IsCloseToTheProductOfWhatWasNotRounded) {
  using T = TypeParam;
  using R = real<T>;
  const double most = is_int8<T> ? 2 * (5. / 127) * (5. / 127) / 12 : std::is_same_v<T, bf16> ? 1e-5 : 1e-12;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    for (const Index depth : {64, 1152, 4609}) {
      const auto a = random_numbers<R>(20 * depth, 3), w = random_numbers<R>(40 * depth, 4);
      EXPECT_LE(nmse(product(a, packed<T>(w, 40, depth), workspace, kernels<T>(isa)), loop(a, w, 20, depth, 40).y),
                most)
          << text(isa) << depth;
    }
  }
}

/// Row i of A W^T depends on row i of A alone and column j on row j of W, so one reference serves all sizes.
TYPED_TEST(Gemm, IsExactOnIntegersOfEverySmallSize) {
  using T = TypeParam;
  using R = real<T>;
  constexpr Index most_rows = 35, most_outputs = 70;
  Workspace workspace(1);
  for (const Index depth : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 31, 32, 33, 63, 64, 65}) {
    const auto a = whole_numbers<T>(most_rows, depth, 5), w = whole_numbers<T>(most_outputs, depth, 6);
    const auto exact = loop(a, w, most_rows, depth, most_outputs);
    for (Index outputs = 1; outputs <= most_outputs; outputs += outputs % 16 < 2 || outputs % 16 == 15 ? 1 : 5) {
      const auto weights = packed<T>(Numbers<R>(w.begin(), w.begin() + outputs * depth), outputs, depth);
      for (const Isa isa : isas<T>()) {
        const Kernels<T> k = with_small_blocks<T>(isa);
        for (Index rows = 1; rows <= most_rows; rows += rows < 18 ? 1 : 3) {
          const auto y = product(Numbers<R>(a.begin(), a.begin() + rows * depth), weights, workspace, k);
          for (Index i = 0; i < rows * outputs; ++i) {
            ASSERT_EQ(static_cast<double>(y[count(i)]), exact.y[count(i / outputs * most_outputs + i % outputs)])
                << text(isa) << " " << to_string(Shape<3>{rows, depth, outputs}) << " number " << i;
          }
        }
      }
    }
  }
}

TYPED_TEST(Gemm, TimesTheIdentityIsTheIdentity) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(1);
  const Index n = 53, rows = 31;
  const R one = is_int8<T> ? 127 : 1;  // with a scale of 1
  Numbers<R> identity(count(n * n), R(0));
  for (Index i = 0; i < n; ++i) identity[count(i * n + i)] = one;
  auto a = random_numbers<R>(rows * n, 5);
  if constexpr (is_int8<T>) {
    a = whole_numbers<T>(rows, n, 5);
  } else {
    for (R& x : a) x = static_cast<R>(static_cast<T>(x));
  }
  auto expected = a;
  for (R& x : expected) x *= one;
  for (const Isa isa : isas<T>()) {
    EXPECT_TRUE(same_bits(product(a, packed<T>(identity, n, n), workspace, with_small_blocks<T>(isa)), expected))
        << text(isa);
  }
}

TYPED_TEST(Gemm, CommutesWithPowersOfTwo) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    const Index rows = 19, depth = 70, outputs = 37;
    auto a = random_numbers<R>(rows * depth, 6);
    const auto w = packed<T>(random_numbers<R>(outputs * depth, 7), outputs, depth);
    auto y = product(a, w, workspace, kernels<T>(isa));
    for (R& value : a) value *= R(1024);
    for (R& value : y) value *= R(1024);
    EXPECT_TRUE(same_bits(product(a, w, workspace, kernels<T>(isa)), y)) << text(isa);
  }
}

TYPED_TEST(Gemm, GivesTheSameBitsForAnyThreadsBlocksBatchAndAlignment) {
  using T = TypeParam;
  using R = real<T>;
  const Index rows = 71, depth = 43, outputs = 150;
  const auto a = random_numbers<R>(rows * depth, 15);
  const auto w = packed<T>(random_numbers<R>(outputs * depth, 16), outputs, depth);
  for (const Isa isa : isas<T>()) {
    Workspace one(1);
    const Kernels<T> k = with_small_blocks<T>(isa);
    const auto expected = product(a, w, one, k);
    for (const auto& [words, pairs] : {Shape<2>{1, 1}, Shape<2>{1000, 1}, Shape<2>{1, 100}, Shape<2>{160, 3}}) {
      Kernels<T> other = k;
      other.blocking.words = words, other.blocking.pairs = pairs;
      ASSERT_TRUE(same_bits(product(a, w, one, other), expected)) << text(isa) << words << pairs;
    }
    for (const int threads : {1, 2, 3, 4, 5, 8}) {
      Workspace workspace(threads);
      for (int repeat = 0; repeat < 20; ++repeat) {
        ASSERT_TRUE(same_bits(product(a, w, workspace, k), expected)) << text(isa) << threads;
      }
    }
    for (Index first = 0; first < rows; ++first) {  // alone, and with some of its neighbours
      const Index n = 1 + first % 17 < rows - first ? 1 + first % 17 : rows - first;
      const Numbers<R> part(a.begin() + first * depth, a.begin() + (first + n) * depth);
      const auto y = product(part, w, one, k);
      ASSERT_TRUE(same_bits(y.data(), expected.data() + first * outputs, n * outputs)) << text(isa) << first;
    }
    for (Index offset = 0; offset < 16; ++offset) {
      Numbers<R> moved(count(rows * depth + offset)), y(count(rows * outputs + offset));
      std::copy(a.begin(), a.end(), moved.begin() + offset);
      gemm(RowsSource<R>{moved.data() + offset, rows, depth}, w, StoreSink<R>{y.data() + offset, outputs}, one, k);
      ASSERT_TRUE(same_bits(y.data() + offset, expected.data(), rows * outputs)) << text(isa) << offset;
    }
  }
}

/// 1e-12 in float. In bf16 operands are the same on all machines, so it holds there too; int8 has the same integers
/// and the same three roundings.
TYPED_TEST(Gemm, AgreesAcrossInstructionSets) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(1);
  const Index rows = 64, depth = 2500, outputs = 96;
  const auto a = random_numbers<R>(rows * depth, 17);
  const auto w = packed<T>(random_numbers<R>(outputs * depth, 18), outputs, depth);
  const auto expected = product(a, w, workspace, kernels<T>(Isa::portable));
  for (const Isa isa : isas<T>()) {
    const auto y = product(a, w, workspace, kernels<T>(isa));
    EXPECT_LE(nmse(y, expected), 1e-12) << text(isa);
    if constexpr (is_int8<T>) {
      EXPECT_TRUE(same_bits(y, expected)) << text(isa);
    }
  }
}

TYPED_TEST(Gemm, TakesExactlyTheArenaThatItSays) {
  using T = TypeParam;
  using R = real<T>;
  for (const Isa isa : isas<T>()) {
    for (const int threads : {1, 3}) {
      for (const auto& [rows, depth, outputs] :
           {Shape<3>{1, 1, 1}, Shape<3>{5, 9, 100}, Shape<3>{300, 33, 40}, Shape<3>{30, 2000, 40},
            Shape<3>{150, 2400, 20}, Shape<3>{17, 4 * 2304 + 5, 3}, Shape<3>{100, 9300, 3}}) {
        const PackedMatrix<T> w(outputs, depth);
        const Numbers<R> a(count(rows * depth));
        Numbers<R> y(count(rows * outputs));
        Workspace workspace(threads, gemm_arena<T>(rows, depth, threads)), of_panels(threads), packing(threads);
        if (workspace.strands() != threads) continue;
        gemm(RowsSource<R>{a.data(), rows, depth}, w, StoreSink<R>{y.data(), outputs}, workspace, kernels<T>(isa));
        EXPECT_EQ(workspace.high_water(), gemm_arena<T>(rows, depth, threads)) << text(isa) << rows;
        EXPECT_EQ(workspace.capacity(), gemm_arena<T>(rows, depth, threads)) << "it had to grow";
        const auto scope = packing.scope();
        const auto panels = pack(RowsSource<R>{a.data(), rows, depth}, packing, kernels<T>(isa));
        EXPECT_EQ(packing.high_water(), panels_bytes<T>(rows, depth)) << text(isa);
        gemm(panels, w, StoreSink<R>{y.data(), outputs}, of_panels, kernels<T>(isa));
        EXPECT_EQ(of_panels.high_water(), gemm_arena<T>(rows, depth, threads, true)) << text(isa);
      }
    }
  }
}

TYPED_TEST(Gemm, TakesEmptyOperands) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    const auto bias = random_numbers<R>(20, 31);
    Numbers<R> y(60);
    const PackedMatrix<T> no_inputs(20, 0), no_outputs(0, 4);
    gemm(RowsSource<R>{nullptr, 3, 0}, no_inputs, StoreSink<R>{y.data(), 20, bias.data()}, workspace,
         kernels<T>(isa));
    for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], bias[i % 20]);
    const Numbers<R> a(12);
    gemm(RowsSource<R>{a.data(), 3, 4}, no_outputs, StoreSink<R>{nullptr, 0}, workspace, kernels<T>(isa));
    gemm(RowsSource<R>{nullptr, 0, 0}, no_inputs, StoreSink<R>{nullptr, 20}, workspace, kernels<T>(isa));
  }
}

TYPED_TEST(Gemm, RefusesRowsOfAnotherDepth) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(1);
  const PackedMatrix<T> w(8, 16);
  Numbers<R> a(30), y(16);
  try {
    gemm(RowsSource<R>{a.data(), 2, 15}, w, StoreSink<R>{y.data(), 8}, workspace);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), errc::bad_input_shape);
  }
}

TYPED_TEST(Gemm, RunsOnASmallStack) {
  using T = TypeParam;
  using R = real<T>;
  for (const Isa isa : isas<T>()) {
    on_a_small_stack([isa] {
      InlineExecutor executor;
      Workspace workspace(executor);
      const Index rows = 100, depth = 1600, outputs = 50;
      const auto a = random_numbers<R>(rows * depth, 32);
      Numbers<R> y(count(rows * outputs));
      gemm(NormSource<R>{a.data(), rows, depth, Norm::layer, R(1e-6)}, PackedMatrix<T>(outputs, depth),
           StoreSink<R>{y.data(), outputs, nullptr, Activation::gelu_erf}, workspace, kernels<T>(isa));
      for (const R value : y) ASSERT_EQ(value, R(0));
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

}  // namespace
}  // namespace dit
