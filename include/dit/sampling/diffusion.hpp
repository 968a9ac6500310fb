#pragma once
/// The variance-preserving chain of the diffusion-objective checkpoints, and the steps of it that are kept.

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "dit/core/error.hpp"
#include "dit/sampling/schedule.hpp"

namespace dit { inline namespace DIT_ABI {

/// linspace(first, last, total): the variances that DiT was trained with. Source: DiT,
/// diffusion/gaussian_diffusion.py, "linear". Errors: bad_schedule.
inline std::vector<double> linear_betas(int total = 1000, double first = 1e-4, double last = 0.02) {
  require(total >= 2 && total <= max_steps, errc::bad_schedule, "a training chain has 2 to 10^6 steps");
  std::vector<double> betas;
  for (int i = 0; i < total; ++i) betas.push_back(first + i * ((last - first) / (total - 1)));
  betas.back() = last;
  return betas;
}

/// Cuts the chain of `total` steps into equal sections and keeps counts[i] steps of section i, evenly from its
/// first to its last, rounded half to even. Source: DiT, diffusion/respace.py, space_timesteps("a,b,c").
inline std::vector<int> section_steps(const std::vector<int>& counts, int total = 1000) {
  require(!counts.empty(), errc::bad_schedule, "a list of section counts needs at least one");
  const int sections = static_cast<int>(counts.size());
  std::vector<int> kept;
  int start = 0;
  for (int i = 0; i < sections; ++i) {
    const int count = counts[static_cast<std::size_t>(i)];
    const int size = total / sections + (i < total % sections ? 1 : 0);
    if (count < 1 || count > size) {
      throw Error(errc::bad_schedule,
                  "of a section of " + std::to_string(size) + " steps one cannot keep " + std::to_string(count));
    }
    const double stride = count == 1 ? 1 : static_cast<double>(size - 1) / (count - 1);
    double at = 0;  // added up, not multiplied, to round as the reference does
    for (int k = 0; k < count; ++k, at += stride) kept.push_back(start + static_cast<int>(std::nearbyint(at)));
    start += size;
  }
  return kept;
}

/// n steps from the first to the last: 0, 4, 8, ..., 995, 999 for 250 of 1000. Source: space_timesteps("n").
inline std::vector<int> respaced_steps(int n, int total = 1000) { return section_steps({n}, total); }

/// Every i-th step, from 0. Source: space_timesteps("ddimN"), with the smallest i that gives exactly n of them.
inline std::vector<int> ddim_steps(int n, int total = 1000) {
  for (int stride = 1; stride < total; ++stride) {
    if ((total + stride - 1) / stride != n) continue;
    std::vector<int> kept;
    for (int step = 0; step < total; step += stride) kept.push_back(step);
    return kept;
  }
  throw Error(errc::bad_schedule,
              "no integer stride takes exactly " + std::to_string(n) + " of " + std::to_string(total) + " steps");
}

/// k floor(total/n) for k < n. For n that divides total these are `ddim_steps`.
/// Source: diffusers, schedulers/scheduling_ddim.py, timestep_spacing "leading".
inline std::vector<int> leading_steps(int n, int total = 1000) {
  if (n < 1 || n > total) {
    throw Error(errc::bad_schedule, "of " + std::to_string(total) + " steps one cannot keep " + std::to_string(n));
  }
  std::vector<int> kept;
  for (int k = 0; k < n; ++k) kept.push_back(k * (total / n));
  return kept;
}

/// x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps with abar_t = prod_{j <= t} (1 - beta_j), on the kept steps: 0 <= k
/// < n counts these from the cleanest to the noisiest, time(k) is the step of the training chain, which the model
/// is told. The shorter chain has variances of its own, beta'_k = 1 - abar_k/abar_{k-1}, with abar_{-1} = 1. All in
/// double.
///
///     DiffusionSchedule(respaced_steps(250))     DiT's own sampler
///     DiffusionSchedule(ddim_steps(50))          DiT's DDIM, and with leading_steps diffusers'
///
/// Sources: DiT, diffusion/respace.py; arXiv:2006.11239 eq. 4; arXiv:2102.09672 section 4. Errors: bad_schedule.
class DiffusionSchedule {
 public:
  explicit DiffusionSchedule(std::vector<int> kept, const std::vector<double>& betas = linear_betas())
      : kept_(std::move(kept)) {
    require(!betas.empty() && betas.size() <= max_steps, errc::bad_schedule,
            "a training chain has 1 to 10^6 steps");
    double product = 1;
    for (const double beta : betas) {
      require(beta > 0 && beta < 1, errc::bad_schedule, "every beta lies between 0 and 1");
      const double before = product;
      alpha_bars_.push_back(product *= 1 - beta);
      require(product > 0 && product < before, errc::bad_schedule,
              "these betas leave nothing of the image, or add no noise");
    }
    require(!kept_.empty(), errc::bad_schedule, "a schedule needs at least one step");
    for (std::size_t k = 0; k < kept_.size(); ++k) {
      require(kept_[k] > (k == 0 ? -1 : kept_[k - 1]) && kept_[k] < total(), errc::bad_schedule,
              "the kept steps rise strictly within the training chain");
    }
  }

  /// Kept steps, and those of the training chain.
  int steps() const noexcept { return static_cast<int>(kept_.size()); }
  int total() const noexcept { return static_cast<int>(alpha_bars_.size()); }

  /// The step of the training chain that the model is told; all of them in rising order.
  int time(int k) const noexcept { return kept_[static_cast<std::size_t>(k)]; }
  const std::vector<int>& times() const noexcept { return kept_; }

  /// abar at step t of the training chain.
  double alpha_bar_at(int t) const noexcept { return alpha_bars_[static_cast<std::size_t>(t)]; }
  /// abar at the k-th kept step; 1 before the first (k = -1).
  double alpha_bar(int k) const noexcept { return k < 0 ? 1 : alpha_bar_at(time(k)); }

  /// What the state is after i steps: sqrt(abar) image + sqrt(1 - abar) noise.
  Mixture mixture(int i) const noexcept {
    const double abar = alpha_bar(steps() - 1 - i);
    return {std::sqrt(abar), std::sqrt(1 - abar)};
  }

  /// beta'_k = 1 - abar_k/abar_{k-1}
  double beta(int k) const noexcept { return 1 - alpha_bar(k) / alpha_bar(k - 1); }
  /// Of x_{k-1} given x_k and x0: beta'_k (1 - abar_{k-1})/(1 - abar_k), which is 0 for k = 0. arXiv:2006.11239
  /// eq. 7.
  double posterior_variance(int k) const noexcept { return beta(k) * (1 - alpha_bar(k - 1)) / (1 - alpha_bar(k)); }
  /// Its logarithm, where that of k = 0 is replaced by that of k = 1. Needs two steps.
  double log_posterior_variance(int k) const noexcept { return std::log(posterior_variance(std::max(k, 1))); }

 private:
  std::vector<int> kept_;
  std::vector<double> alpha_bars_;
};

namespace detail {
/// x0 = x/sqrt(abar) - sqrt(1/abar - 1) eps: two factors, made in double and rounded where they meet the tensors.
template <class T>
struct ToImage {
  explicit ToImage(double alpha_bar)
      : of_x(static_cast<T>(std::sqrt(1 / alpha_bar))), of_eps(static_cast<T>(std::sqrt(1 / alpha_bar - 1))) {}
  T operator()(T x, T eps) const { return of_x * x - of_eps * eps; }
  T of_x, of_eps;
};
}  // namespace detail

}}  // namespace dit
