// error 1: Conv2d: the maps are not as many as the layer's input channels
// error 2: GroupNorm: the number of groups does not divide the number of channels
// error 3: Conv2d: the kernel must have a middle
// error 4: AutoencoderKL: channels and blocks must be positive
// error 5: AutoencoderTiny: channels must be positive

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
  conv(x);
  pointwise(x);
  norm(x, workspace);
  vae.layout();
  tiny.layout();
}
