/// Whole runs on small models of the SD3 and FLUX.1 families, against the official loops in double
/// (tests/golden/flow_sampling.py): sampler, guidance and model together, the way an example uses them.

#include "dit/io/load.hpp"
#include "dit/sampling/dpmpp_2m.hpp"
#include "dit/sampling/inpaint.hpp"
#include "dit/sampling/sample.hpp"
#include "dit/sampling/skip_layer.hpp"
#include "models/text_models.hpp"

namespace {

using namespace dit;

using support::flux_mini, support::sd35_mini, support::sd3_mini;

/// Follows a run along all states [n + 1, 2, 4, 6, 10] of the golden. A float32 forward is 4e-11 off (normalised
/// squared error), guidance 5 magnifies that, and so does an extrapolation; what is wrong shows above 1e-3.
template <class Sampler, class F>
void expect_states(Sampler& sampler, F& field, const std::vector<double>& states) {
  const auto size = static_cast<std::size_t>(sampler.state().size());
  ASSERT_EQ(states.size(), size * static_cast<std::size_t>(sampler.steps() + 1));
  const auto off = [&] {
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const double expected = states[static_cast<std::size_t>(sampler.index()) * size + i];
      error += std::pow(static_cast<double>(sampler.state().data[i]) - expected, 2);
      norm += expected * expected;
    }
    return error / norm;
  };
  EXPECT_LE(off(), 1e-12) << "at the start";
  while (!sampler.done()) {
    sampler.step(field);
    EXPECT_LE(off(), 1e-9) << "after step " << sampler.index();
  }
}

/// A model of SD3's family, guided by 5 between two prompts in one batch.
template <MMDiTConfig config>
class Sd3Run {
 public:
  Sd3Run(const std::string& model, const std::string& runs)
      : golden(runs),
        model_(support::golden_model<MMDiT<config>>(model)),
        text_(
            concat(Text<float>{golden.tensor<float, 3>("context"), golden.tensor<float, 2>("pooled")},
                   Text<float>{golden.tensor<float, 3>("null.context"), golden.tensor<float, 2>("null.pooled")})) {}

  support::Golden golden;

 private:
  MMDiT<config> model_;
  Text<float> text_;
  Workspace workspace_;

 public:
  Conditioned<MMDiT<config>> both{model_, text_, workspace_};
  BatchedGuidance<std::reference_wrapper<Conditioned<MMDiT<config>>>> guided{std::ref(both), Guidance{5}};
};

class Sd3Runs : public ::testing::Test {
 protected:
  template <class Method = EulerSampler<float, 4>>
  void expect(const std::string& name, const Schedule& schedule, const Tensor<float, 4>& x) {
    Method sampler;
    sampler.begin(x, schedule);
    expect_states(sampler, run_.guided, run_.golden.values<double>(name + ".x64"));
  }

  Sd3Run<sd3_mini> run_{"mmdit_mini", "sd3_sampling_io"};
  Tensor<float, 4> noise_ = run_.golden.tensor<float, 4>("noise"), image_ = run_.golden.tensor<float, 4>("image");
};

TEST_F(Sd3Runs, WithEulerAreDiffusers) { expect("euler", sd3_schedule(6), noise_); }

TEST_F(Sd3Runs, WithDpmpp2mAreTheSd35Repositorys) {
  expect<Dpmpp2mSampler<float, 4>>("dpmpp_2m", sd3_schedule(6), noise_);
}

TEST_F(Sd3Runs, FromAnImageAreDiffusers) {
  const Schedule schedule = sd3_schedule(10).with_strength(0.6);
  expect("img2img", schedule, add_noise(image_, noise_, schedule[0]));
}

TEST_F(Sd3Runs, ThatRepaintAreDiffusers) {
  InpaintSampler sampler(EulerSampler<float, 4>(), image_, noise_, run_.golden.tensor<float, 4>("mask"));
  sampler.begin(sd3_schedule(6));
  expect_states(sampler, run_.guided, run_.golden.values<double>("inpaint.x64"));
  sampler.begin(sd3_schedule(10).with_strength(0.6));
  expect_states(sampler, run_.guided, run_.golden.values<double>("inpaint_0.6.x64"));
}

TEST(Sd35Runs, WithSkipLayerGuidanceAreDiffusers) {
  Sd3Run<sd35_mini> run("mmdit_mini_35", "sd35_sampling_io");
  const std::vector<double> parameters = run.golden.values<double>("skip_layer.parameters");
  const Schedule schedule = sd3_schedule(6);
  SkipLayerGuidance field(std::ref(run.guided), run.both.skipping({1}),
                          SkipLayer::between(schedule, parameters[1], parameters[2], parameters[0]));
  EulerSampler<float, 4> sampler;
  sampler.begin(run.golden.tensor<float, 4>("noise"), schedule);
  expect_states(sampler, field, run.golden.values<double>("skip_layer.x64"));
}

TEST(FluxRuns, WithDistilledGuidanceAreBothRepositories) {
  const support::Golden golden("flux_sampling_io");
  const auto model = support::golden_model<Flux<flux_mini>>("flux_mini");
  Workspace workspace;
  const std::vector<float> guidance = golden.values<float>("guidance");
  Conditioned field(model, {{golden.tensor<float, 3>("txt"), golden.tensor<float, 2>("pooled")}, guidance},
                    workspace);
  const auto noise = golden.tensor<float, 4>("noise"), image = golden.tensor<float, 4>("image");
  const Index tokens = 3 * 5;  // of latents 6 x 10
  EulerSampler<float, 4> sampler;
  sampler.begin(noise, flux_schedule(6, tokens));
  expect_states(sampler, field, golden.values<double>("x64"));

  const Schedule part = flux_schedule(10, tokens).with_strength(0.6);
  sampler.begin(add_noise(image, noise, part[0]), part);
  expect_states(sampler, field, golden.values<double>("img2img.x64"));
}

}  // namespace
