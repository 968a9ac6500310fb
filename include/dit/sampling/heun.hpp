#pragma once
/// Heun's method along a velocity field.

#include "dit/sampling/euler.hpp"

namespace dit { inline namespace DIT_ABI {

/// Heun's method, second order, two calls of the field per step and one in the last:
///   v1 = v(x, s),  v2 = v(x + (s_next - s) v1, s_next),  x <- x + (s_next - s) (v1 + v2)/2
/// The step to s_next = 0 is Euler's, since models are not trained at 0. Source: arXiv:2206.00364, algorithm 1.
/// Used like EulerSampler.
template <class T = float, std::size_t rank = 4>
class HeunSampler : public Sampler<T, rank, Schedule> {
  using Base = Sampler<T, rank, Schedule>;

 public:
  /// From noise at the schedule's first sigma, or from a saved state at its `index`-th.
  void begin(View<const T, rank> x, const Schedule& schedule, int index = 0) {
    Base::begin(x, schedule, index, {{predicted_}, {second_}});
  }

  /// sigma of the state, where the next step begins.
  T time() const {
    this->require_more();
    return static_cast<T>(this->timeline()[this->index()]);
  }

  template <class F>
  void step(F&& field) {
    this->start_step();
    const T sigma = time(), next = static_cast<T>((*this->timeline_)[this->index() + 1]), dt = next - sigma;
    View<T, rank> v = this->denoised_;
    const Index n = v.size();
    detail::evaluate<F, T, rank>(field, this->state(), sigma, v);
    if (next > 0) {
      const View<T, rank> x = this->x_, predicted = predicted_, second = second_;
      for (Index i = 0; i < n; ++i) predicted.data[i] = x.data[i] + dt * v.data[i];
      detail::evaluate<F, T, rank>(field, predicted, next, second);
      for (Index i = 0; i < n; ++i) v.data[i] = (v.data[i] + second.data[i]) / 2;
    }
    detail::euler_step(n, sigma, next, this->x_.data(), v.data);
    this->advance();
  }

 private:
  typename Base::State predicted_, second_;
};

}}  // namespace dit
