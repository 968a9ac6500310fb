#pragma once
/// Group normalisation with its parameters.

#include "dit/nn/module.hpp"
#include "dit/ops/group_norm.hpp"

namespace dit { inline namespace DIT_ABI {

/// torch.nn.GroupNorm(groups, channels), with the eps of the autoencoders.
template <int channels, int groups, class T = float>
struct GroupNorm {
  static_assert(groups > 0 && channels % groups == 0,
                "GroupNorm: the number of groups does not divide the number of channels");
  using R = real<T>;
  static constexpr double eps = 1e-6;

  Parameter<R, channels> weight;
  Parameter<R, channels> bias;

  static constexpr void visit(auto&& f, auto&... self) {
    f("weight", self.weight...);
    f("bias", self.bias...);
  }

  /// Takes the statistics; their place in the workspace lives as long as the value.
  constexpr Held<LazyMaps<R, channels>> operator()(Maps<const R, channels> x, Workspace& workspace) const {
    return group_norm<groups>(x, eps, weight.data(), bias.data(), workspace);
  }
};

}}  // namespace dit
