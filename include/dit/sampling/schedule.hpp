#pragma once
/// The list of noise levels that a flow-matching sampler walks down, from 1 (noise) to 0 (image).

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "dit/core/error.hpp"
#include "dit/core/tensor.hpp"

namespace dit { inline namespace DIT_ABI {

/// More steps than anybody takes: what is above is a mistake.
inline constexpr int max_steps = 1'000'000;

/// A mixture of image and noise: image x0 + noise eps.
struct Mixture {
  double image = 0, noise = 0;
};

/// The static shift, s' = a s / (1 + (a - 1) s): a > 1 spends more steps on noisy images, a = 1 changes nothing.
/// Bit for bit: 0, 1, and every s at a = 1, stay what they are.
inline double shift(double sigma, double a) { return a * sigma / (a * sigma + (1 - sigma)); }

namespace detail {
inline void require_shift(double a) {
  if (!(a > 0 && std::isfinite(a))) {
    throw Error(errc::bad_schedule, "a shift is a positive number, not " + std::to_string(a));
  }
}
}  // namespace detail

/// The shift of FLUX and its kin, s' = e^mu / (e^mu + 1/s - 1); it is the static one by e^mu.
inline double exponential_shift(double sigma, double mu) { return shift(sigma, std::exp(mu)); }

/// mu on the line through (base_tokens, base) and (max_tokens, max), not clamped outside. `tokens` counts the
/// packed tokens of the image that is drawn: no text, no reference images, not the pixels of the latent.
/// Qwen-Image: linear_mu(tokens, 0.5, 0.9, 256, 8192).
inline double linear_mu(Index tokens, double base, double max, Index base_tokens, Index max_tokens) {
  require(tokens >= 1 && base_tokens != max_tokens, errc::bad_schedule, "mu needs at least one token");
  return base +
         static_cast<double>(tokens - base_tokens) * (max - base) / static_cast<double>(max_tokens - base_tokens);
}

/// FLUX.1: 0.5 at 256 tokens, 1.15 at 4096 (1024 x 1024 pixels). Source: flux, sampling.py, get_lin_function.
inline double flux_mu(Index tokens) { return linear_mu(tokens, 0.5, 1.15, 256, 4096); }

/// FLUX.2: mu follows the number of steps too, between lines fitted at 10 and at 200. Source: flux2, sampling.py.
inline double flux2_mu(Index tokens, int steps) {
  require(tokens >= 1 && steps >= 1, errc::bad_schedule, "mu needs at least one token and one step");
  const double n = static_cast<double>(tokens);
  const double m200 = 0.00016927 * n + 0.45666666;
  const double m10 = 8.73809524e-05 * n + 1.89833333;
  return tokens > 4300 ? m200 : m200 + (steps - 200) * (m200 - m10) / 190;
}

/// n + 1 sigmas, strictly falling within [0, 1], the last one 0: n steps. In double; what meets a float latent is
/// rounded once, so the lists agree with the references' float32 lists to 2e-7.
///
///     sd3_schedule(28)                                                 SD3.x
///     flux_schedule(28, tokens)                                        FLUX.1 dev and its kin
///     flux_schnell_schedule(4)                                         FLUX.1 schnell
///     Schedule::uniform(8).shifted(3)                                  Z-Image; SD3.5 when sigmas are handed over
///     Schedule::uniform(50).exponentially_shifted(flux2_mu(tokens, 50))                    FLUX.2
///     Schedule::uniform(50).exponentially_shifted(...).ending_at(0.02)                     Qwen-Image
///     sd3_schedule(28).with_strength(0.6), .starting_at(0.6)           image to image
///
/// Source: diffusers, schedulers/scheduling_flow_match_euler_discrete.py.
/// Errors: bad_schedule.
class Schedule {
 public:
  /// The caller's own list, 0 at its end included.
  explicit Schedule(std::vector<double> sigmas) : sigmas_(std::move(sigmas)) {
    require(sigmas_.size() >= 2, errc::bad_schedule,
            "a schedule needs at least one step: two sigmas, the last one 0");
    check_steps(static_cast<Index>(sigmas_.size()) - 1);
    for (std::size_t i = 0; i < sigmas_.size(); ++i) {
      const double sigma = sigmas_[i];
      const bool falls = i == 0 || sigma < sigmas_[i - 1];
      if (!(sigma >= 0 && sigma <= 1 && falls)) {
        throw Error(errc::bad_schedule, "sigmas fall strictly from at most 1 to 0, but sigma " + std::to_string(i) +
                                            " is " + std::to_string(sigma));
      }
    }
    require(sigmas_.back() == 0, errc::bad_schedule, "the last sigma must be 0, or noise stays in the image");
  }

  /// 1 - i/n: linspace(1, 0, n + 1), which is linspace(1, 1/n, n) with 0 after it.
  static Schedule uniform(int steps) {
    check_steps(steps);
    std::vector<double> sigmas;
    for (int i = 0; i <= steps; ++i) sigmas.push_back(static_cast<double>(steps - i) / steps);
    return Schedule(std::move(sigmas));
  }

  /// Every sigma through `shift(sigma, a)`.
  Schedule shifted(double a) const {
    detail::require_shift(a);
    return map([a](double sigma) { return shift(sigma, a); });
  }

  /// Every sigma through `exponential_shift(sigma, mu)`.
  Schedule exponentially_shifted(double mu) const {
    detail::require_shift(std::exp(mu));
    return map([mu](double sigma) { return exponential_shift(sigma, mu); });
  }

  /// Stretched so that the last sigma before 0 becomes `sigma`: 1 - (1 - s) (1 - sigma)/(1 - s_last)
  /// ("shift_terminal").
  Schedule ending_at(double sigma) const {
    const double last = sigmas_[sigmas_.size() - 2];
    require(steps() >= 2 && sigma > 0 && sigma < 1, errc::bad_schedule,
            "a schedule of at least two steps can be stretched, to a sigma between 0 and 1");
    const double stretch = (1 - sigma) / (1 - last);
    return map([&](double s) { return s == 0 ? 0 : s == last ? sigma : 1 - (1 - s) * stretch; });
  }

  /// Image to image: begins at exactly `sigma` and goes on with the sigmas below it. The state to begin with is
  /// `add_noise(image, noise, sigma)`.
  Schedule starting_at(double sigma) const {
    std::vector<double> rest{sigma};
    for (const double s : sigmas_) {
      if (s < sigma) rest.push_back(s);
    }
    return Schedule(std::move(rest));
  }

  /// Image to image as diffusers counts it: the first int(n - strength n) steps are left out; strength 1 is the
  /// whole schedule. The state to begin with is `add_noise(image, noise, schedule[0])`.
  /// Source: diffusers, pipeline_stable_diffusion_3_img2img.py, get_timesteps; FLUX's pipelines have the same.
  Schedule with_strength(double strength) const {
    require(strength > 0 && strength <= 1, errc::bad_schedule, "the strength lies above 0 and at most at 1");
    const auto skipped = static_cast<std::ptrdiff_t>(steps() - steps() * strength);
    return Schedule(std::vector<double>(sigmas_.begin() + skipped, sigmas_.end()));
  }

  int steps() const noexcept { return static_cast<int>(sigmas_.size()) - 1; }
  double operator[](int i) const noexcept { return sigmas_[static_cast<std::size_t>(i)]; }
  /// What the state is after i steps: (1 - s) image + s noise.
  Mixture mixture(int i) const noexcept { return {1 - (*this)[i], (*this)[i]}; }
  const std::vector<double>& sigmas() const noexcept { return sigmas_; }

  /// The times at which a field is called, for `prepare`: every sigma but the last, as the sampler will pass it.
  template <class T>
  std::vector<T> times() const {
    std::vector<T> times;
    for (int i = 0; i < steps(); ++i) times.push_back(static_cast<T>((*this)[i]));
    return times;
  }

 private:
  static void check_steps(Index steps) {
    if (steps < 1 || steps > max_steps) {
      throw Error(errc::bad_schedule, "the number of steps lies between 1 and " + std::to_string(max_steps) +
                                          ", not " + std::to_string(steps));
    }
  }
  template <class F>
  Schedule map(F f) const {
    std::vector<double> sigmas(sigmas_.size());
    std::transform(sigmas_.begin(), sigmas_.end(), sigmas.begin(), f);
    return Schedule(std::move(sigmas));
  }

  std::vector<double> sigmas_;
};

/// SD3 and SD3.5: linspace(1, shift(1/1000), n), whose lower end is shifted already, is shifted again, and 0 comes
/// after it; so the last sigma before 0 is 0.0089286 for a = 3, however many steps there are.
///     sd3_schedule(28)        diffusers, all models; the sd3.5 repo's SD3.5-medium (50 steps) and -large (40)
///     sd3_schedule(4)         large-turbo
///     sd3_schedule(50, 1)     the sd3.5 repo's SD3-medium
/// Sources: diffusers, FlowMatchEulerDiscreteScheduler.set_timesteps when no sigmas are handed over; sd3.5,
/// sd3_infer.py get_sigmas and CONFIGS, sd3_impls.py ModelSamplingDiscreteFlow. Errors: bad_schedule.
inline Schedule sd3_schedule(int steps, double a = 3) {
  detail::require_shift(a);
  const double lowest = shift(1.0 / 1000, a);
  std::vector<double> sigmas = Schedule::uniform(steps).sigmas();
  for (int i = 0; i < steps; ++i)
    sigmas[static_cast<std::size_t>(i)] = 1 - (1 - lowest) * i / std::max(steps - 1, 1);
  return Schedule(std::move(sigmas)).shifted(a);
}

/// FLUX.1 dev, Krea, Kontext, Fill, Canny, Depth: linspace(1, 0, n + 1) shifted by mu(tokens), where `tokens`
/// counts the packed tokens of the image that is drawn, (H/16) (W/16) for H x W pixels. Sources: flux, sampling.py,
/// get_schedule; diffusers, pipeline_flux.py, calculate_shift: the same values.
inline Schedule flux_schedule(int steps, Index tokens) {
  return Schedule::uniform(steps).exponentially_shifted(flux_mu(tokens));
}

/// FLUX.1 schnell is not shifted: 1, 0.75, 0.5, 0.25, 0. Source: flux, cli.py (shift only if not schnell).
inline Schedule flux_schnell_schedule(int steps = 4) { return Schedule::uniform(steps); }

}}  // namespace dit
