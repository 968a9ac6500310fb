/// Weights go into strips and come back as they were.

#include "dit/kernels/pack.hpp"

#include "kernels/support.hpp"
#include "sanitized.hpp"

namespace dit { namespace {

using namespace dit::test;

static_assert(PackedMatrix<float>::bytes(1152, 1152) == 1152 * 1152 * 4, "no padding where rows fill their strips");
static_assert(PackedMatrix<float>::bytes(17, 10) == 32 * 10 * 4);
static_assert(PackedMatrix<double>::bytes(0, 10) == 0);
static_assert(PackedMatrix<bf16>::bytes(1152, 1152) == 1152 * 1152 * 2);
static_assert(PackedMatrix<bf16>::bytes(17, 9) == 32 * 10 * 2, "a word is two numbers");
static_assert(PackedMatrix<int8>::bytes(1152, 1152) == 1152 * 1152 + 1152 * 8,
              "a scale and a correction for each row");
static_assert(PackedMatrix<int8>::bytes(17, 9) == 32 * 12 + 32 * 8, "a word is four numbers");

template <class T>
class PackedMatrices : public ::testing::Test {};
TYPED_TEST_SUITE(PackedMatrices, Weights, WeightName);

/// What comes back of rows: the numbers, rounded as T rounds them.
template <class T>
Numbers<real<T>> rounded(const Numbers<real<T>>& w, Index depth) {
  if constexpr (is_int8<T>) {
    const Quantised q(w, depth);
    Numbers<float> back(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) back[i] = static_cast<float>(q.q[i]) * q.scale[i / count(depth)];
    return back;
  } else {
    const auto exact = seen<T>(w, depth);
    return Numbers<real<T>>(exact.begin(), exact.end());
  }
}

TYPED_TEST(PackedMatrices, GiveBackTheirRowsHoweverTheyWereSet) {
  using T = TypeParam;
  using R = real<T>;
  for (const Index rows : {1, 7, 15, 16, 17, 31, 33, 64, 100}) {
    for (const Index depth : {1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 40, 65, 129}) {
      const auto w = random_numbers<R>(rows * depth, static_cast<unsigned>(rows + depth));
      const auto expected = rounded<T>(w, depth);
      for (const Index at_once : {Index{1}, Index{5}, Index{16}, Index{23}, rows}) {
        PackedMatrix<T> p(rows, depth);
        for (Index first = 0; first < rows; first += at_once) {
          p.set_rows(first, std::min(at_once, rows - first), w.data() + first * depth);
        }
        for (const Index back_at_once : {Index{3}, Index{16}, rows}) {
          Numbers<R> back(w.size());
          for (Index first = 0; first < rows; first += back_at_once) {
            p.get_rows(first, std::min(back_at_once, rows - first), back.data() + first * depth);
          }
          ASSERT_TRUE(same_bits(back, expected)) << rows << " x " << depth << ", " << at_once << " at once";
        }
      }
    }
  }
}

/// All of the matrix, number by number, and zeros around them.
TYPED_TEST(PackedMatrices, LieInStripsOfSixteenOutputsWithZerosInTheLast) {
  using T = TypeParam;
  using R = real<T>;
  constexpr Index word = word_size<T>;
  for (const auto& [rows, depth] : {Shape<2>{21, 9}, Shape<2>{16, 8}, Shape<2>{1, 1}, Shape<2>{33, 66}}) {
    const auto w = random_numbers<R>(rows * depth, 1);
    const auto p = packed<T>(w, rows, depth);
    ASSERT_EQ(p.strips(), (rows + 15) / 16);
    for (Index s = 0; s < p.strips(); ++s) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p.strip(s)) % (depth % 4 == 0 ? 64 : word * 4), 0u);
      for (Index k = 0; k < padded<T>(depth); ++k) {
        for (Index i = 0; i < strip_width; ++i) {
          const Index row = s * strip_width + i;
          const double got = static_cast<double>(p.strip(s)[(k / word * strip_width + i) * word + k % word]);
          double expected = 0;
          if (row < rows && k < depth) {
            const auto at = count(row * depth + k);
            if constexpr (is_int8<T>) {
              expected = Quantised(w, depth).q[at];
            } else {
              expected = static_cast<double>(static_cast<T>(w[at]));
            }
          }
          ASSERT_EQ(got, expected) << to_string(Shape<3>{row, k, depth});
        }
      }
    }
  }
}

/// The correction takes back what is added to every activation.
TEST(PackedMatrix, OfInt8HasTheScaleAndTheCorrectionOfEveryRow) {
  for (const auto& [rows, depth] : {Shape<2>{1, 1}, Shape<2>{21, 9}, Shape<2>{33, 260}, Shape<2>{5, 65536}}) {
    const auto w = random_numbers<float>(rows * depth, 6);
    const Quantised q(w, depth);
    for (const bool one_by_one : {false, true}) {
      PackedMatrix<int8> p(rows, depth);
      for (Index r = 0; r < rows; r += one_by_one ? 1 : rows) {
        p.set_rows(r, one_by_one ? 1 : rows, w.data() + r * depth);
      }
      for (Index r = 0; r < rows; ++r) {
        std::int32_t sum = 0;
        for (Index k = 0; k < depth; ++k) sum += q.q[count(r * depth + k)];
        EXPECT_EQ(p.scale()[r], q.scale[count(r)]);
        EXPECT_EQ(p.correction()[r], -128 * sum);
      }
      for (Index r = rows; r < p.strips() * strip_width; ++r) {
        EXPECT_EQ(p.scale()[r], 0);
        EXPECT_EQ(p.correction()[r], 0);
      }
    }
  }
  EXPECT_EQ(packed<bf16>({1, 2}, 1, 2).scale(), nullptr);
  EXPECT_EQ(packed<bf16>({1, 2}, 1, 2).correction(), nullptr);
}

TEST(PackedMatrix, OfInt8IsNotDeeperThanItsSumsAllow) {
  EXPECT_NO_THROW(PackedMatrix<int8>(1, 65536));
  EXPECT_NO_THROW(PackedMatrix<bf16>(1, 65537));
  try {
    PackedMatrix<int8> p(1, 65537);
    FAIL() << "65537 products of 255 * 127 exceed 32 bits";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), errc::bad_config);
  }
}

/// A row that is not finite has no scale; its neighbours keep theirs.
TEST(PackedMatrix, OfInt8HasNoFiniteScaleForARowThatIsNotFinite) {
  for (const float bad : {nan_of<float>, INFINITY, -INFINITY}) {
    for (Index at = 0; at < 70; at += 3) {
      auto w = random_numbers<float>(20 * 70, 7);
      const auto clean = packed<int8>(w, 20, 70);
      w[count(17 * 70 + at)] = bad;
      const auto p = packed<int8>(w, 20, 70);
      for (Index r = 0; r < 20; ++r) {
        if (r == 17) {
          EXPECT_FALSE(std::isfinite(p.scale()[r])) << bad << " at " << at;
        } else {
          EXPECT_EQ(p.scale()[r], clean.scale()[r]);
          EXPECT_EQ(p.correction()[r], clean.correction()[r]);
        }
      }
    }
  }
}

/// What is stored in a checkpoint as it will be here is not rounded: every bit stays, of NaN and tiny numbers as
/// well.
TEST(PackedMatrix, OfBfloat16KeepsTheBitsOfBfloat16) {
  for (const Index depth : {1, 2, 31, 32, 33, 64, 127}) {
    const Index rows = 35;
    std::mt19937 engine(8);
    Numbers<bf16> w(count(rows * depth));
    for (bf16& value : w) {
      const auto bits = static_cast<std::uint16_t>(engine());
      std::memcpy(static_cast<void*>(&value), &bits, sizeof bits);
    }
    PackedMatrix<bf16> p(rows, depth);
    for (Index first = 0; first < rows; first += 9) {
      p.set_rows(first, std::min<Index>(9, rows - first), w.data() + first * depth);
    }
    Numbers<bf16> back(w.size());
    p.get_rows(0, rows, back.data());
    EXPECT_TRUE(same_bits(back, w)) << depth;
  }
}

TYPED_TEST(PackedMatrices, TouchNoRowsButThoseThatAreSet) {
  using T = TypeParam;
  using R = real<T>;
  const Index rows = 40, depth = 20;
  const auto w = random_numbers<R>(rows * depth, 2), other = random_numbers<R>(rows * depth, 3);
  for (Index first = 0; first < rows; ++first) {
    for (const Index n : {Index{1}, Index{2}, Index{18}}) {
      if (first + n > rows) continue;
      auto p = packed<T>(w, rows, depth);
      p.set_rows(first, n, other.data());
      auto expected = w;
      std::copy_n(other.begin(), n * depth, expected.begin() + first * depth);
      const auto whole = packed<T>(expected, rows, depth);
      ASSERT_EQ(std::memcmp(p.strip(0), whole.strip(0), PackedMatrix<T>::bytes(rows, depth)), 0)
          << first << " " << n;
    }
  }
}

/// Where all rows will be set nothing but what lies around them need be zero: the same matrix.
TYPED_TEST(PackedMatrices, MayLeaveTheirMemoryToThoseWhoSetTheRows) {
  using T = TypeParam;
  using R = real<T>;
  for (const auto& [rows, depth] : {Shape<2>{1, 3}, Shape<2>{16, 8}, Shape<2>{37, 65}, Shape<2>{200, 129}}) {
    const auto w = random_numbers<R>(rows * depth, 9);
    auto p = PackedMatrix<T>::with_rows_to_set(rows, depth);
    for (Index first = 0; first < rows; first += 16) {
      p.set_rows(first, std::min<Index>(16, rows - first), w.data() + first * depth);
    }
    const auto whole = packed<T>(w, rows, depth);
    ASSERT_EQ(std::memcmp(p.strip(0), whole.strip(0), PackedMatrix<T>::bytes(rows, depth)), 0) << rows;
    PackedMatrix<T> copy(rows, depth);
    copy.copy(p);
    ASSERT_EQ(std::memcmp(copy.strip(0), p.strip(0), PackedMatrix<T>::bytes(rows, depth)), 0) << rows;
  }
}

TYPED_TEST(PackedMatrices, StayWithinTheRowsGiven) {
  using T = TypeParam;
  using R = real<T>;
  for (const Edge edge : {Edge::before, Edge::after}) {
    for (const Index depth : {1, 15, 16, 33, 65, 130}) {
      const auto w = random_numbers<R>(19 * depth, 4);
      Guarded<R> source(w, edge), target(19 * depth, edge);
      PackedMatrix<T> p(19, depth);
      p.set_rows(0, 19, source.data());
      p.get_rows(0, 19, target.data());
      EXPECT_TRUE(same_bits(target.numbers(), rounded<T>(w, depth)));
    }
  }
}

#if !DIT_TEST_SANITIZED
TEST(PackedMatrix, SaysHowMuchMemoryItCouldNotGet) {
  try {
    PackedMatrix<float> p(Index{1} << 30, Index{1} << 27);
    FAIL() << "2^59 bytes";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), errc::out_of_memory);
  }
}
#endif

TEST(PackedMatrix, IsEmptyUntilItHasAShape) {
  EXPECT_TRUE(PackedMatrix<float>().empty());
  EXPECT_FALSE(PackedMatrix<float>(1, 1).empty());
}

}  // namespace
}  // namespace dit
