/// Against diffusers' schedulers and the original DiT's chain: tests/golden/schedules.py.

#include <vector>

#include "dit/sampling/ddim.hpp"
#include "dit/sampling/ddpm.hpp"
#include "dit/sampling/heun.hpp"
#include "dit/sampling/sample.hpp"
#include "sampling/fields.hpp"
#include "support.hpp"

namespace {

using namespace sampling_test;
using dit::DdimSampler;
using dit::DdpmSampler;
using dit::DiffusionSchedule;
using dit::EulerSampler;
using dit::HeunSampler;
using dit::Schedule;
using dit::Tensor;

/// The synthetic models of the goldens: velocity a x s + b, eps a x + b t/1000, variance logits c x.
class Golden : public ::testing::Test {
 protected:
  std::vector<double> read(const std::string& name) const { return golden_.values<double>(name); }

  template <class T>
  static Tensor<T, 4> tensor(const std::vector<double>& values, std::size_t first = 0) {
    Tensor<T, 4> x(2, 4, 1, 3);
    for (Index i = 0; i < x.size(); ++i)
      x.data()[i] = static_cast<T>(values.at(first + static_cast<std::size_t>(i)));
    return x;
  }

  template <class T>
  auto velocity() const {
    return [a = tensor<T>(read("a")), b = tensor<T>(read("b"))](View<const T, 4> x, T s, View<T, 4> v) {
      for (Index i = 0; i < x.size(); ++i) v.data[i] = a.data()[i] * x.data[i] * s + b.data()[i];
    };
  }
  /// With variance logits where `out` has room for them.
  template <class T>
  auto noise_predictor() const {
    return [a = tensor<T>(read("a")), b = tensor<T>(read("b")), c = tensor<T>(read("c"))](View<const T, 4> x, int t,
                                                                                          View<T, 4> out) {
      const Index stride = out.size() / 2;
      for (Index i = 0; i < x.size(); ++i) {
        const Index to = i / 12 * stride + i % 12;
        out.data[to] = a.data()[i] * x.data[i] + b.data()[i] * static_cast<T>(t) / 1000;
        if (stride > 12) out.data[to + 12] = c.data()[i] * x.data[i];
      }
    };
  }

  /// Follows a run from x along all the states [n + 1, 2, 4, 1, 3] of the golden. `roundings`: how many of T's half
  /// ulps a step may add to what it has, relative to the largest state so far.
  template <class Sampler, class Timeline, class... Arguments>
  void expect_states(Sampler sampler, const Timeline& timeline, const std::string& name, double roundings,
                     Arguments&&... arguments) const {
    using T = typename Sampler::scalar;
    const std::vector<double> states = read(name);
    ASSERT_EQ(states.size(), 24 * static_cast<std::size_t>(timeline.steps() + 1)) << name;
    sampler.begin(tensor<T>(states), timeline);
    double largest = magnitude(tensor<T>(states));
    for (std::size_t i = 1; !sampler.done(); ++i) {
      sampler.step(arguments...);
      const Tensor<double, 4> expected = tensor<double>(states, 24 * i);
      largest = std::max(largest, magnitude(expected));
      const double half_ulp = static_cast<double>(std::numeric_limits<T>::epsilon()) / 2;
      EXPECT_LE(distance(sampler.state(), expected), static_cast<double>(i) * roundings * half_ulp * largest)
          << name << " after step " << i;
    }
  }

  support::Golden golden_{"schedulers_io"};
};

TEST_F(Golden, SigmasAreThoseOfDiffusers) {
  for (const int shift : {1, 3}) {
    for (const int n : {1, 4, 28, 50}) {
      for (const bool given : {true, false}) {
        const std::string name =
            "sigmas.shift" + std::to_string(shift) + (given ? ".given.n" : ".none.n") + std::to_string(n);
        const std::vector<double> expected = read(name);
        const Schedule schedule = given ? Schedule::uniform(n).shifted(shift) : Schedule::twice_shifted(n, shift);
        ASSERT_EQ(expected.size(), static_cast<std::size_t>(n) + 1);
        for (int i = 0; i <= n; ++i)
          EXPECT_NEAR(schedule[i], expected[static_cast<std::size_t>(i)], 2e-7) << name << " " << i;
      }
    }
  }
}

TEST_F(Golden, EulersStatesAreThoseOfDiffusers) {
  struct Case {
    std::string name;
    Schedule schedule;
  };
  for (const auto& [name, schedule] :
       {Case{"euler.shift1.given.n1", Schedule::uniform(1)}, Case{"euler.shift1.given.n4", Schedule::uniform(4)},
        Case{"euler.shift3.given.n4", Schedule::uniform(4).shifted(3)},
        Case{"euler.shift3.none.n28", Schedule::twice_shifted(28, 3)}}) {
    // The sigmas, 2e-7 apart, count as three roundings; then the product, the sum, and the model's own.
    expect_states(EulerSampler<float, 4>(), schedule, name + ".x", 8, velocity<float>());
    const std::vector<double> sigmas = read("sigmas" + name.substr(5));
    expect_states(EulerSampler<double, 4>(), Schedule(sigmas), name + ".x64", 8, velocity<double>());
  }
}

TEST_F(Golden, HeunsStatesAreThoseOfDiffusers) {
  for (const std::string name : {"heun.shift1.n1", "heun.shift1.n4", "heun.shift3.n28"}) {
    const Schedule schedule(read(name + ".sigmas"));
    // diffusers divides by sigma and multiplies again, which loses digits where sigma is small.
    expect_states(HeunSampler<float, 4>(), schedule, name + ".x", 32, velocity<float>());
    expect_states(HeunSampler<double, 4>(), schedule, name + ".x64", 8, velocity<double>());
  }
}

TEST_F(Golden, ChainsAreThoseOfTheOriginal) {
  const std::vector<double> betas = read("chain.beta"), bars = read("chain.abar");
  for (std::size_t i = 0; i < 1000; ++i) EXPECT_NEAR(dit::linear_betas()[i], betas[i], 4e-18) << i;

  struct Case {
    std::string name;
    std::vector<int> kept;
  };
  for (const auto& [name, kept] :
       {Case{"1", dit::respaced_steps(1)}, Case{"2", dit::respaced_steps(2)}, Case{"10", dit::respaced_steps(10)},
        Case{"100", dit::respaced_steps(100)}, Case{"250", dit::respaced_steps(250)},
        Case{"ddim10", dit::ddim_steps(10)}, Case{"ddim30", dit::ddim_steps(30)},
        Case{"ddim50", dit::ddim_steps(50)}, Case{"10-15-20", dit::section_steps({10, 15, 20})},
        Case{"3-1-2", dit::section_steps({3, 1, 2})}}) {
    const std::string prefix = "chain." + name + ".";
    EXPECT_EQ(kept, golden_.integers(prefix + "kept")) << name;
    const DiffusionSchedule chain(kept);
    const auto beta = read(prefix + "beta"), abar = read(prefix + "abar"), pv = read(prefix + "pv"),
               logpv = read(prefix + "logpv");
    for (int k = 0; k < chain.steps(); ++k) {
      const auto i = static_cast<std::size_t>(k);
      EXPECT_NEAR(chain.alpha_bar(k), abar[i], 1e-13 * abar[i]) << name << " " << k;
      EXPECT_NEAR(chain.beta(k), beta[i], 1e-13) << name << " " << k;  // 1 - quotient: absolute
      EXPECT_NEAR(chain.posterior_variance(k), pv[i], 1e-13) << name << " " << k;
      if (chain.steps() > 1) {
        EXPECT_NEAR(chain.log_posterior_variance(k), logpv[i], 1e-8) << name << " " << k;
      }
    }
  }
  const DiffusionSchedule all(dit::respaced_steps(1000));
  for (int t = 0; t < 1000; ++t) {
    EXPECT_NEAR(all.alpha_bar_at(t), bars[static_cast<std::size_t>(t)], 1e-13 * bars[static_cast<std::size_t>(t)]);
  }
}

TEST_F(Golden, AncestralStatesAreThoseOfTheOriginalAndOfDiffusers) {
  const std::vector<double> noise = read("ancestral.n10.noise");
  const DiffusionSchedule chain(dit::respaced_steps(10));
  const auto draw = [&noise, at = std::size_t{0}](auto drawn) mutable {
    for (auto& value : drawn) value = static_cast<std::remove_reference_t<decltype(value)>>(noise.at(at++));
  };
  auto first = draw, second = draw;
  // x0 is a difference of terms up to sqrt(1/abar_999) = 157 times the state.
  expect_states(DdpmSampler<double, 4>(), chain, "ancestral.n10.x64", 200, noise_predictor<double>(), first);
  expect_states(DdpmSampler<float, 4>(), chain, "ancestral.n10.x", 200, noise_predictor<float>(), second);
}

TEST_F(Golden, DdimStatesAreThoseOfTheOriginalAndOfDiffusers) {
  const auto original = [&](const std::vector<int>& kept, const std::string& name) {
    expect_states(DdimSampler<double, 4>(), DiffusionSchedule(kept), name, 200, noise_predictor<double>());
  };
  original(dit::respaced_steps(10), "original_ddim.10.x64");
  original(dit::ddim_steps(30), "original_ddim.ddim30.x64");
  original(dit::ddim_steps(50), "original_ddim.ddim50.x64");
  for (const int n : {50, 30, 4}) {
    const std::string name = "ddim.n" + std::to_string(n);
    std::vector<int> times = golden_.integers(name + ".timesteps");
    EXPECT_EQ(dit::leading_steps(n), std::vector<int>(times.rbegin(), times.rend()));
    original(dit::leading_steps(n), name + ".x64");
    // diffusers has its table and its product of 1000 factors in float32.
    expect_states(DdimSampler<float, 4>(), DiffusionSchedule(dit::leading_steps(n)), name + ".x", 1000,
                  noise_predictor<float>());
  }
}

}  // namespace
