#pragma once
/// From one thing a model may predict to another: eps, x0, v, flow velocity.

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "dit/sampling/diffusion.hpp"
#include "dit/sampling/field.hpp"
#include "dit/sampling/schedule.hpp"

namespace dit { inline namespace DIT_ABI {

/// The straight path of flow matching: x = (1 - t) x0 + t eps.
struct FlowPath {
  template <class T>
  Mixture operator()(T t) const {
    return {1 - static_cast<double>(t), static_cast<double>(t)};
  }
};

/// The variance-preserving path of diffusion: x = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps at step t of the chain.
class DiffusionPath {
 public:
  explicit DiffusionPath(const DiffusionSchedule& schedule) : schedule_(schedule) {}
  /// Errors: bad_schedule outside the chain.
  Mixture operator()(int t) const {
    require(t >= 0 && t < schedule_.total(), errc::bad_schedule, "this time is not a step of the training chain");
    return {std::sqrt(schedule_.alpha_bar_at(t)), std::sqrt(1 - schedule_.alpha_bar_at(t))};
  }

 private:
  DiffusionSchedule schedule_;
};

/// What a model predicts, as a mixture of x0 and eps; the state is x = a x0 + b eps.
enum class Prediction {
  eps,   ///< the noise
  x0,    ///< the image
  v,     ///< a eps - b x0, arXiv:2202.00512 appendix D
  flow,  ///< eps - x0, the velocity of the straight path
};

constexpr Mixture mixture(Prediction prediction, Mixture x) {
  switch (prediction) {
    case Prediction::eps:
      return {0, 1};
    case Prediction::x0:
      return {1, 0};
    case Prediction::v:
      return {-x.noise, x.image};
    case Prediction::flow:
      break;
  }
  return {-1, 1};
}

/// One prediction out of another: with x = a x0 + b eps and y = p x0 + q eps known, and d = a q - b p,
///   x0 = (q x - b y)/d,   eps = (a y - p x)/d,   p' x0 + q' eps = of_x x + of_y y.
/// For instance flow from eps: (eps - x)/(1 - t); flow from x0: (x - x0)/t; x0 from flow: x - t v.
struct Conversion {
  /// Errors: bad_schedule where x and y are the same thing (eps at t = 1, x0 at t = 0).
  Conversion(Mixture x, Mixture y, Mixture wanted) {
    const double d = x.image * y.noise - x.noise * y.image;
    require(std::abs(d) > 0, errc::bad_schedule,
            "at this time the prediction says no more than the state (eps at pure noise, x0 at a clean image); "
            "begin the schedule below it");
    of_x = (wanted.image * y.noise - wanted.noise * y.image) / d;
    of_y = (wanted.noise * x.image - wanted.image * x.noise) / d;
  }

  /// y <- of_x x + of_y y
  template <class T, std::size_t rank>
  void operator()(View<const T, rank> x, View<T, rank> y) const {
    const T fx = static_cast<T>(of_x), fy = static_cast<T>(of_y);
    for (Index i = 0; i < y.size(); ++i) y.data[i] = fx * x.data[i] + fy * y.data[i];
  }

  double of_x = 0, of_y = 0;
};

/// A field that predicts one thing, out of one that predicts another on the same path.
///
///     ConvertedField velocity(x0_field, Prediction::x0, Prediction::flow, FlowPath());
///     ConvertedField eps(v_field, Prediction::v, Prediction::eps, DiffusionPath(schedule));
///
/// Errors: bad_schedule as `Conversion`, bad_input_shape, aliasing.
template <class F, class Path>
class ConvertedField {
 public:
  ConvertedField(F field, Prediction from, Prediction to, Path path)
      : field_(std::move(field)), from_(from), to_(to), path_(std::move(path)) {}

  template <class T, std::size_t rank, class Time>
  void operator()(View<const T, rank> x, Time t, View<T, rank> out) {
    detail::require_in_and_out<T, rank>(x, out);
    const Mixture at = path_(t);
    const Conversion convert(at, mixture(from_, at), mixture(to_, at));
    detail::evaluate<F, T, rank>(field_, x, t, out);
    convert(x, out);
  }

 private:
  F field_;
  Prediction from_, to_;
  Path path_;
};

/// Drops the variance logits: a noise predictor [B, C, ...] out of one that writes [B, 2C, ...].
template <class F>
class WithoutVariance {
 public:
  explicit WithoutVariance(F field) : field_(std::move(field)) {}

  template <class T, std::size_t rank, class Time>
  void operator()(View<const T, rank> x, Time t, View<T, rank> eps) {
    static_assert(rank >= 2, "axis 0 of the state is the batch, axis 1 the channels");
    detail::require_in_and_out<T, rank>(x, eps);
    const View<T, rank> both = both_.template view<T>(detail::doubled(eps.shape, 1));
    detail::evaluate<F, T, rank>(field_, x, t, both);
    const Index size = eps.size() / eps.shape[0];
    for (Index item = 0; item < eps.shape[0]; ++item) {
      std::copy_n(both.data + 2 * item * size, size, eps.data + item * size);
    }
  }

 private:
  F field_;
  detail::Scratch both_;
};

/// The noise level of the straight path that has the signal-to-noise ratio of abar:
/// s = b/(a + b) with a = sqrt(abar), b = sqrt(1 - abar).
inline double flow_sigma(double alpha_bar) {
  const double a = std::sqrt(alpha_bar), b = std::sqrt(1 - alpha_bar);
  return b / (a + b);
}

/// The kept steps of a diffusion chain as noise levels of the straight path, then 0.
inline Schedule flow_schedule(const DiffusionSchedule& schedule) {
  std::vector<double> sigmas;
  for (int k = schedule.steps() - 1; k >= 0; --k) {
    sigmas.push_back(flow_sigma(schedule.alpha_bar(k)));
  }
  sigmas.push_back(0);
  return Schedule(std::move(sigmas));
}

/// A diffusion model as a velocity field on the straight path, for EulerSampler and HeunSampler. The states of both
/// paths are the same up to a factor:
///   s = b/(a + b) with a = sqrt(abar_t), b = sqrt(1 - abar_t)
///   x_flow = (1 - s) x0 + s eps = x_diffusion/(a + b)
/// So at s the model sees x/sqrt((1 - s)^2 + s^2) and the step t of the training chain that is nearest to s.
/// Euler's steps on `flow_schedule` are DDIM's.
///
///     VelocityFromDiffusion velocity(eps_field, Prediction::eps, chain);
///     sample(scaled_noise, flow_schedule(chain), velocity);    // scaled_noise = noise sqrt((1 - s)^2 + s^2), s
///     the first
///
/// Errors: bad_schedule, bad_input_shape, aliasing.
template <class F>
class VelocityFromDiffusion {
 public:
  VelocityFromDiffusion(F field, Prediction prediction, const DiffusionSchedule& schedule)
      : field_(std::move(field)), prediction_(prediction) {
    for (int t = 0; t < schedule.total(); ++t) sigmas_.push_back(flow_sigma(schedule.alpha_bar_at(t)));
  }

  template <class T, std::size_t rank>
  void operator()(View<const T, rank> x, T s, View<T, rank> v) {
    detail::require_in_and_out<T, rank>(x, v);
    const Mixture flow = FlowPath()(s);
    const double length = std::hypot(flow.image, flow.noise);
    const Mixture diffusion{flow.image / length, flow.noise / length};
    const Conversion convert(flow, mixture(prediction_, diffusion), mixture(Prediction::flow, flow));
    const View<T, rank> scaled = scaled_.template view<T>(x.shape);
    const T factor = static_cast<T>(1 / length);
    for (Index i = 0; i < x.size(); ++i) scaled.data[i] = factor * x.data[i];
    detail::evaluate<F, T, rank>(field_, scaled, nearest(static_cast<double>(s)), v);
    convert(x, v);
  }

 private:
  int nearest(double s) const {
    const auto above = std::lower_bound(sigmas_.begin(), sigmas_.end(), s);
    if (above == sigmas_.begin()) return 0;
    const auto t = above - sigmas_.begin();
    if (above == sigmas_.end()) return static_cast<int>(t) - 1;
    return static_cast<int>(*above - s < s - *(above - 1) ? t : t - 1);
  }

  F field_;
  Prediction prediction_;
  std::vector<double> sigmas_;  ///< of the training chain, rising
  detail::Scratch scaled_;
};

}}  // namespace dit
