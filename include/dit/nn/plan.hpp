#pragma once
/// How much memory a model takes, before it takes any.

#include "dit/nn/adaln.hpp"

namespace dit { inline namespace DIT_ABI {

/// Bytes.
struct Plan {
  std::size_t weights;         ///< the packed model, shared by everything that runs it
  std::size_t arena;           ///< the Workspace of one pass
  std::size_t modulation = 0;  ///< that part of the weights which `release_modulation` gives back
  std::size_t table = 0;       ///< a time of a Conditioned field, for the batch
  constexpr std::size_t total() const { return weights + arena; }
  /// With a field of which so many times are prepared, and room for another. This much is there at the peak.
  constexpr std::size_t prepared(Index times) const {
    return total() + table * static_cast<std::size_t>(times + 1);
  }
  /// The same after `release_modulation`.
  constexpr std::size_t released(Index times) const { return prepared(times) - modulation; }
};

namespace detail {
template <class T, class M>
constexpr std::size_t bytes_of(const M& shapes) {
  std::size_t bytes = 0;
  for_each_parameter([&bytes]<class P>(const Path&, const P&) { bytes += P::template bytes<T>; }, shapes);
  return bytes;
}
}  // namespace detail

/// Bytes of a model's parameters once they are packed.
template <class M>
constexpr std::size_t weight_bytes() {
  constexpr with_scalar<M, shape_only> shapes{};
  return detail::bytes_of<typename M::scalar>(shapes);
}

/// Bytes of its adaLN projections among them.
template <class M>
constexpr std::size_t modulation_bytes() {
  std::size_t bytes = 0;
  constexpr with_scalar<M, shape_only> shapes{};
  for_each_modulation(
      [&bytes](const auto& projection) { bytes += detail::bytes_of<typename M::scalar>(projection); }, shapes);
  return bytes;
}

/// Bytes of the modulations at one time, for one sample.
template <class M>
constexpr std::size_t table_bytes() {
  if constexpr (requires { M::Modulations::per_vector; }) {
    return static_cast<std::size_t>(M::Modulations::per_vector) * sizeof(real<typename M::scalar>);
  } else {
    return 0;
  }
}

/// What a pass of the model over `batch` latents of `shape` = {H, W} takes. What follows are the arguments of the
/// model's `arena`: the number of text tokens, if it takes text, and the strands of the executor.
///     constexpr Plan p = plan<DiT<dit_xl_2>>(1, {32, 32}, 2);
///     constexpr Plan q = plan<MMDiT<sd3_medium>>(1, {128, 128}, /*text=*/154, /*strands=*/2);
///     Workspace workspace(2, p.arena);   // the first pass does not allocate either
///     q.prepared(28), q.released(28)     // with a Conditioned field of 28 times, before and after the release
template <class M, std::size_t rank, class... Arguments>
constexpr Plan plan(Index batch, const Index (&shape)[rank], Arguments... arguments) {
  Shape<rank> extents{};
  for (std::size_t i = 0; i < rank; ++i) extents[i] = shape[i];
  return {weight_bytes<M>(), M::arena(batch, extents, arguments...), modulation_bytes<M>(),
          table_bytes<M>() * static_cast<std::size_t>(batch)};
}

}}  // namespace dit
