#pragma once
/// Classifier-free guidance: wrappers that make one field of a conditional and an unconditional one.

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "dit/sampling/field.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {

/// Whether t lies in [lo, hi], whose ends are rounded as t is: a float 0.7 is in [0.7, 1].
template <class Time>
bool within(Time t, double lo, double hi) {
  using Bound = std::conditional_t<std::is_floating_point_v<Time>, Time, double>;
  return t >= static_cast<Bound>(lo) && t <= static_cast<Bound>(hi);
}

}  // namespace detail

/// v = v_uncond + scale (v_cond - v_uncond), on the first `channels` channels and for times within [lo, hi];
/// elsewhere v = v_cond. Sources: arXiv:2207.12598 (eq. 6, with w = scale - 1); the interval: arXiv:2404.07724.
///
/// The same for velocities and for eps: guiding v, eps or the denoised image is the same thing. What a prediction
/// has beyond the channels of the state (variance logits) is never guided, it stays the conditional one.
///     Guidance{4}                                all channels: diffusers' DiT
///     Guidance{.scale = 4, .channels = 3}        the official DiT code, which guides 3 of its 4 channels
///     Guidance{.scale = 4, .lo = 0.2, .hi = 0.8}
/// Scale 1 calls the conditional branch only, and so does a time outside the interval.
///
/// This is the true guidance, of two predictions: SD3 (7 in diffusers, 4.5 to 5 in the sd3.5 repo), and FLUX with a
/// negative prompt ("true_cfg_scale"). The distilled guidance of FLUX.1 dev is no business of a sampler: it is a
/// number that the model takes as an input, with one call per step.
struct Guidance {
  static constexpr Index all_channels = -1;

  double scale = 1;
  Index channels = all_channels;
  double lo = -std::numeric_limits<double>::infinity();
  double hi = std::numeric_limits<double>::infinity();

  /// Errors: bad_guidance.
  void validate() const {
    require(std::isfinite(scale), errc::bad_guidance, "the guidance scale must be a finite number");
    require(channels == all_channels || channels >= 1, errc::bad_guidance,
            "guidance acts on at least one channel, or on Guidance::all_channels");
    require(lo <= hi, errc::bad_guidance, "the guidance interval [lo, hi] must not end before it starts");
  }

  /// Whether the unconditional branch counts at time t.
  template <class Time>
  bool active(Time t) const {
    return scale != 1 && detail::within(t, lo, hi);
  }
};

namespace detail {

/// Where guidance acts in a prediction [B, C, ...]: the first `guided` of each item's `size` numbers.
struct Guided {
  Index items, size, guided;
};

template <class T, std::size_t rank>
Guided guided_part(const Guidance& guidance, View<const T, rank> x, View<T, rank> out) {
  const Index state_channels = rank > 1 ? x.shape[1 % rank] : 1, channels = rank > 1 ? out.shape[1 % rank] : 1;
  const Index guided = guidance.channels == Guidance::all_channels ? state_channels : guidance.channels;
  if (guided > state_channels) {
    throw Error(errc::bad_guidance, "guidance on " + std::to_string(guided) + " channels, but the state " +
                                        to_string(x.shape) + " has " + std::to_string(state_channels));
  }
  const Index size = out.size() / out.shape[0];
  return {out.shape[0], size, size / channels * guided};
}

/// out <- u + scale (c - u) on the guided part, c elsewhere. out may be u. At scale 0 it is u, whatever c is.
template <class T>
void guide(const Guided& part, T scale, const T* c, const T* u, T* out) {
  for (Index item = 0; item < part.items; ++item) {
    const Index first = item * part.size, middle = first + part.guided, last = first + part.size;
    if (scale != 0) {
      for (Index i = first; i < middle; ++i) out[i] = u[i] + scale * (c[i] - u[i]);
    } else if (out != u) {
      std::copy(u + first, u + middle, out + first);
    }
    std::copy(c + middle, c + last, out + middle);
  }
}

}  // namespace detail

/// Two calls, one of each field; half the memory of the batched form. Scale 0 on all channels calls the
/// unconditional field only. Fields are kept by value; std::ref keeps them by reference.
///
///     SequentialGuidance field(conditional, unconditional, Guidance{4});
///
/// Errors: bad_guidance, bad_input_shape, aliasing.
template <class Conditional, class Unconditional>
class SequentialGuidance {
 public:
  SequentialGuidance(Conditional conditional, Unconditional unconditional, Guidance guidance)
      : conditional_(std::move(conditional)), unconditional_(std::move(unconditional)), guidance_(guidance) {
    guidance_.validate();
  }

  const Guidance& guidance() const noexcept { return guidance_; }

  template <class T, std::size_t rank, class Time>
  void operator()(View<const T, rank> x, Time t, View<T, rank> out) {
    detail::require_in_and_out<T, rank>(x, out, true);
    const detail::Guided part = detail::guided_part<T, rank>(guidance_, x, out);
    if (guidance_.active(t) && guidance_.scale == 0 && part.guided == part.size) {
      return detail::evaluate<Unconditional, T, rank>(unconditional_, x, t, out);
    }
    with_conditional(x, t, out);
  }

  /// The same, with the conditional prediction, which is valid until the next call; it may be `out`.
  template <class T, std::size_t rank, class Time>
  View<const T, rank> with_conditional(View<const T, rank> x, Time t, View<T, rank> out) {
    detail::require_in_and_out<T, rank>(x, out, true);
    const detail::Guided part = detail::guided_part<T, rank>(guidance_, x, out);
    const bool active = guidance_.active(t);
    const View<T, rank> scratch = guidance_.scale == 1 ? out : scratch_.template view<T>(out.shape);
    const View<T, rank> c = active ? scratch : out;
    detail::evaluate<Conditional, T, rank>(conditional_, x, t, c);
    if (active) {
      detail::evaluate<Unconditional, T, rank>(unconditional_, x, t, out);
      detail::guide<T>(part, static_cast<T>(guidance_.scale), c.data, out.data, out.data);
    }
    return c;
  }

 private:
  Conditional conditional_;
  Unconditional unconditional_;
  Guidance guidance_;
  detail::Scratch scratch_;
};

/// One call with twice the batch: the field sees [x | x], and its first B items are conditional, its last B are
/// not. Where guidance is off it sees x alone, B items, all of them conditional. So a model is conditioned once, on
/// [labels | null], and takes as many of these as x has items. The same bits as the two calls of
/// SequentialGuidance, if an item's prediction does not depend on the rest of its batch.
///
///     BatchedGuidance field(both, Guidance{.scale = 4, .channels = 3});
///
/// Errors: bad_guidance, bad_input_shape, aliasing.
template <class F>
class BatchedGuidance {
 public:
  BatchedGuidance(F both, Guidance guidance) : both_(std::move(both)), guidance_(guidance) { guidance_.validate(); }

  const Guidance& guidance() const noexcept { return guidance_; }

  template <class T, std::size_t rank, class Time>
  void operator()(View<const T, rank> x, Time t, View<T, rank> out) {
    with_conditional(x, t, out);
  }

  /// The same, with the conditional prediction, which is valid until the next call; it may be `out`.
  template <class T, std::size_t rank, class Time>
  View<const T, rank> with_conditional(View<const T, rank> x, Time t, View<T, rank> out) {
    detail::require_in_and_out<T, rank>(x, out, true);
    const detail::Guided part = detail::guided_part<T, rank>(guidance_, x, out);
    View<T, rank> state, prediction;
    if (guidance_.scale != 1) {
      state = state_.template view<T>(detail::doubled(x.shape, 0));
      prediction = prediction_.template view<T>(detail::doubled(out.shape, 0));
    }
    if (!guidance_.active(t)) {
      detail::evaluate<F, T, rank>(both_, x, t, out);
      return out;
    }
    std::copy(x.begin(), x.end(), state.data);
    std::copy(x.begin(), x.end(), state.data + x.size());
    detail::evaluate<F, T, rank>(both_, state, t, prediction);
    const T* conditional = prediction.data;
    detail::guide<T>(part, static_cast<T>(guidance_.scale), conditional, conditional + out.size(), out.data);
    return {conditional, out.shape};
  }

 private:
  F both_;
  Guidance guidance_;
  detail::Scratch state_, prediction_;
};

}}  // namespace dit
