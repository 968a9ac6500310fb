#pragma once

#include "dit/models/mmdit.hpp"

/// The model of scenes.safetensors, as examples/train_scenes.py trains it: 32 x 32 RGB images, 4 x 4 patches, 64
/// tokens beside 16 of text.
inline constexpr dit::MMDiTConfig scenes{.width = 144,
                                         .depth = 6,
                                         .heads = 6,
                                         .patch = 4,
                                         .in_channels = 3,
                                         .positions = 8,
                                         .context = 128,
                                         .pooled = 128,
                                         .qk_norm = true};
