// error 1: PlainDiT: depth must be in 1 .. 1000
// error 2: SelfAttention: the number of heads does not divide the width
// error 3: Patchify: channels, patch and width must be positive

#include "dit/models/plain_dit.hpp"

constexpr dit::PlainDiTConfig config{.in_channels = 3,
                                     .patch = DIT_BREAK == 3 ? 0 : 2,
                                     .width = 72,
                                     .heads = DIT_BREAK == 2 ? 5 : 3,
                                     .mlp = 100,
                                     .depth = DIT_BREAK == 1 ? 0 : 2,
                                     .width_c = 40};
dit::PlainDiT<config> model;
