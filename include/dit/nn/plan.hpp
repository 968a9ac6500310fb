#pragma once
/// How much memory a model takes, before it takes any.

#include <cstdint>
#include <utility>

#include "dit/nn/adaln.hpp"

namespace dit { inline namespace DIT_ABI {

/// Bytes of a model, and the multiplications and additions of a pass. 64 bits wherever it is computed.
struct Plan {
  std::uint64_t weights;         ///< the packed model, shared by everything that runs it
  std::uint64_t arena;           ///< the Workspace of one pass
  std::uint64_t modulation = 0;  ///< that part of the weights which `release_modulation` gives back
  std::uint64_t table = 0;       ///< a time of a Conditioned field, for the batch
  std::uint64_t flops = 0;       ///< of one pass: its products, convolutions and attentions
  constexpr std::uint64_t total() const { return weights + arena; }
  /// With a field of which so many times are prepared, and room for another. This much is there at the peak.
  constexpr std::uint64_t prepared(Index times) const {
    return total() + table * static_cast<std::uint64_t>(times + 1);
  }
  /// The same after `release_modulation`.
  constexpr std::uint64_t released(Index times) const { return prepared(times) - modulation; }
};

namespace detail {
template <class M>
constexpr std::uint64_t bytes_of(const M& module) {
  std::uint64_t bytes = 0;
  for_each_parameter([&bytes]<class P>(const Path&, const P&) { bytes += P::bytes; }, module);
  return bytes;
}

/// Models whose plan asks for tokens of text.
template <class M>
concept TakesText = requires(const M& model, Workspace& meter) {
  model.rehearse(meter, Index{}, Shape<2>{}, Index{}, Index{});
};
}  // namespace detail

/// Bytes of a model's parameters once they are packed.
template <class M>
constexpr std::uint64_t weight_bytes() {
  return detail::bytes_of(M{});
}

/// Bytes of its adaLN projections among them.
template <class M>
constexpr std::uint64_t modulation_bytes() {
  std::uint64_t bytes = 0;
  const M model{};
  for_each_modulation([&bytes](const auto& projection) { bytes += detail::bytes_of(projection); }, model);
  return bytes;
}

/// Bytes of the modulations at one time, for one sample.
template <class M>
constexpr std::uint64_t table_bytes() {
  if constexpr (requires { M::Modulations::per_vector; }) {
    return static_cast<std::uint64_t>(M::Modulations::per_vector) * sizeof(typename M::R);
  } else {
    return 0;
  }
}

/// The plan of any module on so many strands: `pass(module, meter)` is its pass, on a Workspace that only
/// counts, of tokens whose numbers may be missing:
///     constexpr Plan p = plan_of<MyBlock>(2, [](const auto& block, Workspace& meter) {
///       block(Tokens<float, 1152>{nullptr, 1, 256}, meter);
///     });
/// A constant of the compiler where the module's call operator is constexpr.
template <class M, class Pass>
constexpr Plan plan_of(int strands, Pass&& pass) {
  M module{};
  for_each_parameter([](const Path&, auto& p) { p.plan(); }, module);
  Workspace meter(Meter{strands});
  pass(std::as_const(module), meter);
  return {.weights = weight_bytes<M>(), .arena = meter.high_water(), .flops = meter.flops()};
}

namespace detail {
/// Of pass(model, meter), for a model and its batch.
template <class M, class Pass>
constexpr Plan plan_model(Index batch, int strands, Pass&& pass) {
  Plan plan = plan_of<M>(strands, pass);
  plan.modulation = modulation_bytes<M>();
  plan.table = table_bytes<M>() * static_cast<std::uint64_t>(batch);
  return plan;
}
}  // namespace detail

/// The plan of a pass over `batch` latents of `shape` = {H, W}, everything from x, t and condition on
/// included: the forward pass itself is run on a Workspace that only counts, by the compiler if asked.
///     constexpr Plan p = plan<DiT<dit_xl_2>>(1, {32, 32}, /*strands=*/2);
///     Workspace workspace(2, p.arena);   // the first pass does not allocate either
template <class M>
constexpr Plan plan(Index batch, const Index (&shape)[2], int strands) {
  constexpr bool complete = !detail::TakesText<M>;
  static_assert(complete, "this model takes text: plan<Model>(batch, {h, w}, text_tokens, strands)");
  if constexpr (complete) {
    return detail::plan_model<M>(batch, strands, [&](const M& model, Workspace& meter) {
      model.rehearse(meter, batch, {shape[0], shape[1]});
    });
  } else {
    return {};
  }
}

/// The same of a model that is told a text of so many tokens, and a FLUX that is told a reference of so many:
///     constexpr Plan q = plan<MMDiT<sd3_medium>>(1, {128, 128}, /*text=*/154, /*strands=*/2);
///     q.prepared(28), q.released(28)     // with a Conditioned field of 28 times, before and after the release
template <class M>
constexpr Plan plan(Index batch, const Index (&shape)[2], Index text, int strands, Index reference = 0) {
  constexpr bool takes_text = detail::TakesText<M>;
  static_assert(takes_text, "this model takes no text: plan<Model>(batch, {h, w}, strands)");
  if constexpr (takes_text) {
    return detail::plan_model<M>(batch, strands, [&](const M& model, Workspace& meter) {
      model.rehearse(meter, batch, {shape[0], shape[1]}, text, reference);
    });
  } else {
    return {};
  }
}

/// The plan of `decode_tiled`, in tiles of tile x tile latents. Errors: bad_option for a tile that
/// cannot be cut.
template <class M>
constexpr Plan plan_tiled(Index batch, const Index (&shape)[2], int strands, Index tile = 64) {
  return detail::plan_model<M>(batch, strands, [&](const M& model, Workspace& meter) {
    model.rehearse_tiled(meter, batch, {shape[0], shape[1]}, tile);
  });
}

}}  // namespace dit
