#pragma once

#include "dit/models/dit.hpp"

/// The model of digits.safetensors, as examples/train_digits.py trains it: 8 x 8 grey images, 2 x 2 patches, 16
/// tokens.
inline constexpr dit::DiTConfig digits{.width = 128,
                                       .depth = 6,
                                       .heads = 4,
                                       .patch = 2,
                                       .input = 8,
                                       .in_channels = 1,
                                       .learn_sigma = false,
                                       .classes = 10};
