#pragma once
/// Noise in, image out: a sampler's whole run in one call.

#include <type_traits>
#include <utility>

#include "dit/sampling/euler.hpp"

namespace dit { inline namespace DIT_ABI {

/// The outcome of `sample`. A cancelled run is not an error: `x` is then the state it had come to.
template <class T, std::size_t rank>
struct Sampled {
  Tensor<T, static_cast<int>(rank)> x;
  int steps = 0;  ///< that were taken
  bool cancelled = false;
};

/// Walks noise [B, C, ...] down the timeline along the field.
///
///     auto [latent, steps, cancelled] = sample(noise, Schedule::uniform(50), field);
///     sample<HeunSampler>(noise, schedule, field, [&](const auto& run) { return show(run.denoised()); });
///     sample<DdimSampler>(noise, DiffusionSchedule(ddim_steps(50)), WithoutVariance(eps_field));
///     sample<DdpmSampler>(noise, DiffusionSchedule(respaced_steps(250)), eps_field, Unobserved{}, draw);
///
/// `observer(sampler)` is called after every step; it may return false to cancel. What follows it goes to every
/// step: the noise source of the samplers that draw.
template <template <class, std::size_t> class Method = EulerSampler, class Noise, class Timeline, class F,
          class Observer = Unobserved, class... Arguments>
auto sample(const Noise& noise, const Timeline& timeline, F&& field, Observer&& observer = {},
            Arguments&&... arguments) {
  const View x(noise);
  return [&]<class T, std::size_t rank>(View<T, rank> from) {
    using Scalar = std::remove_const_t<T>;
    Method<Scalar, rank> sampler;
    sampler.begin(from, timeline);
    const bool done = run(sampler, observer, field, arguments...);
    const int steps = sampler.index();
    return Sampled<Scalar, rank>{sampler.take(), steps, !done};
  }(x);
}

}}  // namespace dit
