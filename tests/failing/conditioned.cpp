// What no field can be made of, and what no plan can be made for.
// error 1: a Conditioned field refers to its model, which must outlive it: give the model a name
// error 2: a Conditioned field refers to its model, which must outlive it: give the model a name
// error 3: this field takes states of another rank than the noise has
// error 4: this model takes text: plan<Model>(batch, {h, w}, text_tokens, strands)
// error 5: this model takes no text: plan<Model>(batch, {h, w}, strands)
#include "dit/io/load.hpp"
#include "dit/models/dit.hpp"
#include "dit/models/mmdit.hpp"
#include "dit/nn/plan.hpp"
#include "dit/sampling/euler.hpp"
#include "dit/sampling/sample.hpp"

using namespace dit;

constexpr DiTConfig classes{.width = 24, .depth = 2, .heads = 3, .patch = 2, .input = 8, .learn_sigma = false};
constexpr MMDiTConfig texts{.width = 24, .depth = 2, .heads = 3};

void compile(const DiT<classes>& model, const MMDiT<texts>& told, const Text<float>& text, Workspace& workspace) {
  Conditioned field(model, {3}, workspace);
  Conditioned other(told, text, workspace);
#if DIT_BREAK == 1
  Conditioned dangling(load<DiT<classes>>("model.safetensors"), {3}, workspace);
#elif DIT_BREAK == 2
  Conditioned dangling(MMDiT<texts>{}, text, workspace);
#elif DIT_BREAK == 3
  sample(Tensor<float, 5>(1, 4, 3, 8, 8), Schedule::uniform(4), field);
#elif DIT_BREAK == 4
  static_assert(plan<MMDiT<texts>>(1, {8, 8}, 2).total() > 0);
#elif DIT_BREAK == 5
  static_assert(plan<DiT<classes>>(1, {8, 8}, 7, 2).total() > 0);
#else
  sample(Tensor<float, 4>(1, 4, 8, 8), Schedule::uniform(4), field);
  static_assert(plan<MMDiT<texts>>(1, {8, 8}, 7, 2).total() > plan<DiT<classes>>(1, {8, 8}, 2).total());
#endif
}
