#pragma once
/// What models conditioned on text have in common: the passes, on top of what each computes.

#include <algorithm>
#include <span>
#include <type_traits>

#include "dit/models/conditioned.hpp"
#include "dit/nn/layout.hpp"
#include "dit/nn/text.hpp"

namespace dit { inline namespace DIT_ABI {

/// to[b, to_first ...] <- from[b, from_first ...], `count` tokens of every sample of `to`.
template <class T, int width>
void copy_tokens(std::type_identity_t<Tokens<const T, width>> from, Index from_first, Tokens<T, width> to,
                 Index to_first, Index count, Workspace& workspace) {
  workspace.executor().parallel_ranges(to.batch * count, width, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index b = i / count, n = i % count;
      std::copy_n(from.data + (b * from.count + from_first + n) * width, width,
                  to.data + (b * to.count + to_first + n) * width);
    }
  });
}

/// A velocity model v(x, t, condition) on latents [B, C, H, W]. `Model` has `Condition`, `embed` it once, computes
/// `modulations` for any number of times, and goes `forward` with both.
template <class Model, class R>
struct TextToImage : HasLayout<> {
  /// v = Model(x, c, condition) with the modulations of c and the embedding computed beforehand; `options` are the
  /// model's.
  template <class M = Model, class... Options>
  void operator()(View<const R, 4> x, const typename M::Modulations& m, const typename M::Embedded& embedded,
                  View<R, 4> v, Workspace& workspace, const Options&... options) const {
    const auto lease = workspace.lease();
    require_images(x, M::config.patch, M::channels, v);
    m.require_vectors(x.shape[0]);
    require(embedded.samples() >= x.shape[0] && embedded.tokens() > 0, errc::bad_condition,
            "there must be a text for every sample");
    static_cast<const M&>(*this).forward(x, m, embedded, v, workspace, options...);
  }

  /// v = Model(x, t, condition), everything computed anew: a Conditioned field does less from step to step.
  template <class M = Model>
  void operator()(View<const R, 4> x, std::span<const R> t, const typename M::Condition& condition, View<R, 4> v,
                  Workspace& workspace) const {
    const auto lease = workspace.lease();
    require_images(x, M::config.patch, M::channels, v);
    const auto& model = static_cast<const M&>(*this);
    const auto embedded =
        or_out_of_memory("the text's embedding", [&] { return model.embed(condition, workspace); });
    require(static_cast<Index>(t.size()) == x.shape[0] && embedded.samples() == x.shape[0], errc::bad_condition,
            "there must be one time and one text per sample");
    const auto scope = workspace.scope();
    R* table = workspace.take<R>(M::Modulations::per_vector * x.shape[0]);
    model.modulations(t, embedded, table, workspace);
    model.forward(x, {{table, x.shape[0]}}, embedded, v, workspace);
  }
  /// The same with a result of its own.
  template <class M = Model>
  Tensor<R, 4> operator()(View<const R, 4> x, std::span<const R> t, const typename M::Condition& condition,
                          Workspace& workspace) const {
    patch_grid(x, M::config.patch);
    auto v = or_out_of_memory("the output", [&] { return Tensor<R, 4>(x.shape); });
    (*this)(x, t, condition, v, workspace);
    return v;
  }
};

}}  // namespace dit
