#pragma once
/// DDIM: the deterministic walk down a diffusion chain.

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "dit/sampling/diffusion.hpp"
#include "dit/sampling/sampler.hpp"

namespace dit { inline namespace DIT_ABI {

/// DDIM on a noise predictor, from the last kept step to the first:
///   x0 = x/sqrt(abar_k) - sqrt(1/abar_k - 1) eps
///   x <- sqrt(abar_{k-1}) x0 + sqrt(1 - abar_{k-1} - sigma^2) eps + [k > 0] sigma noise
///   sigma = eta sqrt((1 - abar_{k-1})/(1 - abar_k)) sqrt(1 - abar_k/abar_{k-1})
/// eta 0 needs no noise and is the default; eta 1 is ancestral sampling. No clipping. The field writes eps alone;
/// drop the variance of a model that learned it with `WithoutVariance`.
///
/// Sources: arXiv:2010.02502 eq. 12; DiT, gaussian_diffusion.py, ddim_sample; diffusers, scheduling_ddim.py.
///
///     DdimSampler<float, 4> sampler;
///     sampler.begin(noise, DiffusionSchedule(ddim_steps(50)));
///     while (!sampler.done()) sampler.step(eps_field);
template <class T = float, std::size_t rank = 4>
class DdimSampler : public Sampler<T, rank, DiffusionSchedule> {
  using Base = Sampler<T, rank, DiffusionSchedule>;

 public:
  /// Errors: bad_option unless 0 <= eta <= 1.
  explicit DdimSampler(double eta = 0) : eta_(eta) {
    require(eta >= 0 && eta <= 1, errc::bad_option, "DDIM's eta lies between 0 and 1");
  }

  /// From noise, or from the state that was saved after `index` steps.
  void begin(View<const T, rank> x, const DiffusionSchedule& schedule, int index = 0) {
    if (eta_ > 0) {
      Base::begin(x, schedule, index, {{noise_}});
    } else {
      Base::begin(x, schedule, index);
    }
  }

  /// The step of the training chain that the state is at, where the next step begins.
  int time() const {
    this->require_more();
    return this->timeline().time(this->remaining() - 1);
  }

  template <class F>
  void step(F&& field) {
    require(eta_ == 0, errc::bad_state, "with eta above 0 every step needs noise: step(field, draw)");
    const NoDraw draw{};
    take_step(field, draw);
  }
  /// `draw(view)` fills a view with normal noise. With eta above 0 it is called at every step, the last one
  /// included.
  template <class F, class Draw>
  void step(F&& field, Draw&& draw) {
    take_step(field, draw);
  }

 private:
  struct NoDraw {};

  template <class F, class Draw>
  void take_step(F& field, Draw& draw) {
    this->start_step();
    const DiffusionSchedule& chain = *this->timeline_;
    const int k = this->remaining() - 1;
    const View<T, rank> eps = this->denoised_, x = this->x_, noise = noise_;
    detail::evaluate<F, T, rank>(field, this->state(), chain.time(k), eps);

    const double abar = chain.alpha_bar(k), before = chain.alpha_bar(k - 1);
    const double sigma = eta_ * std::sqrt(chain.posterior_variance(k));
    const detail::ToImage<T> to_image(abar);
    const T of_image = static_cast<T>(std::sqrt(before)),
            of_eps = static_cast<T>(std::sqrt(std::max(0.0, 1 - before - sigma * sigma)));
    if constexpr (!std::is_same_v<Draw, const NoDraw>) {
      if (eta_ > 0) detail::draw<Draw, T, rank>(draw, noise);
    }
    for (Index i = 0; i < x.size(); ++i) {
      const T image = to_image(x.data[i], eps.data[i]);
      x.data[i] = of_image * image + of_eps * eps.data[i];
      eps.data[i] = image;
    }
    if (sigma > 0) {
      const T of_noise = static_cast<T>(sigma);
      for (Index i = 0; i < x.size(); ++i) x.data[i] += of_noise * noise.data[i];
    }
    this->advance();
  }

  double eta_;
  typename Base::State noise_;
};

}}  // namespace dit
