#pragma once
/// Skip-layer guidance: away from what the model says with some of its blocks left out.

#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "dit/sampling/guidance.hpp"
#include "dit/sampling/schedule.hpp"

namespace dit { inline namespace DIT_ABI {

/// v <- v + scale (v_cond - v_skipped) for times within [lo, hi]. Scale 0 and other times never call the skipped
/// field.
struct SkipLayer {
  double scale = 2.8;
  double lo = -std::numeric_limits<double>::infinity();
  double hi = std::numeric_limits<double>::infinity();

  /// In the steps i of the schedule, counted from 0, with start n < i < stop n.
  ///     SkipLayer::between(schedule, 0.01, 0.2)          diffusers' defaults, the scale 2.8 among them
  ///     SkipLayer::between(schedule, 0.01, 0.2, 2.5)     the sd3.5 repo's: blocks 7, 8, 9 of the medium
  /// Errors: bad_guidance.
  static SkipLayer between(const Schedule& schedule, double start, double stop, double scale = 2.8) {
    require(start <= stop, errc::bad_guidance, "skip-layer guidance must not stop before it starts");
    SkipLayer options{.scale = scale, .lo = std::numeric_limits<double>::infinity()};
    for (int i = schedule.steps() - 1; i >= 0; --i) {
      if (!(i > start * schedule.steps() && i < stop * schedule.steps())) continue;
      if (std::isinf(options.lo)) options.lo = schedule[i];
      options.hi = schedule[i];
    }
    options.validate();
    return options;
  }

  /// Errors: bad_guidance.
  void validate() const {
    require(std::isfinite(scale), errc::bad_guidance, "the scale of skip-layer guidance must be a finite number");
    require(lo <= hi, errc::bad_guidance,
            "the interval [lo, hi] of skip-layer guidance must not end before it starts");
  }

  template <class Time>
  bool active(Time t) const {
    return scale != 0 && detail::within(t, lo, hi);
  }
};

/// A third field on top of a guided one: with conditional inputs, and blocks that are skipped as a whole.
///   v = v_uncond + s (v_cond - v_uncond) + scale (v_cond - v_skipped)
/// `guided` is a BatchedGuidance or a SequentialGuidance, itself or by std::ref; any other field counts as its own
/// conditional prediction. The skipped field sees x alone, B items, all conditional.
///
///     const Schedule schedule = sd3_schedule(28);     // `both` is conditioned on [texts | negative texts]
///     SkipLayerGuidance field(BatchedGuidance(std::ref(both), Guidance{5}), both.skipping({7, 8, 9}),
///                             SkipLayer::between(schedule, 0.01, 0.2));
///     sample(noise, schedule, field);
///
/// Sources: diffusers, pipeline_stable_diffusion_3.py, skip_guidance_layers; sd3.5, sd3_impls.py,
/// SkipLayerCFGDenoiser (on denoised images, which is the same thing). Errors: bad_guidance, bad_input_shape,
/// aliasing.
template <class Guided, class Skipped>
class SkipLayerGuidance {
 public:
  SkipLayerGuidance(Guided guided, Skipped skipped, SkipLayer options)
      : guided_(std::move(guided)), skipped_(std::move(skipped)), options_(options) {
    options_.validate();
  }

  const SkipLayer& options() const noexcept { return options_; }

  template <class T, std::size_t rank>
  void operator()(View<const T, rank> x, T t, View<T, rank> v) {
    if (options_.scale == 0) return detail::evaluate<Guided, T, rank>(guided_, x, t, v);
    with_conditional(x, t, v);
  }

  /// The same, with the conditional prediction, which is valid until the next call.
  template <class T, std::size_t rank>
  View<const T, rank> with_conditional(View<const T, rank> x, T t, View<T, rank> v) {
    detail::require_in_and_out<T, rank>(x, v);
    const View<T, rank> skipped = scratch_.template view<T>(v.shape);
    View<const T, rank> conditional = guided(x, t, v);
    if (options_.active(t)) {
      const bool own = conditional.data == v.data;  // and about to change
      detail::evaluate<Skipped, T, rank>(skipped_, x, t, skipped);
      const T scale = static_cast<T>(options_.scale);
      for (Index i = 0; i < v.size(); ++i) {
        const T c = conditional.data[i];
        v.data[i] += scale * (c - skipped.data[i]);
        if (own) skipped.data[i] = c;
      }
      if (own) conditional = skipped;
    }
    return conditional;
  }

 private:
  template <class T, std::size_t rank>
  View<const T, rank> guided(View<const T, rank> x, T t, View<T, rank> v) {
    using Field = std::unwrap_reference_t<Guided>;
    Field& field = guided_;
    if constexpr (requires { field.with_conditional(x, t, v); }) {
      return field.with_conditional(x, t, v);
    } else {
      detail::evaluate<Guided, T, rank>(guided_, x, t, v);
      return v;
    }
  }

  Guided guided_;
  Skipped skipped_;
  SkipLayer options_;
  detail::Scratch scratch_;
};

}}  // namespace dit
