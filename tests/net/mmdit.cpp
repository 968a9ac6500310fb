/// MMDiT: Stable Diffusion 3, and 3.5 with norms of queries and keys, a second attention and skipped blocks.

#include "fields.hpp"
#include "files.hpp"

namespace {

using namespace net;

constexpr dit::MMDiTConfig sd3{
    .width = 40, .depth = 3, .heads = 5, .in_channels = 4, .positions = 12, .context = 20, .pooled = 12};
/// A block of every kind.
constexpr dit::MMDiTConfig sd35{.width = 72,
                                .depth = 4,
                                .heads = 3,
                                .in_channels = 5,
                                .positions = 11,
                                .context = 21,
                                .pooled = 13,
                                .qk_norm = true,
                                .dual_blocks = 2,
                                .mlp_ratio = 3};

template <class Model, class R>
auto texts(Index count) {
  return [count](Index batch, Shape<2>) {
    return text<R>(tensor<R, 3>("context", {batch, count, Model::config.context}),
                   tensor<R, 2>("pooled", {batch, Model::config.pooled}));
  };
}

template <class T, class Model>
void skipping_cases(const std::string& name, const Model& model) {
  using R = Real<T>;
  constexpr Shape<2> size{6, 10};
  const auto condition = texts<Model, R>(7);
  compute<T>(name + "/skipping", [&](Workspace& workspace, Index batch) {
    dit::Conditioned field(model, condition(batch, size), workspace);
    auto without = field.skipping({0, 2});
    return two_steps<Model, R>(without, batch, size);
  });
  compute<T>(name + "/skip_layer", [&](Workspace& workspace, Index batch) {
    dit::Conditioned both(model, condition(2 * batch, size), workspace);
    const auto noise = latents<Model, R>(batch, size);
    dit::SkipLayerGuidance guided(dit::BatchedGuidance(std::ref(both), dit::Guidance{.scale = 5}),
                                  both.skipping({1}), dit::SkipLayer{.lo = 0.2, .hi = 0.8});
    return dit::sample(noise, dit::Schedule::uniform(4), guided).x;
  });
}

const Cases cases([] {
  using T = NET_TYPE;
  using R = Real<T>;
  using Sd3 = dit::MMDiT<sd3, T>;
  const auto plain = filled<Sd3>();
  field_cases<T>("mmdit/sd3", plain, 1000, texts<Sd3, R>(7), {{6, 10}, {2, 2}, {22, 18}});
  field_cases<T>("mmdit/sd3/long", plain, 1000, texts<Sd3, R>(150), {{6, 10}});

  using Sd35 = dit::MMDiT<sd35, T>;
  const auto dual = filled<Sd35>();
  field_cases<T>("mmdit/sd35", dual, 1000, texts<Sd35, R>(9), {{6, 10}, {22, 18}});
  skipping_cases<T>("mmdit/sd35", dual);
  file_cases<T, Sd35, dit::MMDiT<sd35>>("mmdit", both_layouts,
                                        direct_pass<T, Sd35>(1000, texts<Sd35, R>(9), {6, 10}));
});

}  // namespace
