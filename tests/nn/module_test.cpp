/// What stands on `visit`: counting, filling, zeroing, copying, comparing, initialising.

#include "dit/nn/module.hpp"

#include <map>
#include <utility>

#include "dit/models/dit.hpp"
#include "dit/nn/init.hpp"
#include "dit/nn/norm.hpp"
#include "dit/nn/plan.hpp"
#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

constexpr DiTConfig tiny{.width = 24, .depth = 2, .heads = 3, .patch = 2, .input = 8, .classes = 10};
using Model = DiT<tiny>;

template <class M>
std::map<std::string, std::vector<float>> numbers(const M& model) {
  std::map<std::string, std::vector<float>> all;
  for_each_parameter(
      [&all]<class P>(const Path& path, const P& p) {
        auto& values = all[path.str()];
        values.resize(static_cast<std::size_t>(P::size));
        p.get_rows(0, P::rows, values.data());
      },
      model);
  return all;
}

TEST(Module, VisitsEveryTensorOfTheOfficialCheckpointOnce) {
  std::vector<std::string> names;
  constexpr Model shapes;
  for_each_parameter([&names](const Path& path, const auto&) { names.push_back(path.str()); }, shapes);
  std::vector<std::string> expected{"pos_embed", "x_embedder.proj.weight", "x_embedder.proj.bias"};
  for (const char* layer : {"t_embedder.mlp.0", "t_embedder.mlp.2"}) {
    for (const char* end : {".weight", ".bias"}) expected.push_back(std::string(layer) + end);
  }
  expected.push_back("y_embedder.embedding_table.weight");
  for (const char* block : {"blocks.0.", "blocks.1."}) {
    for (const char* layer : {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1"}) {
      for (const char* end : {".weight", ".bias"}) expected.push_back(std::string(block) + layer + end);
    }
  }
  for (const char* layer : {"final_layer.linear", "final_layer.adaLN_modulation.1"}) {
    for (const char* end : {".weight", ".bias"}) expected.push_back(std::string(layer) + end);
  }
  EXPECT_EQ(names, expected);
  EXPECT_EQ(static_cast<int>(names.size()), tensor_count<Model>());
}

TEST(Module, CountsItsNumbers) {
  std::int64_t count = 0;
  for (const auto& [name, values] : numbers(random_model<Model>(1)))
    count += static_cast<std::int64_t>(values.size());
  EXPECT_EQ(count, parameter_count<Model>());
}

TEST(Module, IsFilledInTheOrderOfTheCheckpoint) {
  Linear<3, 2> layer;
  fill(layer, [next = 0.0](const Path&, const auto&) mutable { return [&next] { return next++; }; });
  const auto all = numbers(layer);
  EXPECT_EQ(all.at("weight"), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(all.at("bias"), (std::vector<float>{6, 7}));
}

TEST(Module, IsZeroed) {
  auto model = random_model<Model>(1);
  zero(model);
  for (const auto& [name, values] : numbers(model)) {
    EXPECT_EQ(values, std::vector<float>(values.size())) << name;
  }
}

TEST(Module, IsCopiedWithTheConventionsOfItsLayout) {
  auto model = random_model<Model>(1);
  model.set_layout(Layout::diffusers);
  Model other;
  copy(model, other);
  EXPECT_EQ(max_difference(model, other), 0);
  EXPECT_EQ(numbers(model), numbers(other));
  EXPECT_EQ(other.layout(), Layout::diffusers);
  copy(other, other);
  EXPECT_EQ(max_difference(model, other), 0);
}

TEST(Module, IsComparedToTheLastNumber) {
  const auto model = random_model<Model>(1);
  for (const std::string changed :
       {"pos_embed", "blocks.1.mlp.fc2.weight", "final_layer.adaLN_modulation.1.bias"}) {
    Model other;
    copy(model, other);
    const auto set_last = [&](float value) {
      for_each_parameter(
          [&]<class P>(const Path& path, P& p) {
            if (path.str() != changed) return;
            std::vector<float> row(static_cast<std::size_t>(P::row_size));
            p.get_rows(P::rows - 1, 1, row.data());
            row.back() += value;
            p.set_rows(P::rows - 1, 1, row.data());
          },
          other);
    };
    set_last(0.5F);
    EXPECT_NEAR(max_difference(model, other), 0.5, 1e-6) << changed;
    set_last(NAN);  // and no number after it makes that good again
    EXPECT_TRUE(std::isnan(max_difference(model, other))) << changed;
  }
}

TEST(Module, IsNotANumberAwayWhateverComesAfterTheNaN) {
  Linear<3, 2> zeros, ones;
  zero(zeros);
  fill(ones, [first = true](const Path&, const auto&) mutable {
    return [&first] { return std::exchange(first, false) ? NAN : 1.0F; };
  });
  EXPECT_TRUE(std::isnan(max_difference(zeros, ones)));
}

TEST(Module, WithoutWeightsIsABadState) {
  const Model empty;
  auto model = random_model<Model>(1);
  EXPECT_ERROR(errc::bad_state, max_difference(empty, model));
  EXPECT_ERROR(errc::bad_state, Model to; copy(empty, to));
  const Model moved = std::move(model);
  EXPECT_ERROR(errc::bad_state, max_difference(model, moved));  // NOLINT: moved from
}

TEST(AdaLNZero, ZeroesWhatThePaperZeroesAndDrawsTheRest) {
  Model model;
  init_adaln_zero(model, 7);
  for (const auto& [name, values] : numbers(model)) {
    const bool zeroed = name.ends_with("bias") || name.find("adaLN_modulation") != std::string::npos ||
                        name.starts_with("final_layer.linear");
    const auto size = static_cast<double>(values.size());
    double squares = 0, most = 0;
    for (const float value : values) {
      squares += static_cast<double>(value) * static_cast<double>(value);
      most = std::max(most, std::abs(static_cast<double>(value)));
    }
    if (zeroed) {
      EXPECT_EQ(most, 0) << name;
    } else if (name.starts_with("t_embedder") || name.starts_with("y_embedder")) {
      EXPECT_NEAR(std::sqrt(squares / size), 0.02, 0.003) << name;
    } else if (name != "pos_embed") {
      const double rows = static_cast<double>(name.find("qkv") != std::string::npos   ? 72
                                              : name.find("fc1") != std::string::npos ? 96
                                                                                      : 24);
      const double limit = std::sqrt(6 / (rows + size / rows));  // Xavier
      EXPECT_LE(most, limit) << name;
      EXPECT_GT(most, 0.95 * limit) << name;
      EXPECT_NEAR(squares / size, limit * limit / 3, 0.15 * limit * limit) << name;
    }
  }
  Model again, other;
  init_adaln_zero(again, 7);
  init_adaln_zero(other, 8);
  EXPECT_EQ(max_difference(model, again), 0);
  EXPECT_GT(max_difference(model, other), 0);
}

TEST(AdaLNZero, LeavesNormsAsTheyAre) {
  LayerNorm<24> norm;
  init_adaln_zero(norm, 7);
  EXPECT_EQ(numbers(norm).at("weight"), std::vector<float>(24, 1));
  EXPECT_EQ(numbers(norm).at("bias"), std::vector<float>(24, 0));
}

TEST(Plan, CountsTheBytesOfPackedWeights) {
  // 24 x 24 packs to 32 x 24 floats, its bias stays 24.
  EXPECT_EQ((Weight<float, 24, 24>::bytes), 32U * 24 * 4);
  EXPECT_EQ((Weight<double, 24, 24>::bytes), 32U * 24 * 8);
  EXPECT_EQ((Parameter<float, 24>::bytes), 24U * 4);
  std::size_t bytes = 0;
  constexpr Model shapes;
  for_each_parameter(
      [&bytes]<class P>(const Path& path, const P&) {
        const std::string name = path.str();
        const bool packed = name.ends_with("weight") && !name.starts_with("y_embedder");
        const auto rows = static_cast<std::size_t>(P::shape[0]), size = static_cast<std::size_t>(P::size);
        bytes += 4 * (packed ? (rows + 15) / 16 * 16 * (size / rows) : size);
      },
      shapes);
  EXPECT_EQ(weight_bytes<Model>(), bytes);
}

}  // namespace
