// error 1: Conv2d: the maps are not as many as the layer's input channels
// error 2: GroupNorm: the number of groups does not divide the number of channels
// error 3: Conv2d: the kernel must have a middle
// error 4: AutoencoderKL: channels and blocks must be positive
// error 5: AutoencoderTiny: channels must be positive
// error 6: Convolution: with bf16 the channels must be even, with int8 a multiple of 4
// error 7: Convolution: with bf16 the channels must be even, with int8 a multiple of 4

#include "dit/models/autoencoder_kl.hpp"
#include "dit/models/autoencoder_tiny.hpp"

using namespace dit;

void f(Workspace& workspace) {
  const Maps<const float, 16> x{};
  const Conv2d<DIT_BREAK == 1 ? 8 : 16, 8, 3> conv;
  const GroupNorm<16, DIT_BREAK == 2 ? 3 : 4> norm;
  const Conv2d<16, 8, DIT_BREAK == 3 ? 2 : 1> pointwise;
  const AutoencoderKL<AutoencoderKLConfig{.channels = {DIT_BREAK == 4 ? 0 : 32}}> vae;
  const AutoencoderTiny<AutoencoderTinyConfig{.width = DIT_BREAK == 5 ? 0 : 16}> tiny;
  constexpr int pairs = DIT_BREAK == 6 ? 15 : 16, fours = DIT_BREAK == 7 ? 18 : 16;
  const Conv2d<pairs, 8, 3, bf16> in_bf16;
  const Conv2d<fours, 8, 3, int8> in_int8;
  in_bf16(Maps<const float, pairs>{});
  in_int8(Maps<const float, fours>{});
  conv(x);
  pointwise(x);
  norm(x, workspace);
  vae.layout();
  tiny.layout();
}
