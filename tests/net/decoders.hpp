#pragma once
/// Cases of decoders, whole and in tiles.

#include "files.hpp"

namespace net {

template <class T, template <class> class Model>
void decoder_cases(const std::string& name) {
  using Decoder = Model<T>;
  const auto latents = [](Index batch, Shape<2> size) {
    return tensor<Real<T>, 4>("latents", {batch, Decoder::config.latent_channels, size[0], size[1]});
  };
  const auto model = filled<Decoder>();
  for (const Shape<2> size : {Shape<2>{1, 1}, {5, 3}}) {
    compute<T>(sized(name + "/whole", size),
               [&](Workspace& workspace, Index batch) { return model.decode(latents(batch, size), workspace); });
  }
  for (const Shape<2> size : {Shape<2>{11, 9}, {5, 3}}) {  // several tiles, and one
    compute<T>(sized(name + "/tiled", size), [&](Workspace& workspace, Index batch) {
      return model.decode_tiled(latents(batch, size), workspace, 8);
    });
  }
  file_cases<T, Decoder, Model<float>>(name, both_layouts,
                                       [&](const Decoder& loaded, Workspace& workspace, Index batch) {
                                         return loaded.decode(latents(batch, {2, 3}), workspace);
                                       });
}

}  // namespace net
