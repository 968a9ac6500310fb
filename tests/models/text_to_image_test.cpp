/// What must hold for every model that is told a text, whatever its family and its weights; and what went wrong
/// with all of them elsewhere.

#include "dit/nn/init.hpp"
#include "models/text_models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class M>
class TextToImages : public testing::Test {};
TYPED_TEST_SUITE(TextToImages, TextModels, ModelName);

/// f(block of one, the same block of the other), whatever the family calls its blocks.
template <class M, class F>
void for_each_block(F&& f, M& model, const M& other) {
  if constexpr (is_flux<M>) {
    for (std::size_t l = 0; l < other.double_blocks.size(); ++l) f(model.double_blocks[l], other.double_blocks[l]);
    for (std::size_t l = 0; l < other.single_blocks.size(); ++l) f(model.single_blocks[l], other.single_blocks[l]);
  } else {
    M::Blocks::visit([&](int, auto& block, const auto& from) { f(block, from); }, model.joint_blocks,
                     other.joint_blocks);
  }
}
/// A block whose gates are closed passes both streams through.
template <class Block>
void close_gates(Block& block) {
  if constexpr (requires { block.modulation; }) {
    silence(block.modulation);
  } else {
    silence(block.x_block.adaLN_modulation);
    silence(block.context_block.adaLN_modulation);
  }
}

TYPED_TEST(TextToImages, GiveExactlyZeroWhenFresh) {
  using M = TypeParam;
  M model;
  init_adaln_zero(model, 1);
  Workspace workspace(2);
  const auto out = run_text(model, random_latents<M>(2, 6, 10, 2), random_condition<M>(2, 3), workspace);
  EXPECT_EQ(distance(out, std::vector<double>(static_cast<std::size_t>(out.size()))).max, 0);
}

TYPED_TEST(TextToImages, AreIdentitiesInEveryBlockWhenFresh) {
  using M = TypeParam;
  M fresh;
  init_adaln_zero(fresh, 1);
  const auto other = random_model<M>(2);
  copy(other.final_layer, fresh.final_layer);
  Workspace workspace(2);
  const auto x = random_latents<M>(2, 6, 10, 2);
  const auto condition = random_condition<M>(2, 3);
  const auto out = run_text(fresh, x, condition, workspace);
  for_each_block([](auto& block, const auto& from) { copy(from, block); }, fresh, other);  // and gates are open
  EXPECT_GT(distance(run_text(fresh, x, condition, workspace), out).nmse, 1e-3);
  for_each_block([](auto& block, const auto&) { close_gates(block); }, fresh, other);
  EXPECT_TRUE(same_bits(run_text(fresh, x, condition, workspace), out));
}

TYPED_TEST(TextToImages, HearTimeAndBothPartsOfTheText) {
  using M = TypeParam;
  const auto model = random_model<M>(1);
  const auto x = random_latents<M>(1, 6, 10, 2);
  const auto condition = random_condition<M>(1, 3), other = random_condition<M>(1, 4);
  const auto moment = [](double sigma) { return std::vector{M::model_time(sigma)}; };
  Workspace workspace(2);
  const auto out = run_text(model, x, condition, workspace, moment(0.75));
  EXPECT_GT(distance(run_text(model, x, condition, workspace, moment(0.7502)), out).nmse, 1e-6);
  auto changed = condition;
  text_of(changed).context = text_of(other).context;
  EXPECT_GT(distance(run_text(model, x, changed, workspace, moment(0.75)), out).nmse, 1e-3);
  changed = condition;
  text_of(changed).pooled = text_of(other).pooled;
  EXPECT_GT(distance(run_text(model, x, changed, workspace, moment(0.75)), out).nmse, 1e-3);
}

TYPED_TEST(TextToImages, DoNotSeeTheOrderOfTextTokens) {  // which have no positions
  using M = TypeParam;
  const auto model = random_model<M>(1);
  const auto x = random_latents<M>(2, 6, 10, 2);
  const auto condition = random_condition<M>(2, 3);
  Workspace workspace(2);
  const auto with_order = [&](const Picks& order) {
    auto turned = condition;
    text_of(turned) = pick_tokens(text_of(condition), order);
    return run_text(model, x, turned, workspace);
  };
  const auto out = with_order({0, 1, 2, 3, 4, 5, 6});
  EXPECT_TRUE(same_bits(out, run_text(model, x, condition, workspace)));
  EXPECT_TRUE(close(with_order({3, 6, 0, 2, 5, 1, 4}), out, whole_model<typename M::R>));
  EXPECT_GT(distance(with_order({3, 6, 0, 2, 5, 1, 1}), out).nmse, 1e-6);
}

TYPED_TEST(TextToImages, TakeOneTokenOfTextAndOneOfTheImage) {
  using M = TypeParam;
  const auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto out = run_text(model, random_latents<M>(1, 2, 2, 2), random_condition<M>(1, 3, 1), workspace);
  for (Index i = 0; i < out.size(); ++i) ASSERT_TRUE(std::isfinite(out.data()[i])) << i;
}

// What went wrong elsewhere, on the models of the goldens.

/// A model with its golden, in both layouts, and the name of what the golden says of it.
template <class T>
struct Sd3Golden {
  using M = MMDiT<sd3_mini, T>;
  static constexpr const char* files[] = {"mmdit_mini.safetensors", "mmdit_mini_diffusers.safetensors"};
  static constexpr const char *io = "mmdit_mini_io", *out = "out64";
  static constexpr double per_sigma = 1000, wrong_scale = 1e-3;
};
template <class T>
struct FluxGolden {
  using M = Flux<flux_mini, T>;
  static constexpr const char* files[] = {"flux_mini.safetensors", "flux_mini_diffusers_sharded"};
  static constexpr const char *io = "flux_mini_io", *out = "image.out64";
  static constexpr double per_sigma = 1, wrong_scale = 1e-4;  // the model multiplies by 1000 itself
};
template <class G>
class TextToImageBugs : public testing::Test {};
using Goldens = testing::Types<Sd3Golden<float>, Sd3Golden<double>, FluxGolden<float>, FluxGolden<double>>;
struct GoldenName {
  template <class G>
  static std::string GetName(int) {
    return ModelName::GetName<typename G::M>(0);
  }
};
TYPED_TEST_SUITE(TextToImageBugs, Goldens, GoldenName);

TYPED_TEST(TextToImageBugs, FinalLayerHalvesNotSwapped) {
  using M = typename TypeParam::M;
  const Golden io(TypeParam::io);
  const auto expected = io.template tensor<double, 4>(TypeParam::out);
  for (const char* file : TypeParam::files) {
    auto model = load<M>(golden_path(file));
    EXPECT_TRUE(close(run_golden(model, io), expected, whole_model<typename M::R>)) << file;
    swap_halves(model.final_layer.adaLN_modulation);
    EXPECT_GT(distance(run_golden(model, io), expected).nmse, 0.01) << file;
  }
}

TYPED_TEST(TextToImageBugs, TimeScalingMissingOrTwice) {
  using M = typename TypeParam::M;
  using R = typename M::R;
  const R scale = R(TypeParam::per_sigma);
  EXPECT_EQ(M::model_time(0.75), R(0.75) * scale);
  EXPECT_EQ(M::model_time(1.0F), scale);
  const auto model = load<M>(golden_path(TypeParam::files[0]));
  const auto x = random_latents<M>(1, 6, 10, 2);
  const auto condition = random_condition<M>(1, 3);
  Workspace workspace(2);
  const auto at = [&](R time) { return run_text(model, x, condition, workspace, {time}); };
  const auto out = at(R(0.75) * scale);
  Tensor<R, 4> v(x.dimensions());
  Conditioned(model, condition, workspace)(x, R(0.75), v);
  EXPECT_TRUE(same_bits(v, out));
  for (const R wrong : {R(0.75) * scale * 1000, R(0.75) * scale / 1000}) {
    EXPECT_GT(distance(at(wrong), out).nmse, TypeParam::wrong_scale) << wrong;
  }
}

}  // namespace
