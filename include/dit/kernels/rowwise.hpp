#pragma once
/// Norms, modulation, softmax and activations over rows of contiguous numbers, for use by themselves; `y` may be
/// `x`. (A GEMM takes them in its source and sink instead, for less.)

#include "dit/kernels/kernels.hpp"

namespace dit { inline namespace DIT_ABI {

/// y = norm(x) * weight + bias over rows of `width`; null pointers leave their factor or term out.
template <class T>
void normalise(Norm norm, const T* x, Index rows, Index width, T eps, const T* weight, const T* bias, T* y,
               const Kernels<T>& k = kernels<T>()) {
  for (Index r = 0; r < rows; ++r) {
    T mean, rstd;
    k.statistics(norm, x + r * width, width, eps, &mean, &rstd);
    k.normalise(x + r * width, width, mean, rstd, weight, bias, nullptr, nullptr, y + r * width);
  }
}
template <class T>
void layer_norm(const T* x, Index rows, Index width, T eps, const T* weight, const T* bias, T* y,
                const Kernels<T>& k = kernels<T>()) {
  normalise(Norm::layer, x, rows, width, eps, weight, bias, y, k);
}
template <class T>
void rms_norm(const T* x, Index rows, Index width, T eps, const T* weight, T* y,
              const Kernels<T>& k = kernels<T>()) {
  normalise(Norm::rms, x, rows, width, eps, weight, static_cast<const T*>(nullptr), y, k);
}

/// y = (1 + scale[s]) * x + shift[s], s = row / rows_per_sample; those of a sample start `stride` after the last
/// one's.
template <class T>
void modulate(const T* x, Index rows, Index width, const T* scale, const T* shift, Index stride,
              Index rows_per_sample, T* y, const Kernels<T>& k = kernels<T>()) {
  for (Index r = 0; r < rows; ++r) {
    const Index s = r / rows_per_sample * stride;
    k.normalise(x + r * width, width, T(0), T(1), nullptr, nullptr, scale + s, shift + s, y + r * width);
  }
}

template <class T>
void softmax(const T* x, Index rows, Index width, T* y, const Kernels<T>& k = kernels<T>()) {
  for (Index r = 0; r < rows; ++r) k.softmax(x + r * width, width, y + r * width);
}

template <class T>
void activate(Activation activation, const T* x, Index n, T* y, const Kernels<T>& k = kernels<T>()) {
  k.activate(activation, x, n, y);
}
template <class T>
void gelu_tanh(const T* x, Index n, T* y, const Kernels<T>& k = kernels<T>()) {
  k.activate(Activation::gelu_tanh, x, n, y);
}
template <class T>
void gelu_erf(const T* x, Index n, T* y, const Kernels<T>& k = kernels<T>()) {
  k.activate(Activation::gelu_erf, x, n, y);
}
template <class T>
void silu(const T* x, Index n, T* y, const Kernels<T>& k = kernels<T>()) {
  k.activate(Activation::silu, x, n, y);
}

}}  // namespace dit
