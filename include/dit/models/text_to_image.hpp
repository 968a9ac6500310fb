#pragma once
/// What models conditioned on text have in common: the passes, on top of what each computes.

#include <span>

#include "dit/models/conditioned.hpp"
#include "dit/nn/layout.hpp"
#include "dit/nn/text.hpp"

namespace dit { inline namespace DIT_ABI {

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
    pass(x, t, embedded, v, workspace);
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

  /// The pass of a plan, of shapes without numbers: latents [batch, C, H, W], `shape` = {H, W}, with `text` tokens
  /// and what else the model is told.
  template <class M = Model>
  constexpr void rehearse(Workspace& meter, Index batch, const Shape<2>& shape, Index text, Index reference) const {
    const Shape<4> latents{batch, M::channels, shape[0], shape[1]};
    auto embedded = M::Embedded::planned(batch, text);
    static_cast<const M&>(*this).rehearse_condition(meter, embedded, shape, reference);
    pass<M>({nullptr, latents}, {static_cast<const R*>(nullptr), static_cast<std::size_t>(batch)}, embedded,
            {nullptr, latents}, meter);
  }

 private:
  /// With the modulations computed for these times.
  template <class M = Model>
  constexpr void pass(View<const R, 4> x, std::span<const R> t, const typename M::Embedded& embedded, View<R, 4> v,
                      Workspace& workspace) const {
    const auto& model = static_cast<const M&>(*this);
    const auto scope = workspace.scope();
    R* const table = workspace.take<R>(M::Modulations::per_vector * x.shape[0]);
    model.modulations(t, embedded, table, workspace);
    model.forward(x, {{table, x.shape[0]}}, embedded, v, workspace);
  }
};

}}  // namespace dit
