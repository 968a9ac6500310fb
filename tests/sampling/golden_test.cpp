/// Against diffusers' schedulers and the original DiT's chain (tests/golden/schedules.py), and what needs no model
/// of the original flow-matching repositories (tests/golden/flow_sampling.py).

#include <set>
#include <vector>

#include "dit/sampling/ddim.hpp"
#include "dit/sampling/ddpm.hpp"
#include "dit/sampling/heun.hpp"
#include "dit/sampling/inpaint.hpp"
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
        const Schedule schedule = given ? Schedule::uniform(n).shifted(shift) : dit::sd3_schedule(n, shift);
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
        Case{"euler.shift3.none.n28", dit::sd3_schedule(28, 3)}}) {
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

/// `.64`: the formula in double; `.diffusers` and `.original` (sd3.5, flux): their own float32 arithmetic.
void expect_sigmas(const support::Golden& golden, const std::string& name, const Schedule& schedule) {
  const auto near = [&](const std::string& whose, double tolerance) {
    const std::vector<double> expected = golden.values<double>(name + whose);
    ASSERT_EQ(expected.size(), schedule.sigmas().size()) << name;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(schedule.sigmas()[i], expected[i], tolerance) << name << whose << " " << i;
    }
  };
  near(".64", 1e-15);
  near(".diffusers", 2e-7);
  near(".original", 2e-7);
}

TEST(FlowSchedules, AreTheListsOfDiffusersAndOfTheOriginals) {
  const support::Golden golden("flow_schedules_io");
  for (const int n : {1, 4, 28, 40, 50}) {
    expect_sigmas(golden, "sd3.shift3.n" + std::to_string(n), dit::sd3_schedule(n));
  }
  for (const int n : {1, 50}) expect_sigmas(golden, "sd3.shift1.n" + std::to_string(n), dit::sd3_schedule(n, 1));
  for (const int n : {1, 4}) expect_sigmas(golden, "schnell.n" + std::to_string(n), dit::flux_schnell_schedule(n));
  for (const int tokens : {45, 256, 1024, 4096}) {
    const std::string name = "flux.N" + std::to_string(tokens);
    EXPECT_NEAR(dit::flux_mu(tokens), golden.values<double>(name + ".mu")[0], 1e-15);
    for (const int n : {4, 28, 50}) {
      expect_sigmas(golden, name + ".n" + std::to_string(n), dit::flux_schedule(n, tokens));
    }
  }
}

TEST(FlowSchedules, KeepAsManyStepsOfAStrengthAsDiffusersPipelines) {
  const std::vector<double> kept = support::Golden("flow_schedules_io").values<double>("img2img.kept");
  ASSERT_EQ(kept.size() % 3, 0u);
  ASSERT_GE(kept.size(), 3u);
  for (std::size_t row = 0; row < kept.size(); row += 3) {
    const Schedule schedule = dit::sd3_schedule(static_cast<int>(kept[row])).with_strength(kept[row + 1]);
    EXPECT_EQ(schedule.steps(), static_cast<int>(kept[row + 2]))
        << kept[row] << " steps, strength " << kept[row + 1];
  }
}

/// Latents [2, 4, 6, 10].
class FlowRun : public ::testing::Test {
 protected:
  static constexpr Index numbers = 2 * 4 * 6 * 10;
  Tensor<double, 4> tensor(const std::string& name, Index first = 0) const {
    const std::vector<double> values = golden_.values<double>(name);
    Tensor<double, 4> x(2, 4, 6, 10);
    std::copy_n(values.begin() + first * numbers, numbers, x.data());
    return x;
  }
  /// The sigmas from the first of `steps` on.
  Schedule sigmas(const std::string& name, int steps) const {
    const std::vector<double> all = golden_.values<double>(name);
    return Schedule(std::vector<double>(all.end() - steps - 1, all.end()));
  }

  support::Golden golden_{"sd3_sampling_io"};
};

TEST_F(FlowRun, OfAnImageBeginsWhereDiffusersPipelineDoes) {
  const Schedule schedule = dit::sd3_schedule(10).with_strength(0.6);
  const std::vector<double> timesteps = golden_.values<double>("img2img.timesteps");
  ASSERT_EQ(timesteps.size(), static_cast<std::size_t>(schedule.steps()));
  for (int i = 0; i < schedule.steps(); ++i) {
    EXPECT_NEAR(1000 * schedule[i], timesteps[static_cast<std::size_t>(i)], 2e-4) << i;
  }
  const auto image = golden_.tensor<float, 4>("image"), noise = golden_.tensor<float, 4>("noise");
  const auto start = dit::add_noise(image, noise, schedule[0]);
  // Sigma 2e-7 away, two products and a sum.
  EXPECT_LE(distance(start, golden_.tensor<float, 4>("img2img.start")),
            4e-7 * (magnitude(image) + magnitude(noise)));
  EXPECT_LE(distance(dit::add_noise(tensor("image"), tensor("noise"), sigmas("img2img.sigmas", 6)[0]),
                     tensor("img2img.x64")),
            1e-15 * (magnitude(image) + magnitude(noise)));
}

/// The run is replayed: what the field answers where the mask is above 0 is what must have led to the recorded
/// state, x_next = (1 - m) known + m (x + (s_next - s) v); where it is 0 the answer is nonsense, and must not
/// matter.
TEST_F(FlowRun, ThatRepaintsIsComposedAsDiffusersPipelineDoes) {
  const auto image = tensor("image"), noise = tensor("noise");
  const auto mask = golden_.tensor<double, 4>("mask");
  const std::set<double> values(mask.data(), mask.data() + mask.size());
  ASSERT_EQ(values, (std::set<double>{0, 0.25, 1}));
  for (const std::string name : {"inpaint", "inpaint_0.6"}) {
    const Schedule schedule = sigmas(name + ".sigmas", 6);
    Tensor<double, 4> next;
    const auto field = [&](View<const double, 4> x, double s, View<double, 4> v) {
      const double after =
          *std::find_if(schedule.sigmas().begin(), schedule.sigmas().end(), [&](double at) { return at < s; });
      for (Index i = 0; i < x.size(); ++i) {
        const double m = mask.data()[i / 240 * 60 + i % 60];
        const double known = (1 - after) * image.data()[i] + after * noise.data()[i];
        v.data[i] = m == 0 ? 1e3 : ((next.data()[i] - (1 - m) * known) / m - x.data[i]) / (after - s);
      }
    };
    dit::InpaintSampler sampler(EulerSampler<double, 4>(), image, noise, mask);
    sampler.begin(schedule);
    EXPECT_LE(distance(sampler.state(), tensor(name + ".x64")), 1e-15 * 10) << name;
    while (!sampler.done()) {
      next = tensor(name + ".x64", sampler.index() + 1);
      sampler.step(field);
      EXPECT_LE(distance(sampler.state(), next), 1e-14 * magnitude(next)) << name << " after " << sampler.index();
    }
  }
}

}  // namespace
