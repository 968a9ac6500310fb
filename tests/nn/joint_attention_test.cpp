/// Attention with its projections, norms and turns: of one stream, and of several together.

#include "dit/nn/attention.hpp"
#include "dit/nn/plan.hpp"

#include "nn/blocks.hpp"

namespace {

using namespace dit;
using namespace support;

constexpr int width = 24, heads = 3, head_dim = 8;
template <class T, HeadNorm norm>
using Own = SelfAttention<width, heads, T, norm>;
template <class T, int streams, HeadNorm norm>
using Joint = JointAttention<width, heads, streams, T, norm>;

template <class T>
class JointAttentionLayers : public testing::Test {};
TYPED_TEST_SUITE(JointAttentionLayers, Scalars, ScalarName);

template <class T>
using Streams = std::vector<Tensor<T, 3>>;

template <class T>
Streams<T> random_streams(Index batch, const std::vector<Index>& counts) {
  Streams<T> s;
  for (const Index n : counts) s.push_back(normal<T, 3>({batch, n, width}, 2 + static_cast<unsigned>(s.size())));
  return s;
}
/// All tokens of a sample, one stream after the other.
template <class T>
Tensor<T, 3> concatenated(const Streams<T>& s) {
  Index count = 0;
  for (const auto& x : s) count += x.dimension(1);
  Tensor<T, 3> all(s[0].dimension(0), count, width);
  T* to = all.data();
  for (Index b = 0; b < all.dimension(0); ++b) {
    for (const auto& x : s) {
      const Index n = x.dimension(1) * width;
      to = std::copy_n(x.data() + b * n, n, to);
    }
  }
  return all;
}
template <int streams, HeadNorm norm, class T>
Streams<T> run(const Joint<T, streams, norm>& joint, Streams<T> s, int threads = 2) {
  Workspace workspace(threads);
  [&]<std::size_t... i>(std::index_sequence<i...>) { joint(workspace, tokens<width>(s[i])...); }
  (std::make_index_sequence<streams>());
  return s;
}
template <HeadNorm norm, class T>
Tensor<T, 3> run(const Own<T, norm>& attention, Tensor<T, 3> x, Rope<T> turns = {}) {
  Tensor<T, 3> out(x.dimensions());
  Workspace workspace(2);
  store(tokens<width>(out), attention(lazy(Tokens<const T, width>(tokens<width>(x))), workspace, turns), workspace);
  return out;
}

template <int streams, HeadNorm norm, class T>
void expect_concatenation(const std::vector<Index>& counts) {
  SCOPED_TRACE(testing::PrintToString(counts));
  const auto own = random_model<Own<T, norm>>(1);
  Joint<T, streams, norm> joint;
  for (auto& stream : joint.streams) copy(own, stream);
  const auto s = random_streams<T>(2, counts);
  EXPECT_TRUE(same_bits(concatenated(run(joint, s)), run(own, concatenated(s))));
}
TYPED_TEST(JointAttentionLayers, OfOneSetOfWeightsAreSelfAttentionOnTheConcatenationBitForBit) {
  using T = TypeParam;
  expect_concatenation<1, HeadNorm::none, T>({19});
  expect_concatenation<2, HeadNorm::none, T>({7, 45});
  expect_concatenation<2, HeadNorm::none, T>({130, 1});
  expect_concatenation<3, HeadNorm::none, T>({5, 33, 12});
  expect_concatenation<1, HeadNorm::sd3, T>({19});
  expect_concatenation<2, HeadNorm::sd3, T>({7, 45});
  expect_concatenation<3, HeadNorm::flux, T>({5, 33, 12});
}

/// The equation by hand, each stream with weights of its own.
TYPED_TEST(JointAttentionLayers, GiveEachStreamItsOwnWeights) {
  using T = TypeParam;
  const auto joint = random_model<Joint<T, 2, HeadNorm::sd3>>(1);
  const auto s = random_streams<T>(2, {7, 45});
  auto expected = s;
  Workspace workspace(2);
  const auto a = joint.streams[0].heads_of()(lazy(Tokens<const T, width>(tokens<width>(expected[0]))), workspace);
  const auto b = joint.streams[1].heads_of()(lazy(Tokens<const T, width>(tokens<width>(expected[1]))), workspace);
  joint_attention<heads>(workspace, a, b);
  store(tokens<width>(expected[0]), joint.streams[0].proj(a.answer()), workspace);
  store(tokens<width>(expected[1]), joint.streams[1].proj(b.answer()), workspace);
  const auto out = run(joint, s);
  EXPECT_TRUE(same_bits(out[0], expected[0]));
  EXPECT_TRUE(same_bits(out[1], expected[1]));
  auto swapped = run(joint, Streams<T>{s[0], s[0]});
  EXPECT_GT(distance(swapped[0], swapped[1]).nmse, 1e-2);
}

TYPED_TEST(JointAttentionLayers, KeepSamplesApartAndDoNotSeeTheNumberOfThreads) {
  using T = TypeParam;
  const auto joint = random_model<Joint<T, 3, HeadNorm::none>>(1);
  const auto s = random_streams<T>(3, {7, 45, 30});
  const auto expected = run(joint, s, 1);
  for (const int threads : {2, 3, 5}) {
    EXPECT_TRUE(same_bits(concatenated(run(joint, s, threads)), concatenated(expected))) << threads;
  }
  const auto of_sample = [](const Streams<T>& all, Index b) {
    Streams<T> one;
    for (const auto& x : all) one.push_back(sample(x, b));
    return one;
  };
  for (Index b = 0; b < 3; ++b) {
    EXPECT_TRUE(same_bits(concatenated(run(joint, of_sample(s, b))), concatenated(of_sample(expected, b)))) << b;
  }
}

TYPED_TEST(JointAttentionLayers, TakeTheArenaThatTheySay) {
  using T = TypeParam;
  using J = Joint<T, 2, HeadNorm::sd3>;
  const auto joint = random_model<J>(1);
  const auto own = random_model<Own<T, HeadNorm::none>>(2);
  for (const int threads : {1, 3}) {
    for (const auto& counts : {std::array<Index, 2>{1, 1}, {7, 45}, {200, 3}}) {
      auto s = random_streams<T>(2, {counts[0], counts[1]});
      Workspace workspace(threads), of_one(threads);
      joint(workspace, tokens<width>(s[0]), tokens<width>(s[1]));
      const Tokens<T, width> first{nullptr, 2, counts[0]}, second{nullptr, 2, counts[1]};
      const auto of_both = [&](const J& j, Workspace& meter) { j(meter, first, second); };
      EXPECT_EQ(workspace.high_water(), plan_of<J>(threads, of_both).arena) << counts[0] << " + " << counts[1];
      const auto x = tokens<width>(s[1]);
      store(x, own(lazy(Tokens<const T, width>(x)), of_one), of_one);
      const auto alone = [&](const auto& one, Workspace& meter) {
        store(second, one(lazy(Tokens<const T, width>(second)), meter), meter);
      };
      EXPECT_EQ(of_one.high_water(), (plan_of<Own<T, HeadNorm::none>>(threads, alone).arena)) << counts[1];
    }
  }
}

TYPED_TEST(JointAttentionLayers, RefuseStreamsOfOtherBatchesAndMissingWeights) {
  using T = TypeParam;
  const auto joint = random_model<Joint<T, 2, HeadNorm::sd3>>(1);
  Workspace workspace(1);
  auto s = random_streams<T>(2, {3, 5}), one = random_streams<T>(1, {3, 5});
  EXPECT_ERROR(errc::bad_input_shape, joint(workspace, tokens<width>(s[0]), tokens<width>(one[1])));
  EXPECT_ERROR(errc::bad_input_shape, joint(workspace, tokens<width>(one[0]), tokens<width>(s[1])));
  EXPECT_ERROR(errc::bad_state,
               (Joint<T, 2, HeadNorm::sd3>{}(workspace, tokens<width>(s[0]), tokens<width>(s[1]))));
  joint(workspace, tokens<width>(s[0]), tokens<width>(s[1]));
}

TYPED_TEST(JointAttentionLayers, AreNamedByTheirStream) {
  using J = Joint<TypeParam, 2, HeadNorm::sd3>;
  std::vector<std::string> names;
  constexpr J shapes{};
  for_each_parameter([&](const Path& path, const auto&) { names.push_back(path.str()); }, shapes);
  const std::vector<std::string> expected{"streams.0.qkv.weight",  "streams.0.qkv.bias",    "streams.0.ln_q.weight",
                                          "streams.0.ln_k.weight", "streams.0.proj.weight", "streams.0.proj.bias",
                                          "streams.1.qkv.weight",  "streams.1.qkv.bias",    "streams.1.ln_q.weight",
                                          "streams.1.ln_k.weight", "streams.1.proj.weight", "streams.1.proj.bias"};
  EXPECT_EQ(names, expected);
}

// Norms of queries and keys.

template <class T>
Heads<T, width> qkv_of(Tensor<T, 3>& qkv) {
  return split_heads<width>(tokens<3 * width>(qkv));
}

/// softmax(q k^T / sqrt(d)) v per head, from [batch, count, 3 * width].
std::vector<double> attended(const std::vector<double>& qkv, std::size_t batch, std::size_t count) {
  std::vector<double> out;
  const auto at = [&](std::size_t token, int which, int feature) {
    return qkv[(token * 3 + static_cast<std::size_t>(which)) * width + static_cast<std::size_t>(feature)];
  };
  for (std::size_t i = 0; i < batch * count; ++i) {
    for (int feature = 0; feature < width; ++feature) {
      const int head = feature / head_dim * head_dim;
      double sum = 0, answer = 0;
      for (std::size_t j = i / count * count; j < i / count * count + count; ++j) {
        double score = 0;
        for (int e = head; e < head + head_dim; ++e) score += at(i, 0, e) * at(j, 1, e);
        const double weight = std::exp(score / std::sqrt(head_dim));
        sum += weight;
        answer += weight * at(j, 2, feature);
      }
      out.push_back(answer / sum);
    }
  }
  return out;
}

/// So small that an eps of 1e-6 halves the variance: then 1e-5 would be off by a factor.
TYPED_TEST(JointAttentionLayers, NormaliseQueriesAndKeysPerHeadWithAnEpsOfAMillionth) {
  using T = TypeParam;
  auto norm = random_model<QkNorm<head_dim, HeadNorm::sd3, T>>(1);
  auto qkv = normal<T, 3>({2, 5, 3 * width}, 2);
  for (Index i = 0; i < qkv.size(); ++i) qkv.data()[i] *= T(1e-3);
  std::vector<double> expected(qkv.data(), qkv.data() + qkv.size());
  for (std::size_t head = 0; head < expected.size() / head_dim; ++head) {
    const std::size_t which = head / heads % 3;
    if (which == 2) continue;
    double squares = 0;
    for (std::size_t i = 0; i < head_dim; ++i)
      squares += expected[head * head_dim + i] * expected[head * head_dim + i];
    for (std::size_t i = 0; i < head_dim; ++i) {
      expected[head * head_dim + i] *=
          static_cast<double>((which == 0 ? norm.query_weight : norm.key_weight).data()[i]) /
          std::sqrt(squares / head_dim + 1e-6);
    }
  }
  Workspace workspace(2);
  joint_attention<heads>(workspace, norm.template operator()<heads>(qkv_of(qkv), Rope<T>{}));
  std::vector<T> got;
  for (Index i = 0; i < qkv.size(); i += 3 * width) got.insert(got.end(), qkv.data() + i, qkv.data() + i + width);
  EXPECT_TRUE(close(got, attended(expected, 2, 5), rounded<T>({1e-8, 1e-11})));
}

/// Scores see queries only through the norm, so their size is lost: RMSNorm(a q) = RMSNorm(q) as eps -> 0.
TYPED_TEST(JointAttentionLayers, WithNormsDoNotSeeTheSizeOfQueriesAndKeys) {
  using T = TypeParam;
  auto attention = random_model<Own<T, HeadNorm::sd3>>(1);
  const auto x = normal<T, 3>({2, 13, width}, 2);
  const auto expected = run(attention, x);
  std::vector<T> rows(2 * width * width), bias(2 * width);
  attention.qkv.weight.get_rows(0, 2 * width, rows.data());
  attention.qkv.bias.get_rows(0, 2 * width, bias.data());
  for (T& value : rows) value *= T(64);
  for (T& value : bias) value *= T(64);
  attention.qkv.weight.set_rows(0, 2 * width, rows.data());
  attention.qkv.bias.set_rows(0, 2 * width, bias.data());
  EXPECT_TRUE(close(run(attention, x), expected, Bound{1e-4, 1e-9}));  // an eps of 1e-6 is still there
  auto plain = random_model<Own<T, HeadNorm::none>>(1);
  const auto before = run(plain, x);
  plain.qkv.weight.set_rows(0, 2 * width, rows.data());
  EXPECT_GT(distance(run(plain, x), before).nmse, 1e-2);
}

TYPED_TEST(JointAttentionLayers, TurnQueriesAndKeysAfterTheirNormAndValuesNever) {
  using T = TypeParam;
  const auto attention = random_model<Own<T, HeadNorm::flux>>(1);
  auto x = normal<T, 3>({2, 6, width}, 2);
  std::vector<T> cos(6 * head_dim), sin(cos.size());
  Workspace workspace(2);
  const auto turns = rope_table(
      std::array{4, 4}, 100, 6, [](Index token, int axis) { return axis == 0 ? token / 3 : token % 3; }, cos.data(),
      sin.data(), workspace);
  const auto got = attention.heads_of()(lazy(Tokens<const T, width>(tokens<width>(x))), workspace, turns);
  joint_attention<heads>(workspace, got);
  const auto projected = take_tokens<T, 3 * width>(2, 6, workspace);
  store(projected, attention.qkv(tokens<width>(x)), workspace);
  const Kernels<T>& k = kernels<T>();
  for (Index head = 0; head < 12 * 3 * heads; ++head) {
    const Index which = head / heads % 3, token = head / (3 * heads) % 6;
    if (which == 2) continue;
    T* const part = projected.data + head * head_dim;
    const auto& weight = which == 0 ? attention.norm.query_weight : attention.norm.key_weight;
    T mean, rstd;
    k.statistics(Norm::rms, part, head_dim, T(1e-6), &mean, &rstd);
    k.normalise(part, head_dim, mean, rstd, weight.data(), nullptr, nullptr, nullptr, part);
    k.rotate(part, cos.data() + token * head_dim, sin.data() + token * head_dim, head_dim, part);
  }
  joint_attention<heads>(workspace, split_heads<width>(projected));
  for (Index row = 0; row < 12; ++row) {
    const Index at = row * 3 * width;
    EXPECT_TRUE(same_bits(std::vector<T>(got.out + at, got.out + at + width),
                          std::vector<T>(projected.data + at, projected.data + at + width)));
  }
  // The turns are seen.
  EXPECT_GT(distance(run(attention, x, turns), run(attention, x)).nmse, 1e-6);
}

}  // namespace
