/// softmax(scale q k^T) v against double, and its invariants.

#include "dit/kernels/attention.hpp"

#include "kernels/support.hpp"

namespace dit {
namespace {

using namespace dit::test;

template <class T>
class Attention : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Attention, Scalars);

/// [batch, tokens, heads, d] for q and out, another number of tokens for k and v.
template <class T>
struct Operands {
  Index batch, queries, keys, heads, d;
  T scale;
  Numbers<T> q, k, v;

  Operands(Index batch_, Index queries_, Index keys_, Index heads_, Index d_, unsigned seed, double size = 1)
      : batch(batch_),
        queries(queries_),
        keys(keys_),
        heads(heads_),
        d(d_),
        scale(static_cast<T>(1 / std::sqrt(static_cast<double>(d_)))),
        q(random_numbers<T>(batch * queries * heads * d, seed, size)),
        k(random_numbers<T>(batch * keys * heads * d, seed + 1, size)),
        v(random_numbers<T>(batch * keys * heads * d, seed + 2)) {}
};

template <class T>
Numbers<T> run(const Operands<T>& o, Workspace& workspace, const Kernels<T>& kernels) {
  Numbers<T> out(o.q.size(), nan_of<T>);
  const Index width = o.heads * o.d;
  const AttentionStream<T> streams[] = {
      {o.q.data(), nullptr, nullptr, out.data(), o.queries, width, o.queries * width, width, o.queries * width},
      {nullptr, o.k.data(), o.v.data(), nullptr, o.keys, width, o.keys * width, 0, 0}};
  attention(std::span<const AttentionStream<T>>(streams), o.batch, o.heads, o.d, o.scale, workspace, kernels);
  return out;
}

template <class T>
Numbers<double> naive(const Operands<T>& o) {
  Numbers<double> out(o.q.size(), 0);
  for (Index b = 0; b < o.batch; ++b) {
    for (Index h = 0; h < o.heads; ++h) {
      const auto at = [&](Index tokens, Index t) { return count(((b * tokens + t) * o.heads + h) * o.d); };
      for (Index i = 0; i < o.queries; ++i) {
        Numbers<double> p(count(o.keys));
        double top = -INFINITY, sum = 0;
        for (Index j = 0; j < o.keys; ++j) {
          for (Index c = 0; c < o.d; ++c) {
            p[count(j)] += static_cast<double>(o.q[at(o.queries, i) + count(c)]) * o.k[at(o.keys, j) + count(c)];
          }
          p[count(j)] *= o.scale;
          top = std::max(top, p[count(j)]);
        }
        for (double& value : p) sum += value = std::exp(value - top);
        for (Index j = 0; j < o.keys; ++j) {
          for (Index c = 0; c < o.d; ++c) {
            out[at(o.queries, i) + count(c)] += p[count(j)] / sum * o.v[at(o.keys, j) + count(c)];
          }
        }
      }
    }
  }
  return out;
}

TYPED_TEST(Attention, MatchesDoubleForAnyTokensAndHeadSize) {
  using T = TypeParam;
  Workspace workspace(2);
  for (const Isa isa : isas()) {
    for (const Index d : {1, 3, 16, 17, 64, 72, 80, 128}) {
      for (const Index n : {1, 2, 15, 17, 31, 32, 33, 65, 129, 257}) {
        const Operands<T> o(1, n, n, 2, d, 1);
        EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), naive(o)), 1e-11)
            << text(isa) << " N " << n << " d " << d;
      }
    }
    for (const auto& [queries, keys] : {Shape<2>{3, 200}, Shape<2>{100, 7}, Shape<2>{64, 128}, Shape<2>{66, 385}}) {
      const Operands<T> o(2, queries, keys, 3, 24, 2);
      EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), naive(o)), 1e-11)
          << text(isa) << queries << " to " << keys;
      EXPECT_LE(nmse(run(o, workspace, with_small_blocks<T>(isa)), naive(o)), 1e-11) << text(isa);
    }
  }
}

TYPED_TEST(Attention, GivesTheSameBitsForAnyThreadsBatchAndBlockOfQueries) {
  using T = TypeParam;
  const Operands<T> o(3, 100, 150, 2, 24, 3);
  for (const Isa isa : isas()) {
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
  for (const Isa isa : isas()) {
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
  for (const Isa isa : isas()) {
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
  for (const Isa isa : isas()) {
    Operands<T> o(1, 5, 200, 1, 9, 6);
    for (std::size_t i = 9; i < o.k.size(); ++i) o.k[i] = o.k[i - 9];
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t c = 0; c < 9; ++c) {
      double mean = 0, size = 0;
      for (std::size_t j = 0; j < 200; ++j) mean += o.v[j * 9 + c] / 200., size += std::abs(o.v[j * 9 + c] / 200.);
      for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(out[i * 9 + c], mean, 210 * eps<T> * size) << text(isa);
    }
  }
}

TYPED_TEST(Attention, ToConstantValuesIsTheConstantSoTheWeightsSumToOne) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    for (const Index keys : {1, 2, 33, 129, 700}) {
      Operands<T> o(1, 40, keys, 1, 16, 7, 2);
      const double blocks = static_cast<double>((keys + Blocking{}.keys - 1) / Blocking{}.keys);
      for (const T constant : {T(1), T(-4), T(0.25)}) {  // powers of two: within a block both sums round alike
        std::fill(o.v.begin(), o.v.end(), constant);
        for (const T value : run(o, workspace, kernels<T>(isa))) {
          ASSERT_NEAR(value, constant, 2 * (blocks - 1) * eps<T> * std::abs(constant)) << text(isa) << keys;
        }
      }
      std::fill(o.v.begin(), o.v.end(), T(0.7));
      for (const T value : run(o, workspace, kernels<T>(isa))) {
        ASSERT_NEAR(value, T(0.7), static_cast<double>(keys + 4) * eps<T>) << text(isa);
      }
    }
  }
}

TYPED_TEST(Attention, StaysBetweenTheSmallestAndTheLargestValue) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    const Operands<T> o(1, 64, 90, 1, 8, 8, 3);
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t c = 0; c < 8; ++c) {
      T low = o.v[c], high = low;
      for (std::size_t j = 0; j < 90; ++j)
        low = std::min(low, o.v[j * 8 + c]), high = std::max(high, o.v[j * 8 + c]);
      const T slack = static_cast<T>(100 * eps<T>) * (high - low);
      for (std::size_t i = 0; i < 64; ++i) {
        ASSERT_GE(out[i * 8 + c], low - slack) << text(isa);
        ASSERT_LE(out[i * 8 + c], high + slack) << text(isa);
      }
    }
  }
}

TYPED_TEST(Attention, DoesNotChangeWhenAllScoresOfAQueryGrowAlike) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    Operands<T> o(1, 33, 140, 1, 12, 9);
    for (std::size_t i = 0; i < o.q.size(); i += 12) o.q[i] = T(4);  // one coordinate is for the constant
    for (std::size_t j = 0; j < o.k.size(); j += 12) o.k[j] = T(0);
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t j = 0; j < o.k.size(); j += 12) o.k[j] = T(1);
    EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), out), 1e-11) << text(isa);
  }
}

TYPED_TEST(Attention, SurvivesScoresOfTenThousand) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    Operands<T> o(1, 20, 300, 1, 1, 10);
    o.scale = T(1);
    for (std::size_t i = 0; i < 20; ++i) o.q[i] = i % 2 ? T(100) : T(-100);
    for (std::size_t j = 0; j < 300; ++j) o.k[j] = j == 211 ? T(100) : j == 17 ? T(-100) : T(j % 7);
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(out[i], o.v[i % 2 ? 211 : 17]) << text(isa);
    std::fill(o.k.begin(), o.k.end(), T(100));  // all the same, and huge
    for (const T value : run(o, workspace, kernels<T>(isa))) EXPECT_TRUE(std::isfinite(value)) << text(isa);
  }
}

TYPED_TEST(Attention, MovesPowersOfTwoBetweenQueriesAndKeysFreely) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
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
  for (const Isa isa : isas()) {
    Operands<T> o(2, 20, 30, heads, d, 12);
    const auto out = run(o, workspace, kernels<T>(isa));
    o.q = turned(o.q), o.k = turned(o.k), o.v = turned(o.v);
    EXPECT_TRUE(same_bits(run(o, workspace, kernels<T>(isa)), turned(out))) << text(isa);
  }
}

TYPED_TEST(Attention, KeepsANanInAQueryToThatQuery) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    Operands<T> o(1, 50, 140, 2, 9, 13);
    const auto clean = run(o, workspace, kernels<T>(isa));
    o.q[count(17 * 18 + 3)] = nan_of<T>;  // query 17, head 0
    const auto out = run(o, workspace, kernels<T>(isa));
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (i / 18 == 17 && i % 18 < 9) {
        EXPECT_TRUE(std::isnan(out[i])) << text(isa);
      } else {
        ASSERT_EQ(out[i], clean[i]) << text(isa);
      }
    }
  }
}

TYPED_TEST(Attention, WithoutKeysIsZeroAndWithoutQueriesNothing) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas()) {
    for (const T value : run(Operands<T>(1, 3, 0, 2, 5, 14), workspace, kernels<T>(isa))) EXPECT_EQ(value, T(0));
    EXPECT_TRUE(run(Operands<T>(1, 0, 3, 2, 5, 14), workspace, kernels<T>(isa)).empty());
    EXPECT_TRUE(run(Operands<T>(0, 3, 3, 2, 5, 14), workspace, kernels<T>(isa)).empty());
  }
}

TYPED_TEST(Attention, MayWriteWhereItsQueriesAre) {
  using T = TypeParam;
  Workspace workspace(2);
  for (const Isa isa : isas()) {
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
  for (const Isa isa : isas()) {
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
  for (const Isa isa : isas()) {
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

TYPED_TEST(Attention, AgreesAcrossInstructionSets) {
  using T = TypeParam;
  Workspace workspace(1);
  const Operands<T> o(1, 100, 200, 2, 72, 18);
  const auto expected = run(o, workspace, kernels<T>(Isa::portable));
  for (const Isa isa : isas()) EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), expected), 1e-12) << text(isa);
}

TYPED_TEST(Attention, RunsOnASmallStack) {
  using T = TypeParam;
  for (const Isa isa : isas()) {
    on_a_small_stack([isa] {
      InlineExecutor executor;
      Workspace workspace(executor);
      const Operands<T> o(1, 70, 200, 1, 128, 19);
      EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), naive(o)), 1e-11);
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
