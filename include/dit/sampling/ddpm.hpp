#pragma once
/// Ancestral sampling down a diffusion chain.

#include <cmath>

#include "dit/sampling/diffusion.hpp"
#include "dit/sampling/sampler.hpp"

namespace dit { inline namespace DIT_ABI {

/// Which variance an ancestral step has.
enum class Variance {
  learned_range,  ///< the model's logits choose between the two below, in the logarithm: DiT
  posterior,      ///< that of x_{k-1} given x_k and x0 ("fixed small")
  beta,           ///< that of the chain, beta'_k ("fixed large")
};

/// Ancestral sampling (DDPM), from the last kept step to the first:
///   x0     = x/sqrt(abar_k) - sqrt(1/abar_k - 1) eps
///   mean   = beta'_k sqrt(abar_{k-1})/(1 - abar_k) x0 + (1 - abar_{k-1}) sqrt(1 - beta'_k)/(1 - abar_k) x
///   logvar = f log(beta'_k) + (1 - f) log(pv_k),  f = (logits + 1)/2
///   x <- mean + [k > 0] exp(logvar/2) noise
/// with pv the posterior variance. With Variance::learned_range the field writes [B, 2C, ...]: eps and the logits,
/// which are not clamped; otherwise eps [B, C, ...] alone. No clipping of x0. Needs at least two steps.
///
/// Sources: arXiv:2006.11239 eq. 7, 11; arXiv:2102.09672 eq. 15; DiT, diffusion/gaussian_diffusion.py, p_sample.
///
///     DdpmSampler<float, 4> sampler;
///     sampler.begin(noise, DiffusionSchedule(respaced_steps(250)));
///     while (!sampler.done()) sampler.step(field, draw);
template <class T = float, std::size_t rank = 4>
class DdpmSampler : public Sampler<T, rank, DiffusionSchedule> {
  using Base = Sampler<T, rank, DiffusionSchedule>;
  static_assert(rank >= 2, "axis 0 of the state is the batch, axis 1 the channels");

 public:
  explicit DdpmSampler(Variance variance = Variance::learned_range) : variance_(variance) {}

  /// From noise, or from the state that was saved after `index` steps.
  void begin(View<const T, rank> x, const DiffusionSchedule& schedule, int index = 0) {
    require(schedule.steps() >= 2, errc::bad_schedule,
            "ancestral sampling needs at least two steps: one alone has no posterior variance");
    Base::begin(x, schedule, index, {{noise_}, {prediction_, variance_ == Variance::learned_range ? 2 : 1}});
  }

  /// The step of the training chain that the state is at, where the next step begins.
  int time() const {
    this->require_more();
    return this->timeline().time(this->remaining() - 1);
  }

  /// `draw(view)` fills a view of the state's shape with normal noise; it is called once at every step after the
  /// field, the last step included, as in the reference. (With guidance the reference draws for a doubled batch and
  /// drops the second half; a `draw` that repeats its random stream does the same.)
  template <class F, class Draw>
  void step(F&& field, Draw&& draw) {
    this->start_step();
    const DiffusionSchedule& chain = *this->timeline_;
    const int k = this->remaining() - 1;
    const View<T, rank> prediction = prediction_, noise = noise_, x = this->x_, image = this->denoised_;
    detail::evaluate<F, T, rank>(field, this->state(), chain.time(k), prediction);
    detail::draw<Draw, T, rank>(draw, noise);

    const double abar = chain.alpha_bar(k), before = chain.alpha_bar(k - 1), beta = chain.beta(k);
    const detail::ToImage<T> to_image(abar);
    const T of_image = static_cast<T>(beta * std::sqrt(before) / (1 - abar));
    const T of_x = static_cast<T>((1 - before) * std::sqrt(1 - beta) / (1 - abar));
    const T high = static_cast<T>(std::log(beta));
    const T low = static_cast<T>(chain.log_posterior_variance(k));
    const T fixed = std::exp((variance_ == Variance::beta ? high : low) / 2);

    const Index size = x.size() / x.shape[0], stride = prediction.size() / x.shape[0];
    for (Index item = 0; item < x.shape[0]; ++item) {
      const T *eps = prediction.data + item * stride, *logits = eps + size;
      for (Index j = 0, i = item * size; j < size; ++i, ++j) {
        image.data[i] = to_image(x.data[i], eps[j]);
        x.data[i] = of_image * image.data[i] + of_x * x.data[i];
        if (k == 0) continue;
        T deviation = fixed;
        if (variance_ == Variance::learned_range) {
          const T f = (logits[j] + 1) / 2;
          deviation = std::exp((f * high + (1 - f) * low) / 2);
        }
        x.data[i] += deviation * noise.data[i];
      }
    }
    this->advance();
  }

 private:
  Variance variance_;
  typename Base::State noise_, prediction_;
};

}}  // namespace dit
