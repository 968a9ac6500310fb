#include "dit/sampling/inpaint.hpp"

#include <limits>
#include <vector>

#include "dit/sampling/ddim.hpp"
#include "dit/sampling/dpmpp_2m.hpp"
#include "dit/sampling/heun.hpp"
#include "dit/sampling/sample.hpp"
#include "sampling/fields.hpp"

namespace {

using namespace sampling_test;
using dit::add_noise;
using dit::DdimSampler;
using dit::DiffusionSchedule;
using dit::Dpmpp2mSampler;
using dit::EulerSampler;
using dit::HeunSampler;
using dit::InpaintSampler;
using dit::Schedule;
using dit::Tensor;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
const Shape<4> latent{2, 3, 4, 2};

template <class T>
Tensor<T, 4> filled(const Shape<4>& shape, double value) {
  Tensor<T, 4> tensor(shape);
  tensor.setConstant(static_cast<T>(value));
  return tensor;
}

/// 0, 1, and values between them.
template <class T>
Tensor<T, 4> soft_mask(const Shape<4>& shape) {
  auto mask = random_tensor<T>(shape, 9);
  for (Index i = 0; i < mask.size(); ++i) mask.data()[i] = std::clamp<T>(mask.data()[i] + T(0.5), 0, 1);
  return mask;
}

TEST(AddNoise, IsTheStraightPath) {
  const auto image = random_tensor<float>(latent, 1), noise = random_tensor<float>(latent, 2);
  const Tensor<float, 4> expected = 0.75F * image + 0.25F * noise;
  EXPECT_LE(distance(add_noise(image, noise, 0.25), expected), 2e-7 * magnitude(expected));
  EXPECT_EQ(distance(add_noise(image, noise, 0), image), 0);
  EXPECT_EQ(distance(add_noise(image, noise, 1), noise), 0);
  EXPECT_TRUE(same_bits(add_noise(View(image), View(noise), 0.25), add_noise(image, noise, 0.25)));
  for (const double s : {-0.1, 1.1, nan}) {
    EXPECT_EQ(error_of([&] { add_noise(image, noise, s); }), "bad_schedule");
  }
  EXPECT_EQ(error_of([&] {
              add_noise(image, random_tensor<float>(Shape<4>{2, 3, 2, 4}, 1), 0.5);
            }),
            "bad_input_shape");
}

/// A model that knows the image brings it back from any strength: what `add_noise` begins with is on the path.
TEST(AddNoise, BeginsWhereTheScheduleBegins) {
  const auto image = random_tensor<double>(latent, 1), noise = random_tensor<double>(latent, 2);
  const auto velocity = [&](View<const double, 4>, double, View<double, 4> v) {
    for (Index i = 0; i < v.size(); ++i) v.data[i] = noise.data()[i] - image.data()[i];
  };
  for (const double strength : {0.1, 0.6, 1.0}) {
    const Schedule schedule = dit::sd3_schedule(28).with_strength(strength);
    const auto x = add_noise(image, noise, schedule[0]);
    EXPECT_LE(distance(dit::sample(x, schedule, velocity).x, image), 1e-14 * magnitude(noise)) << strength;
  }
}

/// After every step, as diffusers composes it; the mask has one channel, or all, or one item for the batch.
template <class Method, class Timeline>
void expect_formula(const Timeline& timeline) {
  using T = typename Method::scalar;
  const auto image = random_tensor<T>(latent, 1), noise = random_tensor<T>(latent, 2),
             x = random_tensor<T>(latent, 3);
  for (const Shape<4>& shape : {Shape<4>{2, 3, 4, 2}, {2, 1, 4, 2}, {1, 3, 4, 2}, {1, 1, 4, 2}}) {
    const auto mask = soft_mask<T>(shape);
    InpaintSampler sampler(Method(), image, noise, mask);
    sampler.begin(x, timeline);
    Method plain;
    while (!sampler.done()) {
      plain = sampler;  // sliced: the same run without a mask
      plain.step(Mixer{});
      sampler.step(Mixer{});
      const dit::Mixture at = timeline.mixture(sampler.index());
      for (Index b = 0; b < 2; ++b) {
        for (Index c = 0; c < 3; ++c) {
          for (Index i = 0; i < 8; ++i) {
            const double m = static_cast<double>(mask(shape[0] == 1 ? 0 : b, shape[1] == 1 ? 0 : c, i / 2, i % 2));
            const Index j = (b * 3 + c) * 8 + i;
            const double x0 = static_cast<double>(image.data()[j]), eps = static_cast<double>(noise.data()[j]);
            const auto blend = [m](double known, T value) {
              return (1 - m) * known + m * static_cast<double>(value);
            };
            const double expected = blend(at.image * x0 + at.noise * eps, plain.state().data[j]);
            const double rounding = 4 * static_cast<double>(std::numeric_limits<T>::epsilon());
            EXPECT_NEAR(static_cast<double>(sampler.state().data[j]), expected, rounding * 4)
                << dit::to_string(shape);
            EXPECT_NEAR(static_cast<double>(sampler.denoised().data[j]), blend(x0, plain.denoised().data[j]),
                        rounding * (1 + magnitude(plain.denoised())));
          }
        }
      }
    }
  }
}

TEST(InpaintSampler, IsTheFormulaOnAnySampler) {
  expect_formula<EulerSampler<float, 4>>(dit::sd3_schedule(4));
  expect_formula<HeunSampler<double, 4>>(Schedule::uniform(4));
  expect_formula<Dpmpp2mSampler<float, 4>>(dit::sd3_schedule(4));
  expect_formula<DdimSampler<double, 4>>(DiffusionSchedule(dit::respaced_steps(4)));
}

TEST(InpaintSampler, KeepsWhatTheMaskKeepsToTheBit) {
  const auto image = random_tensor<float>(latent, 1), noise = random_tensor<float>(latent, 2);
  Tensor<float, 4> mask(1, 1, 4, 2);
  mask.setZero();
  mask(0, 0, 1, 1) = mask(0, 0, 2, 0) = 1;
  InpaintSampler sampler(EulerSampler<float, 4>(), image, noise, mask);
  sampler.begin(dit::sd3_schedule(5));
  while (!sampler.done()) {
    sampler.step(Mixer{});
    const auto known = add_noise(image, noise, sampler.timeline()[sampler.index()]);
    for (Index i = 0; i < known.size(); ++i) {
      const bool kept = mask.data()[i % 8] == 0;
      EXPECT_EQ(sampler.state().data[i] == known.data()[i], kept) << i;
      if (kept) {
        EXPECT_EQ(sampler.denoised().data[i], image.data()[i]) << "the preview shows the image itself";
      }
    }
  }
  const auto result = sampler.take();
  for (Index i = 0; i < result.size(); ++i) EXPECT_EQ(result.data()[i] == image.data()[i], mask.data()[i % 8] == 0);
}

TEST(InpaintSampler, OfAMaskOfOnesIsTheSamplerAndOfZerosTheImage) {
  const auto image = random_tensor<float>(latent, 1), noise = random_tensor<float>(latent, 2);
  const auto run = [&](auto method, auto timeline, double value) {
    InpaintSampler sampler(method, image, noise, filled<float>({1, 1, 4, 2}, value));
    sampler.begin(noise, timeline);
    EXPECT_TRUE(dit::run(sampler, dit::Unobserved{}, Mixer{}));
    return sampler.take();
  };
  const Schedule schedule = dit::sd3_schedule(6);
  const DiffusionSchedule chain(dit::ddim_steps(10));
  EXPECT_TRUE(same_bits(run(EulerSampler<float, 4>(), schedule, 1), dit::sample(noise, schedule, Mixer{}).x));
  EXPECT_TRUE(
      same_bits(run(HeunSampler<float, 4>(), schedule, 1), dit::sample<HeunSampler>(noise, schedule, Mixer{}).x));
  EXPECT_TRUE(same_bits(run(Dpmpp2mSampler<float, 4>(), schedule, 1),
                        dit::sample<Dpmpp2mSampler>(noise, schedule, Mixer{}).x));
  EXPECT_TRUE(same_bits(run(DdimSampler<float, 4>(), chain, 1), dit::sample<DdimSampler>(noise, chain, Mixer{}).x));
  EXPECT_EQ(distance(run(EulerSampler<float, 4>(), schedule, 0), image), 0);
  EXPECT_EQ(distance(run(Dpmpp2mSampler<float, 4>(), schedule, 0), image), 0);
  EXPECT_EQ(distance(run(DdimSampler<float, 4>(), chain, 0), image), 0);
}

TEST(InpaintSampler, BeginsFromTheNoisedImage) {
  const auto image = random_tensor<float>(latent, 1), noise = random_tensor<float>(latent, 2);
  InpaintSampler sampler(EulerSampler<float, 4>(), image, noise, filled<float>({1, 1, 4, 2}, 1));
  const Schedule part = dit::sd3_schedule(28).with_strength(0.6);
  sampler.begin(part);
  EXPECT_TRUE(same_bits(sampler.state(), add_noise(image, noise, part[0])));
  sampler.begin(dit::sd3_schedule(28));
  EXPECT_EQ(distance(sampler.state(), noise), 0) << "at strength 1 it is the noise";

  const DiffusionSchedule chain(dit::respaced_steps(10));
  InpaintSampler ddim(DdimSampler<float, 4>(), image, noise, filled<float>({1, 1, 4, 2}, 1));
  ddim.begin(chain);
  const Tensor<float, 4> expected = static_cast<float>(std::sqrt(chain.alpha_bar(9))) * image +
                                    static_cast<float>(std::sqrt(1 - chain.alpha_bar(9))) * noise;
  EXPECT_LE(distance(ddim.state(), expected), 2e-7 * magnitude(expected));
}

TEST(InpaintSampler, MakesABatchOfOneImage) {
  const auto image = random_tensor<float>(Shape<4>{1, 3, 4, 2}, 1), noise = random_tensor<float>(latent, 2);
  const auto mask = soft_mask<float>({1, 1, 4, 2});
  const Schedule schedule = Schedule::uniform(5);
  InpaintSampler sampler(EulerSampler<float, 4>(), image, noise, mask);
  sampler.begin(schedule);
  ASSERT_EQ(sampler.state().shape, latent);
  dit::run(sampler, dit::Unobserved{}, Mixer{});
  const auto both = sampler.take();
  for (Index item = 0; item < 2; ++item) {
    Tensor<float, 4> own(1, 3, 4, 2);
    std::copy_n(noise.data() + item * own.size(), own.size(), own.data());
    InpaintSampler alone(EulerSampler<float, 4>(), image, own, mask);
    alone.begin(schedule);
    dit::run(alone, dit::Unobserved{}, Mixer{});
    EXPECT_EQ(0, std::memcmp(alone.take().data(), both.data() + item * own.size(), sizeof(float) * 24)) << item;
  }
}

TEST(InpaintSampler, IsObservedAndCancelledAndGoesOn) {
  const auto image = random_tensor<float>(latent, 1), noise = random_tensor<float>(latent, 2);
  const auto mask = soft_mask<float>({1, 1, 4, 2});
  const Schedule schedule = dit::sd3_schedule(6);
  InpaintSampler sampler(Dpmpp2mSampler<float, 4>(), image, noise, mask), whole = sampler;
  whole.begin(schedule);
  std::vector<int> seen;
  EXPECT_TRUE(dit::run(
      whole, [&](const auto& run) { seen.push_back(run.index()); }, Mixer{}));
  EXPECT_EQ(seen, (std::vector<int>{1, 2, 3, 4, 5, 6}));

  sampler.begin(schedule);
  EXPECT_FALSE(dit::run(
      sampler, [](const auto& run) { return run.index() < 3; }, Mixer{}));
  EXPECT_EQ(sampler.index(), 3);
  EXPECT_TRUE(dit::run(sampler, dit::Unobserved{}, Mixer{}));
  EXPECT_TRUE(same_bits(sampler.take(), whole.take()));
}

TEST(InpaintSampler, TakesUpARunThatHasNoMask) {
  const auto image = random_tensor<float>(latent, 1), noise = random_tensor<float>(latent, 2);
  EulerSampler<float, 4> plain;
  plain.begin(noise, dit::sd3_schedule(6));
  plain.step(Mixer{});
  InpaintSampler sampler(plain, image, noise, filled<float>({1, 1, 4, 2}, 0));
  EXPECT_EQ(sampler.index(), 1);
  dit::run(sampler, dit::Unobserved{}, Mixer{});
  EXPECT_EQ(distance(sampler.take(), image), 0);
  const auto small = random_tensor<float>(Shape<4>{1, 3, 2, 2}, 1);
  EXPECT_EQ(error_of([&] { InpaintSampler(plain, small, small, small); }), "bad_input_shape");
}

TEST(InpaintSampler, RefusesMasksThatAreNone) {
  const auto image = random_tensor<float>(latent, 1), noise = random_tensor<float>(latent, 2);
  const auto error = [&](const auto& x0, const auto& eps, const auto& m) {
    return error_of([&] { InpaintSampler(EulerSampler<float, 4>(), x0, eps, m); });
  };
  for (const double bad : {-1e-6, 1.001, nan, std::numeric_limits<double>::infinity()}) {
    for (const Index at : {0, 5, 7}) {
      auto mask = filled<float>({1, 1, 4, 2}, 1);
      mask.data()[at] = static_cast<float>(bad);
      EXPECT_EQ(error(image, noise, mask), "bad_option") << bad << " at " << at;
    }
  }
  EXPECT_EQ(error(image, noise, filled<float>({1, 1, 4, 2}, -0.0)), "none");
  for (const Shape<4>& shape : {Shape<4>{3, 1, 4, 2}, {1, 2, 4, 2}, {1, 1, 2, 4}, {1, 1, 1, 1}, {1, 1, 4, 1}}) {
    EXPECT_EQ(error(image, noise, filled<float>(shape, 1)), "bad_input_shape") << dit::to_string(shape);
  }
  const auto mask = filled<float>({1, 1, 4, 2}, 1);
  for (const Shape<4>& shape : {Shape<4>{3, 3, 4, 2}, {2, 1, 4, 2}, {2, 3, 2, 4}}) {
    const auto other = random_tensor<float>(shape, 1);
    EXPECT_EQ(error(other, noise, mask), "bad_input_shape") << dit::to_string(shape);
    EXPECT_EQ(error(image, other, mask), "bad_input_shape") << dit::to_string(shape);
  }
  EXPECT_EQ(error(image, noise, View<const float, 4>()), "bad_input_shape");
  EXPECT_EQ(error(View<const float, 4>(), noise, mask), "bad_input_shape");

  InpaintSampler sampler(EulerSampler<float, 4>(), image, noise, mask);
  EXPECT_EQ(error_of([&] { sampler.step(Mixer{}); }), "bad_state") << "not begun";
  EXPECT_EQ(error_of([&] {
              sampler.begin(random_tensor<float>(Shape<4>{3, 3, 4, 2}, 1), Schedule::uniform(3));
            }),
            "bad_input_shape");
  EXPECT_EQ(error_of([&] { sampler.begin(noise, Schedule::uniform(3), 4); }), "bad_option");
}

}  // namespace
