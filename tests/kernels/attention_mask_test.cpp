/// Attention with padding, with norms and turns of its own, and with more keys than fit at one time.

#include "kernels/attention_support.hpp"

namespace dit { namespace {

using namespace dit::test;

template <class T>
class Padding : public ::testing::Test {};
TYPED_TEST_SUITE(Padding, Stored, WeightName);

/// With `share` of 256 present.
Numbers<std::uint8_t> random_mask(Index n, unsigned seed, unsigned share) {
  std::mt19937 engine(seed);
  Numbers<std::uint8_t> present(count(n));
  for (auto& p : present) p = engine() % 256 < share ? static_cast<std::uint8_t>(1 + engine() % 255) : 0;
  return present;
}

TYPED_TEST(Padding, IsNotAttendedTo) {
  using T = TypeParam;
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    for (const auto& [queries, keys, d] : {Shape<3>{3, 2, 8}, Shape<3>{5, 40, 24}, Shape<3>{66, 130, 17},
                                           Shape<3>{35, 385, 64}, Shape<3>{1, 1000, 72}}) {
      for (const unsigned share : {8u, 128u, 250u}) {
        Operands<T> o(2, queries, keys, 2, d, 1);
        o.present = random_mask(2 * keys, share, share);
        o.present[0] = o.present[count(2 * keys - 1)] = 1;  // of either sample
        const auto expected = naive(o);
        SCOPED_TRACE(text(isa) + " " + to_string(Shape<3>{queries, keys, d}) + " " + std::to_string(share));
        const auto out = run(o, workspace, kernels<T>(isa));
        EXPECT_LE(nmse(out, expected), attention_nmse<T>);
        for (const T value : out) ASSERT_TRUE(std::isfinite(static_cast<double>(value)));
        EXPECT_LE(nmse(run(o, workspace, with_small_blocks<T>(isa)), expected), attention_nmse<T>);
      }
    }
  }
}

/// Whatever is in it, NaN and infinities included, and whether it is normalised and turned or not.
TYPED_TEST(Padding, MayHoldAnything) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(2);
  const Index keys = 300, d = 20;
  const auto weight = random_numbers<R>(d, 5), cos = random_numbers<R>(keys * d, 6),
             sin = random_numbers<R>(keys * d, 7);
  for (const Isa isa : isas<T>()) {
    for (const bool is_turned : {false, true}) {
      for (const unsigned share : {0u, 20u, 200u}) {
        Operands<T> o(2, 37, keys, 3, d, 2);
        o.present = random_mask(2 * keys, 3, share);
        if (is_turned) o.key_turn = {nullptr, weight.data(), R(1e-6), cos.data(), sin.data()};
        const auto expected = run(o, workspace, kernels<T>(isa));
        for (const R bad : {nan_of<R>, R(INFINITY), R(-INFINITY), R(1e30)}) {
          auto b = o;
          for (std::size_t i = 0; i < o.k.size(); ++i) {
            if (!o.present[i / count(o.width())]) b.k[i] = b.v[i] = static_cast<T>(bad);
          }
          EXPECT_TRUE(same_bits(run(b, workspace, kernels<T>(isa)), expected)) << text(isa) << bad << is_turned;
          for (const int other : {1, 2, 255}) {  // anything but 0 is present
            for (auto& p : b.present) p = static_cast<std::uint8_t>(p != 0 ? other : 0);
            ASSERT_TRUE(same_bits(run(b, workspace, kernels<T>(isa)), expected)) << text(isa);
          }
        }
      }
    }
  }
}

TYPED_TEST(Padding, OfAllKeysGivesZeroAndOfNoneChangesNothing) {
  using T = TypeParam;
  Workspace workspace(1);
  for (const Isa isa : isas<T>()) {
    for (const Index keys : {1, 31, 128, 129, 300}) {
      for (const double scale : {0.01, 1.0, 100.0}) {
        Operands<T> o(2, 35, keys, 2, 9, 4);
        o.scale = static_cast<real<T>>(scale);
        const auto unmasked = run(o, workspace, kernels<T>(isa));
        o.present.assign(count(2 * keys), 1);
        EXPECT_TRUE(same_bits(run(o, workspace, kernels<T>(isa)), unmasked)) << text(isa) << keys;
        std::fill(o.present.begin() + keys, o.present.end(), std::uint8_t{0});  // of the second sample
        const auto out = run(o, workspace, kernels<T>(isa));
        const std::size_t half = out.size() / 2;
        EXPECT_TRUE(same_bits(out.data(), unmasked.data(), static_cast<Index>(half))) << text(isa) << keys;
        for (std::size_t i = half; i < out.size(); ++i)
          ASSERT_EQ(static_cast<double>(out[i]), 0) << text(isa) << keys;
      }
    }
  }
}

/// A sequence that is filled up at its end, to any length, gives the bits of the sequence as it was.
TYPED_TEST(Padding, AtTheEndChangesNoBit) {
  using T = TypeParam;
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    for (const Index keys : {1, 2, 31, 77, 128, 130}) {
      const Operands<T> o(1, 40, keys, 2, 24, 5);
      const auto expected = run(o, workspace, kernels<T>(isa));
      for (const Index more : {1, 2, 50, 128, 300}) {
        auto padded = o;
        padded.keys = keys + more;
        padded.k.resize(count(padded.keys * o.width()), nan_of<T>);
        padded.v.resize(padded.k.size(), nan_of<T>);
        padded.present.assign(count(padded.keys), 0);
        std::fill_n(padded.present.begin(), keys, std::uint8_t{1});
        EXPECT_TRUE(same_bits(run(padded, workspace, kernels<T>(isa)), expected))
            << text(isa) << keys << "+" << more;
      }
    }
  }
}

/// Blocks of nothing but padding, before and between those that have something.
TYPED_TEST(Padding, MayFillWholeBlocks) {
  using T = TypeParam;
  Workspace workspace(1);
  const Index block = Blocking{}.keys, keys = 5 * block + 7;
  for (const Isa isa : isas<T>()) {
    for (const Index present_block : {0, 1, 3, 5}) {
      for (const double size : {1.0, 30.0}) {
        Operands<T> o(1, 33, keys, 2, 16, 6, size);
        o.present.assign(count(keys), 0);
        Operands<T> alone(1, 33, std::min(block, keys - present_block * block), 2, 16, 6, size);
        std::fill_n(o.present.begin() + present_block * block, alone.keys, std::uint8_t{1});
        const auto from = present_block * block * o.width(), n = alone.keys * o.width();
        alone.k.assign(o.k.begin() + from, o.k.begin() + from + n);
        alone.v.assign(o.v.begin() + from, o.v.begin() + from + n);
        EXPECT_TRUE(same_bits(run(o, workspace, kernels<T>(isa)), run(alone, workspace, kernels<T>(isa))))
            << text(isa) << " block " << present_block << " size " << size;
      }
    }
  }
}

/// Of some streams, or with a mask for each: attention on their concatenation, bit for bit.
TYPED_TEST(Padding, OfSeveralStreamsIsThatOfTheirConcatenation) {
  using T = TypeParam;
  const Index batch = 2, heads = 3, d = 20, width = heads * d, all = 138;
  const std::vector<Index> tokens{37, 1, 100};
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    for (const bool every : {false, true}) {
      Operands<T> o(batch, all, all, heads, d, 4);
      o.present = random_mask(batch * all, 9, 150);
      std::vector<Numbers<T>> q, k, v, outs;
      std::vector<Numbers<std::uint8_t>> masks;
      Index before = 0;
      for (const Index n : tokens) {
        const bool masked = every || before == 0;
        Numbers<T> parts[3];
        Numbers<std::uint8_t> mask;
        for (Index b = 0; b < batch; ++b) {
          const auto from = (b * all + before) * width;
          parts[0].insert(parts[0].end(), o.q.begin() + from, o.q.begin() + from + n * width);
          parts[1].insert(parts[1].end(), o.k.begin() + from, o.k.begin() + from + n * width);
          parts[2].insert(parts[2].end(), o.v.begin() + from, o.v.begin() + from + n * width);
          const auto at = o.present.begin() + b * all + before;
          if (!masked) std::fill_n(at, n, std::uint8_t{1});
          mask.insert(mask.end(), at, at + n);
        }
        q.push_back(parts[0]), k.push_back(parts[1]), v.push_back(parts[2]), masks.push_back(mask);
        outs.emplace_back(parts[0].size(), nan_of<T>);
        before += n;
      }
      const auto expected = run(o, workspace, kernels<T>(isa));
      std::vector<AttentionStream<T>> streams;
      for (std::size_t s = 0; s < tokens.size(); ++s) {
        const Index n = tokens[s];
        streams.push_back({q[s].data(),
                           k[s].data(),
                           v[s].data(),
                           outs[s].data(),
                           n,
                           width,
                           n * width,
                           width,
                           n * width,
                           {},
                           every || s == 0 ? masks[s].data() : nullptr});
      }
      attention(std::span<const AttentionStream<T>>(streams), batch, heads, d, o.scale, workspace, kernels<T>(isa));
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

template <class T>
class Turned : public ::testing::Test {};
TYPED_TEST_SUITE(Turned, Stored, WeightName);

/// Norm weights around 1, so that scores have a variance of about 1, and the angles of tokens, of every pair its
/// own.
template <class R>
struct Turn {
  Numbers<R> query_weight, key_weight, cos, sin;

  Turn(Index tokens, Index d, unsigned seed)
      : query_weight(random_numbers<R>(d, seed, 0.2)),
        key_weight(random_numbers<R>(d, seed + 1, 0.2)),
        cos(count(tokens * d)),
        sin(cos.size()) {
    for (auto* weights : {&query_weight, &key_weight}) {
      for (R& w : *weights) w += R(1);
    }
    const auto angles = random_numbers<double>(tokens * d, seed + 2, 10);
    for (std::size_t i = 0; i < cos.size(); ++i) {
      cos[i] = static_cast<R>(std::cos(angles[i / 2]));
      sin[i] = static_cast<R>((i % 2 ? 1 : -1) * std::sin(angles[i / 2]));
    }
  }
  HeadTurn<R> of(bool normalised, bool is_turned) const {
    HeadTurn<R> turn{nullptr, nullptr, R(1e-6), nullptr, nullptr};
    if (normalised) turn.query_weight = query_weight.data(), turn.key_weight = key_weight.data();
    if (is_turned) turn.cos = cos.data(), turn.sin = sin.data();
    return turn;
  }
};

TYPED_TEST(Turned, IsNormalisedAndTurnedAsInDouble) {
  using T = TypeParam;
  Workspace workspace(2);
  for (const Isa isa : isas<T>()) {
    for (const auto& [queries, keys, d] : {Shape<3>{1, 1, 2}, Shape<3>{5, 40, 24}, Shape<3>{66, 130, 18},
                                           Shape<3>{35, 385, 64}, Shape<3>{70, 33, 128}}) {
      const Turn<real<T>> of_queries(queries, d, 20), of_keys(keys, d, 30);
      for (const bool normalised : {false, true}) {
        for (const bool is_turned : {false, true}) {
          Operands<T> o(2, queries, keys, 2, d, 8);
          o.query_turn = of_queries.of(normalised, is_turned);
          o.key_turn = of_keys.of(normalised, is_turned);
          const auto expected = naive(o);
          SCOPED_TRACE(text(isa) + " " + to_string(Shape<3>{queries, keys, d}) + (normalised ? " norm" : "") +
                       (is_turned ? " turn" : ""));
          EXPECT_LE(nmse(run(o, workspace, kernels<T>(isa)), expected), turned_nmse<T>);
          EXPECT_LE(nmse(run(o, workspace, with_small_blocks<T>(isa)), expected), turned_nmse<T>);
        }
      }
    }
  }
}

/// The same bits as with queries and keys that were widened, normalised, turned and, at the end, rounded before.
TYPED_TEST(Turned, IsWhatTheVerbsGiveBefore) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(2);
  const Index n = 70, d = 24, heads = 3;
  const Turn<R> turns(n, d, 40);
  for (const Isa isa : isas<T>()) {
    const Kernels<T>& k = kernels<T>(isa);
    Operands<T> o(2, n, n, heads, d, 9), before = o;
    o.query_turn = o.key_turn = turns.of(true, true);
    const auto prepare = [&](Numbers<T>& x, const Numbers<R>& weight) {
      Numbers<R> head(count(d));
      for (Index i = 0; i < 2 * n * heads; ++i) {
        T* const at = x.data() + i * d;
        const Index token = i / heads % n;
        R mean, rstd;
        k.widen(at, d, head.data());
        k.statistics(Norm::rms, head.data(), d, R(1e-6), &mean, &rstd);
        k.normalise(head.data(), d, mean, rstd, weight.data(), nullptr, nullptr, nullptr, head.data());
        k.rotate(head.data(), turns.cos.data() + token * d, turns.sin.data() + token * d, d, head.data());
        for (Index c = 0; c < d; ++c) at[c] = static_cast<T>(head[count(c)]);
      }
    };
    prepare(before.q, turns.query_weight);
    prepare(before.k, turns.key_weight);
    EXPECT_TRUE(same_bits(run(o, workspace, k), run(before, workspace, k))) << text(isa);
  }
}

TYPED_TEST(Turned, StaysWithinItsOperandsAndGivesTheSameBitsForAnyThreads) {
  using T = TypeParam;
  using R = real<T>;
  for (const Isa isa : isas<T>()) {
    for (const Index n : {1, 16, 33, 130}) {
      for (const Index d : {2, 10, 16, 20, 66}) {
        Operands<T> o(1, n, n, 1, d, 16);
        const Turn<R> turns(n, d, 50);
        o.query_turn = o.key_turn = turns.of(true, true);
        o.present = random_mask(n, 10, 200);
        Workspace one(1);
        const auto expected = run(o, one, kernels<T>(isa));
        for (const int threads : {2, 3, 4}) {
          Workspace workspace(threads);
          ASSERT_TRUE(same_bits(run(o, workspace, kernels<T>(isa)), expected)) << text(isa) << threads;
        }
        for (const Edge edge : {Edge::before, Edge::after}) {
          Guarded<T> q(o.q, edge), k(o.k, edge), v(o.v, edge), out(n * d, edge);
          Guarded<R> cos(turns.cos, edge), sin(turns.sin, edge), wq(turns.query_weight, edge),
              wk(turns.key_weight, edge);
          Guarded<std::uint8_t> present(o.present, edge);
          attention(AttentionStream<T>{q.data(),
                                       k.data(),
                                       v.data(),
                                       out.data(),
                                       n,
                                       d,
                                       0,
                                       d,
                                       0,
                                       {wq.data(), wk.data(), R(1e-6), cos.data(), sin.data()},
                                       present.data()},
                    1, 1, d, o.scale, one, kernels<T>(isa));
          ASSERT_TRUE(same_bits(out.numbers(), expected)) << text(isa) << n << " " << d;
        }
      }
    }
  }
}

// Very many keys.

/// Memory that does not grow with the number of heads, however many there are.
static_assert(attention_arena<bf16>(1, 40, 128, 75600, 2) == attention_arena<bf16>(2, 80, 128, 75600, 2));
static_assert(attention_arena<bf16>(1, 40, 128, 75600, 2) < 2 * (std::size_t{1} << 26) + 300000);
static_assert(attention_arena<float>(1, 40, 128, 75600, 2) < 4 * (std::size_t{1} << 26) + 400000);

template <class T>
class ManyKeys : public ::testing::Test {};
using FastTypes = ::testing::Types<float, bf16>;
TYPED_TEST_SUITE(ManyKeys, FastTypes, WeightName);

TYPED_TEST(ManyKeys, TakeBoundedMemoryAndAreThoseOfDouble) {
  using T = TypeParam;
  const Index keys = 75000, heads = 2, d = 64;
  const Operands<T> o(1, 3, keys, heads, d, 60);
  const auto expected = naive(o);
  for (const Isa isa : isas<T>()) {
    if (isa == Isa::portable) continue;
    Kernels<T> k = kernels<T>(isa);
    for (const Index at_once : {2, 1}) {
      k.blocking.packed = at_once * 2 * keys * d;
      Workspace workspace(2);
      const auto out = run(o, workspace, k);
      EXPECT_LE(nmse(out, expected), attention_nmse<T>) << text(isa);
      if (at_once == 2) {
        EXPECT_EQ(workspace.high_water(), attention_arena<T>(1, heads, d, keys, 2));
      } else {
        EXPECT_EQ(workspace.high_water(), attention_arena<T>(1, 1, d, keys, 2)) << "a head at a time";
      }
    }
  }
}

}  // namespace
}  // namespace dit
