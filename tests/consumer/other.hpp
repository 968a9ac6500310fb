#pragma once
#include <dit/dit.hpp>

dit::Tensor<float, 4> noise_of(int seed);
