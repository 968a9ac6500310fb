#pragma once
/// The two-layer perceptrons of transformers.

#include "dit/nn/linear.hpp"

namespace dit { inline namespace DIT_ABI {

/// fc2(act(fc1(x))), act one of Activation::gelu_tanh, gelu_erf, silu (timm Mlp; DiT models.py).
template <int in, int hidden, int out, Activation activation, class T = float>
struct Mlp {
  using scalar = T;
  template <class U>
  using with_scalar = Mlp<in, hidden, out, activation, U>;

  Linear<in, hidden, T> fc1;
  Linear<hidden, out, T> fc2;

  static constexpr void visit(auto&& f, auto&... self) {
    f("fc1", self.fc1...);
    f("fc2", self.fc2...);
  }

  /// The hidden layer goes to the workspace; the second product is returned, lazy.
  template <class Source, int width>
  auto operator()(const Lazy<Source, width>& x, Workspace& workspace) const {
    auto scope = workspace.scope();
    auto product = fc1(x);
    product.activation = activation;
    return Held(std::move(scope), fc2(store_input(x.batch, x.count, product, workspace)));
  }

  static constexpr std::size_t arena(Index rows, int strands) {
    return input_bytes<T, hidden>(rows) +
           std::max(Linear<in, hidden, T>::arena(rows, strands),
                    gemm_arena<T>(rows, hidden, strands, /*packed=*/!std::is_same_v<T, int8>));
  }
};

}}  // namespace dit
