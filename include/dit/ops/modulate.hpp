#pragma once
/// Modulation: what adaLN makes of the conditioning vector.

#include "dit/core/error.hpp"
#include "dit/core/tensor.hpp"

namespace dit { inline namespace DIT_ABI {

/// One vector of `width` numbers for every sample of a batch, `stride` numbers apart.
template <class T, int width_>
struct PerSample {
  static constexpr int width = width_;
  const T* data = nullptr;
  Index stride = 0;
};

/// shift, scale and gate of one branch of a block, each [B, width] and broadcast over the tokens.
///     modulate(x; shift, scale) = x * (1 + scale) + shift
template <class T, int width>
struct Modulation {
  PerSample<T, width> shift, scale, gate;
};

/// The output [B, chunks * width] of an adaLN projection, by chunk.
template <class T, int width, int chunks>
struct Chunks {
  static constexpr int count = chunks;
  const T* data = nullptr;

  template <int i>
  constexpr PerSample<T, width> chunk() const {
    static_assert(0 <= i && i < chunks, "the adaLN projection has fewer chunks than that");
    return {advance(data, i * width), chunks * width};
  }
};

/// The modulations of all layers of a model for a number of conditioning vectors: for every adaLN projection a
/// matrix [vectors, chunks * width], one after the other. Row r of each belongs to vector r.
template <class T, int width>
struct ModulationTable {
  const T* data = nullptr;
  Index vectors = 0;  ///< in the table
  Index first = 0;    ///< the one of the batch's first sample

  /// Of the projection that comes after projections of `before` chunks.
  template <int count>
  constexpr Chunks<T, width, count> chunks(Index before) const {
    return {advance(data, (before * vectors + first * count) * width)};
  }
  /// errc::bad_condition unless there is a vector for every sample of a batch.
  void require_vectors(Index batch) const {
    require(data && first >= 0 && first + batch <= vectors, errc::bad_condition,
            "the modulation table has no vector for every sample");
  }
};

}}  // namespace dit
