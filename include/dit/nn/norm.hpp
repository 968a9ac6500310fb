#pragma once
/// Norms with learned parameters. They are lazy: hand them to a Linear, or store(y, norm(x), workspace).

#include "dit/nn/module.hpp"
#include "dit/ops/norm.hpp"

namespace dit { inline namespace DIT_ABI {

/// torch.nn.LayerNorm(width): LN(x) * weight + bias, eps 1e-5 by default there.
template <int width, class T = float>
struct LayerNorm {
  using R = real<T>;
  static constexpr double eps = 1e-5;

  Parameter<R, width> weight;
  Parameter<R, width> bias;

  static constexpr void visit(auto&& f, auto&... self) {
    f("weight", self.weight...);
    f("bias", self.bias...);
  }

  constexpr auto operator()(Tokens<const R, width> x) const {
    return affine(layer_norm(x, eps), weight.data(), bias.data());
  }
};

/// RMSNorm(x) * weight, eps 1e-6 in the models that have it.
template <int width, class T = float>
struct RMSNorm {
  using R = real<T>;
  static constexpr double eps = 1e-6;

  Parameter<R, width> weight;

  static constexpr void visit(auto&& f, auto&... self) { f("weight", self.weight...); }

  constexpr auto operator()(Tokens<const R, width> x) const {
    return affine(rms_norm(x, eps), weight.data(), static_cast<const R*>(nullptr));
  }
};

}}  // namespace dit
