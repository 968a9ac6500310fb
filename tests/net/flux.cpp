/// FLUX.1: with distilled guidance and without, told a control or a reference.

#include "fields.hpp"
#include "files.hpp"

namespace {

using namespace net;

constexpr dit::FluxConfig dev{.width = 48,
                              .heads = 3,
                              .double_blocks = 2,
                              .single_blocks = 3,
                              .channels = 4,
                              .context = 20,
                              .pooled = 12,
                              .axes = {4, 6, 6}};
constexpr dit::FluxConfig schnell{.width = 40,
                                  .heads = 5,
                                  .double_blocks = 1,
                                  .single_blocks = 1,
                                  .channels = 3,
                                  .context = 21,
                                  .pooled = 13,
                                  .guidance = false,
                                  .axes = {2, 2, 4},
                                  .mlp_ratio = 3};
constexpr dit::FluxConfig control{.width = 48,
                                  .heads = 3,
                                  .double_blocks = 1,
                                  .single_blocks = 2,
                                  .channels = 4,
                                  .control_channels = 7,
                                  .context = 20,
                                  .pooled = 12,
                                  .axes = {4, 6, 6}};

/// Told `count` tokens of text; a control where the model has one; a reference unless its size is 0.
template <class Model, class R>
auto conditions(Index count, Shape<2> reference = {}) {
  return [count, reference](Index batch, Shape<2> size) {
    constexpr const auto& config = Model::config;
    std::vector<R> guidance;
    for (Index b = 0; config.guidance && b < batch; ++b) guidance.push_back(R(1.5) + static_cast<R>(b));
    Tensor<R, 4> added, referred;
    if (config.control_channels > 0)
      added = tensor<R, 4>("control", {batch, config.control_channels, size[0], size[1]});
    if (reference[0] > 0)
      referred = tensor<R, 4>("reference", {batch, config.channels, reference[0], reference[1]});
    return flux_condition<R>(text<R>(tensor<R, 3>("context", {batch, count, config.context}),
                                     tensor<R, 2>("pooled", {batch, config.pooled})),
                             guidance, added, referred);
  };
}

const Cases cases([] {
  using T = NET_TYPE;
  using R = Real<T>;
  using Dev = dit::Flux<dev, T>;
  const auto model = filled<Dev>();
  field_cases<T>("flux/dev", model, 1, conditions<Dev, R>(7), {{6, 10}, {2, 2}, {22, 18}});
  field_cases<T>("flux/dev/long", model, 1, conditions<Dev, R>(150), {{6, 10}});
  field_cases<T>("flux/dev/reference", model, 1, conditions<Dev, R>(5, {8, 6}), {{6, 10}});
  file_cases<T, Dev, dit::Flux<dev>>("flux", both_layouts, direct_pass<T, Dev>(1, conditions<Dev, R>(7), {6, 10}));

  using Schnell = dit::Flux<schnell, T>;
  field_cases<T>("flux/schnell", filled<Schnell>(), 1, conditions<Schnell, R>(9), {{6, 10}});
  using Control = dit::Flux<control, T>;
  field_cases<T>("flux/control", filled<Control>(), 1, conditions<Control, R>(7), {{6, 10}});
});

}  // namespace
