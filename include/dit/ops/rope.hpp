#pragma once
/// Rotary position embedding over several axes, and the norm of queries and keys that comes before it.

#include <array>
#include <cmath>

#include "dit/ops/attention.hpp"

namespace dit { inline namespace DIT_ABI {

/// The turns of some tokens: for each of them [head_dim] cosines and as many sines, a pair of channels
/// (2 k, 2 k + 1) having one angle phi_k:   cos: c_0 c_0 c_1 c_1 ...,   sin: -s_0 s_0 -s_1 s_1 ...
/// Null: nothing is turned.
template <class T>
struct Rope {
  const T* cos = nullptr;
  const T* sin = nullptr;

  /// The turns of the tokens from `token` on.
  constexpr Rope from(Index token, int head_dim) const {
    return cos ? Rope{cos + token * head_dim, sin + token * head_dim} : Rope{};
  }
};

/// The table for `tokens` tokens at the places id(token, axis), an integer or not for every axis; `axes` says how
/// many channels of a head belong to each, in their order (FLUX: src/flux/math.py, rope;
/// src/flux/modules/layers.py, EmbedND; pairs of neighbours as in arXiv:2104.09864, 3.2.2):
///     phi_k = id * theta^(-2 k / a),  k = 0 .. a / 2 - 1,  a the axis' channels
/// Angles in double, rounded once. `cos` and `sin` take tokens * head_dim numbers each.
template <class T, std::size_t rank, class Id>
constexpr Rope<T> rope_table(const std::array<int, rank>& axes, double theta, Index tokens, Id&& id, T* cos, T* sin,
                             Workspace& workspace) {
  Index head_dim = 0;
  for (const int a : axes) head_dim += a;
  workspace.parallel_for(tokens, [&](Index token, int) {
    T* c = cos + token * head_dim;
    T* s = sin + token * head_dim;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const double place = static_cast<double>(id(token, static_cast<int>(axis)));
      for (int k = 0; k < axes[axis]; k += 2, c += 2, s += 2) {
        const double phi = place * std::pow(theta, -static_cast<double>(k) / axes[axis]);
        c[0] = c[1] = static_cast<T>(std::cos(phi));
        s[1] = static_cast<T>(std::sin(phi));
        s[0] = -s[1];
      }
    }
  });
  return {cos, sin};
}

/// q <- R(q / sqrt(mean(q^2) + eps) * weight_q), and k likewise, per head of d features: RMSNorm with the learned
/// weights [d] unless they are null, then the turn by each token's angles, if any:
///     R: (x_{2k}, x_{2k+1}) -> (x_{2k} cos phi_k - x_{2k+1} sin phi_k, x_{2k} sin phi_k + x_{2k+1} cos phi_k)
/// The table is that of the sample's tokens, the same for all samples. Lazy: it happens while the attention reads
/// them.
template <int heads, class T, int width>
constexpr Heads<T, width> normalise_and_turn(Heads<T, width> x, const real<T>* weight_q, const real<T>* weight_k,
                                             double eps, Rope<real<T>> rope) {
  static_assert(width % heads == 0, "normalise_and_turn: the number of heads does not divide the width");
  static_assert(width / heads % 2 == 0, "normalise_and_turn: a head must have pairs of channels");
  x.turn = {weight_q, weight_k, static_cast<real<T>>(eps), rope.cos, rope.sin};
  return x;
}

}}  // namespace dit
