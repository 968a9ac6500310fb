/// The model that ships, from the noise that PyTorch drew to the digits that PyTorch made of it.

#include "models/digits.hpp"
#include "dit/sampling/euler.hpp"
#include "dit/sampling/guidance.hpp"
#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

using M = DiT<digits>;

struct Digits : testing::Test {
  M model = load<M>(std::filesystem::path(DIT_MODELS_DIR) / "digits.safetensors");
  Golden golden{"digits_sampling"};
  Tensor<float, 4> noise = golden.tensor<float, 4>("noise");
  std::vector<int> labels = golden.integers("labels");
  Workspace workspace{2};
};

TEST_F(Digits, HaveTheVelocityThatPyTorchSees) {
  Conditioned field(model, labels, workspace);
  Tensor<float, 4> v(noise.dimensions());
  for (const auto& [name, sigma] : {std::pair("velocity", 1.0F), std::pair("velocity_037", 0.37F)}) {
    field(View<const float, 4>(noise), sigma, View<float, 4>(v));
    EXPECT_TRUE(close(v, golden.tensor<float, 4>(name), whole_model<float>)) << name;
  }
}

TEST_F(Digits, AreTheOnesThatPyTorchDraws) {
  const auto metadata = Safetensors::open(golden_path("digits_sampling.safetensors")).metadata();
  const auto schedule = Schedule::uniform(std::stoi(metadata.at("steps")));
  std::vector<int> classes = labels;
  classes.resize(2 * labels.size(), M::null_class);
  Conditioned both(model, classes, workspace);
  both.prepare(schedule.times<float>());
  BatchedGuidance field(both, Guidance{.scale = std::stod(metadata.at("guidance"))});
  EulerSampler<float> sampler;
  sampler.begin(noise, schedule);
  while (!sampler.done()) sampler.step(field);
  // 50 steps of two models each in float; the field pulls together what rounding drives apart, so one model's bound
  // does.
  EXPECT_TRUE(close(sampler.take(), golden.tensor<float, 4>("samples"), whole_model<float>));
}

}  // namespace
