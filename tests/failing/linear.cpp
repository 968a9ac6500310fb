// error 1: Linear: the input's width is not the layer's input width
// error 2: Linear: the input's width is not the layer's input width
// error 3: store: the tokens' width is not the product's width
// error 4: add: the tokens' width is not the product's width
// error 5: Linear: both widths must be positive
// error 6: store: the tokens are neither real numbers nor what the model stores
// error 7: gelu_tanh_from: the product has fewer outputs than that

#include "dit/nn/linear.hpp"

using namespace dit;

void f(const Linear<8, 16>& layer, Workspace& workspace) {
  Tokens<float, 8> x{};
  Tokens<float, 9> other{};
  Tokens<float, 16> y{};
#if DIT_BREAK == 1
  store(y, layer(other), workspace);
#elif DIT_BREAK == 2
  store(y, layer(layer_norm(other, 1e-6)), workspace);
#elif DIT_BREAK == 3
  store(x, layer(x), workspace);
#elif DIT_BREAK == 4
  add(x, layer(x), workspace);
#elif DIT_BREAK == 6
  store(Tokens<bf16, 16>{}, layer(x), workspace);
#elif DIT_BREAK == 7
  store(y, gelu_tanh_from<17>(layer(x)), workspace);
#elif DIT_BREAK == 5
  Linear<8, 0>{};
#else
  store(y, layer(x), workspace);
  store(y, gelu_tanh_from<16>(layer(x)), workspace);
  store(Tokens<bf16, 16>{}, Linear<8, 16, int8>{}(x), workspace);
  add(y, gelu_tanh(layer(layer_norm(x, 1e-6))), workspace);
  static_cast<void>(other);
#endif
}
