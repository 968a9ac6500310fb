#include "dit/sampling/diffusion.hpp"

#include <limits>
#include <vector>

#include "dit/sampling/ddim.hpp"
#include "dit/sampling/ddpm.hpp"
#include "dit/sampling/sample.hpp"
#include "sampling/fields.hpp"

namespace {

using namespace sampling_test;
using dit::DdimSampler;
using dit::DdpmSampler;
using dit::DiffusionSchedule;
using dit::Tensor;
using dit::Variance;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
const Shape<4> latent{2, 3, 2, 2};

/// The eps that says "the image is `image`": (x - a image)/b.
template <class T>
auto points_to(const Tensor<T, 4>& image, const DiffusionSchedule& chain) {
  return [&](View<const T, 4> x, int t, View<T, 4> out) {
    const double a = std::sqrt(chain.alpha_bar_at(t)), b = std::sqrt(1 - chain.alpha_bar_at(t));
    for (Index item = 0, size = x.size() / x.shape[0]; item < x.shape[0]; ++item) {
      for (Index i = item * size; i < (item + 1) * size; ++i) {
        const double eps = (static_cast<double>(x.data[i]) - a * static_cast<double>(image.data()[i])) / b;
        out.data[item * (out.size() / out.shape[0]) + i - item * size] = static_cast<T>(eps);
      }
    }
  };
}

TEST(DiffusionSchedule, HasTheNumbersOfDit) {
  const DiffusionSchedule chain(dit::respaced_steps(250));
  const auto relative = [](double got, double expected, double digits) {
    return std::abs(got / expected - 1) <= digits;
  };
  EXPECT_EQ(chain.steps(), 250);
  EXPECT_EQ(chain.total(), 1000);
  EXPECT_TRUE(relative(chain.alpha_bar_at(0), 0.9999, 1e-15));
  EXPECT_TRUE(relative(chain.alpha_bar_at(499), 0.0785872429, 1e-9));
  EXPECT_TRUE(relative(chain.alpha_bar_at(999), 4.03582977e-05, 2e-9));
  EXPECT_EQ(chain.alpha_bar(-1), 1);
  EXPECT_TRUE(relative(chain.beta(0), 1.0e-4, 1e-12));
  EXPECT_TRUE(relative(chain.beta(1), 5.990655645e-4, 1e-9));
  EXPECT_TRUE(relative(chain.beta(249), 0.077519345, 1e-8));
  EXPECT_EQ(chain.posterior_variance(0), 0);
  EXPECT_TRUE(relative(chain.posterior_variance(1), 8.570253441e-5, 1e-9));
  EXPECT_TRUE(relative(chain.posterior_variance(249), 0.077519082, 1e-8));
  EXPECT_TRUE(relative(chain.log_posterior_variance(0), -9.364628160, 1e-9));
  EXPECT_EQ(chain.log_posterior_variance(0), chain.log_posterior_variance(1));
  EXPECT_TRUE(relative(std::log(chain.beta(249)), -2.557227761, 1e-9));
}

TEST(DiffusionSchedule, SaysWhatTheStateIsMadeOf) {
  const DiffusionSchedule chain(dit::respaced_steps(3));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(chain.mixture(i).image, std::sqrt(chain.alpha_bar(2 - i)));
    EXPECT_EQ(chain.mixture(i).noise, std::sqrt(1 - chain.alpha_bar(2 - i)));
  }
  EXPECT_EQ(chain.mixture(3).image, 1);
  EXPECT_EQ(chain.mixture(3).noise, 0);
}

TEST(DiffusionSchedule, OfAllStepsIsTheTrainingChain) {
  const std::vector<double> betas = dit::linear_betas();
  const DiffusionSchedule chain(dit::respaced_steps(1000));
  EXPECT_EQ(betas.front(), 1e-4);
  EXPECT_EQ(betas.back(), 0.02);
  for (int k = 0; k < 1000; ++k) {
    EXPECT_EQ(chain.time(k), k);
    EXPECT_NEAR(chain.beta(k), betas[static_cast<std::size_t>(k)], 3e-16);
  }
}

TEST(Respacing, KeepsTheFirstAndTheLastStep) {
  const std::vector<int> kept = dit::respaced_steps(250);
  ASSERT_EQ(kept.size(), 250u);
  EXPECT_EQ(std::vector<int>(kept.begin(), kept.begin() + 8), (std::vector<int>{0, 4, 8, 12, 16, 20, 24, 28}));
  EXPECT_EQ(std::vector<int>(kept.end() - 4, kept.end()), (std::vector<int>{987, 991, 995, 999}));
  EXPECT_EQ(dit::respaced_steps(1), std::vector<int>{0});
  EXPECT_EQ(dit::respaced_steps(2), (std::vector<int>{0, 999}));
}

TEST(Respacing, RoundsHalvesToEven) {
  EXPECT_EQ(dit::respaced_steps(3, 6), (std::vector<int>{0, 2, 5})) << "0, 2.5, 5";
  EXPECT_EQ(dit::respaced_steps(3, 8), (std::vector<int>{0, 4, 7})) << "0, 3.5, 7";
}

TEST(Respacing, CutsSections) {
  EXPECT_EQ(dit::section_steps({2, 1, 3}, 10), (std::vector<int>{0, 3, 4, 7, 8, 9})) << "sections of 4, 3, 3";
  EXPECT_EQ(dit::section_steps({10, 15, 20}).size(), 45u);
}

TEST(Respacing, IsDiffusersForADivisorOnly) {
  EXPECT_EQ(dit::ddim_steps(50), dit::leading_steps(50));
  EXPECT_EQ(dit::leading_steps(50).back(), 980) << "never 999";
  EXPECT_EQ(dit::ddim_steps(30)[1], 34);
  EXPECT_EQ(dit::leading_steps(30)[1], 33);
  EXPECT_EQ(dit::ddim_steps(1000).size(), 1000u);
}

TEST(Respacing, RefusesWhatTheChainCannotGive) {
  for (const int n : {0, -1, 1001, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    EXPECT_EQ(error_of([&] { dit::respaced_steps(n); }), "bad_schedule") << n;
    EXPECT_EQ(error_of([&] { dit::ddim_steps(n); }), "bad_schedule") << n;
    EXPECT_EQ(error_of([&] { dit::leading_steps(n); }), "bad_schedule") << n;
  }
  EXPECT_EQ(error_of([&] { dit::ddim_steps(400); }), "bad_schedule") << "no stride has 400 multiples below 1000";
  EXPECT_EQ(error_of([&] { dit::section_steps({}); }), "bad_schedule");
  EXPECT_EQ(error_of([&] { dit::section_steps({3, 0}); }), "bad_schedule");
  EXPECT_EQ(error_of([&] { dit::section_steps({501, 1}); }), "bad_schedule");
}

TEST(DiffusionSchedule, RefusesWhatIsNoChain) {
  for (const std::vector<int>& kept : {std::vector<int>{}, {3, 3}, {5, 4}, {-1}, {1000}}) {
    EXPECT_EQ(error_of([&] { DiffusionSchedule{kept}; }), "bad_schedule") << ::testing::PrintToString(kept);
  }
  for (const std::vector<double>& betas : {std::vector<double>{}, {0}, {1}, {-0.1}, {nan}, {0.1, nan}}) {
    EXPECT_EQ(error_of([&] { DiffusionSchedule({0}, betas); }), "bad_schedule") << ::testing::PrintToString(betas);
  }
  EXPECT_EQ(error_of([&] { DiffusionSchedule({0}, std::vector<double>(400, 0.9)); }), "bad_schedule")
      << "abar is 0";
  EXPECT_EQ(error_of([&] { DiffusionSchedule({0}, std::vector<double>(4, 1e-17)); }), "bad_schedule")
      << "abar is 1";
  EXPECT_EQ(error_of([&] { dit::linear_betas(1); }), "bad_schedule");
}

TEST(DdimSampler, ReturnsTheImageThatEveryEpsPointsTo) {
  const auto image = random_tensor<double>(latent, 1), noise = random_tensor<double>(latent, 2);
  for (const std::vector<int>& kept : {dit::ddim_steps(50), dit::respaced_steps(1), dit::respaced_steps(1000)}) {
    const DiffusionSchedule chain(kept);
    EXPECT_LE(distance(dit::sample<DdimSampler>(noise, chain, points_to(image, chain)).x, image), 1e-11);
  }
}

TEST(DdimSampler, ShowsTheModelTheStepsOfTheTrainingChain) {
  std::vector<int> times;
  const auto field = [&](View<const float, 4>, int t, View<float, 4> out) {
    times.push_back(t);
    std::fill(out.begin(), out.end(), 0.F);
  };
  dit::sample<DdimSampler>(random_tensor<float>(latent, 1), DiffusionSchedule(dit::leading_steps(4)), field);
  EXPECT_EQ(times, (std::vector<int>{750, 500, 250, 0}));
}

TEST(DdimSampler, WithEtaNeedsNoise) {
  const auto noise = random_tensor<float>(latent, 1);
  DdimSampler sampler(1.0);
  sampler.begin(noise, DiffusionSchedule(dit::ddim_steps(4)));
  EXPECT_EQ(error_of([&] { sampler.step(Mixer{}); }), "bad_state");
  Draw draw;
  while (!sampler.done()) sampler.step(Mixer{}, draw);
  EXPECT_EQ(draw.calls, 4) << "the last step draws as well";

  Draw unused;
  DdimSampler plain;
  plain.begin(noise, DiffusionSchedule(dit::ddim_steps(4)));
  while (!plain.done()) plain.step(Mixer{}, unused);
  EXPECT_EQ(unused.calls, 0);
  EXPECT_TRUE(
      same_bits(plain.take(), dit::sample<DdimSampler>(noise, DiffusionSchedule(dit::ddim_steps(4)), Mixer{}).x));

  for (const double eta : {-0.1, 1.1, nan}) EXPECT_EQ(error_of([&] { DdimSampler<float, 4>{eta}; }), "bad_option");
}

TEST(DdimSampler, AtEtaOneIsAncestralSamplingWithThePosteriorVariance) {
  const auto noise = random_tensor<double>(latent, 1);
  const DiffusionSchedule chain(dit::respaced_steps(20));
  DdimSampler<double, 4> ddim(1);
  DdpmSampler<double, 4> ddpm(Variance::posterior);
  Draw one, other;
  ddim.begin(noise, chain);
  ddpm.begin(noise, chain);
  while (!ddim.done()) {
    ddim.step(Mixer{}, one);
    ddpm.step(Mixer{}, other);
    EXPECT_LE(distance(ddim.state(), ddpm.state()), 1e-11 * magnitude(ddpm.state())) << ddim.index();
  }
}

/// With no noise drawn, a step is the mean of x_{k-1} given x_k and x0: a product of two normal distributions,
/// x_{k-1} ~ N(sqrt(abar_{k-1}) x0, 1 - abar_{k-1}) seen through x_k ~ N(sqrt(1 - beta) x_{k-1}, beta).
TEST(DdpmSampler, WithZeroNoiseIsThePosteriorMean) {
  const auto image = random_tensor<double>(latent, 1), noise = random_tensor<double>(latent, 2);
  const DiffusionSchedule chain(dit::respaced_steps(10));
  const auto field = points_to(image, chain);
  const auto logits = [&](View<const double, 4> x, int t, View<double, 4> out) {
    std::fill(out.begin(), out.end(), 0.3);
    field(x, t, out);
  };
  DdpmSampler<double, 4> sampler;
  sampler.begin(noise, chain);
  for (int k = 9; k >= 0; --k) {
    Tensor<double, 4> x(noise.dimensions());
    std::copy(sampler.state().begin(), sampler.state().end(), x.data());
    sampler.step(logits, [](View<double, 4> drawn) { std::fill(drawn.begin(), drawn.end(), 0.0); });
    const double before = chain.alpha_bar(k - 1), beta = 1 - chain.alpha_bar(k) / before;
    Tensor<double, 4> mean = image;
    if (k > 0) {
      const double seen = (1 - beta) / beta, prior = 1 / (1 - before);
      mean = (seen / std::sqrt(1 - beta) * x + prior * std::sqrt(before) * image) / (seen + prior);
    }
    EXPECT_LE(distance(sampler.state(), mean), 1e-11 * (1 + magnitude(mean))) << k;
    EXPECT_LE(distance(sampler.denoised(), image), 1e-11) << k;
  }
  EXPECT_LE(distance(sampler.take(), image), 1e-11);
}

TEST(DdpmSampler, TakesItsVarianceBetweenThePosteriorsAndTheChains) {
  const auto noise = random_tensor<double>(latent, 1);
  const DiffusionSchedule chain(dit::respaced_steps(10));
  const auto after_one_step = [&](Variance variance, double logit) {
    const auto field = [&](View<const double, 4> x, int t, View<double, 4> out) {
      std::fill(out.begin(), out.end(), logit);
      points_to(noise, chain)(x, t, out);
    };
    DdpmSampler<double, 4> sampler(variance);
    sampler.begin(noise, chain);
    Draw draw;
    sampler.step(field, draw);
    return sampler.take();
  };
  EXPECT_LE(distance(after_one_step(Variance::learned_range, -1), after_one_step(Variance::posterior, 0)), 1e-14);
  EXPECT_LE(distance(after_one_step(Variance::learned_range, 1), after_one_step(Variance::beta, 0)), 1e-14);

  // In between it is the geometric mean, and beyond the logits go on: they are not clamped.
  Tensor<double, 4> drawn(noise.dimensions());
  Draw{}(View<double, 4>(drawn));
  const double low = chain.log_posterior_variance(9), high = std::log(chain.beta(9));
  const auto mean = [&] {
    const Tensor<double, 4> at = after_one_step(Variance::posterior, 0) - std::exp(low / 2) * drawn;
    return at;
  }();
  for (const double logit : {-2.0, 0.0, 0.4, 3.0}) {
    const double f = (logit + 1) / 2;
    const Tensor<double, 4> expected = mean + std::exp((f * high + (1 - f) * low) / 2) * drawn;
    EXPECT_LE(distance(after_one_step(Variance::learned_range, logit), expected), 1e-13) << logit;
  }
}

TEST(DdpmSampler, DrawsOnceAStepAndAddsNothingInTheLast) {
  const auto noise = random_tensor<float>(latent, 1);
  const DiffusionSchedule chain(dit::respaced_steps(5));
  DdpmSampler sampler;
  sampler.begin(noise, chain);
  std::vector<Shape<4>> shapes;
  const auto draw = [&](View<float, 4> drawn) {
    shapes.push_back(drawn.shape);
    std::fill(drawn.begin(), drawn.end(), sampler.remaining() == 1 ? 1e9F : 1.F);
  };
  while (!sampler.done()) sampler.step(Mixer{}, draw);
  EXPECT_EQ(shapes, std::vector<Shape<4>>(5, latent));
  EXPECT_LE(magnitude(sampler.state()), 1e3);
  EXPECT_EQ(distance(sampler.state(), sampler.denoised()), 0);
}

TEST(DdpmSampler, NeedsTwoSteps) {
  for (const Variance variance : {Variance::learned_range, Variance::posterior, Variance::beta}) {
    DdpmSampler sampler(variance);
    const auto noise = random_tensor<float>(latent, 1);
    EXPECT_EQ(error_of([&] { sampler.begin(noise, DiffusionSchedule(dit::respaced_steps(1))); }), "bad_schedule");
    EXPECT_EQ(error_of([&] { sampler.begin(noise, DiffusionSchedule(dit::respaced_steps(2))); }), "none");
  }
}

TEST(DdpmSampler, GivesTheFieldTwiceTheChannelsOnlyForALearnedVariance) {
  for (const Variance variance : {Variance::learned_range, Variance::posterior, Variance::beta}) {
    DdpmSampler sampler(variance);
    sampler.begin(random_tensor<float>(latent, 1), DiffusionSchedule(dit::respaced_steps(2)));
    const auto field = [&](View<const float, 4> x, int, View<float, 4> out) {
      EXPECT_EQ(x.shape, latent);
      EXPECT_EQ(out.shape, (Shape<4>{2, variance == Variance::learned_range ? 6 : 3, 2, 2}));
      std::fill(out.begin(), out.end(), 0.F);
    };
    sampler.step(field, Draw{});
  }
}

}  // namespace
