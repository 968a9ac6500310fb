#pragma once
/// Images as sequences of patches, and back.

#include <functional>
#include <string>

#include "dit/core/error.hpp"
#include "dit/core/executor.hpp"
#include "dit/core/tensor.hpp"

namespace dit { inline namespace DIT_ABI {

/// How the numbers of a p x p patch with C channels are ordered. DiT reads (c p q) and writes (p q c).
enum class PatchOrder { channel_first, channel_last };

/// The token grid of an image, row-major: token = row * columns + column.
struct Grid {
  Index rows = 0, columns = 0;
  constexpr Index count() const { return rows * columns; }
  constexpr bool operator==(const Grid&) const = default;
};

/// The grid of patches that covers images of a shape [B, C, H, W]; errc::bad_input_shape where p does not divide H
/// or W, and for more numbers than any machine has.
constexpr Grid patch_grid(const Shape<4>& image, Index patch) {
  Index room = Index{1} << 42;
  for (const Index extent : image) room = extent >= 1 ? room / extent : 0;
  const Index height = image[2], width = image[3];
  if (room < 1 || patch < 1 || height % patch != 0 || width % patch != 0) {
    throw Error(errc::bad_input_shape, "an image of " + to_string(image) + " does not divide into patches of " +
                                           std::to_string(patch) + " x " + std::to_string(patch));
  }
  return {height / patch, width / patch};
}
/// Likewise of images that must be there: bad_input_shape for one without memory.
template <class T>
Grid patch_grid(View<T, 4> image, Index patch) {
  require(image.data != nullptr, errc::bad_input_shape, "there is no image");
  return patch_grid(image.shape, patch);
}

/// For a model that makes an image `out` of `channels` channels from `in`, on the same grid. Errors:
/// bad_input_shape, and aliasing where the two share memory.
template <class T>
void require_images(View<const T, 4> in, Index patch, Index channels, View<T, 4> out) {
  patch_grid(in, patch);
  const Shape<4> expected{in.shape[0], channels, in.shape[2], in.shape[3]};
  if (out.shape != expected || out.data == nullptr) {
    throw Error(errc::bad_input_shape,
                "the output is " + to_string(out.shape) + " where " + to_string(expected) + " is expected");
  }
  const std::less<const T*> before;
  require(!before(in.begin(), out.end()) || !before(out.begin(), in.end()), errc::aliasing,
          "the output must not overlap the input");
}

namespace detail {
/// Calls f(pixel, feature) for every row of every patch: the p pixels from `pixel` on, neighbours in the image, are
/// the numbers feature, feature + step, ... of the flattened patches; step is 1 or the number of channels.
template <PatchOrder order, class Threads, class F>
constexpr void for_each_patch_row(const Shape<4>& image, Index patch, Threads& threads, F&& f) {
  const Index channels = image[1], height = image[2], width = image[3], features = channels * patch * patch;
  threads.parallel_ranges(image[0] * channels * height, width, [&](Index begin, Index end) {
    for (Index line = begin; line < end; ++line) {
      const Index y = line % height, c = line / height % channels, b = line / height / channels;
      for (Index column = 0; column < width / patch; ++column) {
        const Index token = (b * (height / patch) + y / patch) * (width / patch) + column;
        const Index feature =
            order == PatchOrder::channel_first ? (c * patch + y % patch) * patch : y % patch * patch * channels + c;
        f(line * width + column * patch, token * features + feature);
      }
    }
  });
}
}  // namespace detail

/// tokens[b, (r, s), patch features] = image[b, c, r p + i, s p + j], features in the given order. `threads` is an
/// Executor or a Workspace.
template <PatchOrder order, class T, class Threads>
constexpr void patchify(View<const T, 4> image, Index patch, T* tokens, Threads& threads) {
  const Index step = order == PatchOrder::channel_first ? 1 : image.shape[1];
  detail::for_each_patch_row<order>(image.shape, patch, threads, [&](Index pixel, Index feature) {
    for (Index j = 0; j < patch; ++j) tokens[feature + j * step] = image.data[pixel + j];
  });
}

/// The inverse of `patchify` with the same order.
template <PatchOrder order, class T, class Threads>
constexpr void unpatchify(const T* tokens, Index patch, View<T, 4> image, Threads& threads) {
  const Index step = order == PatchOrder::channel_first ? 1 : image.shape[1];
  detail::for_each_patch_row<order>(image.shape, patch, threads, [&](Index pixel, Index feature) {
    for (Index j = 0; j < patch; ++j) image.data[pixel + j] = tokens[feature + j * step];
  });
}

// The same on the calling thread.
template <PatchOrder order, class T>
void patchify(View<const T, 4> image, Index patch, T* tokens) {
  InlineExecutor here;
  patchify<order>(image, patch, tokens, here);
}
template <PatchOrder order, class T>
void unpatchify(const T* tokens, Index patch, View<T, 4> image) {
  InlineExecutor here;
  unpatchify<order>(tokens, patch, image, here);
}

}}  // namespace dit
