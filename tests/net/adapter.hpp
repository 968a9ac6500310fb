#pragma once
/// The calls whose spelling depends on the revision of the library. The net compiles with two revisions at a time:
/// what one of them spells differently gets a second spelling here, under `#if DIT_VERSION_MINOR < 2`, and nowhere
/// else.

#include <array>
#include <span>
#include <utility>
#include <vector>

#include "dit/dit.hpp"
#include "dit/kernels/extern.hpp"

namespace net {

using dit::Index;
using dit::Shape;
using dit::Tensor;
using dit::View;
using dit::Workspace;

/// Type of activations, norms and biases where weights are of T.
template <class T>
using Real = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Layers whose template arguments may change.

template <int channels, int patch, int width, class T>
using ImagePatchify = dit::Patchify<channels, patch, width, T>;
template <int width, int patch, int channels, class T>
using ImageFinalLayer = dit::FinalLayer<width, patch, channels, T>;
template <int width, class T>
using TimeEmbedder = dit::TimestepEmbedder<width, T>;

// Arguments.

/// x [B, N, width] as a block takes it.
template <int width, class R>
dit::Tokens<R, width> tokens(Tensor<R, 3>& x, Workspace&) {
  return {x.data(), x.dimension(0), x.dimension(1)};
}

/// One sample of x [B, height, width, channels] as a convolution takes it.
template <int channels, class R>
dit::Maps<R, channels> maps(Tensor<R, 4>& x, Index sample) {
  return {x.data() + sample * x.size() / x.dimension(0), x.dimension(1), x.dimension(2)};
}

template <class R>
dit::Text<R> text(Tensor<R, 3> context, Tensor<R, 2> pooled) {
  return {std::move(context), std::move(pooled)};
}

template <class R>
dit::FluxCondition<R> flux_condition(dit::Text<R> text, std::vector<R> guidance, Tensor<R, 4> control,
                                     Tensor<R, 4> reference) {
  return {std::move(text), std::move(guidance), std::move(control), std::move(reference)};
}

/// Angles of a rotary embedding with three axes: `texts` tokens at place 0, then the image's rows and columns.
template <class R>
class Rotation {
 public:
  Rotation(const std::array<int, 3>& axes, Index texts, Shape<2> grid, Workspace& workspace)
      : head_dim_(axes[0] + axes[1] + axes[2]), texts_(texts) {
    const Index count = texts + grid[0] * grid[1];
    cos_.resize(static_cast<std::size_t>(count * head_dim_));
    sin_.resize(cos_.size());
    const auto place = [texts, grid](Index token, int axis) {
      const Index n = token - texts;
      return n < 0 || axis == 0 ? Index{0} : axis == 1 ? n / grid[1] : n % grid[1];
    };
    dit::rope_table(axes, 1e4, count, place, cos_.data(), sin_.data(), workspace);
  }

  dit::Rope<R> all() const { return {cos_.data(), sin_.data()}; }
  dit::Rope<R> image() const { return all().from(texts_, head_dim_); }

 private:
  int head_dim_;
  Index texts_;
  std::vector<R> cos_, sin_;
};

// Calls.

/// y <- layer(x), for layers with a lazy result.
template <class Layer, class R, int width, class Y>
void apply(const Layer& layer, dit::Tokens<R, width> x, Y y, Workspace& workspace) {
  const dit::Tokens<const R, width> read = x;
  if constexpr (requires { layer(dit::lazy(read), workspace); }) {
    dit::store(y, layer(dit::lazy(read), workspace), workspace);
  } else {
    dit::store(y, layer(read), workspace);
  }
}

/// y <- AdaLN(x, c)
template <class Layer, class X, class C, class Y>
void apply_adaln(const Layer& layer, X x, C c, Y y, Workspace& workspace) {
  dit::store(y, layer(x, c, workspace), workspace);
}

/// y <- Patchify(image)
template <class Layer, class R, class Y>
void apply_patchify(const Layer& layer, View<const R, 4> image, Y y, Workspace& workspace) {
  dit::store(y, layer(image, workspace), workspace);
}

/// y <- TimeEmbedder(times)
template <class Layer, class R, class Y>
void apply_times(const Layer& layer, std::span<const R> times, double divisor, Y y, Workspace& workspace) {
  dit::store(y, layer(times, divisor, workspace), workspace);
}

/// image <- FinalLayer(x, c), c before its SiLU
template <class Layer, class R, int width>
void apply_final(const Layer& layer, dit::Tokens<R, width> x, dit::Tokens<R, width> c, View<R, 4> image,
                 Workspace& workspace) {
  const auto scope = workspace.scope();
  layer(x, layer.adaLN_modulation(dit::silu_condition(c, x.batch, workspace), workspace), image, workspace);
}

/// y <- convolution(x)
template <class Layer, class X, class Y>
void apply_convolution(const Layer& layer, X x, Y y, Workspace& workspace) {
  dit::store(y, layer(x), workspace);
}

/// y <- GroupNorm(x), through a convolution
template <class Norm, class Layer, class X, class Y>
void apply_normalised_convolution(const Norm& norm, const Layer& layer, X x, Y y, Workspace& workspace) {
  const auto scope = workspace.scope();
  dit::store(y, layer(norm(x, workspace)), workspace);
}

/// v = model(x, t, condition), all computed in one call.
template <class Model, class R, class Condition>
Tensor<R, 4> evaluate(const Model& model, const Tensor<R, 4>& x, const std::vector<R>& times,
                      const Condition& condition, Workspace& workspace) {
  return model(x, times, condition, workspace);
}

}  // namespace net
