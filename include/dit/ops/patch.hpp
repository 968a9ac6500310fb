#pragma once
/// Images as sequences of patches, and back.

#include "dit/core/error.hpp"
#include "dit/core/tensor.hpp"

namespace dit::inline DIT_ABI {

/// How the numbers of a p x p patch with C channels are ordered. DiT reads (c p q) and writes (p q c).
enum class PatchOrder { channel_first, channel_last };

/// The token grid of an image, row-major: token = row * columns + column.
struct Grid {
  Index rows = 0, columns = 0;
  constexpr Index count() const { return rows * columns; }
  constexpr bool operator==(const Grid&) const = default;
};

/// The grid of patches that covers an image [B, C, H, W]; errc::bad_input_shape where p does not divide H or W.
template <class T>
Grid patch_grid(View<T, 4> image, Index patch) {
  const auto& [batch, channels, height, width] = image.shape;
  if (batch < 1 || channels < 1 || height < 1 || width < 1 || height % patch != 0 || width % patch != 0) {
    throw Error(errc::bad_input_shape, "an image of " + to_string(image.shape) + " does not divide into patches of " +
                                           std::to_string(patch) + " x " + std::to_string(patch));
  }
  return {height / patch, width / patch};
}

namespace detail {
/// Calls f(pixel, feature) for every row of every patch: the p pixels from `pixel` on, neighbours in the image, are
/// the numbers feature, feature + step, ... of the flattened patches; step is 1 or the number of channels.
template <PatchOrder order, class F>
void for_each_patch_row(const Shape<4>& image, Index patch, F&& f) {
  const auto [batch, channels, height, width] = image;
  const Index features = channels * patch * patch;
  for (Index b = 0; b < batch; ++b)
    for (Index c = 0; c < channels; ++c)
      for (Index y = 0; y < height; ++y)
        for (Index column = 0; column < width / patch; ++column) {
          const Index token = (b * (height / patch) + y / patch) * (width / patch) + column;
          const Index pixel = ((b * channels + c) * height + y) * width + column * patch;
          const Index feature = order == PatchOrder::channel_first ? (c * patch + y % patch) * patch
                                                                   : y % patch * patch * channels + c;
          f(pixel, token * features + feature);
        }
}
}  // namespace detail

/// tokens[b, (r, s), patch features] = image[b, c, r p + i, s p + j], features in the given order.
template <PatchOrder order, class T>
void patchify(View<const T, 4> image, Index patch, T* tokens) {
  const Index step = order == PatchOrder::channel_first ? 1 : image.shape[1];
  detail::for_each_patch_row<order>(image.shape, patch, [&](Index pixel, Index feature) {
    for (Index j = 0; j < patch; ++j) tokens[feature + j * step] = image.data[pixel + j];
  });
}

/// The inverse of `patchify` with the same order.
template <PatchOrder order, class T>
void unpatchify(const T* tokens, Index patch, View<T, 4> image) {
  const Index step = order == PatchOrder::channel_first ? 1 : image.shape[1];
  detail::for_each_patch_row<order>(image.shape, patch, [&](Index pixel, Index feature) {
    for (Index j = 0; j < patch; ++j) image.data[pixel + j] = tokens[feature + j * step];
  });
}

}  // namespace dit::inline DIT_ABI
