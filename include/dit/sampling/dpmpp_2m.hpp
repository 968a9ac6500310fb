#pragma once
/// DPM-Solver++(2M) along a velocity field.

#include <algorithm>
#include <cmath>
#include <utility>

#include "dit/sampling/sampler.hpp"
#include "dit/sampling/schedule.hpp"

namespace dit { inline namespace DIT_ABI {

/// DPM++ 2M, second order, one call of the field per step and the denoised image of the step before:
///   den = x - s v(x, s),  l = -log(s),  h = l_next - l,  r = (l - l_prev)/h
///   D = (1 + 1/(2r)) den - 1/(2r) den_prev,  in the first step and the one to s_next = 0: D = den
///   x <- s_next/s x - expm1(-h) D
/// with -log(s) where the paper has log(alpha/sigma), as sd3.5 runs flow models. The factors are made in double and
/// rounded once. The preview is den, and the last step ends in it.
///
/// Sources: arXiv:2211.01095, algorithm 2; sd3.5, sd3_impls.py, sample_dpmpp_2m: what SD3.5-medium and -large run.
///
///     Dpmpp2mSampler<float, 4> sampler;
///     sampler.begin(noise, sd3_schedule(40));
///     while (!sampler.done()) sampler.step(field);
template <class T = float, std::size_t rank = 4>
class Dpmpp2mSampler : public Sampler<T, rank, Schedule> {
  using Base = Sampler<T, rank, Schedule>;

 public:
  /// From noise at the schedule's first sigma, or from the state and the history that were saved after `index`
  /// steps. Errors: bad_option if an index above 0 comes without a history, or 0 with one.
  void begin(View<const T, rank> x, const Schedule& schedule, int index = 0, View<const T, rank> history = {}) {
    const bool resumed = history.data != nullptr;
    require(index <= 0 || resumed, errc::bad_option,
            "DPM++ 2M goes on from a saved run with its history: begin(state, schedule, index, history)");
    require(index != 0 || !resumed, errc::bad_option, "a run that begins at step 0 has no history");
    if (resumed && history.shape != x.shape) {
      throw Error(errc::bad_input_shape,
                  "the state is " + to_string(x.shape) + ", so its history cannot be " + to_string(history.shape));
    }
    detail::require_filled<T, rank>(x);
    typename Base::State previous = Base::allocate(x.shape);  // not in place: it may be our own history
    if (resumed) std::copy(history.begin(), history.end(), previous.data());
    Base::begin(x, schedule, index);
    previous_ = std::move(previous);
  }

  /// The denoised image of the last step, which the next one needs. Errors: bad_state before the first step.
  View<const T, rank> history() const {
    this->state();
    require(this->index() > 0, errc::bad_state, "there is no history before the first step");
    return previous_;
  }

  /// sigma of the state, where the next step begins.
  T time() const {
    this->require_more();
    return static_cast<T>(this->timeline()[this->index()]);
  }

  template <class F>
  void step(F&& field) {
    this->start_step();
    const T sigma = time();
    const View<T, rank> v = this->denoised_, x = this->x_, previous = previous_;
    detail::evaluate<F, T, rank>(field, this->state(), sigma, v);

    const Schedule& schedule = *this->timeline_;
    const int i = this->index();
    const double s = schedule[i], next = schedule[i + 1];
    double back = 0;  // 1/(2r)
    if (i > 0 && next > 0) back = log_ratio(s, next) / (2 * log_ratio(schedule[i - 1], s));
    const T of_x = static_cast<T>(next / s), of_image = static_cast<T>((s - next) / s);
    const T of_now = static_cast<T>(1 + back), of_before = static_cast<T>(back);
    for (Index j = 0; j < x.size(); ++j) {
      const T now = x.data[j] - sigma * v.data[j];
      const T image = back > 0 ? of_now * now - of_before * previous.data[j] : now;
      x.data[j] = of_x * x.data[j] + of_image * image;
      v.data[j] = previous.data[j] = now;
    }
    this->advance();
  }

 private:
  /// log(a/b) for a > b, above 0 however near they are.
  static double log_ratio(double a, double b) { return std::log1p((a - b) / b); }

  typename Base::State previous_;
};

}}  // namespace dit
