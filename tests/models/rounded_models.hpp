#pragma once
/// What holds for every model whose weights are bf16 or int8, of any family: the same bits for any number of
/// threads, batched or alone, prepared or not, wherever numbers lie; memory as planned; copies that are copies. A
/// file names its models:
///     using Models = testing::Types<...>;
///     INSTANTIATE_TYPED_TEST_SUITE_P(DiTs, RoundedModels, Models, ModelName);

#include <cstring>

#include "core/allocations.hpp"
#include "dit/io/save.hpp"
#include "dit/models/conditioned.hpp"
#include "dit/nn/init.hpp"
#include "dit/nn/plan.hpp"
#include "models/text_models.hpp"

namespace support {

/// Latents and conditions whose tokens fill no block of any kernel evenly, and what one thread makes of them.
template <class M>
struct RoundedCase {
  M model = random_model<M>(1);
  Tensor<float, 4> x = random_latents<M>(3, 6, 10, 2);
  typename M::Condition condition = random_condition<M>(3, 3);
  std::vector<float> t{M::model_time(0.75), M::model_time(1.0), M::model_time(0.001)};
  Tensor<float, 4> expected = [this] {
    dit::InlineExecutor alone;
    Workspace workspace(alone);
    return model(x, t, condition, workspace);
  }();
};

/// A pass of a model, and what is planned for it.
struct RoundedPass {
  Index batch, height, width, text;
  int threads;
};
inline constexpr RoundedPass rounded_passes[] = {{1, 8, 8, 7, 1},  {3, 8, 8, 7, 2},   {2, 6, 10, 5, 3},
                                                 {1, 2, 2, 1, 2},  {4, 24, 20, 7, 2}, {1, 4, 4, 150, 2},
                                                 {1, 24, 24, 1, 4}};
template <class M>
dit::Plan planned(const RoundedPass& p) {
  if constexpr (M::family == "dit") {
    return dit::plan<M>(p.batch, {p.height, p.width}, p.threads);
  } else {
    return dit::plan<M>(p.batch, {p.height, p.width}, p.text, p.threads);
  }
}

template <class M>
class RoundedModels : public testing::Test {};
TYPED_TEST_SUITE_P(RoundedModels);

TYPED_TEST_P(RoundedModels, DoNotSeeTheNumberOfThreads) {
  const RoundedCase<TypeParam> c;
  for (const int threads : {1, 2, 3, 4}) {
    Workspace workspace(threads);
    for (int again = 0; again < 2; ++again) {
      EXPECT_TRUE(same_bits(c.model(c.x, c.t, c.condition, workspace), c.expected)) << threads;
    }
  }
}

TYPED_TEST_P(RoundedModels, DoNotSeeTheBatch) {
  const RoundedCase<TypeParam> c;
  for (const int threads : {1, 3}) {
    Workspace workspace(threads);
    for (const Picks& some : {Picks{0}, {1}, {2}, {1, 2}, {2, 0, 1}, {1, 1, 0, 2, 0}}) {
      EXPECT_TRUE(same_bits(c.model(pick(c.x, some), pick(c.t, some), pick(c.condition, some), workspace),
                            pick(c.expected, some)))
          << threads << " threads, " << testing::PrintToString(some);
    }
  }
}

TYPED_TEST_P(RoundedModels, DoNotSeeAlignment) {
  const RoundedCase<TypeParam> c;
  const auto like = View<const float, 4>(c.expected).shape;
  Workspace workspace(2);
  for (const Index offset : {1, 2, 3, 8, 13, 15}) {
    std::vector<float> in(static_cast<std::size_t>(c.x.size() + 16)),
        out(static_cast<std::size_t>(c.expected.size() + 16), -7);
    std::copy_n(c.x.data(), c.x.size(), in.data() + offset);
    const View<float, 4> result{out.data() + 16 - offset, like};
    c.model(View<const float, 4>{in.data() + offset, View<const float, 4>(c.x).shape}, c.t, c.condition, result,
            workspace);
    EXPECT_TRUE(same_bits(std::span(result.data, static_cast<std::size_t>(result.size())), c.expected)) << offset;
    for (float* outside = out.data(); outside != result.begin(); ++outside) EXPECT_EQ(*outside, -7);
    for (float* outside = result.end(); outside != out.data() + out.size(); ++outside) EXPECT_EQ(*outside, -7);
  }
}

TYPED_TEST_P(RoundedModels, DoNotSeeWhatTheWorkspaceHeldBefore) {
  const RoundedCase<TypeParam> c;
  for (const int byte : {0xff, 0x7f}) {  // NaN or -1; huge numbers or 127
    Workspace workspace(2);
    {
      const auto scope = workspace.scope();
      std::memset(workspace.take<std::uint8_t>(1 << 22), byte, 1 << 22);
    }
    EXPECT_TRUE(same_bits(c.model(c.x, c.t, c.condition, workspace), c.expected)) << byte;
  }
}

// Prepared for all times at once, with weights that are then given back, and step by step.
TYPED_TEST_P(RoundedModels, DoNotSeeHowTheModulationsWereMade) {
  const RoundedCase<TypeParam> c;
  const float sigmas[] = {1, 0.75F, 0.3F, 0.001F};
  for (const int threads : {1, 3}) {
    auto model = random_model<TypeParam>(1);
    Workspace workspace(threads);
    dit::Conditioned by_step(model, c.condition, workspace), prepared(model, c.condition, workspace);
    prepared.prepare(sigmas);
    std::vector<Tensor<float, 4>> one_by_one;
    Tensor<float, 4> out(c.expected.dimensions());
    for (const float sigma : sigmas) {
      by_step(c.x, sigma, out);
      one_by_one.push_back(out);
      const std::vector<float> times(3, TypeParam::model_time(sigma));
      EXPECT_TRUE(same_bits(c.model(c.x, times, c.condition, workspace), out)) << sigma;
    }
    release_modulation(model);
    for (std::size_t i = 0; i < one_by_one.size(); ++i) {
      prepared(c.x, sigmas[i], out);
      EXPECT_TRUE(same_bits(out, one_by_one[i])) << sigmas[i] << ", " << threads << " threads";
    }
  }
}

// What a NaN says reaches all of its sample, also through int8, and nothing else.
TYPED_TEST_P(RoundedModels, KeepANaNInItsSample) {
  const RoundedCase<TypeParam> c;
  auto x = c.x;
  x.data()[x.size() / 3 + 7] = std::numeric_limits<float>::quiet_NaN();  // of sample 1
  Workspace workspace(2);
  const auto out = c.model(x, c.t, c.condition, workspace);
  EXPECT_TRUE(same_bits(pick(out, {0, 2}), pick(c.expected, {0, 2})));
  const auto sick = pick(out, {1});
  for (Index i = 0; i < sick.size(); ++i) ASSERT_FALSE(std::isfinite(sick.data()[i])) << i;
}

TYPED_TEST_P(RoundedModels, GiveExactlyZeroWhenFresh) {  // a row of zeros has a scale of zero, not NaN
  const RoundedCase<TypeParam> c;
  TypeParam fresh;
  init_adaln_zero(fresh, 1);
  Workspace workspace(2);
  const auto out = fresh(c.x, c.t, c.condition, workspace);
  EXPECT_EQ(distance(out, std::vector<double>(static_cast<std::size_t>(out.size()))).max, 0);
}

/// Bytes of a matrix in strips of 16 rows: bf16 by pairs; int8 by four, and two numbers of 4 bytes for every row.
template <class T>
constexpr std::size_t strips(Index rows, Index depth) {
  const auto up = [](Index n, Index to) { return static_cast<std::size_t>((n + to - 1) / to * to); };
  return std::is_same_v<T, dit::bf16> ? 2 * up(rows, 16) * up(depth, 2) : up(rows, 16) * (up(depth, 4) + 8);
}

TYPED_TEST_P(RoundedModels, HaveTheWeightsThatWerePlanned) {
  const RoundedCase<TypeParam> c;
  using T = typename TypeParam::scalar;
  std::size_t expected = 0;
  for_each_parameter(
      [&]<class P>(const dit::Path&, const P& p) {
        if constexpr (requires { p.packed(); }) {
          expected += strips<T>(P::rows, P::row_size);
        } else {
          expected += sizeof(float) * static_cast<std::size_t>(P::size);
        }
      },
      c.model);
  const std::size_t weights = planned<TypeParam>({1, 8, 8, 7, 1}).weights;
  EXPECT_EQ(weights, expected);
  EXPECT_LT(weights, (dit::weight_bytes<dit::with_scalar<TypeParam, float>>()));
  // And on the heap, which rounds.
  const long long before = allocations::live;
  TypeParam another;
  zero(another);
  const auto taken = static_cast<std::size_t>(allocations::live - before);
  EXPECT_GE(taken, weights);
  EXPECT_LE(taken, weights + 128 * static_cast<std::size_t>(dit::tensor_count<TypeParam>()));
}

TYPED_TEST_P(RoundedModels, TakeTheArenaThatWasPlannedAndAllocateNothing) {
  const RoundedCase<TypeParam> c;
  for (const auto& p : rounded_passes) {
    SCOPED_TRACE(dit::to_string(std::array<Index, 5>{p.batch, p.height, p.width, p.text, p.threads}));
    const auto x = random_latents<TypeParam>(p.batch, p.height, p.width, 2);
    const auto condition = random_condition<TypeParam>(p.batch, 3, p.text);
    const std::vector<float> t(static_cast<std::size_t>(p.batch), TypeParam::model_time(0.5));
    auto out = output_for<TypeParam>(x);
    {
      Workspace workspace(p.threads);
      const long before = allocations::count;
      c.model(x, t, condition, out, workspace);
      EXPECT_GT(allocations::count - before, 0);  // or nobody counts
      EXPECT_EQ(workspace.high_water(), planned<TypeParam>(p).arena);
    }
    // The first pass of all, the condition given; then steps, prepared or not.
    Workspace workspace(p.threads, planned<TypeParam>(p).arena);
    dit::Conditioned field(c.model, condition, workspace), prepared(c.model, condition, workspace);
    long before = allocations::count;
    field(x, 0.5F, out);
    EXPECT_EQ(allocations::count - before, 0);
    prepared.prepare(std::array{0.75F, 0.25F});
    before = allocations::count;
    for (const float sigma : {0.75F, 0.25F}) {
      prepared(x, sigma, out);
      field(x, sigma, out);
    }
    EXPECT_EQ(allocations::count - before, 0);
  }
}

TYPED_TEST_P(RoundedModels, AreCopiedBitByBit) {
  const RoundedCase<TypeParam> c;
  TypeParam to;
  copy(c.model, to);
  EXPECT_EQ(max_difference(c.model, to), 0);
  Workspace workspace(2);
  EXPECT_TRUE(same_bits(to(c.x, c.t, c.condition, workspace), c.expected));
  EXPECT_EQ(save_to_memory(to), save_to_memory(c.model));
  // A difference shows.
  for_each_parameter(
      [first = true]<class P>(const dit::Path&, P& p) mutable {
        if (!std::exchange(first, false)) return;
        std::vector<typename P::scalar> row(static_cast<std::size_t>(P::row_size));
        p.get_rows(P::rows - 1, 1, row.data());
        row[0] += 1;
        p.set_rows(P::rows - 1, 1, row.data());
      },
      to);
  EXPECT_NEAR(max_difference(c.model, to), 1, 0.1);
}

// bf16 is written exactly; int8 as q * scale, whose rows are the same q again, and a scale that is rounded anew.
TYPED_TEST_P(RoundedModels, AreWhatTheyWereAfterSavingAndLoading) {
  const RoundedCase<TypeParam> c;
  const auto bytes = save_to_memory(c.model);
  const auto again = dit::load_from_memory<TypeParam>(bytes, {.strict = true});
  if constexpr (std::is_same_v<typename TypeParam::scalar, dit::bf16>) {
    EXPECT_EQ(max_difference(c.model, again), 0);
    EXPECT_EQ(save_to_memory(again), bytes);
    const auto half = dit::load_from_memory<TypeParam>(save_to_memory(c.model, {.dtype = dit::DType::BF16}));
    EXPECT_LE(max_difference(c.model, half), 0x1p-8);  // biases and norms, which are float, are rounded
  } else {
    EXPECT_LE(max_difference(c.model, again), 4 * 0x1p-23);
    dit::with_scalar<TypeParam, float> unrounded = random_model<dit::with_scalar<TypeParam, float>>(1);
    const auto exact = dit::load_from_memory<dit::with_scalar<TypeParam, float>>(bytes);
    EXPECT_GT(max_difference(unrounded, exact), 1e-4);  // what int8 had made of it
  }
}

REGISTER_TYPED_TEST_SUITE_P(RoundedModels, DoNotSeeTheNumberOfThreads, DoNotSeeTheBatch, DoNotSeeAlignment,
                            DoNotSeeWhatTheWorkspaceHeldBefore, DoNotSeeHowTheModulationsWereMade,
                            KeepANaNInItsSample, GiveExactlyZeroWhenFresh, HaveTheWeightsThatWerePlanned,
                            TakeTheArenaThatWasPlannedAndAllocateNothing, AreCopiedBitByBit,
                            AreWhatTheyWereAfterSavingAndLoading);

}  // namespace support
