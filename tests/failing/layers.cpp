// error 1: Patchify: channels, patch and width must be positive
// error 2: Depatchify: patch and channels must be positive
// error 3: SelfAttention: the number of heads does not divide the width
// error 4: Linear: the input's width is not the layer's input width
// error 5: Linear: the input's width is not the layer's input width
// error 6: AdaLN: the tokens' width is not the layer's width
// error 7: AdaLN: the conditioning vector's width is not the layer's
// error 8: Linear: the input's width is not the layer's input width
// error 9: PositionEmbedding: the width must be a multiple of 4
// error 10: self_attention: qkv must be three times as wide as the output
// error 11: self_attention: the number of heads does not divide the width

#include "dit/nn/adaln.hpp"
#include "dit/nn/attention.hpp"
#include "dit/nn/depatchify.hpp"
#include "dit/nn/embed.hpp"
#include "dit/nn/patchify.hpp"

using namespace dit;

template <int position_width>
void add(const PositionEmbedding<4, position_width>& positions, Workspace& workspace) {
  positions.add_to({}, {4, 4}, workspace);
}

void f(Workspace& workspace) {
  Tokens<float, 24> x{};
  Tokens<float, 72> qkv{};
  Tokens<float, 32> other{};
  View<float, 4> image;
  const Mlp<24, 96, 24, Activation::gelu_tanh> mlp;
  const SelfAttention<24, DIT_BREAK == 3 ? 5 : 3> attention;
  const AdaLN<24, 8> adaln;
  const Depatchify<24, DIT_BREAK == 2 ? 0 : 2, 4> depatchify;
  const Patchify<4, DIT_BREAK == 1 ? 0 : 2, 24> patchify;
#if DIT_BREAK == 4
  mlp(layer_norm(other, 1e-6), workspace);
#elif DIT_BREAK == 5
  attention(layer_norm(other, 1e-6), workspace);
#elif DIT_BREAK == 6
  adaln(other, Tokens<float, 8>{}, workspace);
#elif DIT_BREAK == 7
  adaln(x, other, workspace);
#elif DIT_BREAK == 8
  depatchify(layer_norm(other, 1e-6), image, workspace);
#elif DIT_BREAK == 10
  self_attention<3>(other, x, workspace);
#elif DIT_BREAK == 11
  self_attention<5>(qkv, x, workspace);
#else
  store(x, mlp(layer_norm(x, 1e-6), workspace), workspace);
  store(x, attention(adaln(x, Tokens<const float, 8>{}, workspace), workspace), workspace);
  store(x, patchify(image, workspace), workspace);
  depatchify(layer_norm(x, 1e-6), image, workspace);
  self_attention<3>(qkv, x, workspace);
  add<DIT_BREAK == 9 ? 26 : 24>({}, workspace);
  static_cast<void>(other);
#endif
}
