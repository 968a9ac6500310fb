#pragma once
/// Euler's method along a velocity field.

#include "dit/sampling/sampler.hpp"
#include "dit/sampling/schedule.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {
/// x <- x + (next - sigma) v and, in v's place, the preview x - sigma v.
template <class T>
void euler_step(Index n, T sigma, T next, T* x, T* v) {
  const T dt = next - sigma;
  for (Index i = 0; i < n; ++i) {
    const T from = x[i], velocity = v[i];
    x[i] = from + dt * velocity;
    v[i] = from - sigma * velocity;
  }
}
}  // namespace detail

/// Euler's method, first order, one call of the field per step:
///   x <- x + (s_next - s) v(x, s),    preview x0 = x - s v
/// The schedule is rounded to T once and the step is computed in T, as the reference does in float32.
/// Source: diffusers, schedulers/scheduling_flow_match_euler_discrete.py.
///
///     EulerSampler<float, 4> sampler;
///     sampler.begin(noise, Schedule::uniform(50));
///     while (!sampler.done()) sampler.step(field);
///     Tensor<float, 4> latent = sampler.take();
template <class T = float, std::size_t rank = 4>
class EulerSampler : public Sampler<T, rank, Schedule> {
  using Base = Sampler<T, rank, Schedule>;

 public:
  /// From noise at the schedule's first sigma, or from a saved state at its `index`-th.
  void begin(View<const T, rank> x, const Schedule& schedule, int index = 0) { Base::begin(x, schedule, index); }

  /// sigma of the state, where the next step begins.
  T time() const {
    this->require_more();
    return static_cast<T>(this->timeline()[this->index()]);
  }

  template <class F>
  void step(F&& field) {
    this->start_step();
    const T sigma = time(), next = static_cast<T>((*this->timeline_)[this->index() + 1]);
    View<T, rank> v = this->denoised_;
    detail::evaluate<F, T, rank>(field, this->state(), sigma, v);
    detail::euler_step(v.size(), sigma, next, this->x_.data(), v.data);
    this->advance();
  }
};

}}  // namespace dit
