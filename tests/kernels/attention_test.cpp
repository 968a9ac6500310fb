/// softmax(scale q k^T) v against double, and its invariants.

#include "kernels/attention_support.hpp"

namespace dit { namespace {

using namespace dit::test;

template <class T>
class Attention : public ::testing::Test {};
TYPED_TEST_SUITE(Attention, Stored, WeightName);

/// Of an answer that is rounded to T: half a unit.
template <class T>
constexpr double half_ulp = sizeof(T) == 2 ? 0x1p-8 : eps<real<T>> / 2;
/// By how much numerators may differ from what the denominator is the sum of, each.
template <class T>
constexpr double numerator_error = sizeof(T) == 2 ? 0x1p-8 : 0;

TYPED_TEST(Attention, MatchesDoubleForAnyTokensAndHeadSize) {
  using T = TypeParam;
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    for (const Index d : {1, 3, 16, 17, 64, 72, 80, 128}) {
      for (const Index n : {1, 2, 15, 17, 31, 32, 33, 65, 129, 257}) {
        const Operands<T> o(1, n, n, 2, d, 1);
        EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), naive(o)), attention_nmse<T>)
            << text(isa) << " N " << n << " d " << d;
      }
    }
    for (const auto& [queries, keys] : {Shape<2>{3, 200}, Shape<2>{100, 7}, Shape<2>{64, 128}, Shape<2>{66, 385}}) {
      const Operands<T> o(2, queries, keys, 3, 24, 2);
      EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), naive(o)), attention_nmse<T>)
          << text(isa) << queries << " to " << keys;
      EXPECT_LE(nmse(run(o, workspace, with_small_blocks<T>(isa)), naive(o)), attention_nmse<T>) << text(isa);
    }
  }
}

TYPED_TEST(Attention, GivesTheSameBitsForAnyThreadsBatchAndBlockOfQueries) {
  using T = TypeParam;
  const Operands<T> o(3, 100, 150, 2, 24, 3);
  for (const Isa isa : isas<T>()) {
    Workspace one(1);
    const auto expected = run(o, one, kernels<T>(isa));
    for (const int threads : {2, 3, 5, 8}) {
      Workspace workspace(threads);
      for (int repeat = 0; repeat < 20; ++repeat) {
        ASSERT_TRUE(same_bits(run(o, workspace, kernels<T>(isa)), expected)) << text(isa) << " threads " << threads;
      }
    }
    for (const Index queries : {32, 96, 128}) {
      Kernels<T> k = kernels<T>(isa);
      k.blocking.queries = queries;
      ASSERT_TRUE(same_bits(run(o, one, k), expected)) << text(isa) << " queries " << queries;
    }
    for (const Index heads_at_once : {1, 4}) {
      Kernels<T> k = kernels<T>(isa);
      k.blocking.packed = heads_at_once * 2 * o.keys * o.d;
      ASSERT_TRUE(same_bits(run(o, one, k), expected)) << text(isa) << " heads at once " << heads_at_once;
    }
    const auto part = [](const Numbers<T>& x, Index b, Index batch) {
      const auto size = static_cast<std::ptrdiff_t>(x.size()) / batch;
      return Numbers<T>(x.begin() + b * size, x.begin() + (b + 1) * size);
    };
    for (Index b = 0; b < o.batch; ++b) {
      Operands<T> alone(1, o.queries, o.keys, o.heads, o.d, 0);
      alone.q = part(o.q, b, o.batch), alone.k = part(o.k, b, o.batch), alone.v = part(o.v, b, o.batch);
      ASSERT_TRUE(same_bits(run(alone, one, kernels<T>(isa)), part(expected, b, o.batch)))
          << text(isa) << " sample " << b;
    }
    for (Index first = 0; first < o.queries; first += 13) {  // a query by itself
      Operands<T> single(1, 1, o.keys, o.heads, o.d, 0);
      const auto size = static_cast<std::ptrdiff_t>(o.heads * o.d);
      single.q = Numbers<T>(o.q.begin() + first * size, o.q.begin() + (first + 1) * size);
      single.k = part(o.k, 0, o.batch), single.v = part(o.v, 0, o.batch);
      ASSERT_TRUE(same_bits(run(single, one, kernels<T>(isa)).data(), &expected[count(first * size)], size))
          << text(isa);
    }
  }
}

TYPED_TEST(Attention, OfSeveralStreamsIsAttentionOnTheirConcatenation) {
  using T = TypeParam;
  const Index batch = 2, heads = 3, d = 20, width = heads * d;
  const std::vector<Index> tokens{37, 1, 100};
  const Index all = 138;
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    for (const bool small : {false, true}) {
      const Kernels<T> k = small ? with_small_blocks<T>(isa) : kernels<T>(isa);
      const Operands<T> o(batch, all, all, heads, d, 4);
      const auto expected = run(o, workspace, k);
      // Each stream as a fused [batch, tokens, 3 width] buffer with a gap after every token.
      const Index stride = 3 * width + 5;
      std::vector<Numbers<T>> fused, outs;
      std::vector<AttentionStream<T>> streams;
      Index before = 0;
      for (const Index n : tokens) {
        Numbers<T> buffer(count(batch * n * stride), nan_of<T>);
        for (Index b = 0; b < batch; ++b) {
          for (Index t = 0; t < n; ++t) {
            T* const to = &buffer[count((b * n + t) * stride)];
            const auto from = count((b * all + before + t) * width);
            std::copy_n(&o.q[from], width, to);
            std::copy_n(&o.k[from], width, to + width);
            std::copy_n(&o.v[from], width, to + 2 * width);
          }
        }
        before += n;
        fused.push_back(std::move(buffer));
        outs.emplace_back(count(batch * n * width), nan_of<T>);
        const T* const p = fused.back().data();
        streams.push_back(
            {p, p + width, p + 2 * width, outs.back().data(), n, stride, n * stride, width, n * width});
      }
      attention(std::span<const AttentionStream<T>>(streams), batch, heads, d, o.scale, workspace, k);
      before = 0;
      for (std::size_t s = 0; s < tokens.size(); ++s) {
        for (Index b = 0; b < batch; ++b) {
          ASSERT_TRUE(same_bits(&outs[s][count(b * tokens[s] * width)],
                                &expected[count((b * all + before) * width)], tokens[s] * width))
              << text(isa) << " stream " << s;
        }
        before += tokens[s];
      }
    }
  }
}

TYPED_TEST(Attention, ToOneKeyIsItsValue) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    const Operands<T> o(2, 35, 1, 2, 19, 5, 100);
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t width = 38, sample = i / (35 * width);
      ASSERT_EQ(out[i], o.v[sample * width + i % width]) << text(isa);
    }
  }
}

TYPED_TEST(Attention, ToEqualKeysIsTheMeanOfTheirValues) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    Operands<T> o(1, 5, 200, 1, 9, 6);
    for (std::size_t i = 9; i < o.k.size(); ++i) o.k[i] = o.k[i - 9];
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t c = 0; c < 9; ++c) {
      double mean = 0, size = 0;
      for (std::size_t j = 0; j < 200; ++j) {
        mean += static_cast<double>(o.v[j * 9 + c]) / 200;
        size += std::abs(static_cast<double>(o.v[j * 9 + c])) / 200;
      }
      const double most = 210 * eps<real<T>> * size + half_ulp<T> * std::abs(mean);
      for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(static_cast<double>(out[i * 9 + c]), mean, most) << text(isa);
    }
  }
}

TYPED_TEST(Attention, ToConstantValuesIsTheConstantSoTheWeightsSumToOne) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    for (const Index keys : {1, 2, 33, 129, 700}) {
      Operands<T> o(1, 40, keys, 1, 16, 7, 2);
      const double blocks = static_cast<double>((keys + Blocking{}.keys - 1) / Blocking{}.keys);
      for (const T constant : {T(1), T(-4), T(0.25)}) {  // powers of two: within a block both sums round alike
        std::fill(o.v.begin(), o.v.end(), constant);
        for (const T value : run(o, workspace, kernels<T>(isa))) {
          const double size = std::abs(static_cast<double>(constant));
          const double most = 2 * (blocks - 1) * eps<real<T>> * size + 1.01 * numerator_error<T> * size +
                              (numerator_error<T> > 0 ? half_ulp<T> * size : 0);
          ASSERT_NEAR(static_cast<double>(value), static_cast<double>(constant), most) << text(isa) << keys;
        }
      }
      std::fill(o.v.begin(), o.v.end(), T(0.7));
      for (const T value : run(o, workspace, kernels<T>(isa))) {
        const double most = static_cast<double>(keys + 4) * eps<real<T>> + 1.01 * numerator_error<T> + half_ulp<T>;
        ASSERT_NEAR(static_cast<double>(value), static_cast<double>(T(0.7)), most) << text(isa);
      }
    }
  }
}

TYPED_TEST(Attention, StaysBetweenTheSmallestAndTheLargestValue) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    const Operands<T> o(1, 64, 90, 1, 8, 8, 3);
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t c = 0; c < 8; ++c) {
      T low = o.v[c], high = low;
      for (std::size_t j = 0; j < 90; ++j)
        low = std::min(low, o.v[j * 8 + c]), high = std::max(high, o.v[j * 8 + c]);
      const auto size = static_cast<double>(high - low), largest = static_cast<double>(std::max(-low, high));
      const double slack = 100 * eps<real<T>> * size + 1.01 * numerator_error<T> * largest;
      for (std::size_t i = 0; i < 64; ++i) {
        ASSERT_GE(static_cast<double>(out[i * 8 + c]), static_cast<double>(low) - slack) << text(isa);
        ASSERT_LE(static_cast<double>(out[i * 8 + c]), static_cast<double>(high) + slack) << text(isa);
      }
    }
  }
}

TYPED_TEST(Attention, DoesNotChangeWhenAllScoresOfAQueryGrowAlike) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    Operands<T> o(1, 33, 140, 1, 12, 9);
    for (std::size_t i = 0; i < o.q.size(); i += 12) o.q[i] = T(4);  // one coordinate is for the constant
    for (std::size_t j = 0; j < o.k.size(); j += 12) o.k[j] = T(0);
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t j = 0; j < o.k.size(); j += 12) o.k[j] = T(1);
    EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), out), attention_nmse<T>) << text(isa);
  }
}

TYPED_TEST(Attention, SurvivesScoresOfTenThousand) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    Operands<T> o(1, 20, 300, 1, 1, 10);
    o.scale = 1;
    for (std::size_t i = 0; i < 20; ++i) o.q[i] = static_cast<T>(i % 2 ? 100.F : -100.F);
    for (std::size_t j = 0; j < 300; ++j)
      o.k[j] = static_cast<T>(j == 211 ? 100.F : j == 17 ? -100.F : static_cast<float>(j % 7));
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(out[i], o.v[i % 2 ? 211 : 17]) << text(isa);
    std::fill(o.k.begin(), o.k.end(), T(100));  // all the same, and huge
    for (const T value : run(o, workspace, kernels<T>(isa)))
      EXPECT_TRUE(std::isfinite(static_cast<double>(value))) << text(isa);
  }
}

TYPED_TEST(Attention, MovesPowersOfTwoBetweenQueriesAndKeysFreely) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    Operands<T> o(1, 40, 140, 2, 10, 11);
    const auto out = run(o, workspace, kernels<T>(isa));
    for (T& value : o.q) value *= T(8);
    for (T& value : o.k) value /= T(8);
    EXPECT_TRUE(same_bits(run(o, workspace, kernels<T>(isa)), out)) << text(isa);
  }
}

TYPED_TEST(Attention, PermutesItsHeadsWithItsInput) {
  using T = TypeParam;
  Workspace workspace(1);
  const Index heads = 4, d = 7;
  const auto turned = [&](const Numbers<T>& x) {
    Numbers<T> y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t token = i / 28, head = i / 7 % 4;
      y[token * 28 + (head + 1) % 4 * 7 + i % 7] = x[i];
    }
    return y;
  };
  for (const Isa isa : isas<T>()) {
    Operands<T> o(2, 20, 30, heads, d, 12);
    const auto out = run(o, workspace, kernels<T>(isa));
    o.q = turned(o.q), o.k = turned(o.k), o.v = turned(o.v);
    EXPECT_TRUE(same_bits(run(o, workspace, kernels<T>(isa)), turned(out))) << text(isa);
  }
}

TYPED_TEST(Attention, KeepsANanInAQueryToThatQuery) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    Operands<T> o(1, 50, 140, 2, 9, 13);
    const auto clean = run(o, workspace, kernels<T>(isa));
    o.q[count(17 * 18 + 3)] = nan_of<T>;  // query 17, head 0
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (i / 18 == 17 && i % 18 < 9) {
        EXPECT_TRUE(std::isnan(static_cast<double>(out[i]))) << text(isa);
      } else {
        ASSERT_EQ(out[i], clean[i]) << text(isa);
      }
    }
  }
}

TYPED_TEST(Attention, WithoutKeysIsZeroAndWithoutQueriesNothing) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    for (const T value : run(Operands<T>(1, 3, 0, 2, 5, 14), workspace, kernels<T>(isa))) EXPECT_EQ(value, T(0));
    EXPECT_TRUE(run(Operands<T>(1, 0, 3, 2, 5, 14), workspace, kernels<T>(isa)).empty());
    EXPECT_TRUE(run(Operands<T>(0, 3, 3, 2, 5, 14), workspace, kernels<T>(isa)).empty());
  }
}

TYPED_TEST(Attention, MayWriteWhereItsQueriesAre) {
  using T = TypeParam;
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    const Operands<T> o(2, 70, 70, 2, 11, 15);
    auto in_place = o.q;
    const Index width = 22;
    attention(AttentionStream<T>{in_place.data(), o.k.data(), o.v.data(), in_place.data(), 70, width, 70 * width,
                                 width, 70 * width},
              2, 2, 11, o.scale, workspace, kernels<T>(isa));
    EXPECT_TRUE(same_bits(in_place, run(o, workspace, kernels<T>(isa)))) << text(isa);
  }
}

TYPED_TEST(Attention, StaysWithinItsOperandsAtAnyAlignment) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    for (const Index n : {1, 16, 33, 130}) {
      for (const Index d : {1, 9, 16, 20}) {
        const Operands<T> o(1, n, n, 1, d, 16);
        const auto expected = run(o, workspace, kernels<T>(isa));
        for (const Edge edge : {Edge::before, Edge::after}) {
          Guarded<T> q(o.q, edge), k(o.k, edge), v(o.v, edge), out(n * d, edge);
          attention(AttentionStream<T>{q.data(), k.data(), v.data(), out.data(), n, d, 0, d, 0}, 1, 1, d, o.scale,
                    workspace, kernels<T>(isa));
          ASSERT_TRUE(same_bits(out.numbers(), expected)) << text(isa) << n << " " << d;
        }
      }
    }
  }
}

TYPED_TEST(Attention, TakesExactlyTheArenaThatItSays) {
  using T = TypeParam;
  for (const Isa isa : isas<T>()) {
    for (const int threads : {1, 3}) {
      const Operands<T> o(2, 45, 67, 3, 10, 17);
      Workspace workspace(threads, attention_arena<T>(2, 3, 10, 67, threads));
      if (workspace.strands() != threads) continue;
      run(o, workspace, kernels<T>(isa));
      EXPECT_EQ(workspace.high_water(), attention_arena<T>(2, 3, 10, 67, threads)) << text(isa);
      EXPECT_EQ(workspace.capacity(), attention_arena<T>(2, 3, 10, 67, threads)) << "it had to grow";
    }
  }
}

/// 1e-12 in float. In bf16 scores differ by less than 1e-6, which takes a numerator, or the answer, across the
/// middle between two of its neighbours less than once in a thousand times, to one that is 2^-7 away: 1e-3 * 2^-14.
TYPED_TEST(Attention, AgreesAcrossInstructionSets) {
  using T = TypeParam;
  Workspace workspace(1);
  const Operands<T> o(1, 100, 200, 2, 72, 18);
  const auto expected = run(o, workspace, kernels<T>(Isa::portable));
  for (const Isa isa : isas<T>()) {
    EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), expected), sizeof(T) == 2 ? 6e-8 : 1e-12) << text(isa);
  }
}

TYPED_TEST(Attention, RunsOnASmallStack) {
  using T = TypeParam;
  for (const Isa isa : isas<T>()) {
    on_a_small_stack([isa] {
      InlineExecutor executor;
      Workspace workspace(executor);
      const Operands<T> o(1, 70, 200, 1, 128, 19);
      EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), naive(o)), attention_nmse<T>);
    });
  }
}

TEST(AttentionArena, PacksManyHeadsOneAfterTheOther) {
  EXPECT_EQ(detail::heads_at_once(16, 256, 72, {}), 16);
  EXPECT_EQ(detail::heads_at_once(40, 75600, 128, {}), 3);
  EXPECT_EQ(detail::heads_at_once(40, Index{1} << 30, 128, {}), 1);
}

}  // namespace
}  // namespace dit
