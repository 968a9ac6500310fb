#pragma once
/// What the variants of FLUX.1 are told: text and guidance, control and reference images.

#include <algorithm>
#include <vector>

#include "dit/core/error.hpp"
#include "dit/nn/text.hpp"

namespace dit { inline namespace DIT_ABI {

/// What a FLUX is told beside its latents.
template <class T = float>
struct FluxCondition {
  Text<T> text;
  std::vector<T> guidance{};  ///< a scale for every sample, or one for all; none where the model has no such input
  /// Further channels of the latents [B, control_channels, H, W]. Canny, Depth: the encoded control image. Fill:
  /// the encoded masked image, then the mask, see `fill_control`.
  Tensor<T, 4> control{};
  Tensor<T, 4> reference{};  ///< Kontext: the encoded reference image [B, C, H', W'], of any size
};

/// The control of FLUX.1-Fill: the encoded masked image [B, C, h, w], then for each latent the 8 x 8 pixels of the
/// mask [B, 1, 8 h, 8 w] that it stands for, row by row; 1 is repainted (src/flux/sampling.py, prepare_fill;
/// diffusers: pipeline_flux_fill.py, prepare_mask_latents). `scale` is the autoencoder's 8. Errors:
/// bad_input_shape.
template <class T>
Tensor<T, 4> fill_control(View<const T, 4> masked, View<const T, 4> mask, Index scale = 8) {
  const auto [batch, channels, height, width] = masked.shape;
  if (mask.shape != Shape<4>{batch, 1, scale * height, scale * width} || masked.size() == 0) {
    throw Error(errc::bad_input_shape,
                "a mask of " + to_string(mask.shape) + " for latents of " + to_string(masked.shape));
  }
  return or_out_of_memory("the control", [&, b = batch, c = channels, h = height, w = width] {
    Tensor<T, 4> control(b, c + scale * scale, h, w);
    for (Index i = 0; i < b; ++i) {
      T* to = std::copy_n(masked[i].data, masked[i].size(), control.data() + i * (c + scale * scale) * h * w);
      for (Index p = 0; p < scale * scale; ++p)
        for (Index r = 0; r < h; ++r)
          for (Index s = 0; s < w; ++s)
            *to++ = mask[i].data[(r * scale + p / scale) * w * scale + s * scale + p % scale];
    }
    return control;
  });
}

}}  // namespace dit
