#pragma once
/// Tokens to images.

#include "dit/nn/adaln.hpp"
#include "dit/ops/patch.hpp"

namespace dit { inline namespace DIT_ABI {

/// Linear D -> p * p * C, the features of each token in the order (p q c), in FLUX (c p q), then every token back
/// to its place (arXiv:2212.09748, 3.2, "Transformer decoder"; DiT models.py, unpatchify).
template <int width, int patch, int channels, class T = float, PatchOrder order = PatchOrder::channel_last>
struct Depatchify : Linear<width, patch * patch * channels, T> {
  static_assert(patch > 0 && channels > 0, "Depatchify: patch and channels must be positive");
  static constexpr int features = patch * patch * channels;
  using R = real<T>;

  /// tokens, lazy -> image [B, C, H, W]; errc::bad_input_shape where the tokens are not the image's.
  template <class Source, int tokens_width>
  constexpr void operator()(const Lazy<Source, tokens_width>& tokens, View<R, 4> image,
                            Workspace& workspace) const {
    const Grid grid = patch_grid(image.shape, patch);
    if (!workspace.holds(image.data) ||
        image.shape != Shape<4>{tokens.batch, channels, grid.rows * patch, grid.columns * patch} ||
        grid.count() != tokens.count) {
      throw Error(errc::bad_input_shape, std::to_string(tokens.batch) + " x " + std::to_string(tokens.count) +
                                             " tokens do not make an image of " + to_string(image.shape));
    }
    const auto scope = workspace.scope();
    const auto patches = take_tokens<R, features>(tokens.batch, tokens.count, workspace);
    const Linear<width, features, T>& linear = *this;
    store(patches, linear(tokens), workspace);
    unpatchify<order>(patches.data, patch, image, workspace);
  }
};

/// The last layer of DiT (models.py, FinalLayer):
///   [shift, scale] = Linear(SiLU(c));  image = Depatchify((1 + scale) * LN(x) + shift)
template <int width, int patch, int channels, class T = float, PatchOrder order = PatchOrder::channel_last>
struct FinalLayer {
  using R = real<T>;
  using Modulations = Chunks<R, width, 2>;

  Depatchify<width, patch, channels, T, order> linear;
  AdaLNModulation<width, 2, T> adaLN_modulation;

  static constexpr void visit(auto&& f, auto&... self) {
    f("linear", self.linear...);
    f("adaLN_modulation.1", self.adaLN_modulation...);
  }

  constexpr void operator()(Tokens<const R, width> x, const Modulations& m, View<R, 4> image,
                            Workspace& workspace) const {
    linear(modulate(layer_norm(x, 1e-6), m.template chunk<0>(), m.template chunk<1>()), image, workspace);
  }
};

}}  // namespace dit
