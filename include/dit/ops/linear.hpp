#pragma once
/// y = a W^T + b, what comes before it and what follows, as lazy values: `add_gated(x, gate,
/// linear(modulate(layer_norm(x), m)), ws)` reads as the equation and runs as one GEMM.

#include <algorithm>
#include <type_traits>
#include <utility>

#include "dit/core/workspace.hpp"
#include "dit/ops/norm.hpp"

namespace dit { inline namespace DIT_ABI {

/// Features [first, first + width) of the tokens.
template <int first, int width, class T, int x_width>
constexpr Lazy<RowsSource<std::remove_const_t<T>>, width> features(Tokens<T, x_width> x) {
  static_assert(0 <= first && first + width <= x_width, "features: the tokens have fewer than that");
  return {RowsSource<std::remove_const_t<T>>{advance(x.data, first), x.rows(), width, x_width}, x.batch, x.count};
}

/// [a | b], side by side in each token's features. Errors: bad_input_shape unless they are as many tokens.
template <class A, int a_width, class B, int b_width>
constexpr Lazy<ConcatSource<A, B>, a_width + b_width> concat(const Lazy<A, a_width>& a, const Lazy<B, b_width>& b) {
  require(a.batch == b.batch && a.count == b.count, errc::bad_input_shape,
          "what is set side by side must be as many tokens");
  return {ConcatSource<A, B>{a.source, b.source}, a.batch, a.count};
}

/// act(a W^T + b), [rows, width], not yet computed.
template <class Source, class T, int width_>
struct Product {
  static constexpr int width = width_;
  Source a;
  const PackedMatrix<T>* weight;
  const real<T>* bias;
  Activation activation = Activation::none;
  int first_activated = 0;  ///< output that the activation is for, with all after it
};

/// A product, held or not: what follows takes it by value and gives it back as what it was.
template <class P>
concept LazyProduct = requires(P p) {
  p.weight;
  p.activation = Activation::none;
};

/// GELU(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
template <LazyProduct P>
constexpr P gelu_tanh(P p) {
  p.activation = Activation::gelu_tanh;
  return p;
}
/// GELU(x) = x/2 (1 + erf(x / sqrt(2)))
template <LazyProduct P>
constexpr P gelu_erf(P p) {
  p.activation = Activation::gelu_erf;
  return p;
}
/// SiLU(x) = x / (1 + exp(-x))
template <LazyProduct P>
constexpr P silu(P p) {
  p.activation = Activation::silu;
  return p;
}

/// GELU of outputs from number `first` on; those before stay as they are.
template <int first, LazyProduct P>
constexpr P gelu_tanh_from(P p) {
  static_assert(0 <= first && first <= P::width, "gelu_tanh_from: the product has fewer outputs than that");
  p.first_activated = first;
  return gelu_tanh(std::move(p));
}

namespace detail {
template <class P>
struct HeldScope {
  Workspace::Scope scope;
};
}  // namespace detail

/// A lazy value that lives on workspace memory, which it gives back when it ends: after what it holds, which may
/// hold memory that was taken later. Use it in the expression that makes it, or keep it with `auto`.
template <class P>
struct Held : private detail::HeldScope<P>, P {
  constexpr Held(Workspace::Scope&& memory, P&& lazy)
      : detail::HeldScope<P>{std::move(memory)}, P(std::move(lazy)) {}
};

namespace detail {
constexpr void require_rows(Index rows, Index of_product) {
  require(rows == of_product, errc::bad_input_shape, "the tokens that take a product are not as many as its rows");
}
constexpr void require_whole(int first_activated) {
  require(first_activated == 0, errc::bad_option, "an activation of some outputs is for products that are stored");
}
}  // namespace detail

/// Uninitialised tokens [batch, count, width] in the workspace.
template <class T, int width>
constexpr Tokens<T, width> take_tokens(Index batch, Index count, Workspace& workspace) {
  return {workspace.take<T>(batch * count * width), batch, count};
}

/// y = lazy tokens, a modulated norm by itself, say: a panel of one row is the row.
template <class T, int y_width, class Source, int width>
constexpr void store(Tokens<T, y_width> y, const Lazy<Source, width>& x, Workspace& workspace) {
  static_assert(y_width == width, "store: the widths of the two are not the same");
  detail::require_rows(y.rows(), x.rows());
  workspace.parallel_for(
      y.rows(), [&](Index row, int) { pack_panel(kernels<T>(), x.source, row, 1, y.data + row * width, nullptr); });
}

/// y = product, rounded once where y is of what a model of T stores. Errors, here and below: bad_input_shape where
/// y has another number of tokens; bad_option for an activation of some outputs, where it is not stored.
template <class Source, class T, int width, class S, int y_width>
constexpr void store(Tokens<S, y_width> y, const Product<Source, T, width>& p, Workspace& workspace) {
  static_assert(y_width == width, "store: the tokens' width is not the product's width");
  static_assert(std::is_same_v<S, real<T>> || std::is_same_v<S, stored<T>>,
                "store: the tokens are neither real numbers nor what the model stores");
  detail::require_rows(y.rows(), p.a.rows);
  gemm(p.a, *p.weight, StoreSink<real<T>, S>{y.data, width, p.bias, p.activation, p.first_activated}, workspace);
}

/// The product [batch, count, width] on the workspace, in the caller's scope, as another GEMM of T will read it: in
/// the layout of its panels; with int8, whose scales are known only when a row is complete, as it is stored.
template <class Source, class T, int width>
constexpr auto store_input(Index batch, Index count, const Product<Source, T, width>& p, Workspace& workspace) {
  detail::require_rows(batch * count, p.a.rows);
  if constexpr (std::is_same_v<T, int8>) {
    const auto y = take_tokens<stored<T>, width>(batch, count, workspace);
    store(y, p, workspace);
    return lazy(Tokens<const stored<T>, width>(y));
  } else {
    detail::require_whole(p.first_activated);
    T* const panels = workspace.take<T>(p.a.rows * padded<T>(width));
    gemm(p.a, *p.weight, PanelsSink<T>{panels, width, p.bias, p.activation}, workspace);
    return Lazy<PanelsSource<T>, width>{{panels, p.a.rows, width}, batch, count};
  }
}
/// x <- x + gate * product, each sample with its own gate
template <class Source, class T, int width, int x_width>
constexpr void add_gated(Tokens<real<T>, x_width> x, PerSample<real<T>, width> gate,
                         const Product<Source, T, width>& p, Workspace& workspace) {
  static_assert(x_width == width, "add: the tokens' width is not the product's width");
  detail::require_rows(x.rows(), p.a.rows);
  require(p.activation == Activation::none, errc::bad_option, "a product is added without an activation");
  gemm(p.a, *p.weight, AddGatedSink<real<T>>{x.data, width, p.bias, gate.data, gate.stride, x.count}, workspace);
}

/// x <- x + product
template <class Source, class T, int width, int x_width>
constexpr void add(Tokens<real<T>, x_width> x, const Product<Source, T, width>& p, Workspace& workspace) {
  add_gated(x, PerSample<real<T>, width>{}, p, workspace);
}

/// x <- activation(x)
template <class T, int width>
constexpr void activate(Activation activation, Tokens<T, width> x, Workspace& workspace) {
  if (!workspace.counts()) kernels<T>().activate(activation, x.data, x.size(), x.data);
}

/// x[r] <- x[r] + y[r mod rows of y], for every token r of x: the rows of y, a vector each, start anew where they
/// are fewer.
template <class T, int width>
constexpr void add_rows(Tokens<T, width> x, std::type_identity_t<Tokens<const T, width>> y, Workspace& workspace) {
  workspace.parallel_ranges(x.rows(), width, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T* const from = y.data + r % y.rows() * width;
      for (Index i = 0; i < width; ++i) x.data[r * width + i] += from[i];
    }
  });
}

/// to[b, to_first ...] <- from[b, from_first ...], `count` tokens of every sample of `to`.
template <class T, int width>
constexpr void copy_tokens(std::type_identity_t<Tokens<const T, width>> from, Index from_first, Tokens<T, width> to,
                           Index to_first, Index count, Workspace& workspace) {
  workspace.parallel_ranges(to.batch * count, width, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index b = i / count, n = i % count;
      std::copy_n(from.data + (b * from.count + from_first + n) * width, width,
                  to.data + (b * to.count + to_first + n) * width);
    }
  });
}

}}  // namespace dit
