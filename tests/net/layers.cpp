/// Layers alone: attention, perceptrons, norms, what makes tokens of images and times.

#include "net.hpp"

namespace {

using namespace net;
using dit::Activation;
using dit::HeadNorm;

/// y [B, N, out] = layer(x [B, N, in])
template <class T, int in, int out, class Layer>
void tokens_case(const std::string& name, const Layer& layer, std::initializer_list<Index> counts = {1, 19}) {
  using R = Real<T>;
  for (const Index count : counts) {
    compute<T>(name + "/" + std::to_string(count), [&](Workspace& workspace, Index batch) {
      auto x = tensor<R, 3>("x", {batch, count, in});
      Tensor<R, 3> y(batch, count, out);
      apply(layer, tokens<in>(x, workspace), tokens<out>(y, workspace), workspace);
      return y;
    });
  }
}

template <class T>
void linear_layers() {
  tokens_case<T, 70, 51>("linear", filled<dit::Linear<70, 51, T>>(), {1, 2, 9, 67, 131});
  tokens_case<T, 33, 1>("linear/one", filled<dit::Linear<33, 1, T>>());
  tokens_case<T, 2401, 37>("linear/deep", filled<dit::Linear<2401, 37, T>>(), {1, 150});
  tokens_case<T, 37, 30>("mlp/gelu_tanh", filled<dit::Mlp<37, 150, 30, Activation::gelu_tanh, T>>());
  tokens_case<T, 37, 30>("mlp/gelu_erf", filled<dit::Mlp<37, 150, 30, Activation::gelu_erf, T>>());
  tokens_case<T, 37, 30>("mlp/silu", filled<dit::Mlp<37, 150, 30, Activation::silu, T>>());
  tokens_case<T, 45, 45>("layer_norm", filled<dit::LayerNorm<45, T>>());
  tokens_case<T, 45, 45>("rms_norm", filled<dit::RMSNorm<45, T>>());
}

template <class T>
void attention_layers() {
  const std::initializer_list<Index> counts = {1, 19, 300};
  tokens_case<T, 54, 54>("self_attention/plain", filled<dit::SelfAttention<54, 3, T>>(), counts);
  tokens_case<T, 54, 54>("self_attention/normalised", filled<dit::SelfAttention<54, 3, T, HeadNorm::sd3>>(),
                         counts);
  tokens_case<T, 90, 90>("self_attention/one_head", filled<dit::SelfAttention<90, 1, T>>(), counts);
  tokens_case<T, 42, 42>("multihead_attention", filled<dit::MultiheadAttention<42, 3, T>>());

  using R = Real<T>;
  const auto two = filled<dit::JointAttention<48, 3, 2, T>>();
  compute<T>("joint_attention/two", [&](Workspace& workspace, Index batch) {
    auto a = tensor<R, 3>("a", {batch, 7, 48}), b = tensor<R, 3>("b", {batch, 133, 48});
    two(workspace, tokens<48>(a, workspace), tokens<48>(b, workspace));
    return Results<R>(a, b);
  });
  const auto three = filled<dit::JointAttention<48, 4, 3, T, HeadNorm::flux>>();
  compute<T>("joint_attention/three", [&](Workspace& workspace, Index batch) {
    auto a = tensor<R, 3>("a", {batch, 1, 48}), b = tensor<R, 3>("b", {batch, 13, 48}),
         c = tensor<R, 3>("c", {batch, 66, 48});
    three(workspace, tokens<48>(a, workspace), tokens<48>(b, workspace), tokens<48>(c, workspace));
    return Results<R>(a, b, c);
  });
}

template <class T>
void embedding_layers() {
  using R = Real<T>;
  const auto adaln = filled<dit::AdaLN<45, 20, T>>();
  compute<T>("adaln", [&](Workspace& workspace, Index batch) {
    auto x = tensor<R, 3>("x", {batch, 19, 45}), c = tensor<R, 3>("c", {batch, 1, 20});
    Tensor<R, 3> y(x.dimensions());
    apply_adaln(adaln, tokens<45>(x, workspace), tokens<20>(c, workspace), tokens<45>(y, workspace), workspace);
    return y;
  });
  const auto patchify = filled<ImagePatchify<3, 3, 26, T>>();
  compute<T>("patchify", [&](Workspace& workspace, Index batch) {
    const auto image = tensor<R, 4>("image", {batch, 3, 9, 15});
    Tensor<R, 3> y(batch, 15, 26);
    apply_patchify(patchify, View<const R, 4>(image), tokens<26>(y, workspace), workspace);
    return y;
  });
  const auto final_layer = filled<ImageFinalLayer<26, 2, 5, T>>();
  compute<T>("final_layer", [&](Workspace& workspace, Index batch) {
    auto x = tensor<R, 3>("x", {batch, 15, 26}), c = tensor<R, 3>("c", {batch, 1, 26});
    Tensor<R, 4> image(batch, 5, 6, 10);
    apply_final(final_layer, tokens<26>(x, workspace), tokens<26>(c, workspace), View<R, 4>(image), workspace);
    return image;
  });
  const auto embedder = filled<TimeEmbedder<30, T>>();
  for (const int divisor : {127, 128}) {
    compute<T>("timestep_embedder/" + std::to_string(divisor), [&](Workspace& workspace, Index batch) {
      std::vector<R> times{R(17.5), 999, 0};
      times.resize(static_cast<std::size_t>(batch));
      Tensor<R, 3> y(batch, 1, 30);
      apply_times(embedder, std::span<const R>(times), divisor, tokens<30>(y, workspace), workspace);
      return y;
    });
  }
}

/// Noise as PyTorch draws it.
template <class R>
void noise() {
  for (const Index count : {1, 15, 16, 37, 1000}) {
    compute<R>("randn/" + std::to_string(count), [count](Workspace&, Index batch) {
      dit::TorchGenerator generator(42);
      std::vector<R> drawn(static_cast<std::size_t>(count * batch));
      dit::randn(std::span<R>(drawn), generator);
      return drawn;
    });
  }
}

const Cases cases([] {
  linear_layers<NET_TYPE>();
  attention_layers<NET_TYPE>();
  embedding_layers<NET_TYPE>();
  if constexpr (std::is_floating_point_v<NET_TYPE>) noise<NET_TYPE>();
});

}  // namespace
