#pragma once
/// Convolutions of stride 1 whose output is as large as their input, as the library's GEMM: its source gathers the
/// neighbourhoods (im2col) of a band of rows, so memory is bounded whatever the image.

#include <algorithm>

#include "dit/ops/linear.hpp"
#include "dit/ops/maps.hpp"

namespace dit { inline namespace DIT_ABI {

/// The neighbourhoods of pixels as rows of kernel x kernel x channels numbers, from maps with a border:
/// `maps` is [height + kernel - 1][width + kernel - 1][channels].
template <class T>
struct NeighbourhoodSource {
  const T* maps;
  Index rows, depth;  ///< height * width, kernel * kernel * channels
  Index width, channels, kernel;

  template <class K, class Panel>
  void pack(const K&, Index first, Index count, const Panel& panel) const {
    const Index pitch = (width + kernel - 1) * channels, run = kernel * channels;
    for (Index r = 0; r < count;) {  // a panel may reach over several rows of the image
      const Index y = (first + r) / width, x = (first + r) % width, n = std::min(count - r, width - x);
      for (Index i = 0; i < kernel; ++i) {
        panel(maps + (y + i) * pitch + x * channels, channels, n, i * run, run, r);
      }
      r += n;
    }
  }
};

/// x = activation(x + A W^T + bias), rows `stride` apart.
template <class T>
struct AddActivatedSink {
  AddGatedSink<T> add;
  Activation activation;

  void prefetch(Index row, Index rows, Index column, Index columns) const {
    add.prefetch(row, rows, column, columns);
  }
  void put(const Verbs<T>& k, Index row, Index rows, Index column, Index columns, T* tile) const {
    add.put(k, row, rows, column, columns, tile);
    for (Index r = row; r < row + rows; ++r) {
      T* const x = add.x + r * add.stride + column;
      k.activate(activation, x, columns, x);
    }
  }
};

/// factor * (A W^T + bias) + offset, every column to a plane of its own.
template <class T>
struct PlanesSink {
  T* planes;
  Index plane_size;
  const T* bias = nullptr;
  T factor = T(1), offset = T(0);

  void put(const Verbs<T>& k, Index row, Index rows, Index column, Index columns, T* tile) const {
    if (bias) k.add_bias(tile, rows, columns, bias + column);
    for (Index c = 0; c < columns; ++c) {
      T* const to = planes + (column + c) * plane_size + row;
      for (Index r = 0; r < rows; ++r) to[r] = factor * tile[r * tile_width + c] + offset;
    }
  }
};

/// activation(W * a + b), the maps a convolved with W [out, kernel, kernel, in], zeros around them; not yet
/// computed.
template <class T, int in, int out, int kernel>
struct Convolution {
  static_assert(kernel % 2 == 1, "Convolution: the kernel has a middle");
  static_assert(kernel * in % word_size<T> == 0,
                "Convolution: with bf16 the channels must be even, with int8 a multiple of 4");
  LazyMaps<real<T>, in> a;
  const PackedMatrix<T>* weight;
  const real<T>* bias;
  Activation activation = Activation::none;
};

/// ReLU(x) = max(x, 0)
template <LazyProduct P>
constexpr P relu(P p) {
  p.activation = Activation::relu;
  return p;
}

namespace detail {

/// Rows of an image of so many numbers each that are computed at a time: a band of four million numbers, or one
/// row.
constexpr Panels conv_bands(Index height, Index row) {
  return Panels(height, std::max<Index>(1, (Index{1} << 22) / std::max<Index>(1, row)));
}

}  // namespace detail

/// Bytes of a Workspace that a convolution to [height, width] uses while it runs.
template <class T>
constexpr std::size_t conv_arena(Index height, Index width, Index in, Index kernel, int strands) {
  const Index pitch = (width + kernel - 1) * in;
  const Panels bands = detail::conv_bands(height, pitch);
  const auto gemm_of = [=](Index rows) {
    return gemm_in_blocks_arena<T>(rows * width, kernel * kernel * in, strands);
  };
  return arena_bytes<real<T>>((bands.height(0) + kernel - 1) * pitch) +
         std::max(gemm_of(bands.height(0)), gemm_of(bands.height(bands.count - 1)));
}

namespace detail {

/// sink_from(first pixel) <- the convolution, band by band.
template <class T, int in, int out, int kernel, class SinkFrom>
void run_convolution(const Convolution<T, in, out, kernel>& p, Workspace& workspace, SinkFrom&& sink_from) {
  using R = real<T>;
  constexpr Index border = kernel / 2, depth = kernel * kernel * in;
  const Kernels<T>& k = kernels<T>();
  const Index height = p.a.height(), width = p.a.width(), pitch = (width + 2 * border) * in;
  const Panels bands = conv_bands(height, pitch);
  const auto scope = workspace.scope();
  R* const maps = workspace.take<R>((bands.height(0) + 2 * border) * pitch);
  for (Index band = 0; band < bands.count; ++band) {
    const Index first = bands.first(band), rows = bands.height(band);
    workspace.parallel_for(rows + 2 * border, [&](Index i, int) {
      const Index y = first + i - border;
      R* const row = maps + i * pitch;
      if (y < 0 || y >= height) return static_cast<void>(std::fill(row, row + pitch, R(0)));
      std::fill(row, row + border * in, R(0));
      p.a.row(k, y, row + border * in);
      std::fill(row + pitch - border * in, row + pitch, R(0));
    });
    gemm_in_blocks(NeighbourhoodSource<R>{maps, rows * width, depth, width, in, kernel}, *p.weight,
                   sink_from(first * width), workspace, k);
  }
}

/// The same, which a meter counts.
template <class T, int in, int out, int kernel, class SinkFrom>
constexpr void convolve(const Convolution<T, in, out, kernel>& p, Workspace& workspace, SinkFrom&& sink_from) {
  if (!workspace.counts()) return run_convolution(p, workspace, sink_from);
  const Index height = p.a.height(), width = p.a.width();
  count_product(height * width, *p.weight, conv_arena<T>(height, width, in, kernel, workspace.strands()),
                workspace);
}

template <class T, int in, int out, int kernel>
constexpr void require_size(const Convolution<T, in, out, kernel>& p, Index height, Index width) {
  require(p.a.height() == height && p.a.width() == width, errc::bad_input_shape,
          "a convolution gives maps of the size that it takes");
}

}  // namespace detail

/// y = convolution; y is not where its maps come from, here and below. Errors: bad_input_shape where y has another
/// height or width.
template <class T, int in, int out, int kernel>
constexpr void store(Maps<real<T>, out> y, const Convolution<T, in, out, kernel>& p, Workspace& workspace) {
  detail::require_size(p, y.height, y.width);
  detail::convolve(p, workspace, [&](Index pixel) {
    return StoreSink<real<T>>{y.data + pixel * out, out, p.bias, p.activation};
  });
}

/// x <- activation(x + W * a + b), the convolution's activation
template <class T, int in, int out, int kernel>
constexpr void add(Maps<real<T>, out> x, const Convolution<T, in, out, kernel>& p, Workspace& workspace) {
  detail::require_size(p, x.height, x.width);
  detail::convolve(p, workspace, [&](Index pixel) {
    return AddActivatedSink<real<T>>{{x.data + pixel * out, out, p.bias}, p.activation};
  });
}

/// image [out, height, width] = factor * convolution + offset. Errors: bad_option for a convolution with an
/// activation.
template <class T, int in, int out, int kernel>
constexpr void store_planes(View<real<T>, 3> image, const Convolution<T, in, out, kernel>& p, Workspace& workspace,
                            double factor = 1, double offset = 0) {
  require(image.shape[0] == out, errc::bad_input_shape, "a convolution gives an image of its channels");
  require(p.activation == Activation::none, errc::bad_option, "an image is stored without an activation");
  detail::require_size(p, image.shape[1], image.shape[2]);
  detail::convolve(p, workspace, [&](Index pixel) {
    return PlanesSink<real<T>>{image.data + pixel, image.shape[1] * image.shape[2], p.bias,
                               static_cast<real<T>>(factor), static_cast<real<T>>(offset)};
  });
}

}}  // namespace dit
