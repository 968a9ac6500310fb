/// What holds for every sampler: the order of the method, resuming, cancelling, and the errors.

#include "dit/sampling/sampler.hpp"

#include <functional>
#include <limits>
#include <vector>

#include "dit/sampling/ddim.hpp"
#include "dit/sampling/ddpm.hpp"
#include "dit/sampling/dpmpp_2m.hpp"
#include "dit/sampling/euler.hpp"
#include "dit/sampling/heun.hpp"
#include "dit/sampling/inpaint.hpp"
#include "dit/sampling/sample.hpp"
#include "sampling/fields.hpp"

namespace {

using namespace sampling_test;
using dit::DdimSampler;
using dit::DdpmSampler;
using dit::DiffusionSchedule;
using dit::Dpmpp2mSampler;
using dit::EulerSampler;
using dit::HeunSampler;
using dit::InpaintSampler;
using dit::Schedule;
using dit::Tensor;

/// Each sampler with a run that is typical for it.
struct Euler {
  EulerSampler<float, 3> sampler;
  Schedule timeline = Schedule::uniform(7).shifted(3);
  Mixer field;
  void step() { sampler.step(field); }
};
struct Heun {
  HeunSampler<double, 4> sampler;
  Schedule timeline = Schedule::uniform(7).shifted(3);
  Mixer field;
  void step() { sampler.step(field); }
};
struct Ddim {
  DdimSampler<float, 4> sampler;
  DiffusionSchedule timeline{dit::ddim_steps(10)};
  Mixer field;
  void step() { sampler.step(field); }
};
struct StochasticDdim {
  DdimSampler<double, 5> sampler{0.5};
  DiffusionSchedule timeline{dit::leading_steps(7)};
  Mixer field;
  Draw draw{};
  void step() { sampler.step(field, draw); }
};
struct Ddpm {
  DdpmSampler<float, 4> sampler;
  DiffusionSchedule timeline{dit::respaced_steps(9)};
  Mixer field;
  Draw draw{};
  void step() { sampler.step(field, draw); }
};

struct Dpmpp2m {
  Dpmpp2mSampler<float, 4> sampler;
  Schedule timeline = dit::sd3_schedule(7);
  Mixer field;
  void step() { sampler.step(field); }
};
/// Any of them, repainting: of an image that all items have, soft at the mask's edge.
template <class Case>
struct Inpainted : Case {
  using Method = decltype(Case::sampler);
  using T = typename Method::scalar;
  static constexpr std::size_t rank = Method::state_rank;
  static auto known(unsigned seed) {
    Shape<rank> extents{};
    for (std::size_t axis = 0; axis < rank; ++axis) extents[axis] = axis == 0 ? 1 : static_cast<Index>(axis) + 2;
    return random_tensor<T>(extents, seed);
  }
  static auto mask() {
    auto values = known(3);
    for (T* m = values.data(); m != values.data() + values.size(); ++m) *m = std::clamp<T>(*m + T(0.5), 0, 1);
    return values;
  }
  InpaintSampler<Method> sampler{Method(), known(1), known(2), mask()};
  void step() {
    if constexpr (requires { this->draw; }) {
      sampler.step(this->field, this->draw);
    } else {
      sampler.step(this->field);
    }
  }
};

template <class Case>
class EverySampler : public ::testing::Test {
 protected:
  using Sampler = decltype(Case::sampler);
  using T = typename Sampler::scalar;
  static constexpr std::size_t rank = Sampler::state_rank;

  static Shape<rank> shape(Index batch = 2) {
    Shape<rank> extents{};
    for (std::size_t axis = 0; axis < rank; ++axis) extents[axis] = static_cast<Index>(axis) + 2;
    extents[0] = batch;
    return extents;
  }
  static auto noise(Index batch = 2) { return random_tensor<T>(shape(batch), 36); }

  /// As a run that was saved is taken up.
  template <class From>
  static void resume(Case& run, const From& from) {
    if constexpr (requires { from.history(); }) {
      if (from.index() > 0) return run.sampler.begin(from.state(), run.timeline, from.index(), from.history());
    }
    run.sampler.begin(from.state(), run.timeline, from.index());
  }

  static void walk(Case& run, int steps = std::numeric_limits<int>::max()) {
    for (; steps > 0 && !run.sampler.done(); --steps) run.step();
  }
  /// The whole run at once.
  static auto whole() {
    Case run;
    run.sampler.begin(noise(), run.timeline);
    walk(run);
    return run.sampler.take();
  }
};
using Cases = ::testing::Types<Euler, Heun, Ddim, StochasticDdim, Ddpm, Dpmpp2m, Inpainted<Euler>, Inpainted<Ddpm>,
                               Inpainted<Dpmpp2m>>;
TYPED_TEST_SUITE(EverySampler, Cases);

TYPED_TEST(EverySampler, SplitAnywhereChangesNoBit) {
  const auto whole = this->whole();
  for (int k = 0; k <= TypeParam().timeline.steps(); ++k) {
    TypeParam first;
    first.sampler.begin(this->noise(), first.timeline);
    this->walk(first, k);
    EXPECT_EQ(first.sampler.index(), k);

    TypeParam second = first;  // the noise source goes on where it was
    second.sampler = TypeParam().sampler;
    this->resume(second, first.sampler);
    this->walk(second);
    EXPECT_TRUE(same_bits(second.sampler.take(), whole)) << "split after " << k;
  }
}

TYPED_TEST(EverySampler, CopiedAnywhereGoesOnTheSame) {
  const auto whole = this->whole();
  TypeParam run;
  run.sampler.begin(this->noise(), run.timeline);
  while (!run.sampler.done()) {
    TypeParam copy = run;
    this->walk(copy);
    EXPECT_TRUE(same_bits(copy.sampler.take(), whole)) << "copied after " << run.sampler.index();
    run.step();
  }
}

TYPED_TEST(EverySampler, BeginsFromItsOwnState) {
  TypeParam run;
  run.sampler.begin(this->noise(), run.timeline);
  this->walk(run, 3);
  this->resume(run, run.sampler);
  EXPECT_EQ(run.sampler.index(), 3);
  this->walk(run);
  EXPECT_TRUE(same_bits(run.sampler.take(), this->whole()));
}

TYPED_TEST(EverySampler, StartsAfreshWhateverItDidBefore) {
  TypeParam run;
  run.sampler.begin(this->noise(5), run.timeline);
  this->walk(run, 2);
  if constexpr (requires { run.draw; }) run.draw = {};
  run.sampler.begin(this->noise(), run.timeline);
  this->walk(run);
  EXPECT_TRUE(same_bits(run.sampler.take(), this->whole()));
}

TYPED_TEST(EverySampler, GivesABatchTheBitsOfItsItemsAlone) {
  if constexpr (!requires(TypeParam run) { run.draw; }) {
    const auto whole = this->whole();
    const View all(whole);
    const auto noise = this->noise();
    for (Index item = 0; item < 2; ++item) {
      auto one = this->noise(1);
      const View from(noise);
      std::copy_n(from.data + item * one.size(), one.size(), one.data());
      TypeParam run;
      run.sampler.begin(one, run.timeline);
      this->walk(run);
      auto alone = run.sampler.take();
      EXPECT_EQ(0, std::memcmp(alone.data(), all.data + item * one.size(),
                               sizeof(*alone.data()) * static_cast<std::size_t>(one.size())));
    }
  }
}

TYPED_TEST(EverySampler, CanTakeAStepAgainThatThrew) {
  TypeParam run;
  run.sampler.begin(this->noise(), run.timeline);
  struct Trouble {};
  while (!run.sampler.done()) {
    const auto fails = [&](auto x, auto t, auto out) {
      run.field(View<const typename TestFixture::T, TestFixture::rank>(x), t, out);
      throw Trouble{};
    };
    if constexpr (requires { run.draw; }) {
      EXPECT_THROW(run.sampler.step(fails, run.draw), Trouble);
      EXPECT_THROW(run.sampler.step(run.field, [](auto) { throw Trouble{}; }), Trouble);
    } else {
      EXPECT_THROW(run.sampler.step(fails), Trouble);
    }
    EXPECT_EQ(error_of([&] { run.sampler.denoised(); }), "bad_state");
    run.step();
  }
  EXPECT_TRUE(same_bits(run.sampler.take(), this->whole()));
}

TYPED_TEST(EverySampler, CountsItsSteps) {
  TypeParam run;
  EXPECT_EQ(run.sampler.steps(), 0);
  EXPECT_TRUE(run.sampler.done());
  run.sampler.begin(this->noise(), run.timeline);
  for (int i = 0; i < run.timeline.steps(); ++i) {
    EXPECT_EQ(run.sampler.steps(), run.timeline.steps());
    EXPECT_EQ(run.sampler.index(), i);
    EXPECT_EQ(run.sampler.remaining(), run.timeline.steps() - i);
    EXPECT_FALSE(run.sampler.done());
    run.step();
  }
  EXPECT_TRUE(run.sampler.done());
}

TYPED_TEST(EverySampler, PreviewsItsResultAtTheEnd) {
  TypeParam run;
  run.sampler.begin(this->noise(), run.timeline);
  this->walk(run);
  // The diffusion samplers' last step multiplies x0 by one and adds nothing.
  EXPECT_EQ(distance(run.sampler.denoised(), run.sampler.state()), 0);
}

TYPED_TEST(EverySampler, TellsTheFieldItsTime) {
  TypeParam run;
  run.sampler.begin(this->noise(), run.timeline);
  while (!run.sampler.done()) {
    const auto expected = run.sampler.time();
    int calls = 0;
    const auto looks = [&](auto x, auto t, auto out) {
      static_assert(std::is_same_v<decltype(t), std::remove_const_t<decltype(expected)>>);
      if (calls++ == 0) {
        EXPECT_EQ(t, expected);
      }
      run.field(View<const typename TestFixture::T, TestFixture::rank>(x), t, out);
    };
    if constexpr (requires { run.draw; }) {
      run.sampler.step(looks, run.draw);
    } else {
      run.sampler.step(looks);
    }
    EXPECT_GE(calls, 1);
  }
}

TYPED_TEST(EverySampler, MovesItsResultOut) {
  TypeParam run;
  run.sampler.begin(this->noise(), run.timeline);
  this->walk(run);
  const auto* memory = run.sampler.state().data;
  const auto result = run.sampler.take();
  EXPECT_EQ(result.data(), memory);
}

TYPED_TEST(EverySampler, RefusesWhatItsStateDoesNotAllow) {
  TypeParam run;
  EXPECT_EQ(error_of([&] { run.step(); }), "bad_state") << "before begin";
  EXPECT_EQ(error_of([&] { run.sampler.state(); }), "bad_state");
  EXPECT_EQ(error_of([&] { run.sampler.denoised(); }), "bad_state");
  EXPECT_EQ(error_of([&] { run.sampler.timeline(); }), "bad_state");
  EXPECT_EQ(error_of([&] { run.sampler.time(); }), "bad_state");
  EXPECT_EQ(error_of([&] { run.sampler.take(); }), "bad_state");

  run.sampler.begin(this->noise(), run.timeline);
  EXPECT_EQ(error_of([&] { run.sampler.denoised(); }), "bad_state") << "no preview before the first step";
  this->walk(run);
  EXPECT_EQ(error_of([&] { run.step(); }), "bad_state") << "after the last step";
  EXPECT_EQ(error_of([&] { run.sampler.time(); }), "bad_state");
  run.sampler.take();
  EXPECT_EQ(error_of([&] { run.sampler.take(); }), "bad_state") << "taken twice";
  EXPECT_EQ(error_of([&] { run.sampler.denoised(); }), "bad_state");

  run.sampler.begin(this->noise(), run.timeline);
  TypeParam thief = std::move(run);
  EXPECT_EQ(error_of([&] { run.step(); }), "bad_state") << "moved from";
  EXPECT_EQ(error_of([&] { thief.step(); }), "none");
}

TYPED_TEST(EverySampler, RefusesEmptyStatesAndFalseBeginnings) {
  TypeParam run;
  using Noise = View<const typename TestFixture::T, TestFixture::rank>;
  auto noise = this->noise();
  for (std::size_t axis = 0; axis < TestFixture::rank; ++axis) {
    for (const Index extent : {Index{0}, Index{-1}, std::numeric_limits<Index>::max() / 4}) {
      auto shape = this->shape();
      shape[axis] = extent;
      EXPECT_EQ(error_of([&] { run.sampler.begin(Noise(noise.data(), shape), run.timeline); }), "bad_input_shape")
          << dit::to_string(shape);
    }
  }
  EXPECT_EQ(error_of([&] { run.sampler.begin(Noise(nullptr, this->shape()), run.timeline); }), "bad_input_shape");
  EXPECT_EQ(error_of([&] { run.sampler.begin(noise, run.timeline, -1); }), "bad_option");
  EXPECT_EQ(error_of([&] { run.sampler.begin(noise, run.timeline, run.timeline.steps() + 1); }), "bad_option");
  run.sampler.begin(noise, run.timeline);
  EXPECT_EQ(error_of([&] { run.sampler.begin(noise, run.timeline, -1); }), "bad_option");
  this->walk(run);
  EXPECT_TRUE(same_bits(run.sampler.take(), this->whole())) << "a refused begin leaves the run as it was";
}

// Order and exactness

/// v(x, s) = lambda x: x(0) = x(1) e^-lambda
template <template <class, std::size_t> class Method>
double error_at(int steps) {
  constexpr double lambda = 1.3;
  Method<double, 1> sampler;
  Tensor<double, 1> x(1);
  x.setConstant(1);
  sampler.begin(x, Schedule::uniform(steps));
  while (!sampler.done()) {
    sampler.step([](View<const double, 1> at, double, View<double, 1> v) { v.data[0] = lambda * at.data[0]; });
  }
  return std::abs(sampler.take()(0) - std::exp(-lambda));
}

template <template <class, std::size_t> class Method>
void expect_order(double order) {
  for (int n = 64; n <= 1024; n *= 2)
    EXPECT_NEAR(std::log2(error_at<Method>(n) / error_at<Method>(2 * n)), order, 0.2) << n;
}

TEST(EulerSampler, IsOfFirstOrder) { expect_order<EulerSampler>(1); }
TEST(HeunSampler, IsOfSecondOrder) { expect_order<HeunSampler>(2); }

/// The last step, to 0, is of first order however short it is, so the order is seen before it: down to a sigma that
/// does not depend on n.
double dpmpp_2m_error_at(int steps) {
  constexpr double lambda = 1.3, end = 0.1;
  std::vector<double> sigmas;
  for (int i = 0; i <= steps; ++i) sigmas.push_back(1 - (1 - end) * i / steps);
  sigmas.push_back(0);
  Dpmpp2mSampler<double, 1> sampler;
  Tensor<double, 1> x(1);
  x.setConstant(1);
  sampler.begin(x, Schedule(sigmas));
  while (sampler.remaining() > 1) {
    sampler.step([](View<const double, 1> at, double, View<double, 1> v) { v.data[0] = lambda * at.data[0]; });
  }
  return std::abs(sampler.take()(0) - std::exp(lambda * (end - 1)));
}

TEST(Dpmpp2mSampler, IsOfSecondOrder) {
  for (int n = 64; n <= 1024; n *= 2) {
    EXPECT_NEAR(std::log2(dpmpp_2m_error_at(n) / dpmpp_2m_error_at(2 * n)), 2, 0.2) << n;
  }
}

/// As the sd3.5 repository writes it, in double.
TEST(Dpmpp2mSampler, IsTheFormula) {
  const auto noise = random_tensor<double>(Shape<4>{2, 3, 2, 2}, 1);
  const Schedule schedule = dit::sd3_schedule(9);
  Tensor<double, 4> x = noise, v(noise.dimensions()), before(noise.dimensions());
  Dpmpp2mSampler<double, 4> sampler;
  sampler.begin(noise, schedule);
  for (int i = 0; i < schedule.steps(); ++i) {
    const double s = schedule[i], next = schedule[i + 1];
    Mixer{}(View<const double, 4>(x), s, View<double, 4>(v));
    const Tensor<double, 4> denoised = x - s * v;
    Tensor<double, 4> image = denoised;
    const double h = -std::log(next) + std::log(s);
    if (i > 0 && next > 0) {
      const double r = (-std::log(s) + std::log(schedule[i - 1])) / h;
      image = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * before;
    }
    x = Tensor<double, 4>(next / s * x - std::expm1(-h) * image);
    before = denoised;
    sampler.step(Mixer{});
    EXPECT_LE(distance(sampler.state(), x), 1e-12 * magnitude(x)) << i;
    EXPECT_LE(distance(sampler.denoised(), denoised), 1e-12 * (1 + magnitude(denoised))) << i;
    EXPECT_TRUE(same_bits(sampler.history(), sampler.denoised()));
  }
}

TEST(Dpmpp2mSampler, BeginsLikeEulerAndEndsInItsDenoisedImage) {
  const auto noise = random_tensor<double>(Shape<4>{2, 3, 2, 2}, 1);
  Dpmpp2mSampler<double, 4> sampler;
  EulerSampler<double, 4> euler;
  sampler.begin(noise, Schedule::uniform(5));
  euler.begin(noise, Schedule::uniform(5));
  sampler.step(Mixer{});
  euler.step(Mixer{});
  EXPECT_LE(distance(sampler.state(), euler.state()), 1e-15 * 4 * magnitude(noise));
  while (!sampler.done()) sampler.step(Mixer{});
  EXPECT_TRUE(same_bits(sampler.denoised(), sampler.state()));
  EXPECT_TRUE(same_bits(dit::sample<Dpmpp2mSampler>(noise, Schedule::uniform(1), Mixer{}).x,
                        dit::sample(noise, Schedule::uniform(1), Mixer{}).x))
      << "one step, from 1 to 0, is Euler's";
}

TEST(Dpmpp2mSampler, CallsTheFieldOnceAStep) {
  std::vector<float> times;
  const auto field = [&](View<const float, 4>, float t, View<float, 4> v) {
    times.push_back(t);
    std::fill(v.begin(), v.end(), 0.F);
  };
  dit::sample<Dpmpp2mSampler>(random_tensor<float>(Shape<4>{1, 4, 2, 2}, 1), dit::sd3_schedule(28), field);
  EXPECT_EQ(times, dit::sd3_schedule(28).times<float>());
}

TEST(Dpmpp2mSampler, ReturnsTheImageThatAllVelocitiesPointTo) {
  const auto noise = random_tensor<double>(Shape<4>{2, 4, 3, 3}, 1),
             image = random_tensor<double>(Shape<4>{2, 4, 3, 3}, 2);
  const auto field = [&](View<const double, 4> x, double t, View<double, 4> v) {
    for (Index i = 0; i < v.size(); ++i) v.data[i] = (x.data[i] - image.data()[i]) / t;
  };
  for (const int n : {1, 2, 28}) {
    EXPECT_LE(distance(dit::sample<Dpmpp2mSampler>(noise, dit::sd3_schedule(n), field).x, image), 1e-12) << n;
  }
}

/// Sigmas so near that float cannot tell them apart, and their logarithms hardly in double. (What is extrapolated
/// from such a step is wild, by the method, but it is a number.)
TEST(Dpmpp2mSampler, DividesByNoStepHoweverShort) {
  const double s = 0.5, below = std::nextafter(s, 0), last = std::nextafter(below, 0);
  const auto noise = random_tensor<double>(Shape<4>{1, 4, 2, 2}, 1);
  const auto result = dit::sample<Dpmpp2mSampler>(noise, Schedule({1, s, below, last, 0.25, 0}), Mixer{}).x;
  EXPECT_TRUE(std::isfinite(distance(result, noise)));
}

TEST(Dpmpp2mSampler, RefusesToGoOnWithoutItsHistory) {
  const auto noise = random_tensor<float>(Shape<4>{1, 4, 2, 2}, 1),
             other = random_tensor<float>(Shape<4>{1, 2, 4, 2}, 1);
  const Schedule schedule = Schedule::uniform(4);
  Dpmpp2mSampler sampler;
  EXPECT_EQ(error_of([&] { sampler.history(); }), "bad_state");
  EXPECT_EQ(error_of([&] { sampler.begin(noise, schedule, 2); }), "bad_option");
  EXPECT_EQ(error_of([&] { sampler.begin(noise, schedule, 0, noise); }), "bad_option");
  EXPECT_EQ(error_of([&] { sampler.begin(noise, schedule, 5, noise); }), "bad_option");
  EXPECT_EQ(error_of([&] { sampler.begin(noise, schedule, 2, other); }), "bad_input_shape");
  sampler.begin(noise, schedule);
  EXPECT_EQ(error_of([&] { sampler.history(); }), "bad_state") << "before the first step";
  EXPECT_EQ(error_of([&] { sampler.begin(noise, schedule, 2, noise); }), "none");
  EXPECT_TRUE(same_bits(sampler.history(), noise));
}

template <template <class, std::size_t> class Method, class T>
void expect_exact_for_a_constant_velocity() {
  std::mt19937_64 generator(32);
  std::uniform_int_distribution<int> integer(-1000, 1000);
  Tensor<T, 4> noise(2, 3, 1, 5), image(2, 3, 1, 5);
  std::generate_n(noise.data(), noise.size(), [&] { return static_cast<T>(integer(generator)); });
  std::generate_n(image.data(), image.size(), [&] { return static_cast<T>(integer(generator)); });
  const auto velocity = [&](View<const T, 4>, T, View<T, 4> v) {
    for (Index i = 0; i < v.size(); ++i) v.data[i] = noise.data()[i] - image.data()[i];
  };
  for (const int n : {1, 2, 4, 8, 64}) {  // dyadic steps of small integers: nothing is rounded
    EXPECT_TRUE(same_bits(dit::sample<Method>(noise, Schedule::uniform(n), velocity).x, image)) << n;
  }
  const double eps = static_cast<double>(std::numeric_limits<T>::epsilon());
  for (const int n : {3, 10, 50, 333}) {  // n steps, each rounding the sigmas' difference, the product and the sum
    for (const Schedule& schedule : {Schedule::uniform(n), Schedule::uniform(n).shifted(3)}) {
      const auto result = dit::sample<Method>(noise, schedule, velocity).x;
      EXPECT_LE(distance(result, image), n * eps * 3 * (magnitude(noise) + magnitude(image))) << n;
    }
  }
}

TEST(EulerSampler, IsExactForAConstantVelocity) {
  expect_exact_for_a_constant_velocity<EulerSampler, float>();
  expect_exact_for_a_constant_velocity<EulerSampler, double>();
}
TEST(HeunSampler, IsExactForAConstantVelocity) {
  expect_exact_for_a_constant_velocity<HeunSampler, float>();
  expect_exact_for_a_constant_velocity<HeunSampler, double>();
}

TEST(Dpmpp2mSampler, IsNearlyExactForAConstantVelocity) {
  const auto noise = random_tensor<double>(Shape<4>{2, 3, 1, 5}, 1),
             image = random_tensor<double>(Shape<4>{2, 3, 1, 5}, 2);
  const auto velocity = [&](View<const double, 4>, double, View<double, 4> v) {
    for (Index i = 0; i < v.size(); ++i) v.data[i] = noise.data()[i] - image.data()[i];
  };
  for (const int n : {1, 2, 7, 50, 333}) {
    const auto result = dit::sample<Dpmpp2mSampler>(noise, Schedule::uniform(n), velocity).x;
    EXPECT_LE(distance(result, image), n * 2.3e-16 * 8 * (magnitude(noise) + magnitude(image))) << n;
  }
}

TEST(EulerSampler, ReturnsTheImageThatAllVelocitiesPointTo) {
  const auto noise = random_tensor<double>(Shape<4>{2, 4, 3, 3}, 1),
             image = random_tensor<double>(Shape<4>{2, 4, 3, 3}, 2);
  const auto field = [&](View<const double, 4> x, double t, View<double, 4> v) {
    for (Index i = 0; i < v.size(); ++i) v.data[i] = (x.data[i] - image.data()[i]) / t;
  };
  EulerSampler<double, 4> sampler;
  sampler.begin(noise, dit::sd3_schedule(28));
  while (!sampler.done()) {
    sampler.step(field);
    EXPECT_LE(distance(sampler.denoised(), image), 1e-12) << "the preview is right from the first step on";
  }
  EXPECT_LE(distance(sampler.take(), image), 1e-12);
}

TEST(EulerSampler, PreviewsTheEndOfItsTangent) {
  const auto noise = random_tensor<float>(Shape<4>{1, 4, 3, 3}, 1);
  Tensor<float, 4> before = noise, v(noise.dimensions());
  EulerSampler sampler;
  sampler.begin(noise, Schedule::uniform(5));
  while (!sampler.done()) {
    before = Tensor<float, 4>(before);
    std::copy(sampler.state().begin(), sampler.state().end(), before.data());
    const float sigma = sampler.time();
    sampler.step(Mixer{});
    Mixer{}(View<const float, 4>(before), sigma, View<float, 4>(v));
    Tensor<float, 4> expected = before - sigma * v;
    EXPECT_LE(distance(sampler.denoised(), expected), 4e-7 * magnitude(expected));
  }
}

TEST(HeunSampler, CallsTheFieldTwiceAStepAndOnceInTheLast) {
  std::vector<float> times;
  const auto field = [&](View<const float, 1>, float t, View<float, 1> v) {
    times.push_back(t);
    v.data[0] = 1;
  };
  Tensor<float, 1> noise(1);
  noise.setConstant(1);
  dit::sample<HeunSampler>(noise, Schedule::uniform(4), field);
  EXPECT_EQ(times, (std::vector<float>{1, 0.75F, 0.75F, 0.5F, 0.5F, 0.25F, 0.25F}));
}

TEST(HeunSampler, CanTakeAStepAgainThatThrewAtItsSecondCall) {
  const auto noise = random_tensor<float>(Shape<4>{1, 4, 2, 2}, 1);
  HeunSampler sampler;
  sampler.begin(noise, Schedule::uniform(4));
  struct Trouble {};
  while (!sampler.done()) {
    int calls = 0;
    const auto fails = [&](View<const float, 4> x, float t, View<float, 4> v) {
      Mixer{}(x, t, v);
      if (++calls == 2) throw Trouble{};
    };
    if (sampler.remaining() > 1) {
      EXPECT_THROW(sampler.step(fails), Trouble);
    }
    sampler.step(Mixer{});
  }
  EXPECT_TRUE(same_bits(sampler.take(), dit::sample<HeunSampler>(noise, Schedule::uniform(4), Mixer{}).x));
}

TEST(EulerSampler, CallsTheFieldAtTheTimesOfTheSchedule) {
  std::vector<float> times;
  const auto field = [&](View<const float, 4>, float t, View<float, 4> v) {
    times.push_back(t);
    std::fill(v.begin(), v.end(), 0.F);
  };
  const Schedule schedule = Schedule::uniform(28).exponentially_shifted(dit::flux_mu(1024));
  dit::sample(random_tensor<float>(Shape<4>{1, 4, 2, 2}, 1), schedule, field);
  EXPECT_EQ(times, schedule.times<float>());
}

// The loop on top

TEST(Sample, TakesTensorsMapsAndViewsOfAnyRank) {
  auto noise = random_tensor<double>(Shape<5>{1, 2, 3, 2, 2}, 3);
  const auto expected = dit::sample(noise, Schedule::uniform(3), Mixer{});
  const dit::TensorMap<double, 5> map(noise.data(), noise.dimensions());
  const dit::TensorMap<const double, 5> read_only(noise.data(), noise.dimensions());
  EXPECT_TRUE(same_bits(dit::sample(map, Schedule::uniform(3), Mixer{}).x, expected.x));
  EXPECT_TRUE(same_bits(dit::sample(read_only, Schedule::uniform(3), Mixer{}).x, expected.x));
  EXPECT_TRUE(same_bits(dit::sample(View(noise), Schedule::uniform(3), Mixer{}).x, expected.x));
  EXPECT_EQ(expected.steps, 3);
  EXPECT_FALSE(expected.cancelled);
  EXPECT_EQ(dit::sample(random_tensor<float>(Shape<1>{7}, 1), Schedule::uniform(2), Mixer{}).x.size(), 7);
}

TEST(Sample, ReportsACancellationAsAnOutcome) {
  const auto noise = random_tensor<float>(Shape<4>{1, 4, 2, 2}, 1);
  const Schedule schedule = Schedule::uniform(10);
  const auto cancelled = dit::sample(noise, schedule, Mixer{}, [](const auto& run) { return run.index() < 4; });
  EXPECT_TRUE(cancelled.cancelled);
  EXPECT_EQ(cancelled.steps, 4);

  EulerSampler sampler;  // from where it had come to, it goes on
  sampler.begin(cancelled.x, schedule, cancelled.steps);
  EXPECT_TRUE(dit::run(sampler, dit::Unobserved{}, Mixer{}));
  EXPECT_TRUE(same_bits(sampler.take(), dit::sample(noise, schedule, Mixer{}).x));

  const auto last = dit::sample(noise, schedule, Mixer{}, [](const auto& run) { return !run.done(); });
  EXPECT_FALSE(last.cancelled) << "too late to cancel";
}

TEST(Sample, ShowsEveryStepToTheObserver) {
  std::vector<int> seen;
  dit::sample(random_tensor<float>(Shape<4>{1, 4, 2, 2}, 1), Schedule::uniform(3), Mixer{}, [&](const auto& run) {
    seen.push_back(run.index());
    EXPECT_EQ(run.denoised().size(), 16);
  });
  EXPECT_EQ(seen, (std::vector<int>{1, 2, 3}));
}

// What is a field

struct NotAField {
  void operator()(int) const {}
};
static_assert(dit::VelocityField<Mixer, float, 4>);
static_assert(dit::VelocityField<std::reference_wrapper<Mixer>, double, 2>);
static_assert(dit::NoisePredictor<Mixer, float, 4>);
static_assert(dit::VelocityField<void (*)(View<const float, 4>, float, View<float, 4>), float, 4>);
static_assert(!dit::VelocityField<void (*)(View<const float, 4>, float, View<float, 4>), float, 5>);
static_assert(!dit::VelocityField<void (*)(View<float, 4>, float, View<float, 4>), float, 4>,
              "the state is read only");
static_assert(!dit::VelocityField<NotAField, float, 4>);
static_assert(dit::NoiseSource<Draw, float, 4>);
static_assert(!dit::NoiseSource<NotAField, float, 4>);

}  // namespace
