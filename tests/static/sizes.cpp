/// What the compiler knows about a model before there is one. To compile is to pass.

#include "dit/models/dit.hpp"
#include "dit/models/plain_dit.hpp"
#include "dit/nn/plan.hpp"

namespace {

using namespace dit;

// Official files store the position table with the weights; the paper counts what is trained.
template <DiTConfig config>
constexpr bool has(std::int64_t trained, std::int64_t stored) {
  constexpr std::int64_t side = config.input / config.patch;
  return parameter_count<DiT<config>>() == stored && stored - side * side * config.width == trained;
}
static_assert(has<dit_s_2>(32'865'056, 32'963'360));
static_assert(has<dit_s_4>(32'920'448, 32'945'024));
static_assert(has<dit_s_8>(33'142'016, 33'148'160));
static_assert(has<dit_b_2>(130'315'808, 130'512'416));
static_assert(has<dit_b_4>(130'426'496, 130'475'648));
static_assert(has<dit_b_8>(130'869'248, 130'881'536));
static_assert(has<dit_l_2>(457'840'672, 458'102'816));
static_assert(has<dit_l_4>(457'988'224, 458'053'760));
static_assert(has<dit_l_8>(458'578'432, 458'594'816));
static_assert(has<dit_xl_2>(674'834'720, 675'129'632));
static_assert(has<dit_xl_4>(675'000'704, 675'074'432));
static_assert(has<dit_xl_8>(675'664'640, 675'683'072));
static_assert(has<dit_xl_2_512>(674'834'720, 676'014'368));

static_assert(tensor_count<DiT<dit_xl_2>>() == 292);
static_assert(tensor_count<DiT<dit_s_8>>() == 132);
static_assert(parameter_count<DiT<dit_xl_2, double>>() == parameter_count<DiT<dit_xl_2>>());

// The article's: 4 D^2 for attention, 2 D d_ff, two AdaLN projections of 2 D c, and the biases.
constexpr PlainDiTConfig article{
    .in_channels = 3, .patch = 2, .width = 72, .heads = 3, .mlp = 100, .depth = 2, .width_c = 40};
static_assert(parameter_count<PlainDiT<article>>() ==
              72 * 12 + 72 +                                                                           // patchify
                  2 * (4 * 72 * 72 + 4 * 72 + 2 * 72 * 100 + 100 + 72 + 2 * (2 * 72 * 40 + 2 * 72)) +  // blocks
                  2 * 72 + 12 * 72 + 12);  // norm, depatchify
static_assert(tensor_count<PlainDiT<article>>() == 2 + 2 * 12 + 2 + 2);

// A model of no numbers is an empty constant.
constexpr DiT<dit_xl_2, shape_only> constant{};
static_assert(constant.config.depth == 28);

// Bytes of weights and activations, as constants; more of everything takes more.
constexpr Plan one = plan<DiT<dit_xl_2>>(1, {32, 32}, 1), two = plan<DiT<dit_xl_2>>(2, {32, 32}, 1);
static_assert(one.weights == two.weights && one.weights >= 4u * 675'129'632 && one.weights < 4u * 675'300'000);
static_assert(one.arena > 256u * (1152 + 4608) * 4 && one.arena < two.arena && two.arena < 3 * one.arena);
static_assert(one.total() == one.weights + one.arena);
static_assert(plan<DiT<dit_xl_2>>(1, {32, 32}, 8).arena > one.arena);
static_assert(plan<DiT<dit_xl_2, double>>(1, {32, 32}, 1).arena == 2 * one.arena);
static_assert(plan<DiT<dit_xl_2>>(1, {64, 48}, 1).arena > one.arena);
static_assert(plan<PlainDiT<article>>(2, {6, 10}, 2).arena > 0);
static_assert(weight_bytes<PlainDiT<article, double>>() == 2 * weight_bytes<PlainDiT<article>>());

// Presets that differ elsewhere share their block's type.
static_assert(std::is_same_v<decltype(DiT<dit_xl_2>::blocks), decltype(DiT<dit_xl_8>::blocks)>);
static_assert(std::is_same_v<with_scalar<DiT<dit_s_2>, double>, DiT<dit_s_2, double>>);

static_assert(dit_xl_2.out_channels() == 8 && dit_xl_2.labels() == 1001 && DiT<dit_xl_2>::null_class == 1000);

// A field keeps no model that is about to end.
static_assert(
    std::is_constructible_v<Conditioned<DiT<dit_s_8>>, const DiT<dit_s_8>&, std::vector<int>, Workspace&>);
static_assert(!std::is_constructible_v<Conditioned<DiT<dit_s_8>>, DiT<dit_s_8>, std::vector<int>, Workspace&>);

}  // namespace
