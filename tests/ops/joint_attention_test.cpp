/// Attention among several streams of tokens, against attention on their concatenation.

#include "dit/ops/attention.hpp"

#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class JointAttentions : public testing::Test {};
TYPED_TEST_SUITE(JointAttentions, Scalars, ScalarName);

/// q, k and v of one stream side by side, [B, N, row], of which the first 3 width features count.
template <class T>
struct Qkv {
  Index batch, count, row;
  std::vector<T> numbers;
  std::vector<T> nowhere{std::vector<T>(static_cast<std::size_t>(row))};  ///< where no tokens are

  Qkv(Index batch_, Index count_, Index row_, unsigned seed)
      : batch(batch_), count(count_), row(row_), numbers(normal<T>(batch_ * count_ * row_, seed)) {}

  template <int width>
  Heads<T, width> heads() {
    T* const q = numbers.empty() ? nowhere.data() : numbers.data();
    return {q, q + width, q + 2 * width, q, batch, count, row, row};
  }
  /// Where the answer is after the attention.
  std::vector<T> answer(int width) const {
    std::vector<T> out;
    for (Index t = 0; t < batch * count; ++t) {
      out.insert(out.end(), numbers.begin() + t * row, numbers.begin() + t * row + width);
    }
    return out;
  }
};

template <class T>
using Sides = std::vector<Qkv<T>>;

/// Streams of `counts` tokens.
template <class T>
Sides<T> random_sides(Index batch, const std::vector<Index>& counts, Index row) {
  Sides<T> sides;
  for (const Index count : counts) sides.emplace_back(batch, count, row, static_cast<unsigned>(sides.size() + 1));
  return sides;
}

/// One stream of all tokens, sample by sample.
template <class T>
Qkv<T> concatenated(const Sides<T>& sides) {
  Index all = 0;
  for (const auto& side : sides) all += side.count;
  Qkv<T> joint(sides[0].batch, all, sides[0].row, 0);
  auto to = joint.numbers.begin();
  for (Index b = 0; b < joint.batch; ++b) {
    for (const auto& side : sides) {
      const Index n = side.count * side.row;
      to = std::copy_n(side.numbers.begin() + b * n, n, to);
    }
  }
  return joint;
}

template <int heads, int width, class T>
void attend(Sides<T>& s, Workspace& workspace) {
  if (s.size() == 1) {
    joint_attention<heads>(workspace, s[0].template heads<width>());
  } else if (s.size() == 2) {
    joint_attention<heads>(workspace, s[0].template heads<width>(), s[1].template heads<width>());
  } else {
    ASSERT_EQ(s.size(), 3U);
    joint_attention<heads>(workspace, s[0].template heads<width>(), s[1].template heads<width>(),
                           s[2].template heads<width>());
  }
}

const std::vector<std::vector<Index>> ragged{{1},     {17},      {1, 1},     {7, 45},     {45, 7},      {0, 9},
                                             {64, 1}, {127, 33}, {5, 1, 12}, {33, 0, 31}, {1, 129, 130}};

template <int heads, int d, class T>
void expect_concatenation() {
  constexpr int width = heads * d;
  for (const auto& counts : ragged) {
    SCOPED_TRACE(testing::Message() << heads << " heads of " << d << ", tokens " << testing::PrintToString(counts));
    Workspace workspace(2);
    auto sides = random_sides<T>(2, counts, 3 * width);
    auto all = concatenated(sides);
    Tensor<T, 3> expected(2, all.count, width);
    self_attention<heads>(Tokens<T, 3 * width>{all.numbers.data(), 2, all.count}, tokens<width>(expected),
                          workspace);
    attend<heads, width>(sides, workspace);
    EXPECT_TRUE(same_bits(concatenated(sides).answer(width), expected));
  }
}
TYPED_TEST(JointAttentions, AreAttentionOnTheConcatenationBitForBit) {
  expect_concatenation<1, 2, TypeParam>();
  expect_concatenation<3, 8, TypeParam>();
  expect_concatenation<2, 17, TypeParam>();
  expect_concatenation<3, 24, TypeParam>();
  expect_concatenation<1, 128, TypeParam>();
}

/// softmax([q_1 | q_2] [k_1 | k_2]^T / sqrt(d)) [v_1 | v_2] in double, head by head, over [B, N, 3 * 24].
template <class T>
std::vector<double> naive(const Qkv<T>& all) {
  constexpr int heads = 3, d = 8, width = heads * d;
  const auto at = [&](Index token, int which, int feature) {
    return static_cast<double>(all.numbers[static_cast<std::size_t>(token * all.row + which * width + feature)]);
  };
  std::vector<double> out(static_cast<std::size_t>(all.batch * all.count * width));
  for (Index i = 0; i < all.batch * all.count; ++i) {
    const Index first = i / all.count * all.count;
    for (int h = 0; h < width; h += d) {
      std::vector<double> weights;
      for (Index j = first; j < first + all.count; ++j) {
        double score = 0;
        for (int e = h; e < h + d; ++e) score += at(i, 0, e) * at(j, 1, e);
        weights.push_back(std::exp(score / std::sqrt(d)));
      }
      double sum = 0;
      for (const double w : weights) sum += w;
      for (Index j = 0; j < all.count; ++j) {
        for (int e = h; e < h + d; ++e) {
          out[static_cast<std::size_t>(i * width + e)] +=
              weights[static_cast<std::size_t>(j)] / sum * at(first + j, 2, e);
        }
      }
    }
  }
  return out;
}
TYPED_TEST(JointAttentions, AreThatOfTheDoubleLoop) {
  using T = TypeParam;
  Workspace workspace(2);
  auto sides = random_sides<T>(2, {7, 45}, 72);
  const auto expected = naive(concatenated(sides));
  attend<3, 24>(sides, workspace);
  EXPECT_TRUE(close(concatenated(sides).answer(24), expected, rounded<T>({4e-6, 1e-11})));
}

TYPED_TEST(JointAttentions, LeaveKeysValuesAndFurtherFeaturesAlone) {
  using T = TypeParam;
  Workspace workspace(2);
  auto sides = random_sides<T>(2, {5, 40}, 3 * 24 + 13);
  const auto before = sides;
  attend<3, 24>(sides, workspace);
  for (std::size_t s = 0; s < 2; ++s) {
    for (std::size_t i = 0; i < before[s].numbers.size(); ++i) {
      if (i % (3 * 24 + 13) >= 24) {
        ASSERT_EQ(sides[s].numbers[i], before[s].numbers[i]) << s << ", " << i;
      }
    }
  }
}

TYPED_TEST(JointAttentions, MayAnswerInThePlaceOfTheQueriesOrElsewhere) {
  using T = TypeParam;
  Workspace workspace(2);
  auto in_place = random_sides<T>(2, {70, 45}, 72), elsewhere = in_place;
  const auto before = in_place;
  attend<3, 24>(in_place, workspace);
  std::vector<T> out[2];
  auto a = elsewhere[0].template heads<24>(), b = elsewhere[1].template heads<24>();
  for (auto* x : {&a, &b}) {
    auto& to = out[x == &b];
    to.assign(static_cast<std::size_t>(x->rows() * 31), T(-7));
    x->out = to.data();
    x->out_stride = 31;
  }
  joint_attention<3>(workspace, a, b);
  for (std::size_t s = 0; s < 2; ++s) {
    EXPECT_TRUE(same_bits(elsewhere[s].numbers, before[s].numbers)) << s;
    const auto expected = in_place[s].answer(24);
    for (std::size_t i = 0; i < out[s].size(); ++i) {
      ASSERT_EQ(out[s][i], i % 31 < 24 ? expected[i / 31 * 24 + i % 31] : T(-7)) << s << ", " << i;
    }
  }
}

TYPED_TEST(JointAttentions, OfferAStreamThatOnlyIsAttendedTo) {
  using T = TypeParam;
  Workspace workspace(2);
  for (const bool first : {true, false}) {
    auto both = random_sides<T>(2, {37, 45}, 72), one = both;
    const std::size_t asking = first ? 1 : 0, silent = first ? 0 : 1;
    const auto before = one[silent];
    // Nothing may be read from where its queries would be, or written there.
    for (std::size_t i = 0; i < one[silent].numbers.size(); ++i) {
      if (i % 72 < 24) one[silent].numbers[i] = std::numeric_limits<T>::quiet_NaN();
    }
    auto marked = one[silent].numbers;
    attend<3, 24>(both, workspace);
    auto a = one[0].template heads<24>(), b = one[1].template heads<24>();
    (first ? a : b).q = nullptr;
    joint_attention<3>(workspace, a, b);
    EXPECT_TRUE(same_bits(one[asking].numbers, both[asking].numbers)) << first;
    EXPECT_TRUE(same_bits(one[silent].numbers, marked)) << first;
  }
}

/// The keys come in another order, so sums round otherwise: 1e-11 for attention.
TYPED_TEST(JointAttentions, DependOnTheStreamsOrderInRoundingOnly) {
  using T = TypeParam;
  Workspace workspace(2);
  auto sides = random_sides<T>(2, {37, 145}, 72), turned = Sides<T>{sides[1], sides[0]};
  attend<3, 24>(sides, workspace);
  attend<3, 24>(turned, workspace);
  for (std::size_t s = 0; s < 2; ++s) {
    EXPECT_TRUE(close(sides[s].answer(24), turned[1 - s].answer(24), rounded<T>({4e-6, 1e-11}))) << s;
  }
}

TYPED_TEST(JointAttentions, SeeAllStreams) {
  using T = TypeParam;
  Workspace workspace(2);
  auto sides = random_sides<T>(1, {3, 5, 7}, 72);
  for (std::size_t changed = 0; changed < 3; ++changed) {
    auto before = sides, after = sides;
    for (int i = 24; i < 72; ++i)
      after[changed].numbers[static_cast<std::size_t>(i)] += 1;  // one key and its value
    attend<3, 24>(before, workspace);
    attend<3, 24>(after, workspace);
    for (std::size_t s = 0; s < 3; ++s) {
      EXPECT_GT(distance(after[s].answer(24), before[s].answer(24)).nmse, 1e-4) << changed << " in " << s;
    }
  }
}

TYPED_TEST(JointAttentions, KeepSamplesApart) {
  using T = TypeParam;
  Workspace workspace(2);
  auto sides = random_sides<T>(3, {7, 45}, 72);
  auto all = sides;
  attend<3, 24>(all, workspace);
  for (Index b = 0; b < 3; ++b) {
    Sides<T> alone;
    for (const auto& side : sides) {
      alone.emplace_back(1, side.count, 72, 0);
      std::copy_n(side.numbers.begin() + b * side.count * 72, side.count * 72, alone.back().numbers.begin());
    }
    attend<3, 24>(alone, workspace);
    for (std::size_t s = 0; s < 2; ++s) {
      const auto& numbers = alone[s].numbers;
      EXPECT_TRUE(std::equal(numbers.begin(), numbers.end(),
                             all[s].numbers.begin() + b * static_cast<Index>(numbers.size())))
          << b << ", " << s;
    }
  }
}

TYPED_TEST(JointAttentions, DoNotSeeTheNumberOfThreads) {
  using T = TypeParam;
  const auto sides = random_sides<T>(2, {37, 145, 5}, 72);
  auto expected = sides;
  Workspace alone(1);
  attend<3, 24>(expected, alone);
  for (const int threads : {2, 3, 5}) {
    Workspace workspace(threads);
    auto got = sides;
    attend<3, 24>(got, workspace);
    for (std::size_t s = 0; s < 3; ++s) EXPECT_TRUE(same_bits(got[s].numbers, expected[s].numbers)) << threads;
  }
}

TYPED_TEST(JointAttentions, RefuseStreamsOfDifferentBatches) {
  using T = TypeParam;
  Workspace workspace(1);
  auto sides = random_sides<T>(2, {3, 5, 4}, 72);
  attend<3, 24>(sides, workspace);
  auto two = Sides<T>{sides[0], sides[1]};
  two[1].batch = 1;
  EXPECT_ERROR(errc::bad_input_shape, (attend<3, 24>(two, workspace)));
  sides[2].batch = 1;
  EXPECT_ERROR(errc::bad_input_shape, (attend<3, 24>(sides, workspace)));
}

}  // namespace
