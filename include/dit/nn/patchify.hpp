#pragma once
/// Images to tokens.

#include "dit/nn/module.hpp"
#include "dit/ops/linear.hpp"
#include "dit/ops/patch.hpp"

namespace dit { inline namespace DIT_ABI {

/// A p x p convolution with stride p: every patch of the image becomes a token (arXiv:2212.09748, 3.2, "Patchify").
///     token[b, (r, s)] = W patch[b, (r, s)] + b,  W [D, C, p, p]
template <int channels, int patch, int width_, class T = float>
struct Patchify {
  static_assert(channels > 0 && patch > 0 && width_ > 0, "Patchify: channels, patch and width must be positive");
  static constexpr int width = width_;
  static constexpr int features = channels * patch * patch;
  using R = real<T>;

  Weight<T, width, channels, patch, patch> weight;
  Parameter<R, width> bias;

  static constexpr void visit(auto&& f, auto&... self) {
    f("weight", self.weight...);
    f("bias", self.bias...);
  }

  /// image [B, C, H, W] -> the tokens [B, H/p * W/p, D], lazy; errc::bad_input_shape where it does not fit.
  constexpr auto operator()(View<const R, 4> image, Workspace& workspace) const {
    const Grid grid = patch_grid(image.shape, patch);
    if (!workspace.holds(image.data) || image.shape[1] != channels) {
      throw Error(errc::bad_input_shape, "an image of " + to_string(image.shape) + " where " +
                                             std::to_string(channels) + " channels are expected");
    }
    auto scope = workspace.scope();
    const auto patches = take_tokens<R, features>(image.shape[0], grid.count(), workspace);
    patchify<PatchOrder::channel_first>(image, patch, patches.data, workspace);
    const RowsSource<R> rows{patches.data, patches.rows(), features};
    return Held(std::move(scope), Product<RowsSource<R>, T, width>{rows, &weight.packed(), bias.data()});
  }
};

}}  // namespace dit
