/// DiT: both layouts, grids of other sides than the stored table's, learned variance or none.

#include "fields.hpp"
#include "files.hpp"

namespace {

using namespace net;

constexpr dit::DiTConfig variance{
    .width = 72, .depth = 2, .heads = 3, .patch = 2, .input = 8, .in_channels = 4, .classes = 10};
constexpr dit::DiTConfig odd{.width = 20,
                             .depth = 3,
                             .heads = 5,
                             .patch = 3,
                             .input = 9,
                             .in_channels = 3,
                             .learn_sigma = false,
                             .classes = 7,
                             .null_class = false,
                             .mlp_ratio = 3};

template <class Model>
std::vector<int> classes(Index batch, Shape<2>) {
  std::vector<int> labels;
  for (Index b = 0; b < batch; ++b) labels.push_back(static_cast<int>(b * 5 + 2) % Model::config.labels());
  return labels;
}

/// Diffusion along a chain: DDIM with guidance on three channels, and DDPM with the learned variance.
template <class T, class Model>
void chain_cases(const std::string& name, const Model& model) {
  using R = Real<T>;
  constexpr Shape<2> size{6, 10};
  compute<T>(name + "/ddim", [&](Workspace& workspace, Index batch) {
    dit::Conditioned both(model, classes<Model>(2 * batch, size), workspace);
    const auto noise = latents<Model, R>(batch, size);
    dit::BatchedGuidance guided(dit::WithoutVariance(std::ref(both)), dit::Guidance{.scale = 4, .channels = 3});
    return dit::sample<dit::DdimSampler>(noise, dit::DiffusionSchedule(dit::ddim_steps(5)), guided).x;
  });
  compute<T>(name + "/ddpm", [&](Workspace& workspace, Index batch) {
    dit::Conditioned field(model, classes<Model>(batch, size), workspace);
    const auto noise = latents<Model, R>(batch, size);
    dit::TorchGenerator generator(1);
    const auto draw = [&generator](View<R, 4> fresh) { dit::randn(fresh, generator); };
    const dit::DiffusionSchedule chain(dit::respaced_steps(4));
    field.prepare(chain.times());
    return dit::sample<dit::DdpmSampler>(noise, chain, field, dit::Unobserved{}, draw).x;
  });
}

const Cases cases([] {
  using T = NET_TYPE;
  using Model = dit::DiT<variance, T>;
  auto model = filled<Model>();
  field_cases<T>("dit/original", model, 1000, classes<Model>, {{8, 8}, {6, 10}, {2, 2}, {22, 18}});
  chain_cases<T>("dit/original", model);
  model.set_layout(dit::Layout::diffusers);
  field_cases<T>("dit/diffusers", model, 1000, classes<Model>, {{8, 8}, {10, 14}});
  chain_cases<T>("dit/diffusers", model);

  file_cases<T, Model, dit::DiT<variance>>("dit", both_layouts,
                                           direct_pass<T, Model>(1000, classes<Model>, {6, 10}));

  using Odd = dit::DiT<odd, T>;
  field_cases<T>("dit/odd", filled<Odd>(), 1000, classes<Odd>, {{9, 9}, {6, 15}});
});

}  // namespace
