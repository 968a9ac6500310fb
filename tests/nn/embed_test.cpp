/// What time, class and place add to the tokens.

#include "dit/nn/embed.hpp"

#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

template <class T>
class Embedders : public testing::Test {};
TYPED_TEST_SUITE(Embedders, Scalars, ScalarName);

TYPED_TEST(Embedders, OfTimeAreThoseOfTheReferenceWithEitherDivisor) {
  using T = TypeParam;
  const Golden io("embeddings_io");
  const auto embedder = golden_model<TimestepEmbedder<24, T>>("timestep_embedder");
  const auto t = io.values<T>("t");
  std::vector<T> out(t.size() * 24);
  Workspace workspace(2);
  for (const int divisor : {128, 127}) {
    store(Tokens<T, 24>{out.data(), static_cast<Index>(t.size()), 1}, embedder(t, divisor, workspace), workspace);
    const Bound bound = sizeof(T) == 8 ? Bound{1e-12, 1e-25} : one_layer<T>;  // phases of 1000 in double
    EXPECT_TRUE(close(out, io.values<double>("timestep" + std::to_string(divisor) + ".out64"), bound));
  }
}

TYPED_TEST(Embedders, OfClassesAddTheirRow) {
  using T = TypeParam;
  const Golden io("embeddings_io");
  const auto embedder = golden_model<LabelEmbedder<11, 72, T>>("label_embedder");
  const auto labels = io.integers("label.y");  // the null class among them
  const auto expected = io.tensor<T, 2>("label.out");
  Tensor<T, 2> x(expected.dimensions());
  x.setZero();
  Workspace workspace(1);
  embedder.add_to(tokens<72>(x), labels, workspace);
  EXPECT_TRUE(same_bits(x, expected));
  embedder.add_to(tokens<72>(x), labels, workspace);
  const Tensor<T, 2> doubled = expected + expected;
  EXPECT_TRUE(same_bits(x, doubled));
}

TYPED_TEST(Embedders, OfClassesRefuseThoseThatAreNotThere) {
  using T = TypeParam;
  const auto embedder = random_model<LabelEmbedder<11, 8, T>>(1);
  std::vector<T> x(16);
  Workspace workspace(1);
  const auto add = [&](std::vector<int> labels) {
    embedder.add_to(Tokens<T, 8>{x.data(), 2, 1}, labels, workspace);
  };
  add({0, 10});
  EXPECT_ERROR(errc::bad_condition, add({0, 11}));
  EXPECT_ERROR(errc::bad_condition, add({-1, 0}));
  EXPECT_ERROR(errc::bad_condition, add({0}));
  EXPECT_ERROR(errc::bad_condition, add({0, 1, 2}));
  const LabelEmbedder<11, 8, T> empty;
  EXPECT_ERROR(errc::bad_state, empty.add_to(Tokens<T, 8>{x.data(), 2, 1}, std::vector<int>{0, 1}, workspace));
}

TYPED_TEST(Embedders, OfPlaceFillInTheOfficialTable) {
  using T = TypeParam;
  PositionEmbedding<4, 72, T> table;
  table.fill();
  const auto stored = Golden("dit_tiny").values<T>("pos_embed");
  EXPECT_TRUE(close(std::span(table.data(), 16 * 72), stored, Bound{0x1p-24, 1e-15}));
}

TYPED_TEST(Embedders, OfPlaceUseTheirTableOnItsGridAndTheFormulaElsewhere) {
  using T = TypeParam;
  const auto table = random_model<PositionEmbedding<3, 72, T>>(1);
  Workspace workspace(1);
  const auto added = [&](Grid grid) {
    std::vector<T> x(static_cast<std::size_t>(2 * grid.count() * 72), T(0));
    table.add_to(Tokens<T, 72>{x.data(), 2, grid.count()}, grid, workspace);
    return x;
  };
  const auto twice = [](const auto& rows) {
    auto both = rows;
    both.insert(both.end(), rows.begin(), rows.end());
    return both;
  };
  EXPECT_TRUE(same_bits(added({3, 3}), twice(std::vector<T>(table.data(), table.data() + 9 * 72))));
  const Golden io("embeddings_io");
  // Of the same token count or not, upright or lying; rounded to float as the stored tables are.
  EXPECT_TRUE(close(added({3, 5}), twice(io.values<T>("positions.d72.3x5")), Bound{0x1p-24, 1e-15}));
  EXPECT_TRUE(close(added({5, 3}), twice(io.values<T>("positions.d72.5x3")), Bound{0x1p-24, 1e-15}));
  EXPECT_GT(distance(added({1, 9}), added({3, 3})).nmse, 0.1);

  std::vector<T> other(10 * 72);
  EXPECT_ERROR(errc::bad_input_shape, table.add_to(Tokens<T, 72>{other.data(), 1, 10}, {3, 3}, workspace));
  EXPECT_ERROR(errc::bad_input_shape, table.add_to(Tokens<T, 72>{other.data(), 1, 10}, {-5, -2}, workspace));

  const PositionEmbedding<3, 72, T> empty;
  std::vector<T> x(9 * 72);
  EXPECT_ERROR(errc::bad_state, empty.add_to(Tokens<T, 72>{x.data(), 1, 9}, {3, 3}, workspace));
}

/// f(workspace) gives the same bits on one strand as on several.
template <class F>
void expect_same_on_all_strands(F&& f) {
  Workspace one(1);
  const auto expected = f(one);
  for (const int threads : {2, 3, 5}) {
    Workspace several(threads);
    EXPECT_TRUE(same_bits(f(several), expected)) << threads << " threads";
  }
}

// Of tokens enough to be shared.
TYPED_TEST(Embedders, AreTheSameOnAnyNumberOfThreads) {
  using T = TypeParam;
  const auto add_to = [](const auto& table, Grid grid) {
    expect_same_on_all_strands([&](Workspace& workspace) {
      auto x = normal<T>(2 * grid.count() * 72, 2);
      table.add_to(Tokens<T, 72>{x.data(), 2, grid.count()}, grid, workspace);
      return x;
    });
  };
  const auto formula = random_model<PositionEmbedding<40, 72, T>>(1);
  add_to(formula, {40, 40});
  add_to(formula, {37, 53});
  const auto table = random_model<PositionTable<60, 72, T>>(1);
  add_to(table, {37, 53});
  add_to(table, {60, 60});
  const auto embedder = random_model<TimestepEmbedder<72, T>>(1);
  expect_same_on_all_strands([&](Workspace& workspace) {
    const auto times = normal<T>(100, 3);
    std::vector<T> x(100 * 72);
    store(Tokens<T, 72>{x.data(), 100, 1}, embedder(times, 128, workspace), workspace);
    return x;
  });
}

}  // namespace
