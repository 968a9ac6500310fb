// error 1: MMDiT: the number of heads does not divide the width
// error 2: MMDiT: depth must be in 1 .. 1000
// error 3: MMDiT: depth must be in 1 .. 1000
// error 4: MMDiT: the last block has no second attention
// error 5: MMDiT: the last block has no second attention
// error 6: MMDiT: patch, channels, positions and the widths of the text must be positive
// error 7: MMDiT: patch, channels, positions and the widths of the text must be positive
// error 8: MMDiT: the number of heads does not divide the width
// error 9: no matching

#include "dit/models/mmdit.hpp"

constexpr dit::MMDiTConfig config{.width = DIT_BREAK == 1 ? 25 : 24,
                                  .depth = DIT_BREAK == 2   ? 0
                                           : DIT_BREAK == 3 ? 1'001
                                                            : 3,
                                  .heads = DIT_BREAK == 8 ? 0 : 3,
                                  .positions = DIT_BREAK == 6 ? 0 : 12,
                                  .context = DIT_BREAK == 7 ? -1 : 20,
                                  .pooled = 12,
                                  .dual_blocks = DIT_BREAK == 4   ? 3
                                                 : DIT_BREAK == 5 ? -1
                                                                  : 1};
dit::MMDiT<config> model;

#if DIT_BREAK == 9  // a step of a chain where the model's time is a sigma
auto t = model.model_time(250);
#else
auto t = model.model_time(0.25);
#endif
