#include <algorithm>
#include <dit/dit.hpp>
#include <iostream>

#include "other.hpp"

int main() {
  constexpr dit::DiTConfig small{.width = 48, .depth = 2, .heads = 3, .patch = 2, .input = 8, .learn_sigma = false};
  dit::DiT<small> model;
  dit::init_adaln_zero(model, 1);

  dit::Workspace workspace(2);
  dit::ConditionedDiT field(model, {7}, workspace);
  const dit::Tensor<float, 4> noise = noise_of(5);
  const auto result = dit::sample(noise, dit::Schedule::uniform(3), field);

  // A model fresh from adaLN-Zero gives 0, so nothing moves.
  const bool right = std::equal(noise.data(), noise.data() + noise.size(), result.x.data());
  std::cout << "dit " << DIT_VERSION_MAJOR << '.' << DIT_VERSION_MINOR << '.' << DIT_VERSION_PATCH << ", "
            << dit::parameter_count<dit::DiT<small>>() << " parameters: " << (right ? "works\n" : "FAILS\n");
  return right ? 0 : 1;
}
