#pragma once
/// Attention with its projections, among the tokens of one stream or of several.

#include <array>
#include <utility>

#include "dit/nn/linear.hpp"
#include "dit/ops/attention.hpp"
#include "dit/ops/rope.hpp"

namespace dit { inline namespace DIT_ABI {

/// Whether queries and keys are normalised, and under whose names the weights are.
enum class HeadNorm {
  none,
  sd3,   ///< ln_q.weight, ln_k.weight (sd3.5: mmditx.py, SelfAttention)
  flux,  ///< norm.query_norm.scale, norm.key_norm.scale (flux: src/flux/modules/layers.py, QKNorm)
};

/// RMSNorm of queries and keys, per head of d features, with weights [d] that all heads share (arXiv:2403.03206,
/// 5.3.2), eps 1e-6 in every model that has it; or nothing.
template <int head_dim, HeadNorm norm, class T = float>
struct QkNorm {
  Parameter<real<T>, head_dim> query_weight, key_weight;

  static constexpr void visit(auto&& f, auto&... self) {
    f(norm == HeadNorm::sd3 ? "ln_q.weight" : "norm.query_norm.scale", self.query_weight...);
    f(norm == HeadNorm::sd3 ? "ln_k.weight" : "norm.key_norm.scale", self.key_weight...);
  }
  /// Then the turn, if there is one; see normalise_and_turn.
  template <int heads, int width>
  constexpr Heads<stored<T>, width> operator()(const Heads<stored<T>, width>& x, Rope<real<T>> rope) const {
    return normalise_and_turn<heads>(x, query_weight.data(), key_weight.data(), 1e-6, rope);
  }
};
template <int head_dim, class T>
struct QkNorm<head_dim, HeadNorm::none, T> {
  static constexpr void visit(auto&&, auto&...) {}
  template <int heads, int width>
  constexpr Heads<stored<T>, width> operator()(const Heads<stored<T>, width>& x, Rope<real<T>> rope) const {
    if (!rope.cos) return x;
    return normalise_and_turn<heads>(x, nullptr, nullptr, 1e-6, rope);
  }
};

/// What a stream brings to an attention: [q, k, v] = qkv(x), one fused Linear D -> 3 D with rows q, k, v, each
/// head-major; q and k are normalised, and turned if there is a table of turns.
template <int width, int heads, class T = float, HeadNorm norm_ = HeadNorm::none>
struct QkvProjection {
  static_assert(heads > 0 && width % heads == 0, "SelfAttention: the number of heads does not divide the width");
  static constexpr int head_dim = width / heads;
  using R = real<T>;
  using S = stored<T>;

  Linear<width, 3 * width, T> qkv;
  QkNorm<head_dim, norm_, T> norm;

  static constexpr void visit(auto&& f, auto&... self) {
    f("qkv", self.qkv...);
    decltype(norm)::visit(f, self.norm...);
  }

  /// x [B, N, D], lazy -> q, k, v [B, N, D] on the workspace, in the caller's scope.
  template <class Source, int x_width>
  constexpr Heads<S, width> operator()(const Lazy<Source, x_width>& x, Workspace& workspace,
                                       Rope<R> rope = {}) const {
    const auto projected = take_tokens<S, 3 * width>(x.batch, x.count, workspace);
    store(projected, qkv(x), workspace);
    return norm.template operator()<heads>(split_heads<width>(projected), rope);
  }
};

/// proj(Attention(q, k, v)), [q, k, v] = qkv(x) (timm.models.vision_transformer.Attention, which DiT's models.py
/// uses; with norms of q and k sd3.5's mmditx.py, SelfAttention).
template <int width, int heads, class T = float, HeadNorm norm_ = HeadNorm::none>
struct SelfAttention : QkvProjection<width, heads, T, norm_> {
  using Qkv = QkvProjection<width, heads, T, norm_>;

  Linear<width, width, T> proj;

  static constexpr void visit(auto&& f, auto&... self) {
    Qkv::visit(f, self...);
    f("proj", self.proj...);
  }

  /// q, k and v alone, for an attention in which others take part: the answer is for `proj`.
  constexpr const Qkv& heads_of() const { return *this; }

  /// Attention goes to the workspace; the output projection is returned, lazy.
  template <class Source, int x_width>
  constexpr auto operator()(const Lazy<Source, x_width>& x, Workspace& workspace, Rope<real<T>> rope = {}) const {
    auto scope = workspace.scope();
    const auto own = heads_of()(x, workspace, rope);
    joint_attention<heads>(workspace, own);
    return Held(std::move(scope), proj(own.answer()));
  }
};

/// The same layer with the parameter names of torch.nn.MultiheadAttention.
template <int width, int heads, class T = float>
struct MultiheadAttention : SelfAttention<width, heads, T> {
  static constexpr void visit(auto&& f, auto&... self) {
    f("in_proj_weight", self.qkv.weight...);
    f("in_proj_bias", self.qkv.bias...);
    f("out_proj", self.proj...);
  }
};

/// Several streams of tokens in one attention, each with weights of its own (arXiv:2403.03206, section 4):
///     [q_s, k_s, v_s] = qkv_s(x_s)   for every stream s, q_s and k_s normalised
///     o = softmax([q_1 | q_2 | ...] [k_1 | k_2 | ...]^T / sqrt(d)) [v_1 | v_2 | ...]
///     y_s = proj_s(o_s)
/// (The blocks of Stable Diffusion 3 and FLUX do the same with a modulation before and a gate behind.)
template <int width, int heads, int streams_ = 2, class T = float, HeadNorm norm_ = HeadNorm::none>
struct JointAttention {
  static_assert(streams_ > 0, "JointAttention: there must be a stream");
  using R = real<T>;

  std::array<SelfAttention<width, heads, T, norm_>, streams_> streams;

  static constexpr void visit(auto&& f, auto&... self) { f("streams", self.streams...); }

  /// x_s [B, N_s, D] in place. Errors: bad_input_shape unless all are of one batch.
  template <std::same_as<Tokens<R, width>>... X>
  constexpr void operator()(Workspace& workspace, X... x) const {
    static_assert(sizeof...(X) == streams_, "JointAttention: there must be as many streams of tokens as it has");
    attend(workspace, std::make_index_sequence<streams_>(), x...);
  }

 private:
  template <std::size_t... s, class... X>
  constexpr void attend(Workspace& workspace, std::index_sequence<s...>, X... x) const {
    const auto scope = workspace.scope();
    const std::array<Heads<stored<T>, width>, streams_> own{
        streams[s].heads_of()(lazy(Tokens<const R, width>(x)), workspace)...};
    joint_attention<heads>(workspace, own[s]...);
    (store(x, streams[s].proj(own[s].answer()), workspace), ...);
  }
};

}}  // namespace dit
