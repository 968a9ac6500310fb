// What is no module, or a model of what cannot be weights, ends in one sentence.
// error 1: a module names its parameters: static constexpr void visit
// error 2: a module names its parameters: static constexpr void visit
// error 3: a module names its parameters: static constexpr void visit
// error 4: the weights of a model are float, double, dit::bf16 or dit::int8
// error 5: the weights of a model are float, double, dit::bf16 or dit::int8
// error 6: release_modulation: a const model keeps its weights
#include "dit/io/load.hpp"
#include "dit/models/dit.hpp"
#include "dit/nn/plan.hpp"

using namespace dit;

struct Layers {
  Linear<4, 8> first, second;
#if DIT_BREAK == 0 || DIT_BREAK > 3
  static constexpr void visit(auto&& f, auto&... self) {
    f("first", self.first...);
    f("second", self.second...);
  }
#endif
};
/// The fault may lie deeper.
struct Outer {
  Layers layers;
  static constexpr void visit(auto&& f, auto&... self) { f("layers", self.layers...); }
};

constexpr DiTConfig config{.width = 24, .depth = 2, .heads = 3, .patch = 2, .input = 8};

void compile(Workspace& workspace) {
#if DIT_BREAK == 1
  static_assert(parameter_count<Layers>() == 80);
#elif DIT_BREAK == 2
  load<Outer>("layers.safetensors");
#elif DIT_BREAK == 3
  Outer model;
  zero(model);
#elif DIT_BREAK == 4
  load<DiT<config, f16> >("model.safetensors");
#elif DIT_BREAK == 5
  DiTBlock<config.block(), std::uint8_t> block;
  block(Tokens<float, 24>{}, Tokens<float, 24>{}, workspace);
#elif DIT_BREAK == 6
  const auto model = load<DiT<config> >("model.safetensors");
  release_modulation(model);
#else
  static_assert(parameter_count<Outer>() == 80 && weight_bytes<Outer>() > 0);
  Outer model = load<Outer>("layers.safetensors");
  zero(model);
  load<DiT<config, bf16> >("model.safetensors");
  static_cast<void>(workspace);
#endif
}
