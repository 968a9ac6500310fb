/// What the compiler knows about a model before there is one. To compile is to pass.

#include "dit/models/dit.hpp"
#include "dit/models/flux.hpp"
#include "dit/models/mmdit.hpp"
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

// Stable Diffusion 3: official files store the position table, which is not learned.
template <MMDiTConfig config>
constexpr bool has(std::int64_t learned, std::int64_t stored, int tensors) {
  using M = MMDiT<config>;
  return parameter_count<M>() == stored && tensor_count<M>() == tensors &&
         stored - std::int64_t{config.positions} * config.positions * config.width == learned;
}
static_assert(has<sd3_medium>(2'028'328'000, 2'084'951'104, 491));
static_assert(has<sd3_5_medium>(2'243'171'520, 2'469'663'936, 665));
static_assert(has<sd3_5_large>(8'056'627'520, 8'146'280'768, 923));

template <FluxConfig config>
constexpr bool has(std::int64_t stored, int tensors) {
  using M = Flux<config>;
  return parameter_count<M>() == stored && tensor_count<M>() == tensors;
}
static_assert(has<flux_dev>(11'901'408'320, 780) && has<flux_krea>(11'901'408'320, 780));
static_assert(has<flux_kontext>(11'901'408'320, 780));
static_assert(has<flux_schnell>(11'891'178'560, 776));
static_assert(has<flux_fill>(11'902'391'360, 780));
static_assert(has<flux_canny>(11'901'604'928, 780) && has<flux_depth>(11'901'604'928, 780));
static_assert(flux_dev.in_features() == 64 && flux_fill.in_features() == 384 && flux_canny.in_features() == 128);

// What time and text say to a model, numbers per vector: every block's chunks and the final layer's.
static_assert(MMDiT<sd3_medium>::Modulations::per_vector == (23 * 12 + 8 + 2) * 1536);
static_assert(MMDiT<sd3_5_medium>::Modulations::per_vector == (23 * 12 + 13 * 3 + 8 + 2) * 1536);
static_assert(Flux<flux_dev>::Modulations::per_vector == (19 * 12 + 38 * 3 + 2) * 3072);

// The article's: 4 D^2 for attention, 2 D d_ff, two AdaLN projections of 2 D c, and the biases.
constexpr PlainDiTConfig article{
    .in_channels = 3, .patch = 2, .width = 72, .heads = 3, .mlp = 100, .depth = 2, .width_c = 40};
static_assert(parameter_count<PlainDiT<article>>() ==
              72 * 12 + 72 +                                                                           // patchify
                  2 * (4 * 72 * 72 + 4 * 72 + 2 * 72 * 100 + 100 + 72 + 2 * (2 * 72 * 40 + 2 * 72)) +  // blocks
                  2 * 72 + 12 * 72 + 12);  // norm, depatchify
static_assert(tensor_count<PlainDiT<article>>() == 2 + 2 * 12 + 2 + 2);

// A model without numbers is a constant.
constexpr DiT<dit_xl_2> constant{};
static_assert(constant.config.depth == 28 && constant.blocks[27].mlp.fc1.weight.empty());
constexpr Flux<flux_dev, int8> flux{};
static_assert(flux.double_blocks[18].x_block.mlp.fc2.weight.empty() && flux.guidance_in[0].mlp.fc1.bias.empty());

// Bytes of weights and activations, as constants; more of everything takes more.
constexpr Plan one = plan<DiT<dit_xl_2>>(1, {32, 32}, 1), two = plan<DiT<dit_xl_2>>(2, {32, 32}, 1);
static_assert(one.weights == two.weights && one.weights >= 4u * 675'129'632 && one.weights < 4u * 675'300'000);
static_assert(one.arena > 256u * (1152 + 4608) * 4 && one.arena < two.arena && two.arena < 3 * one.arena);
static_assert(one.total() == one.weights + one.arena);
static_assert(plan<DiT<dit_xl_2>>(1, {32, 32}, 8).arena > one.arena);
static_assert(plan<DiT<dit_xl_2, double>>(1, {32, 32}, 1).arena == 2 * one.arena);
static_assert(plan<DiT<dit_xl_2>>(1, {64, 48}, 1).arena > one.arena);
static_assert(plan<PlainDiT<article>>(2, {6, 10}, 2).arena > 0);
constexpr Plan sd3 = plan<MMDiT<sd3_medium>>(1, {128, 128}, 154, 2);
static_assert(sd3.weights >= 4ull * 2'084'951'104 && sd3.weights < 4ull * 2'086'000'000);
static_assert(sd3.arena > (4096u + 154u) * 4 * 1536 * 4);  // q, k, v and the tokens
static_assert(plan<MMDiT<sd3_medium>>(1, {128, 128}, 333, 2).arena > sd3.arena);
static_assert(plan<MMDiT<sd3_5_medium>>(1, {128, 128}, 154, 2).arena > sd3.arena);  // a second attention
static_assert(plan<Flux<flux_dev>>(1, {128, 128}, 512, 2, 4096).arena >
              plan<Flux<flux_dev>>(1, {128, 128}, 512, 2).arena);  // a reference
static_assert(plan<Flux<flux_dev>>(1, {128, 128}, 512, 2).total() < 52ull << 30);
static_assert(weight_bytes<PlainDiT<article, double>>() == 2 * weight_bytes<PlainDiT<article>>());

// bf16 halves matrices, int8 halves them again and adds a scale and a correction for every row; all else stays
// float.
template <class M>
constexpr Plan at_512 = plan<M>(1, {64, 64}, 512, 2);
constexpr std::size_t giga = std::size_t{1} << 30;
constexpr Plan xl_bf16 = plan<DiT<dit_xl_2, bf16>>(1, {32, 32}, 1),
               xl_int8 = plan<DiT<dit_xl_2, int8>>(1, {32, 32}, 1);
static_assert(xl_bf16.weights > 2u * 675'129'632 && xl_bf16.weights < 2u * 677'500'000);
static_assert(xl_int8.weights > 1u * 675'129'632 && xl_int8.weights < 1u * 688'000'000);
static_assert(xl_int8.arena < one.arena && xl_bf16.arena < one.arena && xl_bf16.table == one.table);
static_assert(at_512<Flux<flux_dev, bf16>>.weights < 2u * std::size_t{11'920'000'000});
static_assert(at_512<Flux<flux_dev, int8>>.weights < 1u * std::size_t{11'940'000'000});
static_assert(at_512<Flux<flux_dev, int8>>.prepared(28) < 12 * giga);  // what loads the model, and runs it
static_assert(at_512<Flux<flux_dev, int8>>.released(28) < 9 * giga);
static_assert(at_512<MMDiT<sd3_5_large, bf16>>.prepared(28) < 16 * giga);

// Presets that differ elsewhere share their block's type.
static_assert(std::is_same_v<decltype(DiT<dit_xl_2>::blocks), decltype(DiT<dit_xl_8>::blocks)>);
static_assert(std::is_same_v<with_scalar<DiT<dit_s_2>, double>, DiT<dit_s_2, double>>);
static_assert(std::is_same_v<with_scalar<MMDiT<sd3_5_medium>, double>, MMDiT<sd3_5_medium, double>>);
static_assert(std::is_same_v<with_scalar<Flux<flux_fill>, double>, Flux<flux_fill, double>>);
static_assert(std::is_same_v<with_scalar<Flux<flux_fill, int8>, bf16>, Flux<flux_fill, bf16>>);
static_assert(std::is_same_v<Flux<flux_dev, int8>::R, float> && std::is_same_v<DiT<dit_xl_2, bf16>::R, float>);
static_assert(std::is_same_v<Flux<flux_dev>, Flux<flux_kontext>> &&
              std::is_same_v<Flux<flux_canny>, Flux<flux_depth>>);
static_assert(std::is_same_v<decltype(Flux<flux_dev>::double_blocks), decltype(Flux<flux_schnell>::double_blocks)>);

static_assert(dit_xl_2.out_channels() == 8 && dit_xl_2.labels() == 1001 && DiT<dit_xl_2>::null_class == 1000);

// What a field is made from. (That a model which is about to end is not, failing/conditioned.cpp says.)
static_assert(
    std::is_constructible_v<Conditioned<DiT<dit_s_8>>, const DiT<dit_s_8>&, std::vector<int>, Workspace&>);
using Sd3 = MMDiT<sd3_medium>;
static_assert(std::is_constructible_v<Conditioned<Sd3>, const Sd3&, Text<float>, Workspace&>);

}  // namespace
