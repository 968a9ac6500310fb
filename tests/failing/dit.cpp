// error 1: DiT: the patch does not divide the input
// error 2: DiT: depth must be in 1 .. 1000
// error 3: DiT: depth must be in 1 .. 1000
// error 4: DiT: the number of heads does not divide the width
// error 5: DiT: the patch does not divide the input
// error 6: DiT: channels, classes and mlp_ratio must be positive
// error 7: DiT: depth must be in 1 .. 1000

#include "dit/models/dit.hpp"

constexpr dit::DiTConfig config{.width = DIT_BREAK == 4 ? 70 : 72,
                                .depth = DIT_BREAK == 2   ? 0
                                         : DIT_BREAK == 3 ? 1'000'000
                                         : DIT_BREAK == 7 ? -1
                                                          : 2,
                                .heads = 3,
                                .patch = DIT_BREAK == 1   ? 3
                                         : DIT_BREAK == 5 ? 0
                                                          : 2,
                                .input = 8,
                                .classes = DIT_BREAK == 6 ? 0 : 10};
dit::DiT<config> model;
