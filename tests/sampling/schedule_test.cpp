#include "dit/sampling/schedule.hpp"

#include <limits>

#include "sampling/fields.hpp"

namespace {

using dit::Schedule;
using sampling_test::error_of;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();

/// Written to 7 digits in the references; our lists are exact in double.
constexpr double printed = 6e-8;

/// The first and the last sigmas before 0.
void expect_ends(const Schedule& schedule, int steps, std::vector<double> first, std::vector<double> last = {}) {
  ASSERT_EQ(schedule.steps(), steps);
  const int heads = static_cast<int>(first.size()), tails = static_cast<int>(last.size());
  for (int i = 0; i < heads; ++i) EXPECT_NEAR(schedule[i], first[static_cast<std::size_t>(i)], printed) << i;
  for (int i = 0; i < tails; ++i) {
    EXPECT_NEAR(schedule[steps - tails + i], last[static_cast<std::size_t>(i)], printed) << "last " << i;
  }
}

std::vector<Schedule> all_kinds(int n) {
  std::vector<Schedule> kinds{Schedule::uniform(n)};
  for (const double a : {1.0, 1.73, 3.0, 6.0}) {
    kinds.push_back(Schedule::uniform(n).shifted(a));
    kinds.push_back(dit::sd3_schedule(n, a));
  }
  for (const dit::Index tokens : {1, 256, 1024, 4096, 16384}) {
    kinds.push_back(Schedule::uniform(n).exponentially_shifted(dit::flux_mu(tokens)));
    kinds.push_back(Schedule::uniform(n).exponentially_shifted(dit::flux2_mu(tokens, n)));
  }
  const std::size_t plain = kinds.size();
  for (std::size_t i = 0; i < plain; ++i) {
    kinds.push_back(kinds[i].starting_at(0.6));
    kinds.push_back(kinds[i].with_strength(0.3));
    if (n > 1) kinds.push_back(kinds[i].ending_at(0.02));
  }
  return kinds;
}

TEST(Schedule, IsUniformFromOneToZero) {
  EXPECT_EQ(Schedule::uniform(4).sigmas(), (std::vector<double>{1, 0.75, 0.5, 0.25, 0}));
  EXPECT_EQ(Schedule::uniform(1).sigmas(), (std::vector<double>{1, 0}));
  for (int i = 0; i <= 28; ++i) EXPECT_EQ(Schedule::uniform(28)[i], (28 - i) / 28.0);
}

TEST(Schedule, FallsStrictlyAndEndsAtZero) {
  for (const int n : {1, 2, 3, 28, 1000}) {
    for (const Schedule& schedule : all_kinds(n)) {
      EXPECT_EQ(schedule[schedule.steps()], 0);
      EXPECT_LE(schedule[0], 1);
      for (int i = 0; i < schedule.steps(); ++i) EXPECT_GT(schedule[i], schedule[i + 1]) << i << " of " << n;
    }
  }
}

TEST(Schedule, BeginsAtExactlyOneHoweverItIsShifted) {
  for (const double a : {0.1, 1.0, 1.73, 3.0, 6.0, 100.0}) {
    EXPECT_EQ(Schedule::uniform(7).shifted(a)[0], 1);
    EXPECT_EQ(dit::sd3_schedule(7, a)[0], 1);
    EXPECT_EQ(Schedule::uniform(7).exponentially_shifted(std::log(a))[0], 1);
    EXPECT_EQ(Schedule::uniform(7).shifted(a).ending_at(0.02)[0], 1);
  }
}

TEST(Shift, ByOneIsTheIdentity) {
  const auto sigmas = Schedule::uniform(100'000).sigmas();
  EXPECT_EQ(Schedule::uniform(100'000).shifted(1).sigmas(), sigmas);
  EXPECT_EQ(Schedule::uniform(100'000).exponentially_shifted(0).sigmas(), sigmas);
}

TEST(Shift, ComposesByMultiplication) {
  std::mt19937_64 generator(35);
  std::uniform_real_distribution<double> sigma(0, 1), log_shift(-3, 3);
  for (int i = 0; i < 10'000; ++i) {
    const double s = sigma(generator), a = std::exp(log_shift(generator)), b = std::exp(log_shift(generator));
    // Five roundings of 2^-53 in each shift; the second shift magnifies those of the first by its slope.
    const double bound = 5 * std::ldexp(1, -53) * (2 + std::max(a, 1 / a));
    EXPECT_NEAR(dit::shift(dit::shift(s, b), a), dit::shift(s, a * b), bound) << s << " " << a << " " << b;
    EXPECT_NEAR(dit::shift(dit::shift(s, 1 / a), a), s, bound) << s << " " << a;
  }
}

TEST(Shift, IsTheFormulaOfThePapers) {
  for (const double a : {0.5, 1.73, 3.0, 6.0}) {
    for (int i = 1; i < 50; ++i) {
      const double s = i / 50.0, mu = std::log(a);
      EXPECT_NEAR(dit::shift(s, a), a * s / (1 + (a - 1) * s), 1e-15);
      EXPECT_NEAR(dit::exponential_shift(s, mu), std::exp(mu) / (std::exp(mu) + (1 / s - 1)), 1e-15);
    }
  }
}

// Sections 11.4 of the references: diffusers 0.3x, the sd3.5 repo, flux.

TEST(Schedule, IsSd3sWithTheDoubleShift) {
  EXPECT_NEAR(dit::shift(1.0 / 1000, 3), 0.0029940, printed);
  expect_ends(dit::sd3_schedule(4), 4, {1, 0.8576923, 0.6021505, 0.0089286});
  expect_ends(dit::sd3_schedule(28, 3), 28, {1, 0.9873806, 0.9741078, 0.9601293},
              {0.1998270, 0.1109057, 0.0089286});
  expect_ends(dit::sd3_schedule(40, 3), 40, {1, 0.9913308, 0.9823557, 0.9730583},
              {0.1465087, 0.0810458, 0.0089286});
  expect_ends(dit::sd3_schedule(50, 3), 50, {1, 0.9931244, 0.9860570, 0.9787898},
              {0.1205327, 0.0669002, 0.0089286});
  expect_ends(dit::sd3_schedule(50, 1), 50, {1, 0.9796122, 0.9592245}, {0.0213878, 0.0010000});
  expect_ends(dit::sd3_schedule(1, 3), 1, {1});
}

TEST(Schedule, IsSd3sWithTheSingleShiftWhenSigmasAreGiven) {
  expect_ends(Schedule::uniform(28).shifted(3), 28, {1, 0.9878049, 0.9750000}, {0.1875000, 0.1000000});
}

TEST(Schedule, IsZImages) {
  expect_ends(Schedule::uniform(8).shifted(3), 8, {1, 0.9545455, 0.9, 0.8333333, 0.75, 0.6428571, 0.5, 0.3});
  expect_ends(Schedule::uniform(9).shifted(3), 9,
              {1, 0.96, 0.9130435, 0.8571429, 0.7894737, 0.7058824, 0.6, 0.4615385, 0.2727273});
}

/// linspace(smax, smin, n) is shifted once where the scheduler is made and once where the steps are.
TEST(Schedule, IsSd3sAsBothRepositoriesBuildIt) {
  const auto shifted = [](double s, double a) { return a * s / (1 + (a - 1) * s); };
  for (const double a : {1.0, 3.0}) {
    for (const int n : {1, 2, 4, 28, 40, 50}) {
      const Schedule schedule = dit::sd3_schedule(n, a);
      ASSERT_EQ(schedule.steps(), n);
      for (int i = 0; i < n; ++i) {
        const double lowest = 1000 * shifted(0.001, a), t = n == 1 ? 1000 : 1000 + i * (lowest - 1000) / (n - 1);
        EXPECT_NEAR(schedule[i], shifted(t / 1000, a), 1e-15) << n << " " << i;
      }
      if (n > 1) {
        EXPECT_NEAR(schedule[n - 1], a == 1 ? 0.001 : 0.0089286, printed) << "whatever n is";
      }
    }
  }
  EXPECT_EQ(dit::sd3_schedule(28).sigmas(), dit::sd3_schedule(28, 3).sigmas());
}

TEST(Schedule, IsFlux1s) {
  EXPECT_NEAR(dit::flux_mu(256), 0.5, 1e-15);
  EXPECT_NEAR(dit::flux_mu(1024), 0.63, 1e-15);
  EXPECT_NEAR(dit::flux_mu(4096), 1.15, 1e-15);
  expect_ends(dit::flux_schedule(4, 4096), 4, {1, 0.9045308, 0.7595109, 0.5128441});
  expect_ends(dit::flux_schedule(28, 4096), 28, {1, 0.9884086, 0.9762225}, {0.1954546, 0.1047209});
  expect_ends(dit::flux_schedule(50, 4096), 50, {1, 0.9935795, 0.9869786}, {0.1162888, 0.0605503});
}

/// flux: linspace(1, 0, n + 1), mu from a slope and an intercept; diffusers: linspace(1, 1/n, n), then 0 after it.
TEST(Schedule, IsFlux1sInBothRepositories) {
  for (const dit::Index tokens : {45, 256, 1024, 4096, 8160, 16384}) {  // not clamped on either side
    const double slope = (1.15 - 0.5) / (4096 - 256),
                 mu = static_cast<double>(tokens) * slope + (0.5 - slope * 256);
    for (const int n : {1, 4, 28, 50}) {
      const Schedule schedule = dit::flux_schedule(n, tokens);
      ASSERT_EQ(schedule.steps(), n);
      EXPECT_EQ(schedule[n], 0);
      for (int i = 0; i < n; ++i) {
        const double flux = 1 - static_cast<double>(i) / n;
        const double diffusers = n == 1 ? 1 : 1 + i * (1.0 / n - 1) / (n - 1);
        EXPECT_NEAR(schedule[i], std::exp(mu) / (std::exp(mu) + (1 / flux - 1)), 2e-15) << tokens << " " << i;
        EXPECT_NEAR(schedule[i], std::exp(mu) / (std::exp(mu) + (1 / diffusers - 1)), 2e-15) << tokens << " " << i;
      }
    }
  }
}

TEST(Schedule, IsFlux1SchnellsWithoutAShift) {
  EXPECT_EQ(dit::flux_schnell_schedule().sigmas(), (std::vector<double>{1, 0.75, 0.5, 0.25, 0}));
  EXPECT_EQ(dit::flux_schnell_schedule(1).sigmas(), (std::vector<double>{1, 0}));
}

TEST(Schedule, IsFlux2s) {
  EXPECT_NEAR(dit::flux2_mu(4096, 50), 2.0233512, printed);
  EXPECT_NEAR(dit::flux2_mu(4096, 28), 2.1514432, printed);
  EXPECT_NEAR(dit::flux2_mu(4096, 4), 2.2911799, printed);
  EXPECT_NEAR(dit::flux2_mu(1024, 4), 2.0306897, printed);
  EXPECT_NEAR(dit::flux2_mu(1024, 50), 1.7019562, printed);
  EXPECT_NEAR(dit::flux2_mu(16384, 50), 3.2299863, printed);
  expect_ends(Schedule::uniform(4).exponentially_shifted(dit::flux2_mu(4096, 4)), 4,
              {1, 0.9673840, 0.9081439, 0.7672000});
  expect_ends(Schedule::uniform(50).exponentially_shifted(dit::flux2_mu(4096, 50)), 50, {1, 0.9973091, 0.9945214},
              {0.1337190});
}

TEST(Schedule, IsQwenImagesWithItsTerminalSigma) {
  const auto qwen = [](dit::Index tokens) {
    const double mu = dit::linear_mu(tokens, 0.5, 0.9, 256, 8192);
    return Schedule::uniform(50).exponentially_shifted(mu).ending_at(0.02);
  };
  EXPECT_NEAR(dit::linear_mu(4096, 0.5, 0.9, 256, 8192), 0.6935484, printed);
  EXPECT_NEAR(dit::linear_mu(6889, 0.5, 0.9, 256, 8192), 0.8343246, printed);
  expect_ends(qwen(4096), 50, {1, 0.9897009, 0.9791915}, {0.0584758, 0.0200000});
  expect_ends(qwen(6889), 50, {1, 0.9909883, 0.9817680}, {0.0637827, 0.0200000});
  EXPECT_NEAR(qwen(4096)[25], 0.6600856, printed);
  EXPECT_NEAR(qwen(6889)[25], 0.6893778, printed);
  EXPECT_EQ(qwen(4096)[49], 0.02);
}

TEST(Schedule, StartsAtTheSigmaThatIsAskedFor) {
  EXPECT_EQ(Schedule::uniform(4).starting_at(0.6).sigmas(), (std::vector<double>{0.6, 0.5, 0.25, 0}));
  EXPECT_EQ(Schedule::uniform(4).starting_at(0.5).sigmas(), (std::vector<double>{0.5, 0.25, 0}));
  EXPECT_EQ(Schedule::uniform(4).starting_at(1).sigmas(), Schedule::uniform(4).sigmas());
  EXPECT_EQ(Schedule::uniform(4).starting_at(0.1).sigmas(), (std::vector<double>{0.1, 0}));
}

TEST(Schedule, KeepsTheShareOfItsStepsThatTheStrengthSays) {
  EXPECT_EQ(Schedule::uniform(28).with_strength(1).steps(), 28);
  EXPECT_EQ(Schedule::uniform(28).with_strength(0.6).steps(), 17);  // int(28 - 16.8) = 11 are skipped
  EXPECT_EQ(Schedule::uniform(28).with_strength(0.6)[0], 17 / 28.0);
  EXPECT_EQ(Schedule::uniform(4).with_strength(0.5).steps(), 2);
  EXPECT_EQ(Schedule::uniform(4).with_strength(0.01).steps(), 1);
}

/// diffusers: t_start = int(max(n - min(n * strength, n), 0)), in double.
TEST(Schedule, IsDiffusersForEveryStrength) {
  for (const int n : {1, 4, 10, 28, 50}) {
    const Schedule whole = dit::sd3_schedule(n);
    for (int percent = 1; percent <= 100; ++percent) {
      const double strength = percent / 100.0;
      const int start = static_cast<int>(std::max(n - std::min(n * strength, 1.0 * n), 0.0));
      const Schedule rest = whole.with_strength(strength);
      ASSERT_EQ(rest.steps(), n - start) << n << " " << strength;
      for (int i = 0; i <= rest.steps(); ++i) EXPECT_EQ(rest[i], whole[start + i]);
    }
  }
}

TEST(Schedule, SaysWhatTheStateIsMadeOf) {
  const Schedule schedule = dit::sd3_schedule(5);
  for (int i = 0; i <= 5; ++i) {
    EXPECT_EQ(schedule.mixture(i).noise, schedule[i]);
    EXPECT_EQ(schedule.mixture(i).image, 1 - schedule[i]);
  }
}

TEST(Schedule, TellsItsTimesInTheScalarOfTheSampler) {
  const Schedule schedule = Schedule::uniform(3).shifted(3);
  const std::vector<float> times = schedule.times<float>();
  ASSERT_EQ(times.size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(times[static_cast<std::size_t>(i)], static_cast<float>(schedule[i]));
}

TEST(Schedule, RefusesListsThatAreNoSchedule) {
  for (const std::vector<double>& list : {std::vector<double>{},
                                          {1},
                                          {0},
                                          {1, 0.5},          // noise would stay
                                          {1, 1, 0},         // stands still
                                          {1, 0.5, 0.6, 0},  // rises
                                          {0, 1},
                                          {1.1, 0},
                                          {1, 0, -0.1},
                                          {nan, 0},
                                          {1, nan, 0},
                                          {1, 0.5, nan},
                                          {inf, 0}}) {
    EXPECT_EQ(error_of([&] { Schedule{list}; }), "bad_schedule") << ::testing::PrintToString(list);
  }
  EXPECT_EQ(error_of([&] { Schedule({0.7, 0.2, 0}); }), "none");
}

TEST(Schedule, RefusesZeroNegativeAndAbsurdlyManySteps) {
  for (const int steps : {0, -1, std::numeric_limits<int>::min(), 1'000'001, std::numeric_limits<int>::max()}) {
    EXPECT_EQ(error_of([&] { Schedule::uniform(steps); }), "bad_schedule") << steps;
    EXPECT_EQ(error_of([&] { dit::sd3_schedule(steps); }), "bad_schedule") << steps;
    EXPECT_EQ(error_of([&] { dit::flux_schedule(steps, 4096); }), "bad_schedule") << steps;
    EXPECT_EQ(error_of([&] { dit::flux_schnell_schedule(steps); }), "bad_schedule") << steps;
  }
  EXPECT_EQ(Schedule::uniform(1'000'000).steps(), 1'000'000);
  EXPECT_EQ(error_of([&] { Schedule::uniform(1'000'000).starting_at(0.9999999); }), "none");
}

TEST(Schedule, RefusesShiftsThatAreNoNumber) {
  const Schedule schedule = Schedule::uniform(4);
  for (const double a : {0.0, -1.0, nan, inf, -inf}) {
    EXPECT_EQ(error_of([&] { schedule.shifted(a); }), "bad_schedule") << a;
    EXPECT_EQ(error_of([&] { dit::sd3_schedule(4, a); }), "bad_schedule") << a;
  }
  for (const double mu : {nan, inf, -inf, 1e9}) {
    EXPECT_EQ(error_of([&] { schedule.exponentially_shifted(mu); }), "bad_schedule") << mu;
  }
  EXPECT_EQ(error_of([&] { schedule.shifted(1e300); }), "bad_schedule") << "all sigmas become 1";
  EXPECT_EQ(error_of([&] { dit::flux_mu(0); }), "bad_schedule");
  EXPECT_EQ(error_of([&] { dit::flux_schedule(4, -1); }), "bad_schedule");
  EXPECT_EQ(error_of([&] { dit::flux2_mu(0, 4); }), "bad_schedule");
  EXPECT_EQ(error_of([&] { dit::flux2_mu(4096, 0); }), "bad_schedule");
}

TEST(Schedule, RefusesStartsAndEndsOutsideIt) {
  const Schedule schedule = Schedule::uniform(4);
  for (const double bad : {0.0, -0.5, 1.5, nan, inf}) {
    EXPECT_EQ(error_of([&] { schedule.starting_at(bad); }), "bad_schedule") << bad;
    EXPECT_EQ(error_of([&] { schedule.with_strength(bad); }), "bad_schedule") << bad;
    EXPECT_EQ(error_of([&] { schedule.ending_at(bad); }), "bad_schedule") << bad;
  }
  EXPECT_EQ(error_of([&] { schedule.ending_at(1); }), "bad_schedule");
  EXPECT_EQ(error_of([&] { Schedule::uniform(1).ending_at(0.02); }), "bad_schedule");
}

}  // namespace
