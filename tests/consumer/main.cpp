#include <algorithm>
#include <cmath>
#include <dit/dit.hpp>
#include <iostream>

#include "other.hpp"

int main() {
  constexpr dit::DiTConfig small{.width = 48, .depth = 2, .heads = 3, .patch = 2, .input = 8, .learn_sigma = false};
  dit::DiT<small> model;
  dit::TorchGenerator generator(1);
  dit::fill(model, [&](const dit::Path&, const auto&) { return [&] { return 0.1 * generator.normal(); }; });

  dit::Workspace workspace(2);
  dit::Conditioned field(model, {7}, workspace);
  const dit::Tensor<float, 4> noise = noise_of(5);
  const auto result = dit::sample(noise, dit::Schedule::uniform(3), field);

  // Whatever random weights draw, they move every number, and twice the same way.
  const auto again = dit::sample(noise, dit::Schedule::uniform(3), field);
  bool right = std::equal(result.x.data(), result.x.data() + noise.size(), again.x.data());
  for (dit::Index i = 0; i < noise.size(); ++i) right = right && std::abs(result.x.data()[i] - noise.data()[i]) > 0;
  std::cout << "dit " << DIT_VERSION_MAJOR << '.' << DIT_VERSION_MINOR << '.' << DIT_VERSION_PATCH << ", "
            << dit::parameter_count<dit::DiT<small>>() << " parameters: " << (right ? "works\n" : "FAILS\n");
  return right ? 0 : 1;
}
