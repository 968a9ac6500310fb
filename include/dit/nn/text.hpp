#pragma once
/// What text encoders made of the prompts.

#include <algorithm>
#include <span>

#include "dit/nn/embed.hpp"

namespace dit { inline namespace DIT_ABI {

/// The prompts of a batch: the tokens of each, and one vector for the whole of each.
/// SD3: context [B, M, 4096] (77 CLIP tokens, then T5's), pooled [B, 2048] (CLIP-L, then CLIP-G).
/// FLUX.1: context [B, M, 4096] (T5), pooled [B, 768] (CLIP-L).
template <class T = float>
struct Text {
  Tensor<T, 3> context;
  Tensor<T, 2> pooled;

  Index samples() const { return context.dimension(0); }
};

/// [a | b], one batch after the other: conditional and unconditional prompts, for batched guidance.
/// Errors: bad_condition unless they have as many tokens each, of one width.
template <class T>
Text<T> concat(const Text<T>& a, const Text<T>& b) {
  require(a.context.dimension(1) == b.context.dimension(1) && a.context.dimension(2) == b.context.dimension(2) &&
              a.pooled.dimension(1) == b.pooled.dimension(1),
          errc::bad_condition, "two texts go into one batch when both have as many tokens, of one width");
  return or_out_of_memory("the texts of a batch", [&] {
    const auto both = [](const auto& first, const auto& second) {
      auto dimensions = first.dimensions();
      dimensions[0] += second.dimension(0);
      std::remove_cvref_t<decltype(first)> all(dimensions);
      std::copy_n(second.data(), second.size(), std::copy_n(first.data(), first.size(), all.data()));
      return all;
    };
    return Text<T>{both(a.context, b.context), both(a.pooled, b.pooled)};
  });
}

/// A text as a model has embedded it, once for all steps: tokens [B, M, D] and the part of the conditioning vector
/// that does not depend on time, [B, D].
template <class T, int width>
struct EmbeddedText {
  Buffer<T, 3> context;
  Buffer<T, 2> vector;

  /// For a plan.
  static constexpr EmbeddedText planned(Index batch, Index count) {
    return {Buffer<T, 3>::planned({batch, count, width}), Buffer<T, 2>::planned({batch, width})};
  }

  constexpr Index samples() const { return context.shape()[0]; }
  constexpr Index tokens() const { return context.shape()[1]; }
  /// All texts' tokens, and their vectors.
  constexpr Tokens<const T, width> all_tokens() const { return {context.data(), samples(), tokens()}; }
  constexpr Tokens<const T, width> vectors() const { return {vector.data(), samples(), 1}; }
};

/// Linear(context), MLP2(pooled), of tokens and vectors as wide as the model's, to where they will stay.
template <class T, int context_width, int pooled_width, int width>
constexpr void embed_text(Tokens<const real<T>, context_width> tokens, Tokens<const real<T>, pooled_width> vectors,
                          const Linear<context_width, width, T>& context,
                          const Mlp<pooled_width, width, width, Activation::silu, T>& pooled,
                          EmbeddedText<real<T>, width>& to, Workspace& workspace) {
  store(Tokens<real<T>, width>{to.context.data(), tokens.batch, tokens.count}, context(tokens), workspace);
  store(Tokens<real<T>, width>{to.vector.data(), tokens.batch, 1}, pooled(lazy(vectors), workspace), workspace);
}

/// The same of a Text. Errors: bad_condition unless its tensors are [B, M, context_width] with at least one token
/// and [B, pooled_width].
template <class T, int context_width, int pooled_width, int width>
EmbeddedText<real<T>, width> embed_text(const Text<real<T>>& text, const Linear<context_width, width, T>& context,
                                        const Mlp<pooled_width, width, width, Activation::silu, T>& pooled,
                                        Workspace& workspace) {
  using R = real<T>;
  const Index batch = text.context.dimension(0), count = text.context.dimension(1);
  require(batch > 0 && count > 0 && text.context.dimension(2) == context_width, errc::bad_condition,
          "the text's tokens are not as wide as the model's, or there are none");
  require(text.pooled.dimension(0) == batch && text.pooled.dimension(1) == pooled_width, errc::bad_condition,
          "the pooled text is not one vector per sample, as wide as the model's");
  EmbeddedText<R, width> e{Buffer<R, 3>({batch, count, width}), Buffer<R, 2>({batch, width})};
  embed_text<T>(Tokens<const R, context_width>{text.context.data(), batch, count},
                Tokens<const R, pooled_width>{text.pooled.data(), batch, 1}, context, pooled, e, workspace);
  return e;
}

/// SiLU(c), c[r] = MLP2(timestep features(scale * times[r])) + the text's vector, [rows, 1, D] on the workspace, in
/// the caller's scope. The texts start anew where there are more times, and the first ones serve fewer. Errors:
/// bad_condition without times or texts, bad_schedule for a time that is not finite.
template <class T, int width>
constexpr Tokens<real<T>, width> condition_vectors(std::span<const real<T>> times, double scale,
                                                   const TimestepEmbedder<width, T>& embedder,
                                                   const EmbeddedText<real<T>, width>& text, Workspace& workspace) {
  using R = real<T>;
  require(!times.empty() && text.samples() > 0, errc::bad_condition,
          "there must be one time and one text per sample");
  require_finite(times, workspace);
  const auto c = take_tokens<R, width>(static_cast<Index>(times.size()), 1, workspace);
  store(c, embedder(times, /*divisor=*/128, workspace, scale), workspace);
  add_rows(c, text.vectors(), workspace);
  activate(Activation::silu, c, workspace);
  return c;
}

}}  // namespace dit
