/// PlainDiT against the article's listing, run by PyTorch, from that listing's state_dict.

#include "dit/io/save.hpp"
#include "dit/nn/init.hpp"
#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class PlainDiTs : public testing::Test {};
TYPED_TEST_SUITE(PlainDiTs, Scalars, ScalarName);

template <class T>
Tensor<T, 4> run(const PlainDiT<article, T>& model, const Tensor<T, 4>& x, const Tensor<T, 2>& t_emb,
                 const Tensor<T, 2>& cond) {
  Workspace workspace(2);
  Tensor<T, 4> v(x.dimensions());
  model(x, t_emb, cond, v, workspace);
  return v;
}

TYPED_TEST(PlainDiTs, AreTheArticlesModel) {
  using T = TypeParam;
  const Golden io("plain_dit_io");
  const auto model = golden_model<PlainDiT<article, T>>("plain_dit");
  const auto v = run(model, io.tensor<T, 4>("x"), io.tensor<T, 2>("t_emb"), io.tensor<T, 2>("cond"));
  EXPECT_TRUE(close(v, io.tensor<double, 4>("out64"), whole_model<T>));
}

TYPED_TEST(PlainDiTs, HaveTheArticlesBlock) {
  using T = TypeParam;
  const Golden io("plain_dit_io");
  const auto model = golden_model<PlainDiT<article, T>>("plain_dit");
  auto h = io.tensor<T, 3>("h");
  auto c = io.tensor<T, 2>("cond");
  Workspace workspace(2);
  model.blocks[0](tokens<72>(h), tokens<40>(c), workspace);
  EXPECT_TRUE(close(h, io.tensor<double, 3>("block64"), one_layer<T>));
}

TYPED_TEST(PlainDiTs, HaveTheNamesOfTheArticlesStateDict) {
  using M = PlainDiT<article, TypeParam>;
  const auto path = golden_path("plain_dit.safetensors");
  LoadOptions strict;
  strict.strict = true;  // not a name missing, not one too many
  const auto model = load<M>(path, strict);
  const auto bytes = save_to_memory(model);
  const auto again = load_from_memory<M>(bytes);
  EXPECT_EQ(max_difference(model, again), 0);
  EXPECT_EQ(save_to_memory(again), bytes);
}

TYPED_TEST(PlainDiTs, AddTimeAndConditionAndKeepSamplesApart) {
  using T = TypeParam;
  const auto model = random_model<PlainDiT<article, T>>(1);
  const auto x = normal<T, 4>({2, 3, 6, 10}, 2);
  const auto t = normal<T, 2>({2, 40}, 3), c = normal<T, 2>({2, 40}, 4);
  const auto v = run(model, x, t, c);
  EXPECT_TRUE(same_bits(run(model, x, c, t), v));
  const Tensor<T, 4> x1 = x.chip(1, 0).reshape(std::array<Index, 4>{1, 3, 6, 10});
  const Tensor<T, 2> t1 = t.chip(1, 0).reshape(std::array<Index, 2>{1, 40}),
                     c1 = c.chip(1, 0).reshape(std::array<Index, 2>{1, 40});
  const auto alone = run(model, x1, t1, c1);
  EXPECT_TRUE(std::equal(alone.data(), alone.data() + alone.size(), v.data() + alone.size()));
}

TYPED_TEST(PlainDiTs, RefuseWhatTheyCannotRun) {
  using T = TypeParam;
  const auto model = random_model<PlainDiT<article, T>>(1);
  Workspace workspace(1);
  const auto attempt = [&](const Shape<4>& in, const Shape<2>& t, const Shape<2>& c, const Shape<4>& out) {
    const auto x = normal<T, 4>(in, 1);
    const auto t_emb = normal<T, 2>(t, 2), cond = normal<T, 2>(c, 3);
    Tensor<T, 4> v(out);
    model(x, t_emb, cond, v, workspace);
  };
  const Shape<4> good{2, 3, 6, 10};
  attempt(good, {2, 40}, {2, 40}, good);
  EXPECT_ERROR(errc::bad_condition, attempt(good, {1, 40}, {2, 40}, good));
  EXPECT_ERROR(errc::bad_condition, attempt(good, {2, 40}, {2, 39}, good));
  EXPECT_ERROR(errc::bad_input_shape, attempt({2, 3, 6, 9}, {2, 40}, {2, 40}, {2, 3, 6, 9}));
  EXPECT_ERROR(errc::bad_input_shape, attempt({2, 4, 6, 10}, {2, 40}, {2, 40}, good));
  EXPECT_ERROR(errc::bad_input_shape,
               attempt(good, {2, 40}, {2, 40}, {2, 3, 10, 6}));  // as many tokens, another grid
  EXPECT_ERROR(errc::bad_input_shape, attempt({0, 3, 6, 10}, {0, 40}, {0, 40}, {0, 3, 6, 10}));
  Tensor<T, 4> x = normal<T, 4>(good, 1);
  const auto c = normal<T, 2>({2, 40}, 2);
  EXPECT_ERROR(errc::aliasing, model(x, c, c, x, workspace));
  Tensor<T, 4> v(good);
  const PlainDiT<article, T> empty;
  EXPECT_ERROR(errc::bad_state, empty(x, c, c, v, workspace));
  const auto lease = workspace.lease();
  EXPECT_ERROR(errc::busy, model(x, c, c, v, workspace));
}

TEST(PlainDiT, StartsWithModulationsAndOutputOfZero) {
  PlainDiT<article> model;
  init_adaln_zero(model, 1);
  const auto x = normal<float, 4>({1, 3, 6, 10}, 2);
  const auto c = normal<float, 2>({1, 40}, 3);
  EXPECT_EQ(distance(run(model, x, c, c), std::vector<double>(180)).max, 0);
}

}  // namespace
