// error 1: DiTBlock: the number of heads does not divide the width
// error 2: DiTBlock: the tokens' width is not the block's width
// error 3: DiTBlock: the conditioning vector's width is not the block's width
// error 4: DiTBlock: the tokens' width is not the block's width
// error 5: store: the tokens' width is not the product's width
// error 6: the adaLN projection has fewer chunks than that
// error 7: DiTBlock: the MLP's hidden width must be positive
// error 8: DiTBlock: the tokens' width is not the block's width

#include "dit/nn/dit_block.hpp"
#include "dit/nn/patchify.hpp"

using namespace dit;

constexpr BlockConfig config{.width = 72, .heads = DIT_BREAK == 1 ? 5 : 3, .mlp = DIT_BREAK == 7 ? 0 : 288};
using Block = DiTBlock<config>;

void f(const Block& block, Workspace& workspace) {
  Tokens<float, 72> x{}, c{};
  Tokens<float, 64> other{};
  const Block::Modulations m{};
  View<const float, 4> image;
#if DIT_BREAK == 2
  block(other, c, workspace);
#elif DIT_BREAK == 3
  block(x, other, workspace);
#elif DIT_BREAK == 4
  block(other, m, workspace);
#elif DIT_BREAK == 5
  const Patchify<4, 2, 64> patchify;
  store(x, patchify(image, workspace), workspace);
  block(x, c, workspace);
#elif DIT_BREAK == 6
  m.chunk<6>();
#elif DIT_BREAK == 8
  const Patchify<4, 2, 64> patchify;
  store(other, patchify(image, workspace), workspace);
  block(other, c, workspace);
#else
  const Patchify<4, 2, 72> patchify;
  store(x, patchify(image, workspace), workspace);
  block(x, c, workspace);
  block(x, Tokens<const float, 72>(c), workspace);
  block(x, m, workspace);
  static_cast<void>(other);
#endif
}
