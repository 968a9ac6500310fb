#pragma once
/// Feature maps: images of many channels, channels last, so that a pixel is a token.

#include <algorithm>

#include "dit/core/tensor.hpp"
#include "dit/core/workspace.hpp"
#include "dit/kernels/kernels.hpp"

namespace dit { inline namespace DIT_ABI {

/// The maps [height, width, channels] of one image, contiguous.
template <class T, int channels_>
struct Maps {
  static constexpr int channels = channels_;
  T* data = nullptr;
  Index height = 0, width = 0;

  constexpr Index pixels() const { return height * width; }
  constexpr Index size() const { return pixels() * channels; }
  constexpr Tokens<T, channels> tokens() const { return {data, 1, pixels()}; }
  constexpr operator Maps<const T, channels_>() const  // NOLINT(google-explicit-constructor)
      requires(!std::is_const_v<T>) {
    return {data, height, width};
  }
};

/// Uninitialised maps in the workspace.
template <class T, int channels>
constexpr Maps<T, channels> take_maps(Index height, Index width, Workspace& workspace) {
  return {workspace.take<T>(height * width * channels), height, width};
}

/// maps[y, x, c] = f(planes[c, top + y, left + x]), a window of an image [C, H, W] that contains it.
template <class T, int channels, class F>
constexpr void read_planes(View<const T, 3> planes, Index top, Index left, Maps<T, channels> maps,
                           Workspace& workspace, F&& f) {
  workspace.parallel_ranges(maps.height, maps.width * channels, [&](Index begin, Index end) {
    T* to = maps.data + begin * maps.width * channels;
    for (Index y = top + begin; y < top + end; ++y)
      for (Index x = left; x < left + maps.width; ++x)
        for (Index c = 0; c < channels; ++c) {
          *to++ = f(planes.data[(c * planes.shape[1] + y) * planes.shape[2] + x]);
        }
  });
}

/// Maps that come to be row by row while a convolution reads them:
///     activation(x * scale + shift), every pixel up x up times
/// with scale and shift for each channel, or null for neither.
template <class T, int channels_>
struct LazyMaps {
  static constexpr int channels = channels_;
  Maps<const T, channels> x;
  const T* scale = nullptr;
  const T* shift = nullptr;
  Activation activation = Activation::none;
  Index up = 1;

  constexpr Index height() const { return x.height * up; }
  constexpr Index width() const { return x.width * up; }

  /// Row y, [width][channels].
  void row(const Verbs<T>& k, Index y, T* to) const {
    const T* from = x.data + y / up * x.width * channels;
    for (Index i = 0; i < x.width; ++i, from += channels) {
      const T* pixel = to;
      if (scale) {
        k.normalise(from, channels, T(0), T(1), scale, shift, nullptr, nullptr, to);
      } else {
        std::copy(from, from + channels, to);
      }
      if (activation != Activation::none) k.activate(activation, to, channels, to);
      to += channels;
      for (Index copy = 1; copy < up; ++copy, to += channels) std::copy(pixel, pixel + channels, to);
    }
  }
};

/// Held by a workspace or not: what follows takes it by value and gives it back as what it was.
template <class L>
concept LazyMap = requires(L lazy) {
  lazy.up = 1;
  lazy.activation = Activation::none;
};

/// The maps as they are.
template <class T, int channels>
constexpr LazyMaps<std::remove_const_t<T>, channels> lazy(Maps<T, channels> x) {
  return {x};
}

/// SiLU(x) = x / (1 + exp(-x))
template <LazyMap L>
constexpr L silu(L x) {
  x.activation = Activation::silu;
  return x;
}

/// Twice as high and wide, every pixel four times (torch.nn.Upsample(scale_factor=2), nearest).
template <LazyMap L>
constexpr L upsample(L x) {
  x.up *= 2;
  return x;
}
template <class T, int channels>
constexpr auto upsample(Maps<T, channels> x) {
  return upsample(lazy(x));
}

}}  // namespace dit
