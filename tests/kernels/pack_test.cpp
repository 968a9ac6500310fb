/// Weights go into strips and come back as they were.

#include "dit/kernels/pack.hpp"

#include "kernels/support.hpp"

namespace dit {
namespace {

using namespace dit::test;

static_assert(PackedMatrix<float>::bytes(1152, 1152) == 1152 * 1152 * 4, "no padding where rows fill their strips");
static_assert(PackedMatrix<float>::bytes(17, 10) == 32 * 10 * 4);
static_assert(PackedMatrix<double>::bytes(0, 10) == 0);

TEST(PackedMatrix, GivesBackItsRowsExactlyHoweverTheyWereSet) {
  for (const Index rows : {1, 7, 15, 16, 17, 31, 33, 64, 100}) {
    for (const Index depth : {1, 3, 15, 16, 17, 40, 65}) {
      const auto w = random_numbers<float>(rows * depth, static_cast<unsigned>(rows + depth));
      for (const Index at_once : {Index{1}, Index{5}, Index{16}, Index{23}, rows}) {
        PackedMatrix<float> p(rows, depth);
        for (Index first = 0; first < rows; first += at_once) {
          p.set_rows(first, std::min(at_once, rows - first), w.data() + first * depth);
        }
        for (const Index back_at_once : {Index{3}, Index{16}, rows}) {
          Numbers<float> back(w.size());
          for (Index first = 0; first < rows; first += back_at_once) {
            p.get_rows(first, std::min(back_at_once, rows - first), back.data() + first * depth);
          }
          ASSERT_TRUE(same_bits(back, w)) << rows << " x " << depth << ", " << at_once << " at once";
        }
      }
    }
  }
}

TEST(PackedMatrix, LaysStripsOfSixteenOutputsWithZerosInTheLast) {
  const Index rows = 21, depth = 9;
  const auto w = random_numbers<double>(rows * depth, 1);
  const auto p = packed(w, rows, depth);
  ASSERT_EQ(p.strips(), 2);
  for (Index s = 0; s < p.strips(); ++s) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p.strip(s)) % 64, 0u);
    for (Index k = 0; k < depth; ++k) {
      for (Index i = 0; i < strip_width; ++i) {
        const Index row = s * strip_width + i;
        EXPECT_EQ(p.strip(s)[k * strip_width + i], row < rows ? w[count(row * depth + k)] : 0.0);
      }
    }
  }
}

TEST(PackedMatrix, TouchesNoRowsButThoseThatAreSet) {
  const Index rows = 40, depth = 20;
  const auto w = random_numbers<float>(rows * depth, 2), other = random_numbers<float>(rows * depth, 3);
  for (Index first = 0; first < rows; ++first) {
    for (const Index n : {Index{1}, Index{2}, Index{18}}) {
      if (first + n > rows) continue;
      auto p = packed(w, rows, depth);
      p.set_rows(first, n, other.data());
      auto expected = w;
      std::copy_n(other.begin(), n * depth, expected.begin() + first * depth);
      Numbers<float> back(w.size());
      p.get_rows(0, rows, back.data());
      ASSERT_TRUE(same_bits(back, expected)) << first << " " << n;
    }
  }
}

TEST(PackedMatrix, StaysWithinTheRowsGiven) {
  for (const Edge edge : {Edge::before, Edge::after}) {
    for (const Index depth : {1, 15, 16, 33}) {
      const auto w = random_numbers<float>(19 * depth, 4);
      Guarded<float> source(w, edge), target(19 * depth, edge);
      PackedMatrix<float> p(19, depth);
      p.set_rows(0, 19, source.data());
      p.get_rows(0, 19, target.data());
      EXPECT_TRUE(same_bits(target.numbers(), w));
    }
  }
}

TEST(PackedMatrix, StoresBfloat16AsTheNearestOne) {
  const auto w = random_numbers<float>(5 * 7, 5);
  const auto p = [&] {
    PackedMatrix<bf16> q(5, 7);
    q.set_rows(0, 5, w.data());
    return q;
  }();
  Numbers<float> back(w.size());
  p.get_rows(0, 5, back.data());
  for (std::size_t i = 0; i < w.size(); ++i) EXPECT_EQ(back[i], static_cast<float>(bf16(w[i])));
}

#if !defined(DIT_TEST_SANITIZED)
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
