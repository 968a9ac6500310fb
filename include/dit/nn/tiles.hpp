#pragma once
/// What decoders of latents share: the check of their arguments, and tiles that overlap.

#include <algorithm>
#include <functional>
#include <string>

#include "dit/core/error.hpp"
#include "dit/core/tensor.hpp"

namespace dit::inline DIT_ABI {

/// An axis of `length` cut into tiles of at most `tile`, which begin `step` apart and so share tile - step.
struct Tiles {
  Index length, tile, step;

  constexpr Index count() const { return (length + step - 1) / step; }
  constexpr Index first(Index i) const { return i * step; }
  constexpr Index size(Index i) const { return std::min(tile, length - first(i)); }
};

namespace detail {

/// The shape of the images that latents [B, channels, h, w] give, `factor` times as high and wide;
/// errc::bad_input_shape for latents of other channels, without numbers, or larger than any machine.
template <class T>
Shape<4> decoded_shape(View<const T, 4> latents, Index channels, Index image_channels, Index factor) {
  Index room = (Index{1} << 42) / (image_channels * factor * factor);
  for (const Index extent : latents.shape) room = extent >= 1 ? room / extent : 0;
  if (room < 1 || latents.data == nullptr || latents.shape[1] != channels) {
    throw Error(errc::bad_input_shape, "latents of " + to_string(latents.shape) + " where [B, " +
                                           std::to_string(channels) + ", h, w] are expected");
  }
  return {latents.shape[0], image_channels, factor * latents.shape[2], factor * latents.shape[3]};
}

/// For a decoder that is given the place of its images: bad_input_shape, and aliasing where it is over the latents.
template <class T>
void require_decodes(View<const T, 4> latents, View<T, 4> images, const Shape<4>& expected) {
  if (images.shape != expected || images.data == nullptr) {
    throw Error(errc::bad_input_shape,
                "the images are " + to_string(images.shape) + " where " + to_string(expected) + " is expected");
  }
  const std::less<const T*> before;
  require(!before(latents.begin(), images.end()) || !before(images.begin(), latents.end()), errc::aliasing,
          "the images must not overlap the latents");
}

/// The largest arena(height, width) of all tiles.
template <class Arena>
constexpr std::size_t most_of_tiles(const Tiles& rows, const Tiles& columns, Arena&& arena) {
  std::size_t most = 0;
  Index height = 0;
  for (Index i = 0; i < rows.count(); ++i) {
    if (rows.size(i) == height) continue;
    height = rows.size(i);
    Index width = 0;
    for (Index j = 0; j < columns.count(); ++j) {
      if (columns.size(j) == width) continue;
      width = columns.size(j);
      most = std::max(most, arena(height, width));
    }
  }
  return most;
}

}  // namespace detail
}  // namespace dit::inline DIT_ABI
