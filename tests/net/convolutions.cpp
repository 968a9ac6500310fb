/// Layers and blocks of autoencoders alone.

#include "net.hpp"

namespace {

using namespace net;

constexpr Shape<2> sizes[] = {{1, 1}, {3, 5}, {13, 11}};

/// y [B, h, w, out] of x [B, h, w, in]: `layer(x, y, workspace)` for every sample.
template <class T, int in, int out, class Layer>
void maps_case(const std::string& name, Layer&& layer) {
  using R = Real<T>;
  for (const Shape<2> size : sizes) {
    compute<T>(sized(name, size), [&](Workspace& workspace, Index batch) {
      auto x = tensor<R, 4>("x", {batch, size[0], size[1], in});
      Tensor<R, 4> y(batch, size[0], size[1], out);
      for (Index b = 0; b < batch; ++b) layer(maps<in>(x, b), maps<out>(y, b), workspace);
      return y;
    });
  }
}
/// x [B, h, w, channels] in place
template <class T, int channels, class Layer>
void maps_case_in_place(const std::string& name, Layer&& layer) {
  using R = Real<T>;
  for (const Shape<2> size : sizes) {
    compute<T>(sized(name, size), [&](Workspace& workspace, Index batch) {
      auto x = tensor<R, 4>("x", {batch, size[0], size[1], channels});
      for (Index b = 0; b < batch; ++b) layer(maps<channels>(x, b), workspace);
      return x;
    });
  }
}

template <class T, int in, int out, int kernel>
void convolution_cases(const std::string& name) {
  maps_case<T, in, out>(name, [layer = filled<dit::Conv2d<in, out, kernel, T>>()](auto x, auto y, auto& workspace) {
    apply_convolution(layer, x, y, workspace);
  });
}

const Cases cases([] {
  using T = NET_TYPE;
  convolution_cases<T, 12, 9, 3>("conv2d/3");
  convolution_cases<T, 24, 16, 1>("conv2d/1");
  maps_case<T, 24, 10>(
      "group_norm",
      [norm = filled<dit::GroupNorm<24, 4, T>>(), layer = filled<dit::Conv2d<24, 10, 1, T>>()](
          auto x, auto y, auto& workspace) { apply_normalised_convolution(norm, layer, x, y, workspace); });
  maps_case<T, 24, 16>("resnet_block/24_16", [block = filled<dit::ResnetBlock<24, 16, 8, T>>()](
                                                 auto x, auto y, auto& workspace) { block(x, y, workspace); });
  maps_case_in_place<T, 20>("resnet_block/20", [block = filled<dit::ResnetBlock<20, 20, 4, T>>()](
                                                   auto x, auto& workspace) { block(x, x, workspace); });
  maps_case_in_place<T, 20>("pixel_attention", [block = filled<dit::PixelAttention<20, 4, T>>()](
                                                   auto x, auto& workspace) { block(x, workspace); });
  maps_case_in_place<T, 12>(
      "tiny_block", [block = filled<dit::TinyBlock<12, T>>()](auto x, auto& workspace) { block(x, workspace); });
});

}  // namespace
