/// Attention as the models write it, against PyTorch in float64 and against what must hold for any numbers.

#include "dit/ops/attention.hpp"

#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Attention : public testing::Test {};
TYPED_TEST_SUITE(Attention, Scalars, ScalarName);

/// q, k and v [B, N, width] side by side, [B, N, 3 width]
template <class T, int width>
struct Qkv {
  Index batch, count;
  std::vector<T> numbers = std::vector<T>(static_cast<std::size_t>(batch * count * 3 * width));

  T& at(int which, Index token, int feature) {
    return numbers[static_cast<std::size_t>((token * 3 + which) * width + feature)];
  }
  template <class F>
  void set(int which, F&& value) {
    for (Index t = 0; t < batch * count; ++t)
      for (int i = 0; i < width; ++i) at(which, t, i) = static_cast<T>(value(t, i));
  }
  template <int heads>
  std::vector<T> attend() {
    std::vector<T> out(static_cast<std::size_t>(batch * count * width), T(-7));
    Workspace workspace(2);
    self_attention<heads>(Tokens<T, 3 * width>{numbers.data(), batch, count},
                          Tokens<T, width>{out.data(), batch, count}, workspace);
    return out;
  }
};
template <class T, int width>
Qkv<T, width> random_qkv(Index batch, Index count, unsigned seed) {
  Qkv<T, width> qkv{batch, count};
  qkv.numbers = normal<T>(static_cast<Index>(qkv.numbers.size()), seed);
  return qkv;
}

/// softmax(q k^T / sqrt(d)) v, head by head, in double
template <int heads, class T, int width>
std::vector<double> naive(Qkv<T, width>& qkv) {
  constexpr int d = width / heads;
  const Index n = qkv.count;
  std::vector<double> out(static_cast<std::size_t>(qkv.batch * n * width)), weight(static_cast<std::size_t>(n));
  for (Index b = 0; b < qkv.batch; ++b)
    for (int h = 0; h < heads; ++h)
      for (Index i = 0; i < n; ++i) {
        double most = -INFINITY, sum = 0;
        for (Index j = 0; j < n; ++j) {
          double score = 0;
          for (int e = h * d; e < (h + 1) * d; ++e) {
            score += static_cast<double>(qkv.at(0, b * n + i, e)) * static_cast<double>(qkv.at(1, b * n + j, e));
          }
          weight[static_cast<std::size_t>(j)] = score / std::sqrt(d);
          most = std::max(most, weight[static_cast<std::size_t>(j)]);
        }
        for (double& w : weight) sum += w = std::exp(w - most);
        for (Index j = 0; j < n; ++j)
          for (int e = h * d; e < (h + 1) * d; ++e) {
            out[static_cast<std::size_t>((b * n + i) * width + e)] +=
                weight[static_cast<std::size_t>(j)] / sum * static_cast<double>(qkv.at(2, b * n + j, e));
          }
      }
  return out;
}

/// 1e-11 for attention; scores are good to a few eps of their size.
template <class T>
constexpr Bound attention_bound = rounded<T>({4e-6, 1e-11});

template <class T, int d>
void expect_golden() {
  const Golden io("ops_io");
  const auto pool = io.values<T>("attention.pool");
  for (const Index n : {1, 17}) {
    SCOPED_TRACE("head size " + std::to_string(d) + ", tokens " + std::to_string(n));
    Qkv<T, 3 * d> qkv{2, n};
    const std::array<Index, 3> from{0, 2003, 4001};
    for (int which = 0; which < 3; ++which) {
      qkv.set(which, [&](Index t, int i) {
        return pool[static_cast<std::size_t>(from[static_cast<std::size_t>(which)] + t * 3 * d + i)];
      });
    }
    const auto got = qkv.template attend<3>();
    const std::string name =
        "attention.d" + std::to_string(d) + ".q" + std::to_string(n) + ".kv" + std::to_string(n);
    EXPECT_TRUE(close(got, io.values<double>(name), attention_bound<float>));  // the file is rounded to float
    EXPECT_TRUE(close(got, naive<3>(qkv), attention_bound<T>));
  }
}
TYPED_TEST(Attention, IsThatOfTheReferenceForAnyHeadSize) {
  expect_golden<TypeParam, 1>();
  expect_golden<TypeParam, 17>();
  expect_golden<TypeParam, 24>();
  expect_golden<TypeParam, 64>();
  expect_golden<TypeParam, 72>();
  expect_golden<TypeParam, 80>();
  expect_golden<TypeParam, 128>();
}

TYPED_TEST(Attention, IsThatOfTheDoubleLoopForAnyNumberOfTokens) {
  for (const Index n : {2, 31, 32, 33, 64, 65, 127, 128, 129, 300}) {
    SCOPED_TRACE(n);
    auto qkv = random_qkv<TypeParam, 48>(2, n, static_cast<unsigned>(n));
    EXPECT_TRUE(close(qkv.template attend<2>(), naive<2>(qkv), attention_bound<TypeParam>));
  }
}

TYPED_TEST(Attention, OfOneTokenIsItsValue) {
  auto qkv = random_qkv<TypeParam, 48>(3, 1, 1);
  const auto out = qkv.template attend<2>();
  for (Index b = 0; b < 3; ++b)
    for (int i = 0; i < 48; ++i)
      EXPECT_EQ(out[static_cast<std::size_t>(b * 48 + i)], qkv.at(2, b, i)) << b << ", " << i;
}

TYPED_TEST(Attention, ToEqualKeysIsTheMeanOfTheValues) {
  auto qkv = random_qkv<TypeParam, 48>(1, 37, 2);
  qkv.set(1, [](Index, int i) { return 0.1 * i; });
  const auto out = qkv.template attend<2>();
  std::vector<double> mean(37 * 48);
  for (int i = 0; i < 48; ++i) {
    double sum = 0;
    for (Index t = 0; t < 37; ++t) sum += static_cast<double>(qkv.at(2, t, i));
    for (std::size_t t = 0; t < 37; ++t) mean[t * 48 + static_cast<std::size_t>(i)] = sum / 37;
  }
  EXPECT_TRUE(close(out, mean, rounded<TypeParam>({2e-6, 1e-11})));
}

TYPED_TEST(Attention, WeightsSumToOne) {
  for (const Index n : {3, 130}) {
    auto qkv = random_qkv<TypeParam, 48>(1, n, 3);
    qkv.set(2, [](Index, int) { return 1; });
    const auto out = qkv.template attend<2>();
    EXPECT_TRUE(close(out, std::vector<double>(out.size(), 1.0), rounded<TypeParam>({0x1p-20, 1e-12}))) << n;
  }
}

TYPED_TEST(Attention, StaysBetweenTheValues) {
  auto qkv = random_qkv<TypeParam, 48>(1, 130, 4);
  const auto out = qkv.template attend<2>();
  const double ulp = std::numeric_limits<TypeParam>::epsilon();
  for (int i = 0; i < 48; ++i) {
    TypeParam lowest = qkv.at(2, 0, i), highest = lowest;
    for (Index t = 0; t < 130; ++t) {
      lowest = std::min(lowest, qkv.at(2, t, i));
      highest = std::max(highest, qkv.at(2, t, i));
    }
    for (std::size_t t = 0; t < 130; ++t) {
      const TypeParam value = out[t * 48 + static_cast<std::size_t>(i)];
      EXPECT_GE(value, lowest - 16 * ulp);
      EXPECT_LE(value, highest + 16 * ulp);
    }
  }
}

TYPED_TEST(Attention, DoesNotSeeWhatAllScoresOfARowShare) {
  auto qkv = random_qkv<TypeParam, 48>(1, 33, 5);
  const auto before = qkv.template attend<2>();
  for (Index t = 0; t < 33; ++t)
    for (int i = 0; i < 48; ++i)
      qkv.at(1, t, i) += static_cast<TypeParam>(0.5 - 0.02 * i);  // the same for all keys
  EXPECT_TRUE(close(qkv.template attend<2>(), before, attention_bound<TypeParam>));
}

TYPED_TEST(Attention, BearsEnormousScores) {
  auto qkv = random_qkv<TypeParam, 48>(1, 33, 6);
  for (Index t = 0; t < 33; ++t)
    for (int i = 0; i < 48; ++i) {
      qkv.at(0, t, i) *= 100;
      qkv.at(1, t, i) *= 100;
    }
  // Scores of about 5e4 are good to 5e4 eps, so almost always one key has it all.
  EXPECT_TRUE(close(qkv.template attend<2>(), naive<2>(qkv), rounded<TypeParam>({0.05, 1e-4})));
}

TYPED_TEST(Attention, DoesNotSeeAPowerOfTwoThatMovesFromQueriesToKeys) {
  auto qkv = random_qkv<TypeParam, 48>(2, 33, 7);
  const auto before = qkv.template attend<2>();
  for (Index t = 0; t < 66; ++t)
    for (int i = 0; i < 48; ++i) {
      qkv.at(0, t, i) *= 8;
      qkv.at(1, t, i) /= 8;
    }
  EXPECT_TRUE(same_bits(qkv.template attend<2>(), before));
}

TYPED_TEST(Attention, TreatsHeadsAlike) {
  auto qkv = random_qkv<TypeParam, 51>(2, 19, 8);  // heads of 17
  Qkv<TypeParam, 51> turned{2, 19};
  for (int which = 0; which < 3; ++which) {
    turned.set(which, [&](Index t, int i) { return qkv.at(which, t, (i + 17) % 51); });
  }
  const auto a = qkv.template attend<3>(), b = turned.template attend<3>();
  for (std::size_t t = 0; t < 38; ++t)
    for (std::size_t i = 0; i < 51; ++i) ASSERT_EQ(b[t * 51 + i], a[t * 51 + (i + 17) % 51]) << t << ", " << i;
}

TYPED_TEST(Attention, TurnsWithItsTokens) {
  auto qkv = random_qkv<TypeParam, 48>(1, 40, 9);
  Qkv<TypeParam, 48> turned{1, 40};
  for (int which = 0; which < 3; ++which) {
    turned.set(which, [&](Index t, int i) { return qkv.at(which, (t + 11) % 40, i); });
  }
  const auto a = qkv.template attend<2>();
  auto b = turned.template attend<2>();
  std::rotate(b.begin(), b.begin() + 29 * 48, b.end());
  EXPECT_TRUE(close(b, a, attention_bound<TypeParam>));
}

TYPED_TEST(Attention, GivesAsManyTokensAsItTakes) {
  auto qkv = random_qkv<TypeParam, 48>(2, 5, 11);
  std::vector<TypeParam> numbers(500);
  Workspace workspace(1);
  const auto attend = [&](Index batch, Index count) {
    self_attention<2>(Tokens<TypeParam, 144>{qkv.numbers.data(), 2, 5},
                      Tokens<TypeParam, 48>{numbers.data(), batch, count}, workspace);
  };
  attend(2, 5);
  EXPECT_ERROR(errc::bad_input_shape, attend(1, 5));
  EXPECT_ERROR(errc::bad_input_shape, attend(2, 4));
  EXPECT_ERROR(errc::bad_input_shape, attend(5, 2));
}

TYPED_TEST(Attention, KeepsSamplesApart) {
  auto qkv = random_qkv<TypeParam, 48>(3, 21, 10);
  const auto all = qkv.template attend<2>();
  for (Index b = 0; b < 3; ++b) {
    Qkv<TypeParam, 48> one{1, 21};
    for (int which = 0; which < 3; ++which)
      one.set(which, [&](Index t, int i) { return qkv.at(which, b * 21 + t, i); });
    const auto alone = one.template attend<2>();
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + b * 21 * 48)) << b;
  }
}

}  // namespace
