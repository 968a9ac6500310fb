/// Rotary positions over several axes, against their formula, FLUX's tables and what turning must keep.

#include "dit/ops/rope.hpp"

#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Ropes : public testing::Test {};
TYPED_TEST_SUITE(Ropes, Scalars, ScalarName);

template <class T>
inline constexpr double eps = std::numeric_limits<T>::epsilon();

template <std::size_t rank>
using Ids = std::vector<std::array<double, rank>>;

/// A table with its memory.
template <class T>
struct Table {
  int head_dim = 0;
  std::vector<T> cos, sin;
  Rope<T> rope{};

  template <std::size_t rank>
  Table(const std::array<int, rank>& axes, double theta, const Ids<rank>& ids, int threads = 2) {
    for (const int a : axes) head_dim += a;
    const Index tokens = static_cast<Index>(ids.size());
    cos.resize(static_cast<std::size_t>(tokens * head_dim));
    sin.resize(cos.size());
    Workspace workspace(threads);
    rope = rope_table(
        axes, theta, tokens,
        [&](Index token, int axis) { return ids[static_cast<std::size_t>(token)][static_cast<std::size_t>(axis)]; },
        cos.data(), sin.data(), workspace);
  }
  /// Cosine and sine of pair k of a token.
  double c(std::size_t token, int k) const { return static_cast<double>(cos[at(token, k)]); }
  double s(std::size_t token, int k) const { return static_cast<double>(sin[at(token, k) + 1]); }
  std::size_t at(std::size_t token, int k) const {
    return token * static_cast<std::size_t>(head_dim) + static_cast<std::size_t>(2 * k);
  }
  /// A vector of one head turned by the token's angles.
  std::vector<T> turn(std::size_t token, std::vector<T> x) const {
    EXPECT_EQ(x.size(), static_cast<std::size_t>(head_dim));
    kernels<T>().rotate(x.data(), cos.data() + at(token, 0), sin.data() + at(token, 0), head_dim, x.data());
    return x;
  }
};

template <class T>
double dot(const std::vector<T>& a, const std::vector<T>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}
template <class T>
double norm(const std::vector<T>& a) {
  return std::sqrt(dot(a, a));
}

TYPED_TEST(Ropes, HaveTheKnownAngles) {
  struct Known {
    double theta;
    int block;
    double id;
    double first[2], second[2], last[2];  // cosine and sine of pairs 0, 1 and block / 2 - 1
  };
  for (const Known& known :
       std::vector<Known>{{1e4, 16, 1, {0.5403023, 0.8414710}, {0.9504153, 0.3109836}, {1.0000000, 0.0003162}},
                          {1e4, 56, 3, {-0.9899925, 0.1411200}, {-0.5549149, 0.8319071}, {0.9999999, 0.0004168}},
                          {1e4, 56, 5, {0.2836622, -0.9589243}, {-0.8974528, -0.4411105}, {0.9999998, 0.0006947}},
                          {2000, 32, 7, {0.7539023, 0.6569866}, {-0.3517492, -0.9360943}, {0.9999842, 0.0056283}},
                          {256, 32, 40, {-0.6669381, 0.7451132}, {-0.9999506, -0.0099372}, {0.9756851, 0.2191770}},
                          {256, 48, 7, {0.7539023, 0.6569866}, {0.7469844, -0.6648415}, {0.9994066, 0.0344442}}}) {
    const Table<TypeParam> table(std::array{known.block}, known.theta, Ids<1>{{known.id}});
    const double seven_digits = 0.5e-7 + eps<TypeParam>;
    const auto expect = [&](int k, const double* c_and_s) {
      EXPECT_NEAR(table.c(0, k), c_and_s[0], seven_digits) << known.theta << ", " << known.block << ", pair " << k;
      EXPECT_NEAR(table.s(0, k), c_and_s[1], seven_digits) << known.theta << ", " << known.block << ", pair " << k;
    };
    expect(0, known.first);
    expect(1, known.second);
    expect(known.block / 2 - 1, known.last);
  }
}

TYPED_TEST(Ropes, AreThoseOfFlux) {
  const Golden io("flux_double_block_io");
  const auto numbers = io.values<double>("ids");
  Ids<3> ids(numbers.size() / 3);
  for (std::size_t i = 0; i < numbers.size(); ++i) ids[i / 3][i % 3] = numbers[i];
  const Table<TypeParam> table(std::array{4, 6, 6}, 1e4, ids);
  ASSERT_EQ(ids.size(), 52U);
  std::vector<double> cos, sin;
  for (std::size_t token = 0; token < 52; ++token) {
    for (int k = 0; k < 8; ++k) cos.push_back(table.c(token, k)), sin.push_back(table.s(token, k));
  }
  // Rounded once; the angle, of at most 8, by two or three operations before.
  const Bound one_rounding{0.5 * eps<TypeParam> + 8 * 3 * eps<double>, eps<TypeParam> * eps<TypeParam>};
  EXPECT_TRUE(close(cos, io.values<double>("cos64"), one_rounding));
  EXPECT_TRUE(close(sin, io.values<double>("sin64"), one_rounding));
  EXPECT_TRUE(close(cos, io.values<double>("cos"), Bound{2e-7, 1e-13}));  // the reference's own table
  EXPECT_TRUE(close(sin, io.values<double>("sin"), Bound{2e-7, 1e-13}));
}

TYPED_TEST(Ropes, GiveBothOfAPairItsAngleAndSinesTheirLanesSign) {
  const Table<TypeParam> table(std::array{4, 6}, 100, Ids<2>{{0.5, 3}, {2, -7}, {0, 1}});
  for (std::size_t i = 0; i < table.cos.size(); i += 2) {
    EXPECT_EQ(table.cos[i], table.cos[i + 1]) << i;
    EXPECT_EQ(table.sin[i], -table.sin[i + 1]) << i;
    EXPECT_NEAR(std::hypot(static_cast<double>(table.cos[i]), static_cast<double>(table.sin[i])), 1,
                eps<TypeParam>);
  }
}

TYPED_TEST(Ropes, TurnNeighboursNotHalves) {
  using T = TypeParam;
  const Table<T> table(std::array{8}, 50, Ids<1>{{1.5}});
  for (int channel = 0; channel < 8; ++channel) {
    std::vector<T> unit(8), expected(8);
    const auto i = static_cast<std::size_t>(channel), pair = i / 2 * 2;
    unit[i] = 1;
    expected[i] = table.cos[i];
    if (i == pair) {
      expected[pair + 1] = table.sin[pair + 1];  // towards the second axis
    } else {
      expected[pair] = -table.sin[pair + 1];
    }
    const auto turned = table.turn(0, unit);
    for (std::size_t j = 0; j < 8; ++j) EXPECT_EQ(turned[j], expected[j]) << channel << ", " << j;
    EXPECT_GT(table.s(0, channel / 2), 0) << "the test would not see the sign";
  }
}

/// Other models write pairs as (k, k + d / 2): the same after the fixed permutation of channels.
TYPED_TEST(Ropes, AgreeWithTheHalvesLayoutUnderItsPermutation) {
  using T = TypeParam;
  constexpr std::size_t d = 24, half = d / 2;
  const Table<T> table(std::array{int{d}}, 1e4, Ids<1>{{13}});
  const auto x = normal<T>(d, 1);
  std::vector<T> halves(d), back(d);
  for (std::size_t k = 0; k < half; ++k) halves[k] = x[2 * k], halves[k + half] = x[2 * k + 1];
  std::vector<double> turned(d);  // x cos + rotate_half(x) sin
  for (std::size_t i = 0; i < d; ++i) {
    const auto k = static_cast<int>(i % half);
    const double other = i < half ? -static_cast<double>(halves[i + half]) : static_cast<double>(halves[i - half]);
    turned[i] = static_cast<double>(halves[i]) * table.c(0, k) + other * table.s(0, k);
  }
  std::vector<double> expected(d);
  for (std::size_t k = 0; k < half; ++k) expected[2 * k] = turned[k], expected[2 * k + 1] = turned[k + half];
  EXPECT_TRUE(close(table.turn(0, x), expected, Bound{4 * eps<T>, eps<T> * eps<T>}));
}

constexpr std::array axes{16, 56, 56};  // those of FLUX.1
constexpr int head_dim = 128;

/// |q| |k| times the roundings of two tables, two turns, and angles good to 1e-13.
template <class T>
double dot_bound(const std::vector<T>& q, const std::vector<T>& k) {
  return 4 * (eps<T> + 1e-13) * norm(q) * norm(k);
}

TYPED_TEST(Ropes, SeeOnlyDistancesAlongEachAxis) {
  using T = TypeParam;
  const auto q = normal<T>(head_dim, 1), k = normal<T>(head_dim, 2);
  const std::array<double, 3> at_q{1, 17, 5}, at_k{0, 3, 60};
  for (std::size_t axis = 0; axis < 3; ++axis) {
    for (const double by : {1., -4., 31., 500.}) {
      auto moved_q = at_q, moved_k = at_k;
      moved_q[axis] += by, moved_k[axis] += by;
      const Table<T> table(axes, 1e4, Ids<3>{at_q, at_k, moved_q, moved_k});
      const double before = dot(table.turn(0, q), table.turn(1, k));
      EXPECT_NEAR(dot(table.turn(2, q), table.turn(3, k)), before, dot_bound(q, k)) << axis << " by " << by;
      // And distances they do see.
      EXPECT_GT(std::abs(dot(table.turn(2, q), table.turn(1, k)) - before), 1e-2) << axis << " by " << by;
    }
  }
}

TYPED_TEST(Ropes, KeepLengths) {
  using T = TypeParam;
  const auto x = normal<T>(head_dim, 3);
  const Table<T> table(axes, 1e4, Ids<3>{{0, 0, 0}, {1, 2, 3}, {1, 63, 127}, {0.5, -9, 1e5}});
  for (std::size_t token = 0; token < 4; ++token) {
    EXPECT_NEAR(norm(table.turn(token, x)), norm(x), 2 * eps<T> * norm(x)) << token;
  }
}

TYPED_TEST(Ropes, OfPlaceZeroAreTheIdentityBitForBit) {
  using T = TypeParam;
  const Table<T> table(axes, 1e4, Ids<3>{{0, 0, 0}});
  const auto x = normal<T>(head_dim, 4);
  EXPECT_TRUE(same_bits(table.turn(0, x), x));
}

TYPED_TEST(Ropes, AddUpAndUndoEachOther) {
  using T = TypeParam;
  const auto x = normal<T>(head_dim, 5);
  const Table<T> table(axes, 1e4, Ids<3>{{1, 20, 7}, {0, 33, 50}, {1, 53, 57}, {-1, -20, -7}});
  // A few roundings, and three angles of at most 57 that are themselves rounded in double.
  const double error = 4 * eps<T> + 3 * 57 * eps<double>;
  const Bound bound{4 * error, error * error};
  EXPECT_TRUE(close(table.turn(1, table.turn(0, x)), table.turn(2, x), bound));
  EXPECT_TRUE(close(table.turn(3, table.turn(0, x)), x, bound));
}

TYPED_TEST(Ropes, TurnForEachAxisItsOwnChannels) {
  using T = TypeParam;
  const Table<T> table(axes, 1e4, Ids<3>{{2, 3, 4}, {9, 3, 4}, {2, 9, 4}, {2, 3, 9}});
  std::size_t first = 0;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    const std::size_t end = first + static_cast<std::size_t>(axes[axis]);
    for (std::size_t i = 0; i < head_dim; ++i) {
      const bool same = table.cos[i] == table.cos[(axis + 1) * head_dim + i];
      EXPECT_EQ(same, i < first || i >= end) << "axis " << axis << ", channel " << i;
    }
    first = end;
  }
  EXPECT_EQ(first, std::size_t{head_dim});
}

TYPED_TEST(Ropes, OfOneFrameAreThoseOfTwoAxes) {
  using T = TypeParam;
  const Table<T> video(std::array{4, 6, 10}, 1e4, Ids<3>{{0, 3, 8}, {0, 1, 0}});
  const Table<T> image(std::array{6, 10}, 1e4, Ids<2>{{3, 8}, {1, 0}});
  for (std::size_t token = 0; token < 2; ++token) {
    for (int k = 0; k < 10; ++k) {
      EXPECT_EQ(video.c(token, k), k < 2 ? 1 : image.c(token, k - 2)) << token << ", " << k;
      EXPECT_EQ(video.s(token, k), k < 2 ? 0 : image.s(token, k - 2)) << token << ", " << k;
    }
  }
}

/// In float the angle itself would be wrong by 1e5 * 2^-24 = 6e-3. In double it is good to 1e5 * 2^-52 of its few
/// operations, 1e-10.
TYPED_TEST(Ropes, StayExactFarAway) {
  for (const double place : {1e4, 99999., 1e5}) {
    const Table<TypeParam> table(std::array{128}, 1e4, Ids<1>{{place}});
    for (int k = 0; k < 64; ++k) {
      const long double phi =
          static_cast<long double>(place) * std::pow(10000.0L, -2 * static_cast<long double>(k) / 128);
      EXPECT_NEAR(table.c(0, k), static_cast<double>(std::cos(phi)), 0.5 * eps<TypeParam> + 1e-10) << k;
      EXPECT_NEAR(table.s(0, k), static_cast<double>(std::sin(phi)), 0.5 * eps<TypeParam> + 1e-10) << k;
    }
  }
}

TYPED_TEST(Ropes, FromATokenOnAreTheRestOfTheTable) {
  using T = TypeParam;
  const Ids<2> ids{{0, 0}, {1, 2}, {3, 4}, {5, 6}};
  const Table<T> all(std::array{4, 6}, 1e4, ids), rest(std::array{4, 6}, 1e4, Ids<2>(ids.begin() + 2, ids.end()));
  const Rope<T> from = all.rope.from(2, 10);
  EXPECT_TRUE(same_bits(std::vector<T>(from.cos, from.cos + 20), rest.cos));
  EXPECT_TRUE(same_bits(std::vector<T>(from.sin, from.sin + 20), rest.sin));
  EXPECT_EQ(Rope<T>{}.from(2, 10).cos, nullptr);
  EXPECT_EQ(Rope<T>{}.from(2, 10).sin, nullptr);
}

// Queries and keys: normalised, then turned.

constexpr int heads = 3, d = 10, width = heads * d;

/// q, k, v [2, 5, 30] side by side, their weights, and the turns of five tokens.
template <class T>
struct Case {
  std::vector<T> qkv = normal<T>(2 * 5 * 3 * width, 6);
  std::vector<T> weight_q = normal<T>(d, 7), weight_k = normal<T>(d, 8);
  Table<T> table{std::array{4, 6}, 100, Ids<2>{{0, 0}, {1, 2}, {3, 4}, {5, 6}, {0, 7}}};

  Heads<T, width> of(std::vector<T>& x) const { return split_heads<width>(Tokens<T, 3 * width>{x.data(), 2, 5}); }
  /// In double, from the formula.
  std::vector<double> reference(bool normalised, bool turned) const {
    std::vector<double> x(qkv.begin(), qkv.end());
    for (std::size_t head = 0; head < x.size() / d; ++head) {
      const std::size_t which = head / heads % 3, token = head / (3 * heads) % 5;
      if (which == 2) continue;  // v
      double* const h = x.data() + head * d;
      if (normalised) {
        double squares = 0;
        for (int i = 0; i < d; ++i) squares += h[i] * h[i];
        for (int i = 0; i < d; ++i) {
          const auto& weight = which == 0 ? weight_q : weight_k;
          h[i] *= static_cast<double>(weight[static_cast<std::size_t>(i)]) / std::sqrt(squares / d + 1e-6);
        }
      }
      for (int k = 0; turned && k < d / 2; ++k) {
        const double a = h[2 * k], b = h[2 * k + 1], c = table.c(token, k), s = table.s(token, k);
        h[2 * k] = a * c - b * s, h[2 * k + 1] = a * s + b * c;
      }
    }
    return x;
  }
};

/// What the five tokens of each sample answer each other, from queries, keys and values as `Case` has them.
std::vector<double> attended(const std::vector<double>& qkv) {
  std::vector<double> out(2 * 5 * width);
  const auto at = [&](std::size_t token, int which, int feature) {
    return qkv[(token * 3 + static_cast<std::size_t>(which)) * width + static_cast<std::size_t>(feature)];
  };
  for (std::size_t i = 0; i < 10; ++i) {
    for (int h = 0; h < width; h += d) {
      double weights[5], sum = 0;
      for (std::size_t j = 0; j < 5; ++j) {
        double score = 0;
        for (int e = h; e < h + d; ++e) score += at(i, 0, e) * at(i / 5 * 5 + j, 1, e);
        sum += weights[j] = std::exp(score / std::sqrt(d));
      }
      for (std::size_t j = 0; j < 5; ++j) {
        for (int e = h; e < h + d; ++e) {
          out[i * width + static_cast<std::size_t>(e)] += weights[j] / sum * at(i / 5 * 5 + j, 2, e);
        }
      }
    }
  }
  return out;
}

TYPED_TEST(Ropes, ComeAfterTheNormPerHeadAndLeaveValuesAlone) {
  using T = TypeParam;
  const Case<T> c;
  const T* const none = nullptr;
  for (const int threads : {1, 3}) {
    Workspace workspace(threads);
    for (const bool normalised : {true, false}) {
      for (const bool turned : {true, false}) {
        auto x = c.qkv;
        std::vector<T> out(2 * 5 * width);
        auto h = normalise_and_turn<heads>(c.of(x), normalised ? c.weight_q.data() : none,
                                           normalised ? c.weight_k.data() : none, 1e-6,
                                           turned ? c.table.rope : Rope<T>{});
        h.out = out.data(), h.out_stride = width;
        joint_attention<heads>(workspace, h);
        EXPECT_TRUE(close(out, attended(c.reference(normalised, turned)), rounded<T>({4e-6, 1e-11})))
            << normalised << turned << threads;
        EXPECT_TRUE(same_bits(x, c.qkv)) << "it is lazy: nothing changes where the queries are";
      }
    }
  }
}

/// Bit for bit what attention gives of queries and keys that were normalised and turned before, in memory.
TYPED_TEST(Ropes, InAnAttentionAreThoseBeforeIt) {
  using T = TypeParam;
  const Case<T> c;
  const Kernels<T>& k = kernels<T>();
  auto before = c.qkv, lazy = c.qkv;
  for (std::size_t head = 0; head < before.size() / d; ++head) {
    const std::size_t which = head / heads % 3, token = head / (3 * heads) % 5;
    if (which == 2) continue;
    T* const x = before.data() + head * d;
    T mean, rstd;
    k.statistics(Norm::rms, x, d, T(1e-6), &mean, &rstd);
    k.normalise(x, d, mean, rstd, (which == 0 ? c.weight_q : c.weight_k).data(), nullptr, nullptr, nullptr, x);
    k.rotate(x, c.table.cos.data() + token * d, c.table.sin.data() + token * d, d, x);
  }
  Workspace workspace(2);
  const auto same = c.of(before);
  const auto h = normalise_and_turn<heads>(c.of(lazy), c.weight_q.data(), c.weight_k.data(), 1e-6, c.table.rope);
  joint_attention<heads>(workspace, same);
  joint_attention<heads>(workspace, h);
  for (std::size_t i = 0; i < lazy.size(); ++i) {
    if (i / width % 3 == 0) {
      ASSERT_EQ(lazy[i], before[i]) << i;
    } else {
      ASSERT_EQ(lazy[i], c.qkv[i]) << "a key or value, " << i;
    }
  }
}

/// Each stream of a joint attention has its own weights and its own places.
TYPED_TEST(Ropes, OfSeveralStreamsAreTheirOwn) {
  using T = TypeParam;
  const Case<T> c;
  auto text = c.qkv;
  for (T& x : text) x = T(1) - x;
  Case<T> of_text_case = c;
  of_text_case.qkv = text;
  const auto of_text = of_text_case.reference(true, false), of_image = c.reference(true, true);
  // Sample 0 of both, each token to all ten.
  const auto at = [&](std::size_t token, std::size_t which, std::size_t feature) {
    const auto& x = token < 5 ? of_text : of_image;
    return x[(token % 5 * 3 + which) * width + feature];
  };
  std::vector<double> expected(10 * width);
  for (std::size_t i = 0; i < 10; ++i) {
    for (std::size_t h = 0; h < width; h += d) {
      double weights[10], sum = 0;
      for (std::size_t j = 0; j < 10; ++j) {
        double score = 0;
        for (std::size_t e = h; e < h + d; ++e) score += at(i, 0, e) * at(j, 1, e);
        sum += weights[j] = std::exp(score / std::sqrt(d));
      }
      for (std::size_t j = 0; j < 10; ++j) {
        for (std::size_t e = h; e < h + d; ++e) expected[i * width + e] += weights[j] / sum * at(j, 2, e);
      }
    }
  }
  std::vector<T> out(10 * width), image = c.qkv;
  auto a = normalise_and_turn<heads>(split_heads<width>(Tokens<T, 3 * width>{text.data(), 1, 5}), c.weight_q.data(),
                                     c.weight_k.data(), 1e-6, Rope<T>{});
  auto b = normalise_and_turn<heads>(split_heads<width>(Tokens<T, 3 * width>{image.data(), 1, 5}),
                                     c.weight_q.data(), c.weight_k.data(), 1e-6, c.table.rope);
  a.out = out.data(), b.out = out.data() + 5 * width;
  a.out_stride = b.out_stride = width;
  Workspace workspace(2);
  joint_attention<heads>(workspace, a, b);
  EXPECT_TRUE(close(out, expected, rounded<T>({4e-6, 1e-11})));
}

TYPED_TEST(Ropes, NeedNoQueries) {
  using T = TypeParam;
  const Case<T> c;
  Workspace workspace(2);
  const auto turned = [&](std::vector<T>& x) {
    return normalise_and_turn<heads>(c.of(x), c.weight_q.data(), c.weight_k.data(), 1e-6, c.table.rope);
  };
  auto both = c.qkv, keys = c.qkv, asking = c.qkv, marked = c.qkv;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (i / width % 3 == 0) keys[i] = marked[i] = T(-7);
  }
  auto silent = turned(keys), ask = turned(asking);
  silent.q = nullptr;
  ask.k = ask.v = nullptr;
  joint_attention<heads>(workspace, turned(both));
  joint_attention<heads>(workspace, ask, silent);
  EXPECT_TRUE(same_bits(asking, both));
  EXPECT_TRUE(same_bits(keys, marked));
}

/// Where it matters: adding a constant to every place along an axis leaves an attention as it is.
TYPED_TEST(Ropes, MakeAnAttentionSeeOnlyDistances) {
  using T = TypeParam;
  const Case<T> c;
  Workspace workspace(2);
  const T* const none = nullptr;
  const auto attend = [&](double by_first, double by_second) {
    Ids<2> ids{{0, 0}, {1, 2}, {3, 4}, {5, 6}, {0, 7}};
    for (auto& id : ids) id[0] += by_first, id[1] += by_second;
    const Table<T> table(std::array{4, 6}, 100, ids);
    auto x = c.qkv;
    std::vector<T> out(2 * 5 * width);
    auto h = normalise_and_turn<heads>(c.of(x), none, none, 1e-6, table.rope);
    h.out = out.data(), h.out_stride = width;
    joint_attention<heads>(workspace, h);
    return out;
  };
  const auto expected = attend(0, 0);
  EXPECT_TRUE(close(attend(11, 0), expected, rounded<T>({4e-6, 1e-11})));
  EXPECT_TRUE(close(attend(0, -29), expected, rounded<T>({4e-6, 1e-11})));
}

TYPED_TEST(Ropes, DoNotSeeTheNumberOfThreads) {
  using T = TypeParam;
  Ids<3> ids;
  for (int i = 0; i < 45; ++i) ids.push_back({0, static_cast<double>(i / 9), static_cast<double>(i % 9)});
  const Table<T> alone(axes, 1e4, ids, 1), many(axes, 1e4, ids, 5);
  EXPECT_TRUE(same_bits(many.cos, alone.cos));
  EXPECT_TRUE(same_bits(many.sin, alone.sin));
}

}  // namespace
