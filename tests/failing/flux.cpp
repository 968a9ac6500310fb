// error 1: Flux: the number of heads does not divide the width
// error 2: Flux: the axes of the rotary embedding do not add up to a head
// error 3: Flux: every axis of the rotary embedding must have pairs of channels
// error 4: Flux: the number of blocks must be in 1 .. 1000
// error 5: Flux: the number of blocks must be in 1 .. 1000
// error 6: Flux: channels and the widths of the text must be positive
// error 7: Flux: channels and the widths of the text must be positive
// error 8: Flux: the axes of the rotary embedding do not add up to a head
// error 9: skipping

#include "dit/models/flux.hpp"

constexpr dit::FluxConfig config{.width = DIT_BREAK == 1   ? 49
                                          : DIT_BREAK == 8 ? 54
                                                           : 48,
                                 .heads = 3,
                                 .double_blocks = DIT_BREAK == 4 ? 0 : 2,
                                 .single_blocks = DIT_BREAK == 5 ? 999 : 3,
                                 .channels = DIT_BREAK == 6 ? 0 : 4,
                                 .context = DIT_BREAK == 7 ? 0 : 20,
                                 .pooled = 12,
                                 .axes = {4, DIT_BREAK == 3 ? 5 : 6,
                                          DIT_BREAK == 2   ? 8
                                          : DIT_BREAK == 3 ? 7
                                                           : 6}};
dit::Flux<config> model;

auto field(dit::Workspace& workspace) {
  dit::Conditioned conditioned(model, {}, workspace);
#if DIT_BREAK == 9  // which no published FLUX has
  conditioned.skipping({1});
#endif
  return conditioned;
}
