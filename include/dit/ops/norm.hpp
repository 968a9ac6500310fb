#pragma once
/// LayerNorm, RMSNorm, and the modulation that follows them: lazy, so that they happen while a GEMM reads its
/// input.

#include <utility>

#include "dit/kernels/gemm.hpp"
#include "dit/ops/modulate.hpp"

namespace dit { inline namespace DIT_ABI {

/// Tokens [batch, count, width] that come to be while a GEMM reads them as its rows.
template <class Source_, int width_>
struct Lazy {
  using Source = Source_;
  static constexpr int width = width_;
  Source source;
  Index batch, count;

  constexpr Index rows() const { return batch * count; }
};

/// The tokens as they are.
template <class T, int width>
constexpr Lazy<RowsSource<T>, width> lazy(Tokens<const T, width> x) {
  return {RowsSource<T>{x.data, x.rows(), width}, x.batch, x.count};
}

/// LN(x) = (x - mean(x)) / sqrt(var(x) + eps), over the features of each token, biased variance, no affine part.
/// Errors, here and below: bad_config for a negative or NaN eps.
template <class T, int width>
constexpr Lazy<NormSource<std::remove_const_t<T>>, width> layer_norm(Tokens<T, width> x, double eps) {
  require(eps >= 0, errc::bad_config, "the eps of a norm must not be negative");
  NormSource<std::remove_const_t<T>> source{};
  source.x = x.data;
  source.rows = x.rows();
  source.depth = width;
  source.norm = Norm::layer;
  source.eps = static_cast<std::remove_const_t<T>>(eps);
  source.rows_per_sample = x.count;
  return {source, x.batch, x.count};
}

/// RMSNorm(x) = x / sqrt(mean(x^2) + eps)
template <class T, int width>
constexpr Lazy<NormSource<std::remove_const_t<T>>, width> rms_norm(Tokens<T, width> x, double eps) {
  auto lazy = layer_norm(x, eps);
  lazy.source.norm = Norm::rms;
  return lazy;
}

/// A norm, held or not: what follows takes it by value and gives it back as what it was.
template <class L>
concept LazyNorm = requires(L lazy) {
  lazy.source.norm = Norm::rms;
};

/// norm(x) * weight + bias, the learned affine part of a norm; `bias` may be null.
template <LazyNorm L, class T>
constexpr L affine(L norm, const T* weight, const T* bias) {
  norm.source.weight = weight;
  norm.source.bias = bias;
  return norm;
}

/// norm(x) * (1 + scale) + shift, with each sample's own shift and scale.
/// Errors: bad_option unless the two are the same number apart from sample to sample.
template <LazyNorm L, class T, int width>
constexpr L modulate(L norm, PerSample<T, width> shift, PerSample<T, width> scale) {
  static_assert(L::width == width, "modulate: shift and scale are not as wide as the tokens");
  require(shift.stride == scale.stride, errc::bad_option, "shift and scale must have one stride");
  norm.source.shift = shift.data;
  norm.source.scale = scale.data;
  norm.source.stride = shift.stride;
  return norm;
}
template <LazyNorm L, class T, int width>
constexpr L modulate(L norm, const Modulation<T, width>& m) {
  return modulate(std::move(norm), m.shift, m.scale);
}

}}  // namespace dit
