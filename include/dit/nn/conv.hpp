#pragma once
/// Convolutions with their parameters.

#include <vector>

#include "dit/nn/linear.hpp"
#include "dit/nn/module.hpp"
#include "dit/ops/conv.hpp"

namespace dit { inline namespace DIT_ABI {

/// A convolution's weight [out, in, kernel, kernel], packed in the order in which channels-last maps are read,
/// [out, kernel, kernel, in].
template <class T, int out, int in, int kernel>
class ConvWeight : public Weight<T, out, in, kernel, kernel> {
  using Base = Weight<T, out, in, kernel, kernel>;

 public:
  template <class S>
  void set_rows(Index first, Index count, const S* source) {
    std::vector<S> numbers(static_cast<std::size_t>(count * Base::row_size));
    for_each_number(count,
                    [&](Index ours, Index theirs) { numbers[static_cast<std::size_t>(ours)] = source[theirs]; });
    Base::set_rows(first, count, numbers.data());
  }
  template <class S>
  void get_rows(Index first, Index count, S* target) const {
    std::vector<S> numbers(static_cast<std::size_t>(count * Base::row_size));
    Base::get_rows(first, count, numbers.data());
    for_each_number(count,
                    [&](Index ours, Index theirs) { target[theirs] = numbers[static_cast<std::size_t>(ours)]; });
  }

 private:
  template <class F>
  static void for_each_number(Index count, F&& f) {
    constexpr Index taps = Index{kernel} * kernel;
    for (Index row = 0; row < count; ++row)
      for (Index tap = 0; tap < taps; ++tap)
        for (Index c = 0; c < in; ++c) f((row * taps + tap) * in + c, (row * in + c) * taps + tap);
  }
};

/// torch.nn.Conv2d(in, out, kernel, padding=kernel // 2): weight [out, in, kernel, kernel], bias [out].
template <int in, int out, int kernel, class T = float, bool has_bias = true>
struct Conv2d {
  static_assert(in > 0 && out > 0, "Conv2d: both numbers of channels must be positive");
  static_assert(kernel > 0 && kernel % 2 == 1, "Conv2d: the kernel must have a middle");
  using R = real<T>;

  ConvWeight<T, out, in, kernel> weight;
  Parameter<R, out> bias;

  static constexpr void visit(auto&& f, auto&... self) {
    f("weight", self.weight...);
    if constexpr (has_bias) f("bias", self.bias...);
  }

  /// The convolution of lazy maps, itself lazy.
  template <int channels>
  constexpr Convolution<T, in, out, kernel> operator()(const LazyMaps<R, channels>& x) const {
    static_assert(channels == in, "Conv2d: the maps are not as many as the layer's input channels");
    return {x, &weight.packed(), has_bias ? bias.data() : nullptr};
  }
  /// The convolution of maps that lie in memory.
  template <class X, int channels>
  constexpr Convolution<T, in, out, kernel> operator()(Maps<X, channels> x) const {
    return (*this)(lazy(x));
  }
};

/// A Linear of every pixel, lazy: a convolution by 1 x 1.
template <int in, int out, class T>
constexpr Convolution<T, in, out, 1> each_pixel(const Linear<in, out, T>& linear, const LazyMaps<real<T>, in>& x) {
  return {x, &linear.weight.packed(), linear.bias.data()};
}

}}  // namespace dit
