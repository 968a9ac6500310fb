#pragma once
/// How much memory a model takes, before it takes any.

#include "dit/nn/module.hpp"

namespace dit::inline DIT_ABI {

/// Bytes.
struct Plan {
  std::size_t weights;  ///< the packed model, shared by everything that runs it
  std::size_t arena;    ///< the Workspace of one pass
  constexpr std::size_t total() const { return weights + arena; }
};

/// Bytes of a model's parameters once they are packed.
template <class M>
constexpr std::size_t weight_bytes() {
  std::size_t bytes = 0;
  constexpr with_scalar<M, shape_only> shapes{};
  for_each_parameter([&bytes]<class P>(const Path&, const P&) { bytes += P::template bytes<typename M::scalar>; },
                     shapes);
  return bytes;
}

/// What a pass of the model over `batch` latents of `shape` = {H, W} takes. What follows are the arguments of the
/// model's `arena`: the number of text tokens, if it takes text, and the strands of the executor.
///     constexpr Plan p = plan<DiT<dit_xl_2>>(1, {32, 32}, 2);
///     constexpr Plan q = plan<MMDiT<sd3_medium>>(1, {128, 128}, /*text=*/154, /*strands=*/2);
///     Workspace workspace(2, p.arena);   // the first pass does not allocate either
template <class M, std::size_t rank, class... Arguments>
constexpr Plan plan(Index batch, const Index (&shape)[rank], Arguments... arguments) {
  Shape<rank> extents{};
  for (std::size_t i = 0; i < rank; ++i) extents[i] = shape[i];
  return {weight_bytes<M>(), M::arena(batch, extents, arguments...)};
}

}  // namespace dit::inline DIT_ABI
