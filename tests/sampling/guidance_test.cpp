#include "dit/sampling/guidance.hpp"

#include <functional>
#include <limits>
#include <vector>

#include "dit/sampling/ddpm.hpp"
#include "dit/sampling/sample.hpp"
#include "sampling/fields.hpp"

namespace {

using namespace sampling_test;
using dit::BatchedGuidance;
using dit::Guidance;
using dit::SequentialGuidance;
using dit::Tensor;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();

/// A model with two conditions, counting its calls and the items that it was shown.
struct Model {
  Mixer conditional{1}, unconditional{2};
  int calls = 0, unconditional_items = 0;

  /// A field of `items` conditional items; those beyond are not.
  auto both(Index items) {
    return [this, items]<class T, std::size_t rank, class Time>(View<const T, rank> x, Time t, View<T, rank> out) {
      ++calls;
      const Index size = x.size() / x.shape[0], wide = out.size() / out.shape[0];
      for (Index item = 0; item < x.shape[0]; ++item) {
        Shape<rank> one = x.shape, one_out = out.shape;
        one[0] = one_out[0] = 1;
        const Mixer& mixer = item < items ? conditional : unconditional;
        unconditional_items += item < items ? 0 : 1;
        mixer(View<const T, rank>(x.data + item * size, one), t, View<T, rank>(out.data + item * wide, one_out));
      }
    };
  }
  auto with() { return both(1 << 20); }
  auto without() { return both(0); }
};

/// field(x, t), with `more` times the state's channels.
template <class T, std::size_t rank, class F, class Time>
auto predict(F&& field, const Tensor<T, static_cast<int>(rank)>& x, Time t, Index more = 1) {
  Shape<rank> shape = View<const T, rank>(x).shape;
  shape[1 % rank] *= more;
  Tensor<T, static_cast<int>(rank)> out(shape);
  out.setConstant(static_cast<T>(nan));
  std::invoke(field, View<const T, rank>(x), t, View<T, rank>(out));
  return out;
}

const Shape<4> latent{3, 4, 2, 5};

TEST(Guidance, IsTheFormula) {
  const auto x = random_tensor<double>(latent, 1);
  Model model;
  const auto c = predict<double, 4>(model.with(), x, 0.5), u = predict<double, 4>(model.without(), x, 0.5);
  for (const double scale : {-1.0, 0.5, 1.5, 7.0}) {
    const Tensor<double, 4> expected = u + scale * (c - u);
    SequentialGuidance field(model.with(), model.without(), Guidance{scale});
    EXPECT_LE(distance(predict<double, 4>(field, x, 0.5), expected), 1e-14) << scale;
  }
}

TEST(Guidance, AtScaleOneNeverCallsTheUnconditionalBranch) {
  const auto x = random_tensor<float>(latent, 1);
  Model model;
  const auto c = predict<float, 4>(model.with(), x, 0.5F);
  for (const Index channels : {Guidance::all_channels, Index{3}}) {
    const Guidance guidance{.scale = 1, .channels = channels};
    model = {};
    EXPECT_TRUE(
        same_bits(predict<float, 4>(SequentialGuidance(model.with(), model.without(), guidance), x, 0.5F), c));
    EXPECT_EQ(model.calls, 1);
    EXPECT_TRUE(same_bits(predict<float, 4>(BatchedGuidance(model.both(3), guidance), x, 0.5F), c));
    EXPECT_EQ(model.calls, 2);
    EXPECT_EQ(model.unconditional_items, 0);
  }
}

TEST(Guidance, AtScaleZeroIsUnconditional) {
  const auto x = random_tensor<float>(latent, 1);
  Model model;
  const auto u = predict<float, 4>(model.without(), x, 0.5F);
  const auto never = [](auto...) { FAIL() << "the conditional branch was called"; };
  EXPECT_TRUE(same_bits(predict<float, 4>(SequentialGuidance(never, model.without(), Guidance{0}), x, 0.5F), u));
  EXPECT_TRUE(same_bits(predict<float, 4>(BatchedGuidance(model.both(3), Guidance{0}), x, 0.5F), u));
}

TEST(Guidance, AtScaleZeroIsUnconditionalWhateverTheConditionalIs) {
  const auto x = random_tensor<float>(latent, 1);
  const auto broken = [](View<const float, 4> both, float, View<float, 4> out) {
    const Index half = both.shape[0] > 3 ? out.size() / 2 : 0;
    std::fill_n(out.data, half, std::numeric_limits<float>::infinity());
    std::fill_n(out.data + half, out.size() - half, 2.F);
  };
  const auto v = predict<float, 4>(BatchedGuidance(broken, Guidance{0}), x, 0.5F);
  for (Index i = 0; i < v.size(); ++i) EXPECT_EQ(v.data()[i], 2);
}

TEST(Guidance, OfEqualBranchesIsTheBranchAtAnyScale) {
  const auto x = random_tensor<float>(latent, 1);
  Model model;
  const auto c = predict<float, 4>(model.with(), x, 0.5F);
  for (const double scale : {-3.0, 0.0, 0.3, 1.0, 4.0, 1e6}) {
    EXPECT_TRUE(
        same_bits(predict<float, 4>(SequentialGuidance(model.with(), model.with(), Guidance{scale}), x, 0.5F), c));
    EXPECT_TRUE(same_bits(predict<float, 4>(BatchedGuidance(model.with(), Guidance{scale}), x, 0.5F), c)) << scale;
  }
}

template <class T, std::size_t rank, class Time>
void expect_batched_is_two_passes(const Shape<rank>& shape, Time t, Index more) {
  const auto x = random_tensor<T>(shape, 38);
  Model model;
  for (const double scale : {-1.0, 0.0, 0.7, 1.0, 4.0}) {
    for (Index channels = rank > 1 ? -1 : 1; channels <= (rank > 1 ? shape[1 % rank] : 1); ++channels) {
      if (channels == 0) continue;
      const Guidance guidance{.scale = scale, .channels = channels};
      const auto two = predict<T, rank>(SequentialGuidance(model.with(), model.without(), guidance), x, t, more);
      const auto one = predict<T, rank>(BatchedGuidance(model.both(shape[0]), guidance), x, t, more);
      EXPECT_TRUE(same_bits(one, two)) << scale << " " << channels << " " << dit::to_string(shape);
    }
  }
}

TEST(Guidance, BatchedIsTwoPasses) {
  expect_batched_is_two_passes<float>(latent, 0.5F, 1);
  expect_batched_is_two_passes<double>(latent, 0.5, 1);
  expect_batched_is_two_passes<float>(latent, 500, 2);
  expect_batched_is_two_passes<double>(Shape<5>{1, 3, 2, 1, 7}, 0.25, 1);
  expect_batched_is_two_passes<float>(Shape<2>{5, 3}, 0.25F, 1);
  expect_batched_is_two_passes<float>(Shape<1>{6}, 0.25F, 1);
}

TEST(Guidance, BatchedCallsTheFieldOnceOnConditionalThenUnconditional) {
  const auto x = random_tensor<float>(latent, 1);
  int calls = 0;
  const auto field = [&](View<const float, 4> both, float, View<float, 4> out) {
    ++calls;
    ASSERT_EQ(both.shape, (Shape<4>{6, 4, 2, 5}));
    ASSERT_EQ(out.shape, both.shape);
    for (Index half = 0; half < 2; ++half) {
      EXPECT_EQ(0, std::memcmp(both.data + half * x.size(), x.data(),
                               sizeof(float) * static_cast<std::size_t>(x.size())));
      std::fill_n(out.data + half * x.size(), x.size(), half == 0 ? 3.F : 1.F);
    }
  };
  const auto v = predict<float, 4>(BatchedGuidance(field, Guidance{4}), x, 0.5F);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(v(0, 0, 0, 0), 9) << "1 + 4 (3 - 1)";
}

/// The official DiT guides three of its four channels, and keeps the conditional variance.
TEST(Guidance, OnThreeChannelsLeavesTheRestConditional) {
  const auto x = random_tensor<double>(latent, 1);
  Model model;
  const auto c = predict<double, 4>(model.with(), x, 500, 2), u = predict<double, 4>(model.without(), x, 500, 2);
  for (const Index channels : {1, 3, 4}) {
    SequentialGuidance field(model.with(), model.without(), Guidance{.scale = 4, .channels = channels});
    const auto v = predict<double, 4>(field, x, 500, 2);
    for (Index b = 0; b < 3; ++b) {
      for (Index channel = 0; channel < 8; ++channel) {
        for (Index i = 0; i < 10; ++i) {
          const double cond = c(b, channel, i / 5, i % 5), uncond = u(b, channel, i / 5, i % 5);
          const double expected = channel < channels ? uncond + 4 * (cond - uncond) : cond;
          EXPECT_NEAR(v(b, channel, i / 5, i % 5), expected, 1e-14) << channel;
        }
      }
    }
  }
  SequentialGuidance all(model.with(), model.without(), Guidance{4});
  SequentialGuidance four(model.with(), model.without(), Guidance{.scale = 4, .channels = 4});
  EXPECT_TRUE(same_bits(predict<double, 4>(all, x, 500, 2), predict<double, 4>(four, x, 500, 2)))
      << "variance logits are never guided";
}

TEST(Guidance, InAnIntervalThatHoldsAllTimesIsGuidance) {
  const auto x = random_tensor<float>(latent, 1);
  Model model;
  for (const float t : {0.F, 0.3F, 1.F}) {
    SequentialGuidance everywhere(model.with(), model.without(), Guidance{4});
    SequentialGuidance within(model.with(), model.without(), Guidance{.scale = 4, .lo = 0, .hi = 1});
    EXPECT_TRUE(same_bits(predict<float, 4>(everywhere, x, t), predict<float, 4>(within, x, t)));
  }
}

TEST(Guidance, OutsideItsIntervalIsConditional) {
  const auto x = random_tensor<float>(latent, 1);
  Model model;
  const Guidance guidance{.scale = 4, .lo = 0.3, .hi = 0.7};
  for (const float t : {0.F, 0.25F, 0.75F, 1.F}) {
    const auto c = predict<float, 4>(model.with(), x, t);
    model = {};
    EXPECT_TRUE(same_bits(predict<float, 4>(SequentialGuidance(model.with(), model.without(), guidance), x, t), c));
    EXPECT_TRUE(same_bits(predict<float, 4>(BatchedGuidance(model.both(3), guidance), x, t), c));
    EXPECT_EQ(model.calls, 2);
    EXPECT_EQ(model.unconditional_items, 0);
  }
  // An interval that no step meets: the whole run is conditional.
  SequentialGuidance empty(model.with(), model.without(), Guidance{.scale = 4, .lo = 2, .hi = 3});
  const dit::Schedule schedule = dit::Schedule::uniform(5);
  EXPECT_TRUE(same_bits(dit::sample(x, schedule, empty).x, dit::sample(x, schedule, model.with()).x));
}

TEST(Guidance, HoldsTheEndsOfItsInterval) {
  for (const double end : {0.1, 0.3, 0.6, 0.7, 0.9}) {  // none of them is a float
    EXPECT_TRUE((Guidance{.scale = 4, .lo = end, .hi = 1}).active(static_cast<float>(end))) << end;
    EXPECT_TRUE((Guidance{.scale = 4, .lo = 0, .hi = end}).active(static_cast<float>(end))) << end;
    EXPECT_TRUE((Guidance{.scale = 4, .lo = end, .hi = end}).active(end)) << end;
  }
  const Guidance steps{.scale = 4, .lo = 200, .hi = 800};
  EXPECT_TRUE(steps.active(200) && steps.active(800));
  EXPECT_FALSE(steps.active(199) || steps.active(801));
}

TEST(Guidance, WrapsAFieldForASamplerAndAgain) {
  const auto x = random_tensor<float>(latent, 1);
  Model model;
  SequentialGuidance inner(model.with(), model.without(), Guidance{2});
  SequentialGuidance outer(inner, model.without(), Guidance{1.5});  // 1.5 * 2 = 3
  SequentialGuidance direct(model.with(), model.without(), Guidance{3});
  EXPECT_LE(distance(predict<float, 4>(outer, x, 0.5F), predict<float, 4>(direct, x, 0.5F)), 1e-5);

  Mixer conditional{1}, unconditional{2};
  SequentialGuidance by_reference(std::ref(conditional), std::cref(unconditional), Guidance{2});
  EXPECT_TRUE(same_bits(predict<float, 4>(by_reference, x, 0.5F), predict<float, 4>(inner, x, 0.5F)));
}

TEST(Guidance, WrapsWhatAnAncestralSamplerAsks) {
  const auto x = random_tensor<float>(latent, 1);
  Model model;
  const Guidance guidance{.scale = 4, .channels = 3};
  const auto sampled = [&](auto field) {
    dit::DdpmSampler sampler;
    Draw draw;
    sampler.begin(x, dit::DiffusionSchedule(dit::respaced_steps(10)));
    while (!sampler.done()) sampler.step(field, draw);
    return sampler.take();
  };
  const auto two = sampled(SequentialGuidance(model.with(), model.without(), guidance));
  EXPECT_TRUE(same_bits(sampled(BatchedGuidance(model.both(3), guidance)), two));
  EXPECT_GT(distance(sampled(model.with()), two), 0.01);
}

TEST(Guidance, RefusesWhatIsNoGuidance) {
  const Mixer field;
  for (const Guidance& bad : {Guidance{nan}, Guidance{inf}, Guidance{-inf}, Guidance{.scale = 4, .channels = 0},
                              Guidance{.scale = 4, .channels = -2}, Guidance{.scale = 4, .lo = 0.7, .hi = 0.3},
                              Guidance{.scale = 4, .lo = nan}, Guidance{.scale = 4, .hi = nan}}) {
    EXPECT_EQ(error_of([&] { SequentialGuidance(field, field, bad); }), "bad_guidance");
    EXPECT_EQ(error_of([&] { BatchedGuidance(field, bad); }), "bad_guidance");
  }
  const auto x = random_tensor<float>(latent, 1);
  const Guidance five{.scale = 4, .channels = 5};
  EXPECT_EQ(error_of([&] { predict<float, 4>(SequentialGuidance(field, field, five), x, 0.5F, 2); }),
            "bad_guidance");
  EXPECT_EQ(error_of([&] { predict<float, 4>(BatchedGuidance(field, five), x, 0.5F, 2); }), "bad_guidance");
}

TEST(Guidance, RefusesOverlapsAndFalseShapes) {
  const Mixer mixer;
  SequentialGuidance two(mixer, mixer, Guidance{4});
  BatchedGuidance one(mixer, Guidance{4});
  const auto both = [&](View<const float, 4> x, View<float, 4> v) {
    const std::string error = error_of([&] { two(x, 0.5F, v); });
    EXPECT_EQ(error_of([&] { one(x, 0.5F, v); }), error);
    return error;
  };
  std::vector<float> memory(400);
  float* p = memory.data();
  const Shape<4> wide{3, 8, 2, 5};
  EXPECT_EQ(both({p, latent}, {p + 120, latent}), "none");
  EXPECT_EQ(both({p, latent}, {p + 120, wide}), "none");
  EXPECT_EQ(both({p, latent}, {p, latent}), "aliasing");
  EXPECT_EQ(both({p, latent}, {p + 119, latent}), "aliasing");
  EXPECT_EQ(both({p + 119, latent}, {p, latent}), "aliasing");
  EXPECT_EQ(both({p, latent}, {p + 120, {3, 3, 2, 5}}), "bad_input_shape") << "fewer channels";
  EXPECT_EQ(both({p, latent}, {p + 120, {3, 4, 5, 2}}), "bad_input_shape");
  EXPECT_EQ(both({p, latent}, {p + 120, {2, 4, 2, 5}}), "bad_input_shape");
  EXPECT_EQ(both({p, latent}, {nullptr, latent}), "bad_input_shape");
  EXPECT_EQ(both({p, {0, 4, 2, 5}}, {p + 120, {0, 4, 2, 5}}), "bad_input_shape");
}

}  // namespace
