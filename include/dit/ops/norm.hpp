#pragma once
/// LayerNorm, RMSNorm, and the modulation that follows them: lazy, so that they happen while a GEMM reads its
/// input.

#include "dit/kernels/gemm.hpp"
#include "dit/ops/modulate.hpp"

namespace dit::inline DIT_ABI {

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
Lazy<RowsSource<T>, width> lazy(Tokens<const T, width> x) {
  return {RowsSource<T>{x.data, x.rows(), width}, x.batch, x.count};
}

/// LN(x) = (x - mean(x)) / sqrt(var(x) + eps), over the features of each token, biased variance, no affine part.
template <class T, int width>
Lazy<NormSource<std::remove_const_t<T>>, width> layer_norm(Tokens<T, width> x, double eps) {
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
Lazy<NormSource<std::remove_const_t<T>>, width> rms_norm(Tokens<T, width> x, double eps) {
  auto lazy = layer_norm(x, eps);
  lazy.source.norm = Norm::rms;
  return lazy;
}

/// norm(x) * weight + bias, the learned affine part of a norm; `bias` may be null.
template <class T, int width>
Lazy<NormSource<T>, width> affine(Lazy<NormSource<T>, width> norm, const T* weight, const T* bias) {
  norm.source.weight = weight;
  norm.source.bias = bias;
  return norm;
}

/// norm(x) * (1 + scale) + shift, with each sample's own shift and scale.
template <class T, int width>
Lazy<NormSource<T>, width> modulate(Lazy<NormSource<T>, width> norm, PerSample<T, width> shift,
                                    PerSample<T, width> scale) {
  norm.source.shift = shift.data;
  norm.source.scale = scale.data;
  norm.source.stride = shift.stride;
  return norm;
}
template <class T, int width>
Lazy<NormSource<T>, width> modulate(Lazy<NormSource<T>, width> norm, const Modulation<T, width>& m) {
  return modulate(norm, m.shift, m.scale);
}

}  // namespace dit::inline DIT_ABI
