/// The sampler without a model: any function (x, t) -> v is a velocity field. Here it is the exact one for a point:
/// noise flows to `target` in a straight line, and any number of Euler steps arrives.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "dit/dit.hpp"

int main() {
  dit::TorchGenerator generator(/*seed=*/0);
  const dit::Tensor<float, 4> noise = dit::randn<4>({2, 3, 5, 7}, generator);
  const float target = 0.25f;

  const auto field = [&](dit::View<const float, 4> x, float t, dit::View<float, 4> v) {
    for (dit::Index i = 0; i < x.size(); ++i) v.data[i] = (x.data[i] - target) / t;  // = noise - target
  };
  const auto result = dit::sample(noise, dit::Schedule::uniform(7).shifted(3), field, [](const auto& sampler) {
    std::printf("step %d of %d\n", sampler.index(), sampler.steps());
  });

  float worst = 0;
  for (dit::Index i = 0; i < result.x.size(); ++i) worst = std::max(worst, std::abs(result.x.data()[i] - target));
  std::printf("largest distance from the target: %g\n", worst);
  return worst < 1e-5f ? 0 : 1;
}
