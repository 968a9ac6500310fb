/// The text-to-image model that ships, from the noise that PyTorch drew to the scenes that PyTorch made of it.

#include "models/scenes.hpp"
#include "dit/models/mmdit.hpp"
#include "dit/sampling/euler.hpp"
#include "dit/sampling/guidance.hpp"
#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

using M = MMDiT<scenes>;

struct Scenes : testing::Test {
  M model = load<M>(std::filesystem::path(DIT_MODELS_DIR) / "scenes.safetensors");
  Golden golden{"scenes_sampling"};
  Tensor<float, 4> noise = golden.tensor<float, 4>("noise");
  Text<float> text{golden.tensor<float, 3>("context"), golden.tensor<float, 2>("pooled")};
  Workspace workspace{2};

  Tensor<float, 4> velocity(const Text<float>& said) {
    Conditioned field(model, said, workspace);
    Tensor<float, 4> v(noise.dimensions());
    field(View<const float, 4>(noise), 0.37F, View<float, 4>(v));
    return v;
  }
};

TEST_F(Scenes, HaveTheVelocityThatPyTorchSees) {
  EXPECT_EQ(model.layout(), Layout::diffusers);
  EXPECT_TRUE(close(velocity(text), golden.tensor<float, 4>("velocity_037"), whole_model<float>));
}

TEST_F(Scenes, DependOnWhatIsSaid) {
  auto swapped = text;
  const Index tokens = text.context.size() / 3, vector = text.pooled.size() / 3;
  std::swap_ranges(swapped.context.data(), swapped.context.data() + tokens, swapped.context.data() + tokens);
  std::swap_ranges(swapped.pooled.data(), swapped.pooled.data() + vector, swapped.pooled.data() + vector);
  EXPECT_GT(distance(velocity(swapped), golden.tensor<float, 4>("velocity_037")).nmse, 1e-3);
}

TEST_F(Scenes, AreTheOnesThatPyTorchDraws) {
  const auto metadata = Safetensors::open(golden_path("scenes_sampling.safetensors")).metadata();
  const auto schedule = Schedule::uniform(std::stoi(metadata.at("steps"))).shifted(std::stod(metadata.at("shift")));
  auto none = golden.tensor<float, 3>("none");
  auto none_pooled = golden.tensor<float, 2>("none_pooled");
  const Text<float> unsaid{none.broadcast(Eigen::array<Index, 3>{3, 1, 1}),
                           none_pooled.broadcast(Eigen::array<Index, 2>{3, 1})};
  Conditioned both(model, concat(text, unsaid), workspace);
  both.prepare(schedule.times<float>());
  BatchedGuidance field(both, Guidance{.scale = std::stod(metadata.at("guidance"))});
  EulerSampler<float> sampler;
  sampler.begin(noise, schedule);
  while (!sampler.done()) sampler.step(field);
  // 25 steps, guidance 3: the rounding of float32, which PyTorch has as well, grows fivefold on the way and more
  // where a step turns a pixel from one object's colour to another's.
  EXPECT_TRUE(close(sampler.take(), golden.tensor<float, 4>("samples"), {1e-3, 1e-8}));
}

}  // namespace
