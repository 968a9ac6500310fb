// error 1: MMDiTBlock: the tokens' width is not the block's width
// error 2: MMDiTBlock: the tokens' width is not the block's width
// error 3: MMDiTBlock: the conditioning vector's width is not the block's width
// error 4: MMDiTBlock: the tokens' width is not the block's width
// error 5: SelfAttention: the number of heads does not divide the width
// error 6: the adaLN projection has fewer chunks than that
// error 7: SingleStreamBlock: the number of heads does not divide the width
// error 8: SingleStreamBlock: the MLP's hidden width must be positive
// error 9: SingleStreamBlock: the tokens' width is not the block's width
// error 10: SingleStreamBlock: the conditioning vector's width is not the block's width
// error 11: JointAttention: there must be as many streams of tokens as it has
// error 12: JointAttention: there must be a stream
// error 13: joint_attention: the streams are not of one width
// error 14: joint_attention: the number of heads does not divide the width
// error 15: split_heads: queries, keys and values are wider than the tokens
// error 16: features: the tokens have fewer than that
// error 17: normalise_and_turn: a head must have pairs of channels
// error 18: MMDiTBlock: the tokens' width is not the block's width
// error 19: MMDiTBlock: the tokens' width is not the block's width
// error 20: SingleStreamBlock: with bf16 the width must be even, with int8 a multiple of 4
// error 21: SingleStreamBlock: with bf16 the width must be even, with int8 a multiple of 4

#include "dit/nn/flux_block.hpp"

using namespace dit;

constexpr BlockConfig config{.width = 72, .heads = DIT_BREAK == 5 ? 5 : 3, .mlp = 288};
constexpr BlockConfig single{.width = 72, .heads = DIT_BREAK == 7 ? 5 : 3, .mlp = DIT_BREAK == 8 ? 0 : 288};
using Block = MMDiTBlock<config>;
using LastBlock = MMDiTLastBlock<config>;
using DualBlock = MMDiTDualBlock<config>;
using FluxBlock = DoubleStreamBlock<config>;
using FluxSingle = SingleStreamBlock<single>;
using Bf16Single = SingleStreamBlock<BlockConfig{DIT_BREAK == 20 ? 75 : 78, 3, 288}, bf16>;
using Int8Single = SingleStreamBlock<BlockConfig{DIT_BREAK == 21 ? 78 : 84, 3, 288}, int8>;
using Attention = JointAttention<72, 3, DIT_BREAK == 12 ? 0 : 2>;

void f(const Block& block, const LastBlock& last, const DualBlock& dual, const FluxBlock& flux,
       const FluxSingle& one, const Attention& attention, Workspace& workspace) {
  Tokens<float, 72> x{}, context{}, c{};
  Tokens<float, 64> other{};
  Tokens<float, 216> qkv{};
  static_assert(Bf16Single::width > 0 && Int8Single::width > 0);
  const Block::Modulations m{};
#if DIT_BREAK == 1
  block(other, context, c, workspace);
#elif DIT_BREAK == 2
  block(x, other, c, workspace);
#elif DIT_BREAK == 3
  block(x, context, other, workspace);
#elif DIT_BREAK == 4
  block(x, other, m, workspace);
#elif DIT_BREAK == 6
  LastBlock::Modulations{}.context.chunk<2>();
#elif DIT_BREAK == 9
  one(other, c, workspace);
#elif DIT_BREAK == 10
  one(x, other, workspace);
#elif DIT_BREAK == 11
  attention(workspace, x);
#elif DIT_BREAK == 13
  joint_attention<3>(workspace, split_heads<72>(qkv), split_heads<24>(qkv));
#elif DIT_BREAK == 14
  joint_attention<5>(workspace, split_heads<72>(qkv));
#elif DIT_BREAK == 15
  split_heads<72>(x);
#elif DIT_BREAK == 16
  features<200, 17>(qkv);
#elif DIT_BREAK == 17
  normalise_and_turn<8>(split_heads<72>(qkv), c.data, c.data, 1e-6, Rope<float>{});
#elif DIT_BREAK == 18
  last(x, other, c, workspace);
#elif DIT_BREAK == 19
  dual(other, context, c, workspace);
#else
  block(x, context, c, workspace);
  block(x, context, Tokens<const float, 72>(c), workspace);
  block(x, context, m, workspace);
  block(x, context, c, workspace, Rope<float>{}, Rope<float>{});
  last(x, context, c, workspace);
  dual(x, context, c, workspace);
  flux(x, context, c, workspace);
  one(x, c, workspace);
  attention(workspace, x, context);
  joint_attention<3>(workspace, split_heads<72>(qkv), split_heads<72>(qkv));
  normalise_and_turn<3>(split_heads<72>(qkv), c.data, c.data, 1e-6, Rope<float>{});
  static_cast<void>(features<200, 16>(qkv));
  static_cast<void>(other);
#endif
}
