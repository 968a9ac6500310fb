#pragma once
/// What decoders of latents share: the check of their arguments, and tiles that overlap.

#include <algorithm>
#include <functional>
#include <string>

#include "dit/core/error.hpp"
#include "dit/core/tensor.hpp"
#include "dit/core/workspace.hpp"
#include "dit/nn/layout.hpp"

namespace dit { inline namespace DIT_ABI {

/// An axis of `length` cut into tiles of at most `tile`, which begin `step` apart and so share tile - step.
struct Tiles {
  Index length, tile, step;

  constexpr Index count() const { return (length + step - 1) / step; }
  constexpr Index first(Index i) const { return i * step; }
  constexpr Index size(Index i) const { return std::min(tile, length - first(i)); }
};

/// Puts square tiles of `side` pixels, cut off at the ends, together to an image [C, H, W]: row by row, from the
/// left. Where a tile overlaps the one above it or on its left, by a quarter of the side, it goes over from what
/// that became there to its own, linearly (diffusers: AutoencoderKL.tiled_decode, blend_v, blend_h).
template <class T>
class BlendedTiles {
 public:
  /// Takes its memory from the caller's scope: the right margin of the last tile, the lower ones of the last row.
  constexpr BlendedTiles(View<T, 3> image, Index side, Index columns, Workspace& workspace)
      : image_(image),
        side_(side),
        left_(workspace.take<T>(margin(image.shape[0], side))),
        above_(workspace.take<T>(margin(image.shape[0], side) * columns)) {}

  /// The tile [C, height, width] in row i and column j; it is written over.
  constexpr void put(Index i, Index j, View<T, 3> tile, Workspace& workspace) const {
    const Index channels = tile.shape[0], height = tile.shape[1], width = tile.shape[2];
    const Index blend = side_ / 4, step = side_ - blend;
    const Index rows = std::min(blend, height), columns = std::min(blend, width);  // that overlap
    workspace.parallel_for(channels * height, [&](Index task, int) {
      const Index c = task / height, y = task % height;
      T* const row = tile.data + task * width;
      T* const left = left_ + (c * side_ + y) * blend;
      if (i > 0 && y < rows) mix(above(j, c, blend - rows + y), row, width, [=](Index) { return ratio(y, rows); });
      if (j > 0) mix(left + blend - columns, row, columns, [=](Index x) { return ratio(x, columns); });
      if (width >= blend) std::copy(row + width - blend, row + width, left);
      if (y < step) {
        std::copy(row, row + std::min(step, width),
                  image_.data + (c * image_.shape[1] + i * step + y) * image_.shape[2] + j * step);
      }
    });
    workspace.parallel_for(channels * rows, [&](Index task, int) {
      const Index c = task / rows, y = task % rows;
      const T* const row = tile.data + (c * height + height - rows + y) * width;
      std::copy(row, row + width, above(j, c, blend - rows + y));
    });
  }

 private:
  static constexpr Index margin(Index channels, Index side) { return channels * side * (side / 4); }
  static T ratio(Index i, Index n) { return static_cast<T>(i) / static_cast<T>(n); }
  template <class Share>
  static void mix(const T* from, T* to, Index n, Share&& share) {
    for (Index x = 0; x < n; ++x) to[x] = from[x] * (1 - share(x)) + to[x] * share(x);
  }
  /// A line of the lower margin of the last tile in column j.
  T* above(Index j, Index c, Index line) const {
    return above_ + ((j * image_.shape[0] + c) * (side_ / 4) + line) * side_;
  }

  View<T, 3> image_;
  Index side_;
  T* left_;
  T* above_;
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

/// f(i, j) for all tiles, row by row from the left. A meter goes through one of those that are alike and counts it
/// for all: only the last ones of an axis are smaller.
template <class F>
constexpr void for_each_tile(const Tiles& rows, const Tiles& columns, Workspace& workspace, F&& f) {
  const auto alike = [&workspace](const Tiles& tiles, Index i) {
    Index n = 1;
    while (workspace.counts() && i + n < tiles.count() && tiles.size(i + n) == tiles.size(i)) ++n;
    return n;
  };
  for (Index i = 0; i < rows.count();) {
    const Index height = alike(rows, i);
    for (Index j = 0; j < columns.count();) {
      const Index width = alike(columns, j);
      for (const Index pass : workspace.passes(height * width)) f(i, j + pass);
      j += width;
    }
    i += height;
  }
}

}  // namespace detail

/// What decoders of latents have in common: `Model` decodes windows of one sample, whole or in tiles whose sides
/// `parts` divides.
template <class Model, class R, int parts>
struct LatentDecoder : HasLayout<Layout::diffusers> {
  /// images [B, C, factor h, factor w] of latents [B, c, h, w], one after the other: memory does not grow with the
  /// batch. Errors: bad_input_shape, aliasing, busy.
  void decode(View<const R, 4> latents, View<R, 4> images, Workspace& workspace) const {
    const auto lease = workspace.lease();
    detail::require_decodes(latents, images, image_shape(latents));
    decode_each(latents, images, workspace);
  }
  /// The same with a result of its own.
  Tensor<R, 4> decode(View<const R, 4> latents, Workspace& workspace) const {
    auto images = or_out_of_memory("the images", [&] { return Tensor<R, 4>(image_shape(latents)); });
    decode(latents, images, workspace);
    return images;
  }

  /// The same in overlapping tiles of tile x tile latents, for images that are too large to be decoded at once.
  /// Errors: bad_option besides, for a tile that cannot be cut.
  void decode_tiled(View<const R, 4> latents, View<R, 4> images, Workspace& workspace, Index tile = 64) const {
    const auto lease = workspace.lease();
    detail::require_decodes(latents, images, image_shape(latents));
    require_tile(tile);
    decode_each_tiled(latents, images, workspace, tile);
  }
  Tensor<R, 4> decode_tiled(View<const R, 4> latents, Workspace& workspace, Index tile = 64) const {
    auto images = or_out_of_memory("the images", [&] { return Tensor<R, 4>(image_shape(latents)); });
    decode_tiled(latents, images, workspace, tile);
    return images;
  }

  /// The passes of a plan, of shapes without numbers: `decode`, and `decode_tiled`.
  constexpr void rehearse(Workspace& meter, Index batch, const Shape<2>& shape) const {
    decode_each(planned(batch, shape, Model::channels, 1),
                planned(batch, shape, Model::config.image_channels, Model::factor), meter);
  }
  constexpr void rehearse_tiled(Workspace& meter, Index batch, const Shape<2>& shape, Index tile) const {
    require_tile(tile);
    decode_each_tiled(planned(batch, shape, Model::channels, 1),
                      planned(batch, shape, Model::config.image_channels, Model::factor), meter, tile);
  }

 protected:
  /// Each tile overlaps the one before by 1 / parts of its side.
  static constexpr Tiles cut(Index length, Index tile) { return {length, tile, tile / parts * (parts - 1)}; }
  /// errc::bad_option for one that cannot be cut so.
  static constexpr void require_tile(Index tile) {
    if (tile > 0 && tile % parts == 0 && tile < (Index{1} << 20)) return;
    throw Error(errc::bad_option, "the side of a tile must be a multiple of " + std::to_string(parts));
  }

 private:
  static constexpr View<R, 4> planned(Index batch, const Shape<2>& shape, Index channels, Index factor) {
    return {nullptr, {batch, channels, factor * shape[0], factor * shape[1]}};
  }
  constexpr void decode_each(View<const R, 4> latents, View<R, 4> images, Workspace& workspace) const {
    for (const Index b : workspace.passes(latents.shape[0])) {
      model().decode_window(latents[b], 0, 0, latents.shape[2], latents.shape[3], images[b], workspace);
    }
  }
  constexpr void decode_each_tiled(View<const R, 4> latents, View<R, 4> images, Workspace& workspace,
                                   Index tile) const {
    for (const Index b : workspace.passes(latents.shape[0])) {
      model().decode_tiles(latents[b], tile, images[b], workspace);
    }
  }

  constexpr const Model& model() const { return static_cast<const Model&>(*this); }
  static Shape<4> image_shape(View<const R, 4> latents) {
    return detail::decoded_shape(latents, Model::channels, Model::config.image_channels, Model::factor);
  }
};

}}  // namespace dit
