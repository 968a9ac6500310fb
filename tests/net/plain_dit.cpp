/// PlainDiT.

#include "files.hpp"

namespace {

using namespace net;

constexpr dit::PlainDiTConfig config{
    .in_channels = 3, .patch = 2, .width = 42, .heads = 3, .mlp = 101, .depth = 2, .width_c = 20};

template <class T, class Model>
auto pass(const Model& model, Shape<2> size, Workspace& workspace, Index batch) {
  using R = Real<T>;
  const auto x = tensor<R, 4>("x", {batch, config.in_channels, size[0], size[1]});
  const auto time = tensor<R, 2>("time", {batch, config.width_c});
  const auto condition = tensor<R, 2>("condition", {batch, config.width_c});
  Tensor<R, 4> v(x.dimensions());
  model(x, time, condition, v, workspace);
  return v;
}

const Cases cases([] {
  using T = NET_TYPE;
  using Model = dit::PlainDiT<config, T>;
  const auto model = filled<Model>();
  for (const Shape<2> size : {Shape<2>{6, 10}, {2, 2}, {22, 18}}) {
    compute<T>(sized("plain_dit", size),
               [&](Workspace& workspace, Index batch) { return pass<T>(model, size, workspace, batch); });
  }
  file_cases<T, Model, dit::PlainDiT<config>>("plain_dit", {dit::Layout::original},
                                              [](const Model& loaded, Workspace& workspace, Index batch) {
                                                return pass<T>(loaded, {6, 10}, workspace, batch);
                                              });
});

}  // namespace
