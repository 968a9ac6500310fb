/// int8: what is exact, what is rounded and when, against integers of 32 and 64 bits.

#include "kernels/gemm_support.hpp"

namespace dit { namespace {

using namespace dit::test;

/// A row as its quantised numbers, times the scale: that of a product is an exact sum, times three floats.
float dequantised(std::int64_t sum, float row_scale, float column_scale) {
  return static_cast<float>(sum) * (column_scale * row_scale);
}

/// To the bit: the sums are integers, the scales those of the formula, and what follows is one order of roundings.
TEST(Int8, ProductsAreThoseOfA32BitReferenceToTheBit) {
  Workspace workspace(2);
  for (const auto& [rows, depth, outputs] : {Shape<3>{1, 1, 1}, Shape<3>{5, 3, 17}, Shape<3>{16, 64, 40},
                                             Shape<3>{33, 257, 70}, Shape<3>{7, 9217, 33}, Shape<3>{3, 20000, 5}}) {
    const auto a = random_numbers<float>(rows * depth, 1, 3), w = random_numbers<float>(outputs * depth, 2, 0.05);
    const Quantised qa(a, depth), qw(w, depth);
    const auto weights = packed<int8>(w, outputs, depth);
    Numbers<float> expected;
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < outputs; ++j) {
        std::int32_t sum = 0;
        for (Index k = 0; k < depth; ++k) sum += qa.q[count(i * depth + k)] * qw.q[count(j * depth + k)];
        expected.push_back(dequantised(sum, qa.scale[count(i)], qw.scale[count(j)]));
      }
    }
    for (const Isa isa : isas<int8>()) {
      EXPECT_TRUE(same_bits(product(a, weights, workspace, kernels<int8>(isa)), expected))
          << text(isa) << " " << to_string(Shape<3>{rows, depth, outputs});
    }
  }
}

/// No partial sum saturates, however the kernel takes it, and none overflows at the greatest depth.
TEST(Int8, SumsOfExtremesAreExactAtEveryDepth) {
  Workspace workspace(1);
  constexpr Index most = PackedMatrix<int8>::max_depth;
  static_assert(most * 255 * 127 <= std::numeric_limits<std::int32_t>::max());
  for (const Index depth : {Index{1}, Index{2}, Index{3}, Index{64}, Index{1024}, Index{16384}, most - 1, most}) {
    const Index rows = 15, outputs = 18;
    Numbers<float> a(count(rows * depth)), w(count(outputs * depth));
    const auto sign = [](Index which, Index k) {
      return which % 3 == 0 ? 1 : which % 3 == 1 ? -1 : k % 2 ? 1 : -1;
    };
    for (Index i = 0; i < rows; ++i)
      for (Index k = 0; k < depth; ++k) a[count(i * depth + k)] = static_cast<float>(127 * sign(i, k));
    for (Index j = 0; j < outputs; ++j)
      for (Index k = 0; k < depth; ++k) w[count(j * depth + k)] = static_cast<float>(127 * sign(j, k));
    const auto weights = packed<int8>(w, outputs, depth);
    for (const Isa isa : isas<int8>()) {
      const auto y = product(a, weights, workspace, kernels<int8>(isa));
      for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < outputs; ++j) {
          std::int64_t signs = 0;
          for (Index k = 0; k < depth; ++k) signs += sign(i, k) * sign(j, k);
          ASSERT_EQ(y[count(i * outputs + j)], static_cast<float>(127 * 127 * signs)) << text(isa) << " " << depth;
        }
      }
    }
  }
}

/// Of a row of half numbers around a 127, whose scale is 1.
TEST(Int8, ActivationsAreRoundedToNearestTiesToEven) {
  Workspace workspace(1);
  const Index depth = 254;
  Numbers<float> a(count(depth)), identity(count(depth * depth));
  a[0] = 127;
  for (Index k = 1; k < depth; ++k) a[count(k)] = static_cast<float>(k - 127) + 0.5F;
  for (Index k = 0; k < depth; ++k) identity[count(k * depth + k)] = 127;
  const auto weights = packed<int8>(identity, depth, depth);
  for (const Isa isa : isas<int8>()) {
    const auto y = product(a, weights, workspace, kernels<int8>(isa));
    for (Index k = 0; k < depth; ++k) {
      ASSERT_EQ(y[count(k)], 127 * std::nearbyint(a[count(k)])) << text(isa) << " " << a[count(k)];
    }
  }
}

TEST(Int8, WeightsAreRoundedToNearestTiesToEven) {
  const Index depth = 254;
  Numbers<float> w(count(depth)), back(count(depth));
  w[0] = -127;
  for (Index k = 1; k < depth; ++k) w[count(k)] = static_cast<float>(k - 127) + 0.5F;
  packed<int8>(w, 1, depth).get_rows(0, 1, back.data());
  for (Index k = 0; k < depth; ++k) ASSERT_EQ(back[count(k)], std::nearbyint(w[count(k)]));
}

/// An error of half a step for each number, and of a step's rounding.
TEST(Int8, WeightsComeBackWithinHalfAStep) {
  for (const Index depth : {1, 5, 64, 1000}) {
    const auto w = random_numbers<float>(21 * depth, 3);
    const auto p = packed<int8>(w, 21, depth);
    Numbers<float> back(w.size());
    p.get_rows(0, 21, back.data());
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float scale = p.scale()[i / count(depth)];
      ASSERT_LE(std::abs(back[i] - w[i]), scale / 2 + 2 * eps<float> * std::abs(w[i]));
    }
  }
}

/// A row may be of any size: below what 1 / scale can express it is 0, everywhere alike; just above it is not.
TEST(Int8, TinyAndHugeRowsAreTheirNumbersOrZero) {
  Workspace workspace(1);
  constexpr Index depth = 70, outputs = 17;
  const auto w = packed<int8>(random_numbers<float>(outputs * depth, 5), outputs, depth);
  const auto x = random_numbers<float>(depth, 4);
  for (const float size : {1e-45F, 1e-40F, 1e-38F, 3e-37F, 1e-36F, 1e-30F, 1e30F}) {
    auto a = x;
    for (float& value : a) value *= size / 3;
    const auto exact = reference<int8>(
        a,
        [&] {
          Numbers<float> back(count(outputs * depth));
          w.get_rows(0, outputs, back.data());
          return back;
        }(),
        1, depth, outputs);
    const auto first = product(a, w, workspace, kernels<int8>(Isa::portable));
    for (const Isa isa : isas<int8>()) {
      const auto y = product(a, w, workspace, kernels<int8>(isa));
      EXPECT_TRUE(same_bits(y, first)) << text(isa) << " " << size;
      for (std::size_t j = 0; j < y.size(); ++j) {
        // The product of two scales may be subnormal, of which a rounding counts as often as the sum is large.
        const double slack = 127. * 127 * depth * static_cast<double>(std::numeric_limits<float>::denorm_min());
        EXPECT_NEAR(static_cast<double>(y[j]), exact.y[j], 4 * eps<float> * exact.size[j] + slack) << size;
        if (size < 3e-37F) {
          EXPECT_EQ(y[j], 0) << size;
        }
      }
    }
  }
}

/// Every row has steps of its own: a large one does not coarsen its neighbours.
TEST(Int8, RowsDoNotShareTheirSteps) {
  Workspace workspace(1);
  const Index rows = 31, depth = 40, outputs = 35;
  auto a = random_numbers<float>(rows * depth, 6), w = random_numbers<float>(outputs * depth, 7);
  const auto y = product(a, packed<int8>(w, outputs, depth), workspace, kernels<int8>());
  for (Index k = 0; k < depth; ++k) a[count(11 * depth + k)] *= 1024, w[count(20 * depth + k)] *= 1024;
  const auto z = product(a, packed<int8>(w, outputs, depth), workspace, kernels<int8>());
  for (Index i = 0; i < rows * outputs; ++i) {
    const float factor = (i / outputs == 11 ? 1024.F : 1.F) * (i % outputs == 20 ? 1024.F : 1.F);
    ASSERT_EQ(z[count(i)], factor * y[count(i)]) << i;
  }
}

}  // namespace
}  // namespace dit
