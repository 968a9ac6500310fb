#pragma once
/// y = x W^T + b

#include "dit/kernels/rowwise.hpp"
#include "dit/nn/module.hpp"
#include "dit/ops/linear.hpp"

namespace dit { inline namespace DIT_ABI {

/// torch.nn.Linear(in, out): weight [out, in], bias [out].
template <int in, int out, class T = float>
struct Linear {
  static_assert(in > 0 && out > 0, "Linear: both widths must be positive");

  Weight<T, out, in> weight;
  Parameter<real<T>, out> bias;

  static constexpr void visit(auto&& f, auto&... self) {
    f("weight", self.weight...);
    f("bias", self.bias...);
  }

  /// The product with a lazy input, itself lazy.
  template <class Source, int width>
  constexpr Product<Source, T, out> operator()(const Lazy<Source, width>& x) const {
    static_assert(width == in, "Linear: the input's width is not the layer's input width");
    return {x.source, &weight.packed(), bias.data()};
  }
  /// The product with tokens that lie in memory.
  template <class R, int width>
  constexpr Product<RowsSource<real<T>>, T, out> operator()(Tokens<R, width> x) const {
    return (*this)(lazy(Tokens<const R, width>(x)));
  }
};

}}  // namespace dit
