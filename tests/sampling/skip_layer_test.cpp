#include "dit/sampling/skip_layer.hpp"

#include <limits>
#include <vector>

#include "dit/sampling/dpmpp_2m.hpp"
#include "dit/sampling/sample.hpp"
#include "sampling/fields.hpp"

namespace {

using namespace sampling_test;
using dit::BatchedGuidance;
using dit::Guidance;
using dit::Schedule;
using dit::SequentialGuidance;
using dit::SkipLayer;
using dit::SkipLayerGuidance;
using dit::Tensor;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();
const Shape<4> latent{3, 4, 2, 5};

/// Counts its calls.
struct Counted {
  Mixer mixer;
  int* calls;
  template <class T, std::size_t rank>
  void operator()(View<const T, rank> x, T t, View<T, rank> v) const {
    ++*calls;
    mixer(x, t, v);
  }
};

/// [x | x] -> [conditional | unconditional], or x alone, conditional.
struct Both {
  Index items = 3;
  template <class T, std::size_t rank>
  void operator()(View<const T, rank> x, T t, View<T, rank> v) const {
    Shape<rank> half = x.shape;
    half[0] = items;
    const Index n = dit::size(half);
    Mixer{1}(View<const T, rank>(x.data, half), t, View<T, rank>(v.data, half));
    if (x.shape[0] > items) Mixer{2}(View<const T, rank>(x.data + n, half), t, View<T, rank>(v.data + n, half));
  }
};

template <class T, class F>
Tensor<T, 4> predict(F&& field, const Tensor<T, 4>& x, T t) {
  Tensor<T, 4> v(x.dimensions());
  v.setConstant(static_cast<T>(nan));
  std::invoke(field, View<const T, 4>(x), t, View<T, 4>(v));
  return v;
}

TEST(SkipLayerGuidance, IsTheFormulaAfterTheGuidance) {
  const auto x = random_tensor<double>(latent, 1);
  const auto c = predict(Mixer{1}, x, 0.5), u = predict(Mixer{2}, x, 0.5), w = predict(Mixer{3}, x, 0.5);
  for (const double scale : {-1.0, 0.0, 1.0, 5.0}) {
    for (const double skip : {-0.5, 1.0, 2.8}) {
      const Tensor<double, 4> expected = u + scale * (c - u) + skip * (c - w);
      SkipLayerGuidance two(SequentialGuidance(Mixer{1}, Mixer{2}, Guidance{scale}), Mixer{3}, SkipLayer{skip});
      SkipLayerGuidance one(BatchedGuidance(Both{}, Guidance{scale}), Mixer{3}, SkipLayer{skip});
      EXPECT_LE(distance(predict(two, x, 0.5), expected), 1e-13) << scale << " " << skip;
      EXPECT_TRUE(same_bits(predict(one, x, 0.5), predict(two, x, 0.5))) << scale << " " << skip;
    }
  }
  const Tensor<double, 4> expected = c + 2.8 * (c - w);
  EXPECT_LE(distance(predict(SkipLayerGuidance(Mixer{1}, Mixer{3}, SkipLayer{}), x, 0.5), expected), 1e-14)
      << "a field that is not guided is its own conditional prediction";
}

TEST(SkipLayerGuidance, KnowsAGuidanceByReference) {
  const auto x = random_tensor<float>(latent, 1);
  SequentialGuidance guided(Mixer{1}, Mixer{2}, Guidance{5});
  Mixer skipped{3};
  SkipLayerGuidance by_value(guided, skipped, SkipLayer{});
  SkipLayerGuidance by_reference(std::ref(guided), std::cref(skipped), SkipLayer{});
  EXPECT_TRUE(same_bits(predict(by_reference, x, 0.5F), predict(by_value, x, 0.5F)));
}

TEST(SkipLayerGuidance, StacksOnItselfWithOneConditional) {
  const auto x = random_tensor<double>(latent, 1);
  const auto c = predict(Mixer{1}, x, 0.5), u = predict(Mixer{2}, x, 0.5);
  const auto w = predict(Mixer{3}, x, 0.5), y = predict(Mixer{4}, x, 0.5);
  const Tensor<double, 4> guided = u + 5 * (c - u) + 2 * (c - w) + 3 * (c - y);
  SkipLayerGuidance inner(SequentialGuidance(Mixer{1}, Mixer{2}, Guidance{5}), Mixer{3}, SkipLayer{2});
  EXPECT_LE(distance(predict(SkipLayerGuidance(inner, Mixer{4}, SkipLayer{3}), x, 0.5), guided), 1e-13);
  const Tensor<double, 4> plain = c + 2 * (c - w) + 3 * (c - y);
  SkipLayerGuidance field(Mixer{1}, Mixer{3}, SkipLayer{2});
  EXPECT_LE(distance(predict(SkipLayerGuidance(field, Mixer{4}, SkipLayer{3}), x, 0.5), plain), 1e-13);
}

TEST(SkipLayerGuidance, OfEqualFieldsIsTheGuidance) {
  const auto x = random_tensor<float>(latent, 1);
  SequentialGuidance guided(Mixer{1}, Mixer{2}, Guidance{5});
  EXPECT_EQ(distance(predict(SkipLayerGuidance(guided, Mixer{1}, SkipLayer{}), x, 0.5F), predict(guided, x, 0.5F)),
            0);
}

TEST(SkipLayerGuidance, CallsTheSkippedFieldOnlyWhereItCounts) {
  const auto x = random_tensor<float>(latent, 1);
  SequentialGuidance guided(Mixer{1}, Mixer{2}, Guidance{5});
  int calls = 0;
  const Counted skipped{Mixer{3}, &calls};
  SkipLayerGuidance none(guided, skipped, SkipLayer{0});
  EXPECT_TRUE(same_bits(predict(none, x, 0.5F), predict(guided, x, 0.5F)));
  SkipLayerGuidance late(guided, skipped, SkipLayer{.lo = 0.2, .hi = 0.4});
  EXPECT_TRUE(same_bits(predict(late, x, 0.5F), predict(guided, x, 0.5F)));
  EXPECT_EQ(calls, 0);
  predict(late, x, 0.4F);
  EXPECT_EQ(calls, 1) << "the ends belong to the interval, rounded as the time is";
}

/// diffusers and the sd3.5 repository: step > start n and step < stop n, counted from 0.
TEST(SkipLayerGuidance, ActsInTheStepsOfTheReference) {
  const auto noise = random_tensor<float>(Shape<4>{1, 2, 2, 2}, 1);
  for (const int n : {1, 4, 10, 28, 40, 50}) {
    for (const Schedule& schedule : {dit::sd3_schedule(n), dit::sd3_schedule(n).with_strength(0.7)}) {
      for (const auto& [start, stop] :
           {std::pair{0.01, 0.2}, {0.01, 0.3}, {0.0, 1.0}, {0.2, 0.2}, {-1.0, 0.5}, {0.5, 2.0}}) {
        int calls = 0;
        SkipLayerGuidance field(Mixer{1}, Counted{Mixer{3}, &calls}, SkipLayer::between(schedule, start, stop));
        dit::EulerSampler sampler;
        sampler.begin(noise, schedule);
        for (int i = 0; !sampler.done(); ++i) {
          const int before = calls;
          sampler.step(field);
          const bool expected = i > start * schedule.steps() && i < stop * schedule.steps();
          EXPECT_EQ(calls - before, expected ? 1 : 0) << i << " of " << n << ", " << start << " to " << stop;
        }
      }
    }
  }
  const SkipLayer defaults = SkipLayer::between(dit::sd3_schedule(28), 0.01, 0.2);
  EXPECT_EQ(defaults.scale, 2.8);
  EXPECT_EQ(defaults.hi, dit::sd3_schedule(28)[1]);
  EXPECT_EQ(defaults.lo, dit::sd3_schedule(28)[5]);
}

TEST(SkipLayerGuidance, AtGuidanceScaleOneNeverCallsTheUnconditionalField) {
  const auto x = random_tensor<float>(latent, 1);
  int conditional = 0, unconditional = 0, skipped = 0;
  SkipLayerGuidance field(
      SequentialGuidance(Counted{Mixer{1}, &conditional}, Counted{Mixer{2}, &unconditional}, Guidance{1}),
      Counted{Mixer{3}, &skipped}, SkipLayer{2});
  const auto v = predict(field, x, 0.5F);
  EXPECT_EQ(conditional, 1);
  EXPECT_EQ(unconditional, 0);
  EXPECT_EQ(skipped, 1);
  EXPECT_TRUE(same_bits(predict(SkipLayerGuidance(Mixer{1}, Mixer{3}, SkipLayer{2}), x, 0.5F), v));
}

TEST(SkipLayerGuidance, RefusesWhatIsNoGuidance) {
  const Schedule schedule = dit::sd3_schedule(28);
  for (const SkipLayer& bad : {SkipLayer{nan}, SkipLayer{inf}, SkipLayer{.lo = 0.7, .hi = 0.3},
                               SkipLayer{.lo = nan}, SkipLayer{.hi = nan}}) {
    EXPECT_EQ(error_of([&] { SkipLayerGuidance(Mixer{1}, Mixer{3}, bad); }), "bad_guidance");
  }
  EXPECT_EQ(error_of([&] { SkipLayer::between(schedule, 0.3, 0.2); }), "bad_guidance");
  EXPECT_EQ(error_of([&] { SkipLayer::between(schedule, nan, 0.2); }), "bad_guidance");
  EXPECT_EQ(error_of([&] { SkipLayer::between(schedule, 0, nan); }), "bad_guidance");
  EXPECT_EQ(error_of([&] { SkipLayer::between(schedule, 0, 1, nan); }), "bad_guidance");
}

TEST(SkipLayerGuidance, RefusesOverlapsAndFalseShapes) {
  SkipLayerGuidance field(Mixer{1}, Mixer{3}, SkipLayer{});
  std::vector<float> memory(400);
  float* p = memory.data();
  const auto error = [&](View<const float, 4> x, View<float, 4> v) { return error_of([&] { field(x, 0.5F, v); }); };
  EXPECT_EQ(error({p, latent}, {p + 120, latent}), "none");
  EXPECT_EQ(error({p, latent}, {p + 119, latent}), "aliasing");
  EXPECT_EQ(error({p, latent}, {p + 120, {3, 8, 2, 5}}), "bad_input_shape")
      << "a velocity has the state's channels";
  EXPECT_EQ(error({p, latent}, {p + 120, {3, 4, 5, 2}}), "bad_input_shape");
  EXPECT_EQ(error({p, {0, 4, 2, 5}}, {p + 120, {0, 4, 2, 5}}), "bad_input_shape");
}

}  // namespace
