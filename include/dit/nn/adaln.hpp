#pragma once
/// Adaptive layer norm: the conditioning vector speaks through the norms.

#include <algorithm>
#include <type_traits>
#include <utility>

#include "dit/nn/linear.hpp"

namespace dit { inline namespace DIT_ABI {

/// AdaLN(x, c) = (1 + gamma(c)) * LN(x) + beta(c), [gamma, beta] = proj(c): the plain form, without SiLU and gate.
template <int width, int width_c, class T = float>
struct AdaLN {
  using R = real<T>;
  static constexpr double eps = 1e-5;  // torch.nn.LayerNorm's default

  Linear<width_c, 2 * width, T> proj;

  static constexpr void visit(auto&& f, auto&... self) { f("proj", self.proj...); }

  /// x [B, N, width], c [B, 1, width_c] -> the modulated norm, lazy. gamma and beta go to the workspace.
  template <class X, int x_width, class C, int c_width>
  constexpr auto operator()(Tokens<X, x_width> x, Tokens<C, c_width> c, Workspace& workspace) const {
    static_assert(x_width == width, "AdaLN: the tokens' width is not the layer's width");
    static_assert(c_width == width_c, "AdaLN: the conditioning vector's width is not the layer's");
    require(c.batch == x.batch && c.count == 1, errc::bad_condition,
            "there must be one conditioning vector per sample");
    auto scope = workspace.scope();
    const auto projected = take_tokens<R, 2 * width>(c.batch, 1, workspace);
    store(projected, proj(c), workspace);
    const Chunks<R, width, 2> chunks{projected.data};
    const auto gamma = chunks.template chunk<0>(), beta = chunks.template chunk<1>();
    return Held(std::move(scope), modulate(layer_norm(x, eps), /*shift=*/beta, /*scale=*/gamma));
  }
};

/// adaLN_modulation(c) = Linear(SiLU(c)), cut into `chunks` vectors of the block's width (DiT models.py).
/// The SiLU is the same for all layers, so the caller does it once.
template <int width, int chunks, class T = float>
struct AdaLNModulation : Linear<width, chunks * width, T> {
  using R = real<T>;

  /// silu_c [rows, width] -> out [rows, chunks * width]
  constexpr Chunks<R, width, chunks> operator()(Tokens<const R, width> silu_c, R* out, Workspace& workspace) const {
    const Linear<width, chunks * width, T>& linear = *this;
    store(Tokens<R, chunks * width>{out, silu_c.batch, silu_c.count}, linear(silu_c), workspace);
    return {out};
  }
  /// On the workspace, in the caller's scope.
  constexpr Chunks<R, width, chunks> operator()(Tokens<const R, width> silu_c, Workspace& workspace) const {
    return (*this)(silu_c, workspace.take<R>(silu_c.rows() * chunks * width), workspace);
  }
};

namespace detail {
template <class>
inline constexpr bool is_modulation = false;
template <int width, int chunks, class T>
inline constexpr bool is_modulation<AdaLNModulation<width, chunks, T>> = true;
}  // namespace detail

/// Calls `f(projection)` for every adaLN projection of a model, in the order of the checkpoint.
template <class F, class M>
constexpr void for_each_modulation(F&& f, M& model) {
  using Plain = std::remove_const_t<M>;
  if constexpr (detail::is_modulation<Plain>) {
    f(model);
  } else if constexpr (detail::is_array<Plain>) {
    for (auto& element : model) for_each_modulation(f, element);
  } else if constexpr (!IsParameter<Plain>) {
    Plain::visit([&f](auto, auto& member) { for_each_modulation(f, member); }, model);
  }
}

/// Gives back the memory of a model's adaLN projections: a third of the weights of DiT and Stable Diffusion 3, 27 %
/// of FLUX.1's. Once a field's times are prepared nothing else asks for them:
///     Conditioned field(model, text, workspace);
///     field.prepare(schedule.times<float>());
///     release_modulation(model);
///     sample(noise, schedule, field);
/// Prepared fields stay as they are, all of them; what would need the projections is errc::bad_state from now on:
/// other times, `prepare`, saving, copying. Loading the model anew brings them back. No pass of the model may run
/// at the time.
template <class M>
void release_modulation(M& model) {
  static_assert(!std::is_const_v<M>, "release_modulation: a const model keeps its weights");
  if constexpr (!std::is_const_v<M>) {
    for_each_modulation(
        [](auto& projection) { for_each_parameter([](const Path&, auto& p) { p.release(); }, projection); }, model);
  }
}

/// Are a model's adaLN projections there: loaded or initialised, and not released?
template <class M>
bool has_modulation(const M& model) {
  bool all = true;
  for_each_modulation([&all](const auto& projection) { all = all && !projection.weight.empty(); }, model);
  return all;
}

/// SiLU(c), c [B, 1, D], for a block that runs alone: on the workspace, in the caller's scope. errc::bad_condition
/// unless there is one vector for every sample.
template <class C, int width>
constexpr Tokens<std::remove_const_t<C>, width> silu_condition(Tokens<C, width> c, Index batch,
                                                               Workspace& workspace) {
  require(workspace.holds(c.data) && c.batch == batch && c.count == 1, errc::bad_condition,
          "there must be one conditioning vector per sample");
  const auto activated = take_tokens<std::remove_const_t<C>, width>(c.batch, 1, workspace);
  if (!workspace.counts()) silu(c.data, c.size(), activated.data);
  return activated;
}

}}  // namespace dit
