#pragma once
/// Random starts.

#include <cmath>

#include "dit/core/random.hpp"
#include "dit/nn/module.hpp"

namespace dit { inline namespace DIT_ABI {

/// The paper's initialisation, adaLN-Zero (arXiv:2212.09748, 3.2; DiT models.py, initialize_weights): matrices
/// Xavier-uniform, biases 0, weights of norms 1, the timestep MLP and the class table N(0, 0.02), every adaLN
/// projection and the last Linear 0. A model that starts so has the identity for every block and gives exactly 0.
template <class M>
void init_adaln_zero(M& model, std::uint64_t seed) {
  TorchGenerator generator(seed);
  fill(model, [&generator]<class P>(const Path& path, const P&) {
    const std::string name = path.str();
    const auto has = [&name](std::string_view part) { return name.find(part) != std::string::npos; };
    enum { zero, one, normal, uniform } kind = P::shape.size() == 1 ? one : uniform;
    if (name.ends_with("bias") || has("adaLN_modulation") || has("adaln") || has("_mod.lin") ||
        has("modulation.lin") || has("final_layer.linear") || has("depatchify"))
      kind = zero;
    else if (has("t_embedder") || has("y_embedder"))
      kind = normal;
    const double fan = static_cast<double>(P::rows + P::row_size);
    return [&generator, kind, limit = std::sqrt(6 / fan)]() -> double {
      switch (kind) {
        case zero:
          return 0;
        case one:
          return 1;
        case normal:
          return 0.02 * generator.normal();
        default:
          return limit * (2 * generator.template uniform<double>() - 1);
      }
    };
  });
  if constexpr (requires { model.fill_derived(); }) model.fill_derived();
}

}}  // namespace dit
