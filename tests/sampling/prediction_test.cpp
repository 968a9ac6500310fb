#include "dit/sampling/prediction.hpp"

#include <limits>

#include "dit/sampling/ddim.hpp"
#include "dit/sampling/sample.hpp"
#include "sampling/fields.hpp"

namespace {

using namespace sampling_test;
using dit::Conversion;
using dit::ConvertedField;
using dit::DiffusionPath;
using dit::DiffusionSchedule;
using dit::FlowPath;
using dit::Mixture;
using dit::Prediction;
using dit::Schedule;
using dit::Tensor;

constexpr Prediction all[] = {Prediction::eps, Prediction::x0, Prediction::v, Prediction::flow};
const Shape<4> latent{2, 3, 2, 2};

/// Image and noise, and every mixture of them.
struct Pair {
  Tensor<double, 4> image = random_tensor<double>(latent, 1), noise = random_tensor<double>(latent, 2);
  Tensor<double, 4> mixed(Mixture m) const { return m.image * image + m.noise * noise; }
};

std::vector<Mixture> places() {
  std::vector<Mixture> mixtures;
  for (const double t : {0.05, 0.3, 0.5, 0.95}) mixtures.push_back(FlowPath()(t));
  const DiffusionPath diffusion{DiffusionSchedule(dit::ddim_steps(50))};
  for (const int t : {0, 20, 500, 999}) mixtures.push_back(diffusion(t));
  return mixtures;
}

TEST(Prediction, FollowsFromEveryOtherOnBothPaths) {
  const Pair pair;
  for (const Mixture at : places()) {
    const Tensor<double, 4> x = pair.mixed(at);
    for (const Prediction from : all) {
      for (const Prediction to : all) {
        Tensor<double, 4> y = pair.mixed(mixture(from, at));
        const Conversion convert(at, mixture(from, at), mixture(to, at));
        convert(View<const double, 4>(x), View<double, 4>(y));
        const double condition = 1 + std::abs(convert.of_x) + std::abs(convert.of_y);
        EXPECT_LE(distance(y, pair.mixed(mixture(to, at))), 1e-14 * condition)
            << static_cast<int>(from) << " to " << static_cast<int>(to) << " at " << at.noise;
      }
    }
  }
}

TEST(Prediction, RoundTrips) {
  const auto x = random_tensor<double>(latent, 3), y = random_tensor<double>(latent, 4);
  for (const Mixture at : places()) {
    for (const Prediction from : all) {
      for (const Prediction to : all) {
        Tensor<double, 4> there = y;
        const Conversion forth(at, mixture(from, at), mixture(to, at)),
            back(at, mixture(to, at), mixture(from, at));
        forth(View<const double, 4>(x), View<double, 4>(there));
        back(View<const double, 4>(x), View<double, 4>(there));
        const double condition =
            (1 + std::abs(forth.of_x) + std::abs(forth.of_y)) * (1 + std::abs(back.of_x) + std::abs(back.of_y));
        EXPECT_LE(distance(there, y), 1e-14 * condition);
      }
    }
  }
}

TEST(Prediction, HasTheFormulasOfThePapers) {
  const Mixture at = FlowPath()(0.25);
  const Conversion flow_from_eps(at, mixture(Prediction::eps, at), mixture(Prediction::flow, at));
  EXPECT_NEAR(flow_from_eps.of_x, -1 / 0.75, 1e-15);
  EXPECT_NEAR(flow_from_eps.of_y, 1 / 0.75, 1e-15);
  const Conversion flow_from_x0(at, mixture(Prediction::x0, at), mixture(Prediction::flow, at));
  EXPECT_NEAR(flow_from_x0.of_x, 4, 1e-15);
  EXPECT_NEAR(flow_from_x0.of_y, -4, 1e-15);
  const Conversion x0_from_flow(at, mixture(Prediction::flow, at), mixture(Prediction::x0, at));
  EXPECT_NEAR(x0_from_flow.of_x, 1, 1e-15);
  EXPECT_NEAR(x0_from_flow.of_y, -0.25, 1e-15);

  const double alpha = 0.6, sigma = 0.8;  // arXiv:2202.00512: x0 = alpha x - sigma v, eps = sigma x + alpha v
  const Mixture vp{alpha, sigma};
  const Conversion x0_from_v(vp, mixture(Prediction::v, vp), mixture(Prediction::x0, vp));
  EXPECT_NEAR(x0_from_v.of_x, alpha, 1e-15);
  EXPECT_NEAR(x0_from_v.of_y, -sigma, 1e-15);
  const Conversion eps_from_v(vp, mixture(Prediction::v, vp), mixture(Prediction::eps, vp));
  EXPECT_NEAR(eps_from_v.of_x, sigma, 1e-15);
  EXPECT_NEAR(eps_from_v.of_y, alpha, 1e-15);
}

TEST(Prediction, IsRefusedWhereItSaysNoMoreThanTheState) {
  const auto x = random_tensor<float>(latent, 1);
  Tensor<float, 4> out(x.dimensions());
  const auto call = [&](Prediction from, float t) {
    ConvertedField field(Mixer{}, from, Prediction::flow, FlowPath());
    return error_of([&] { field(View<const float, 4>(x), t, View<float, 4>(out)); });
  };
  EXPECT_EQ(call(Prediction::eps, 1.F), "bad_schedule");
  EXPECT_EQ(call(Prediction::eps, 0.F), "none");
  EXPECT_EQ(call(Prediction::x0, 0.F), "bad_schedule");
  EXPECT_EQ(call(Prediction::x0, 1.F), "none");
  EXPECT_EQ(call(Prediction::flow, 0.F), "none");
  EXPECT_EQ(call(Prediction::flow, 1.F), "none");
  EXPECT_EQ(call(Prediction::eps, std::numeric_limits<float>::quiet_NaN()), "bad_schedule");

  const DiffusionPath path{DiffusionSchedule(dit::ddim_steps(10))};
  EXPECT_EQ(error_of([&] { path(-1); }), "bad_schedule");
  EXPECT_EQ(error_of([&] { path(1000); }), "bad_schedule");
}

TEST(ConvertedField, MakesAVelocityOfAModelThatPredictsTheImage) {
  const auto noise = random_tensor<double>(latent, 1), image = random_tensor<double>(latent, 2);
  const auto predicts = [&](View<const double, 4>, double, View<double, 4> out) {
    std::copy_n(image.data(), image.size(), out.data);
  };
  ConvertedField velocity(predicts, Prediction::x0, Prediction::flow, FlowPath());
  EXPECT_LE(distance(dit::sample(noise, Schedule::uniform(10), velocity).x, image), 1e-13);
}

TEST(ConvertedField, ThereAndBackIsTheField) {
  const auto x = random_tensor<double>(latent, 1);
  Tensor<double, 4> expected(x.dimensions()), got(x.dimensions());
  const DiffusionPath path{DiffusionSchedule(dit::ddim_steps(10))};
  for (const Prediction other : {Prediction::x0, Prediction::v}) {
    ConvertedField there(Mixer{}, Prediction::eps, other, path);
    ConvertedField back(there, other, Prediction::eps, path);
    for (const int t : {1, 500, 999}) {
      Mixer{}(View<const double, 4>(x), t, View<double, 4>(expected));
      back(View<const double, 4>(x), t, View<double, 4>(got));
      EXPECT_LE(distance(got, expected), 1e-9) << t;
    }
  }
}

TEST(WithoutVariance, KeepsTheFirstHalfOfTheChannelsOfEveryItem) {
  const auto x = random_tensor<float>(latent, 1);
  Tensor<float, 4> both(2, 6, 2, 2), eps(x.dimensions());
  Mixer{}(View<const float, 4>(x), 500, View<float, 4>(both));
  dit::WithoutVariance field(Mixer{});
  field(View<const float, 4>(x), 500, View<float, 4>(eps));
  for (Index b = 0; b < 2; ++b) {
    for (Index c = 0; c < 3; ++c) {
      for (Index i = 0; i < 4; ++i) EXPECT_EQ(eps(b, c, i / 2, i % 2), both(b, c, i / 2, i % 2));
    }
  }
}

/// Euler on the straight path is DDIM on the diffusion path.
TEST(VelocityFromDiffusion, MakesEulersStepsDdims) {
  const DiffusionSchedule chain(dit::ddim_steps(50));
  const Schedule schedule = dit::flow_schedule(chain);
  const auto noise = random_tensor<double>(latent, 1);
  const double first = schedule[0], scale = std::hypot(first, 1 - first);
  const Tensor<double, 4> scaled = scale * noise;
  for (const Prediction prediction : {Prediction::eps, Prediction::v, Prediction::x0}) {
    ConvertedField eps(Mixer{}, prediction, Prediction::eps, DiffusionPath(chain));
    const auto ddim = dit::sample<dit::DdimSampler>(noise, chain, eps).x;
    const auto euler = dit::sample(scaled, schedule, dit::VelocityFromDiffusion(Mixer{}, prediction, chain)).x;
    EXPECT_LE(distance(euler, ddim), 1e-9 * magnitude(ddim)) << static_cast<int>(prediction);
  }
}

TEST(VelocityFromDiffusion, AsksAtTheNearestStep) {
  const DiffusionSchedule chain(dit::ddim_steps(50));
  int asked = -1;
  const auto eps = [&](View<const float, 4>, int t, View<float, 4> out) {
    asked = t;
    std::fill(out.begin(), out.end(), 0.F);
  };
  dit::VelocityFromDiffusion velocity(eps, Prediction::eps, chain);
  const auto x = random_tensor<float>(latent, 1);
  Tensor<float, 4> v(x.dimensions());
  const auto at = [&](double s) {
    velocity(View<const float, 4>(x), static_cast<float>(s), View<float, 4>(v));
    return asked;
  };
  for (const int t : {0, 1, 250, 980, 999}) EXPECT_EQ(at(dit::flow_sigma(chain.alpha_bar_at(t))), t);
  EXPECT_EQ(at(0), 0);
  const double low = dit::flow_sigma(chain.alpha_bar_at(300)), high = dit::flow_sigma(chain.alpha_bar_at(301));
  EXPECT_EQ(at(low + 0.4 * (high - low)), 300);
  EXPECT_EQ(at(low + 0.6 * (high - low)), 301);
  EXPECT_EQ(error_of([&] { at(1); }), "bad_schedule") << "pure noise lies beyond the chain";
  EXPECT_EQ(error_of([&] { at(std::numeric_limits<double>::quiet_NaN()); }), "bad_schedule");
}

TEST(PredictionFields, RefuseOverlapsAndFalseShapes) {
  std::vector<float> memory(200);
  float* p = memory.data();
  ConvertedField converted(Mixer{}, Prediction::x0, Prediction::flow, FlowPath());
  dit::WithoutVariance without(Mixer{});
  dit::VelocityFromDiffusion velocity(Mixer{}, Prediction::eps, DiffusionSchedule(dit::ddim_steps(10)));
  const auto expect = [&](View<const float, 4> x, View<float, 4> v, const char* error) {
    EXPECT_EQ(error_of([&] { converted(x, 0.5F, v); }), error);
    EXPECT_EQ(error_of([&] { without(x, 500, v); }), error);
    EXPECT_EQ(error_of([&] { velocity(x, 0.5F, v); }), error);
  };
  expect({p, latent}, {p + 24, latent}, "none");
  expect({p, latent}, {p + 23, latent}, "aliasing");
  expect({p, latent}, {p + 24, {2, 4, 2, 2}}, "bad_input_shape");
}

}  // namespace
