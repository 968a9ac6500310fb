// A second translation unit: whatever a header defines without `inline` meets itself here.
#include "other.hpp"

dit::Tensor<float, 4> noise_of(int seed) {
  dit::TorchGenerator generator(static_cast<std::uint64_t>(seed));
  return dit::randn<4>({1, 4, 8, 8}, generator);
}
