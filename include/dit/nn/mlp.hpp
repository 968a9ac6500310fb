#pragma once
/// The two-layer perceptrons of transformers.

#include "dit/nn/linear.hpp"

namespace dit { inline namespace DIT_ABI {

/// fc2(act(fc1(x))), act one of Activation::gelu_tanh, gelu_erf, silu (timm Mlp; DiT models.py).
template <int in, int hidden, int out, Activation activation, class T = float>
struct Mlp {
  Linear<in, hidden, T> fc1;
  Linear<hidden, out, T> fc2;

  static constexpr void visit(auto&& f, auto&... self) {
    f("fc1", self.fc1...);
    f("fc2", self.fc2...);
  }

  /// The hidden layer goes to the workspace; the second product is returned, lazy.
  template <class Source, int width>
  constexpr auto operator()(const Lazy<Source, width>& x, Workspace& workspace) const {
    auto scope = workspace.scope();
    auto product = fc1(x);
    product.activation = activation;
    return Held(std::move(scope), fc2(store_input(x.batch, x.count, product, workspace)));
  }
};

}}  // namespace dit
