/// The same weights from either layout, with the conventions of the layout: diffusers spaces the time frequencies
/// by 127 and has an eps of 1e-5 in each block's second norm.

#include "dit/io/save.hpp"
#include "dit/kernels/rowwise.hpp"
#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Layouts : public testing::Test {};
TYPED_TEST_SUITE(Layouts, Scalars, ScalarName);

template <class M>
auto run_io(const M& model, const Golden& io) {
  using R = typename M::R;
  Workspace workspace(2);
  return model(io.tensor<R, 4>("x"), io.values<R>("t"), io.integers("y"), workspace);
}

TYPED_TEST(Layouts, OfTheAuthorsAndOfDiffusersEachRunAsTheirOwnCode) {
  using M = DiT<mini, TypeParam>;
  const Golden io("dit_mini_io"), diffusers_io("dit_mini_diffusers_io");
  const auto original = golden_model<M>("dit_mini"), diffusers = golden_model<M>("dit_mini_diffusers");
  EXPECT_EQ(original.layout(), Layout::original);
  EXPECT_EQ(diffusers.layout(), Layout::diffusers);
  EXPECT_TRUE(close(run_io(original, io), io.template tensor<double, 4>("out64"), whole_model<TypeParam>));
  EXPECT_TRUE(
      close(run_io(diffusers, io), diffusers_io.template tensor<double, 4>("out64"), whole_model<TypeParam>));
  EXPECT_EQ(max_difference(original, diffusers), 0);  // the weights are the same
}

TYPED_TEST(Layouts, AreNoDetail) {
  using M = DiT<mini, TypeParam>;
  const Golden io("dit_mini_io");
  auto model = golden_model<M>("dit_mini");
  model.set_layout(Layout::diffusers);
  EXPECT_GT(distance(run_io(model, io), io.template tensor<double, 4>("out64")).nmse, 0.01);
  model.set_layout(Layout::original);
  EXPECT_TRUE(close(run_io(model, io), io.template tensor<double, 4>("out64"), whole_model<TypeParam>));
}

TYPED_TEST(Layouts, DoNotDependOnHowTheFileIsCut) {
  using M = DiT<mini, TypeParam>;
  const auto whole = golden_model<M>("dit_mini_diffusers");
  const auto shards = load<M>(golden_path("dit_mini_diffusers_sharded"));
  EXPECT_EQ(shards.layout(), Layout::diffusers);
  EXPECT_EQ(max_difference(whole, shards), 0);
}

TYPED_TEST(Layouts, InHalfPrecisionAreTheRoundedWeights) {
  using M = DiT<mini, TypeParam>;
  const Golden io("dit_mini_io");
  for (const std::string dtype : {"f16", "bf16"}) {
    const auto model = golden_model<M>("dit_mini_" + dtype);
    EXPECT_TRUE(close(run_io(model, io), io.template tensor<double, 4>(dtype + ".out64"), whole_model<TypeParam>))
        << dtype;
  }
}

// Weights so small that an eps shows: with a wrong one the result moves by 1e-6, with rounding by 1e-12 of its
// square.
TYPED_TEST(Layouts, HaveTheirOwnEps) {
  using M = DiT<mini, TypeParam>;
  const Golden io("dit_eps_io");
  auto model = golden_model<M>("dit_eps");
  const auto original = io.template tensor<double, 4>("out64"),
             diffusers = io.template tensor<double, 4>("diffusers.out64");
  EXPECT_TRUE(close(run_io(model, io), original, one_layer<TypeParam>));
  model.set_layout(Layout::diffusers);
  EXPECT_TRUE(close(run_io(model, io), diffusers, one_layer<TypeParam>));
}

TYPED_TEST(Layouts, DifferInTheEpsOfTheSecondNormAlone) {
  using T = TypeParam;
  using M = DiT<mini, T>;
  const Golden io("dit_eps_io");
  const auto model = golden_model<M>("dit_eps");
  auto c = io.tensor<T, 2>("block.c");
  silu(c.data(), c.size(), c.data());
  std::vector<T> table(static_cast<std::size_t>(c.size() * 6));
  Workspace workspace(1);
  const auto m = model.blocks[0].adaLN_modulation(tokens<12>(c), table.data(), workspace);
  const auto run_block = [&](double mlp_norm_eps) {
    auto x = io.tensor<T, 3>("block.x");
    model.blocks[0](tokens<12>(x), m, workspace, mlp_norm_eps);
    return x;
  };
  const auto original = io.tensor<double, 3>("block.out64"),
             diffusers = io.tensor<double, 3>("block.diffusers.out64");
  EXPECT_TRUE(close(run_block(1e-6), original, one_layer<T>));
  EXPECT_TRUE(close(run_block(1e-5), diffusers, one_layer<T>));
  EXPECT_GT(distance(run_block(1e-5), original).nmse, 1e-8);
}

TYPED_TEST(Layouts, SavedAndLoadedAndSavedAreTheSameBytes) {
  using M = DiT<mini, TypeParam>;
  auto model = golden_model<M>("dit_mini");
  for (const Layout layout : {Layout::original, Layout::diffusers}) {
    model.set_layout(layout);
    const auto bytes = save_to_memory(model);
    const auto again = load_from_memory<M>(bytes);
    EXPECT_EQ(again.layout(), layout);
    EXPECT_EQ(max_difference(model, again), 0);
    EXPECT_EQ(save_to_memory(again), bytes);
  }
}

TYPED_TEST(Layouts, GoThereAndBackWithoutLosingABit) {
  using M = DiT<mini, TypeParam>;
  const auto original = golden_model<M>("dit_mini");
  const auto bytes = save_to_memory(original);
  const auto there = load_from_memory<M>(save_to_memory(original, {.layout = Layout::diffusers}));
  EXPECT_EQ(there.layout(), Layout::diffusers);
  EXPECT_EQ(save_to_memory(there, {.layout = Layout::original}), bytes);
}

/// Names and numbers, without the order and the metadata.
std::vector<std::pair<std::string, std::vector<float>>> contents(const Safetensors& file) {
  std::vector<std::pair<std::string, std::vector<float>>> tensors;
  for (std::size_t i = 0; i < file.size(); ++i) tensors.emplace_back(file.name(i), file.read<float>(file[i]));
  return tensors;
}
TYPED_TEST(Layouts, AreWrittenAsTheirOwnersWriteThem) {
  const auto model = golden_model<DiT<mini, TypeParam>>("dit_mini");
  for (const auto& [layout, name] :
       {std::pair(Layout::original, "dit_mini"), std::pair(Layout::diffusers, "dit_mini_diffusers")}) {
    const auto bytes = save_to_memory(model, {.dtype = DType::F32, .layout = layout});
    EXPECT_EQ(contents(Safetensors::from_memory(bytes)),
              contents(Safetensors::open(golden_path(std::string(name) + ".safetensors"))));
  }
}

}  // namespace
