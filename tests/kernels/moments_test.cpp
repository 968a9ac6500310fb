/// Moments of columns, and the GEMM whose strands pack their own rows.

#include "kernels/support.hpp"

namespace dit { namespace {

using namespace dit::test;

template <class T>
class Columns : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Columns, Scalars);

constexpr Index rows_of[] = {1, 2, 7, 256}, columns_of[] = {1, 4, 15, 16, 17, 63, 64, 65, 128, 130};

// A sum of n terms of size s has an error below n eps times the sum of their sizes.
TYPED_TEST(Columns, HaveTheMomentsOfALongDouble) {
  using T = TypeParam;
  for (const Isa isa : isas<T>()) {
    for (const Index rows : rows_of) {
      for (const Index columns : columns_of) {
        const Index stride = columns + 3;
        auto x = random_numbers<T>(rows * stride, static_cast<unsigned>(rows + columns));
        for (T& value : x) value += T(100);  // a large mean, which must not spoil the squares
        Numbers<T> sum(count(columns)), squares(count(columns));
        kernels<T>(isa).moments(x.data(), rows, columns, stride, sum.data(), squares.data());
        for (Index c = 0; c < columns; ++c) {
          long double s = 0, q = 0, size = 0;
          for (Index r = 0; r < rows; ++r) {
            const long double d = static_cast<long double>(x[count(r * stride + c)]) - x[count(c)];
            s += d;
            q += d * d;
            size += std::abs(d);
          }
          const double unit = static_cast<double>(rows) * std::numeric_limits<T>::epsilon();
          ASSERT_NEAR(static_cast<double>(sum[count(c)]), static_cast<double>(s), unit * static_cast<double>(size))
              << text(isa) << " " << rows << " x " << columns << ", column " << c;
          ASSERT_NEAR(static_cast<double>(squares[count(c)]), static_cast<double>(q), unit * static_cast<double>(q))
              << text(isa) << " " << rows << " x " << columns << ", column " << c;
        }
      }
    }
  }
}

TYPED_TEST(Columns, AreReadAndWrittenWithinTheirEnds) {
  using T = TypeParam;
  for (const Isa isa : isas<T>()) {
    for (const Index columns : columns_of) {
      for (const Edge edge : {Edge::before, Edge::after}) {
        Guarded<T> x(random_numbers<T>(5 * columns, 1), edge), sum(columns, edge), squares(columns, edge);
        kernels<T>(isa).moments(x.data(), 5, columns, columns, sum.data(), squares.data());
        for (const T q : squares.numbers()) ASSERT_GT(q, T(0)) << text(isa) << " " << columns;
      }
    }
  }
}

TYPED_TEST(Columns, OfNanAreNan) {
  using T = TypeParam;
  for (const Isa isa : isas<T>()) {
    Numbers<T> x(3 * 20, T(1)), sum(20), squares(20);
    x[45] = std::numeric_limits<T>::quiet_NaN();
    kernels<T>(isa).moments(x.data(), 3, 20, 20, sum.data(), squares.data());
    for (std::size_t c = 0; c < 20; ++c) {
      EXPECT_EQ(std::isnan(sum[c]), c == 5) << c;
      EXPECT_EQ(std::isnan(squares[c]), c == 5) << c;
    }
  }
}

template <class T>
class GemmInBlocks : public ::testing::Test {};
TYPED_TEST_SUITE(GemmInBlocks, Weights, WeightName);

TYPED_TEST(GemmInBlocks, GivesTheBitsOfGemm) {
  using T = TypeParam;
  using R = real<T>;
  for (const Isa isa : isas<T>()) {
    const Kernels<T> k = with_small_blocks<T>(isa);
    for (const Index rows : {1, 30, 31, 500, 1000}) {
      for (const Index depth : {1, 5, 6, 23}) {
        for (const Index outputs : {3, 16, 40, 131}) {
          const auto a = random_numbers<R>(rows * depth, 1), w = random_numbers<R>(outputs * depth, 2);
          const auto weights = packed<T>(w, outputs, depth);
          const RowsSource<R> source{a.data(), rows, depth};
          Numbers<R> expected(count(rows * outputs)), y(expected.size());
          Workspace one(1);
          gemm(source, weights, StoreSink<R>{expected.data(), outputs}, one, k);
          for (const int threads : {1, 2, 3, 4}) {
            std::fill(y.begin(), y.end(), R(-1));
            Workspace workspace(threads);
            gemm_in_blocks(source, weights, StoreSink<R>{y.data(), outputs}, workspace, k);
            ASSERT_TRUE(same_bits(y, expected)) << text(isa) << rows << " x " << depth << " x " << outputs;
          }
        }
      }
    }
  }
}

TYPED_TEST(GemmInBlocks, TakesTheMemoryThatItSays) {
  using T = TypeParam;
  using R = real<T>;
  for (const Index depth : {40, 2310, 9300}) {
    for (const Index rows : {5, 900, 2000, 9000}) {
      if (rows * depth > 9000000) continue;
      const auto a = random_numbers<R>(rows * depth, 1);
      const PackedMatrix<T> weights(3, depth);
      Numbers<R> y(count(rows * 3));
      for (const int threads : {1, 2, 3}) {
        Workspace workspace(threads);
        gemm_in_blocks(RowsSource<R>{a.data(), rows, depth}, weights, StoreSink<R>{y.data(), 3}, workspace);
        EXPECT_EQ(workspace.high_water(), gemm_in_blocks_arena<T>(rows, depth, threads)) << rows << " x " << depth;
      }
    }
  }
}

}  // namespace
}  // namespace dit
