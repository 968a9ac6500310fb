#pragma once
/// What the tests of attention share: operands, a run of them, and softmax(scale q k^T) v in double.

#include "dit/kernels/attention.hpp"

#include "kernels/support.hpp"

namespace dit::test {

/// Attention is of what a model stores.
using Stored = ::testing::Types<float, double, bf16>;

/// [batch, tokens, heads, d] for q and out, another number of tokens for k and v.
template <class T>
struct Operands {
  Index batch, queries, keys, heads, d;
  real<T> scale;
  Numbers<T> q, k, v;
  HeadTurn<real<T>> query_turn{}, key_turn{};
  Numbers<std::uint8_t> present{};  ///< [batch, keys]; or none are padding

  Operands(Index batch_, Index queries_, Index keys_, Index heads_, Index d_, unsigned seed, double size = 1)
      : batch(batch_),
        queries(queries_),
        keys(keys_),
        heads(heads_),
        d(d_),
        scale(static_cast<real<T>>(1 / std::sqrt(static_cast<double>(d_)))),
        q(random_numbers<T>(batch * queries * heads * d, seed, size)),
        k(random_numbers<T>(batch * keys * heads * d, seed + 1, size)),
        v(random_numbers<T>(batch * keys * heads * d, seed + 2)) {}

  Index width() const { return heads * d; }
  const std::uint8_t* mask() const { return present.empty() ? nullptr : present.data(); }
};

/// Queries, and keys with their values, are a stream each.
template <class T>
Numbers<T> run(const Operands<T>& o, Workspace& workspace, const Kernels<T>& kernels) {
  Numbers<T> out(o.q.size(), nan_of<T>);
  const Index width = o.width();
  const AttentionStream<T> streams[] = {
      {o.q.data(), nullptr, nullptr, out.data(), o.queries, width, o.queries * width, width, o.queries * width,
       o.query_turn},
      {nullptr, o.k.data(), o.v.data(), nullptr, o.keys, width, o.keys * width, 0, 0, o.key_turn, o.mask()}};
  attention(std::span<const AttentionStream<T>>(streams), o.batch, o.heads, o.d, o.scale, workspace, kernels);
  return out;
}

/// A head as attention turns it: x / sqrt(mean(x^2) + eps) * weight, then each pair by the angle of its token.
template <class T>
Numbers<double> turned(const T* x, Index d, Index token, const HeadTurn<real<T>>& turn, const real<T>* weight) {
  Numbers<double> y(count(d));
  double squares = 0;
  for (Index c = 0; c < d; ++c) {
    y[count(c)] = static_cast<double>(x[c]);
    squares += y[count(c)] * y[count(c)];
  }
  const double rstd = 1 / std::sqrt(squares / static_cast<double>(d) + static_cast<double>(turn.eps));
  for (Index c = 0; weight && c < d; ++c) y[count(c)] *= rstd * static_cast<double>(weight[c]);
  for (Index c = 0; turn.cos && c < d; c += 2) {
    const double a = y[count(c)], b = y[count(c + 1)];
    const double cos = static_cast<double>(turn.cos[token * d + c]),
                 sin = static_cast<double>(turn.sin[token * d + c + 1]);
    y[count(c)] = a * cos - b * sin;
    y[count(c + 1)] = a * sin + b * cos;
  }
  return y;
}

/// Without a key that is present the answer is 0.
template <class T>
Numbers<double> naive(const Operands<T>& o) {
  Numbers<double> out(o.q.size(), 0);
  for (Index b = 0; b < o.batch; ++b) {
    for (Index h = 0; h < o.heads; ++h) {
      const auto at = [&](Index tokens, Index t) { return count(((b * tokens + t) * o.heads + h) * o.d); };
      std::vector<Numbers<double>> keys;
      for (Index j = 0; j < o.keys; ++j) {
        keys.push_back(turned(&o.k[at(o.keys, j)], o.d, j, o.key_turn, o.key_turn.key_weight));
      }
      for (Index i = 0; i < o.queries; ++i) {
        const auto q = turned(&o.q[at(o.queries, i)], o.d, i, o.query_turn, o.query_turn.query_weight);
        Numbers<double> p(count(o.keys), -INFINITY);
        double top = -INFINITY, sum = 0;
        for (Index j = 0; j < o.keys; ++j) {
          if (!o.present.empty() && !o.present[count(b * o.keys + j)]) continue;
          double score = 0;
          for (Index c = 0; c < o.d; ++c) score += q[count(c)] * keys[count(j)][count(c)];
          p[count(j)] = score * static_cast<double>(o.scale);
          top = std::max(top, p[count(j)]);
        }
        if (top == -INFINITY) continue;
        for (double& value : p) sum += value = std::exp(value - top);
        for (Index j = 0; j < o.keys; ++j) {
          if (p[count(j)] == 0) continue;
          for (Index c = 0; c < o.d; ++c) {
            out[at(o.queries, i) + count(c)] +=
                p[count(j)] / sum * static_cast<double>(o.v[at(o.keys, j) + count(c)]);
          }
        }
      }
    }
  }
  return out;
}

/// NMSE against double on the same operands: 1e-11 in float. In bf16 the softmax's numerators are rounded and so is
/// the answer: errors of at most 2^-8, even, which for mantissas as they are is a variance of 2.8e-6 each. (The
/// numerators' power of 2 adds 1.02e-4 at most, of which the sum takes back the mean.)
template <class T>
inline constexpr double attention_nmse = sizeof(T) == 2 ? 1e-5 : 1e-11;
/// Queries and keys that are turned are rounded once more; scores of variance 1 err by the sum of the two.
template <class T>
inline constexpr double turned_nmse = sizeof(T) == 2 ? 2e-5 : 1e-11;

}  // namespace dit::test
