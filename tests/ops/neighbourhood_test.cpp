/// Neighbourhoods of pixels as a GEMM reads them, for every type of weights: the bits of rows that were gathered
/// before.

#include "dit/ops/conv.hpp"

#include "kernels/gemm_support.hpp"

namespace dit { namespace {

using namespace dit::test;

template <class T>
class Neighbourhoods : public ::testing::Test {};
TYPED_TEST_SUITE(Neighbourhoods, Weights, WeightName);

/// A panel may begin and end within a row of the image and reach over several; pixels differ in size by thousands,
/// so that every row of int8 has steps of its own.
TYPED_TEST(Neighbourhoods, GiveTheBitsOfRowsThatWereGathered) {
  using T = TypeParam;
  using R = real<T>;
  Workspace workspace(2);
  for (const auto& [height, width, kernel] : {Shape<3>{1, 1, 1}, Shape<3>{1, 7, 3}, Shape<3>{9, 1, 3},
                                              Shape<3>{5, 9, 3}, Shape<3>{13, 31, 3}, Shape<3>{4, 5, 5}}) {
    for (const Index channels : {4, 20, 64}) {
      const Index depth = kernel * kernel * channels, pitch = (width + kernel - 1) * channels, outputs = 21;
      auto maps = random_numbers<R>((height + kernel - 1) * pitch, 70);
      for (std::size_t i = 0; i < maps.size(); ++i) maps[i] *= static_cast<R>(1 << i / count(channels) % 13);
      Numbers<R> rows;
      for (Index y = 0; y < height; ++y) {
        for (Index x = 0; x < width; ++x) {
          for (Index i = 0; i < kernel; ++i) {
            const auto from = maps.begin() + (y + i) * pitch + x * channels;
            rows.insert(rows.end(), from, from + kernel * channels);
          }
        }
      }
      const auto w = random_numbers<R>(outputs * depth, 71);
      const auto weights = packed<T>(w, outputs, depth);
      const NeighbourhoodSource<R> source{maps.data(), height * width, depth, width, channels, kernel};
      for (const Isa isa : isas<T>()) {
        SCOPED_TRACE(text(isa) + " " + to_string(Shape<3>{height, width, kernel}) + " " + std::to_string(channels));
        const Kernels<T> k = with_small_blocks<T>(isa);
        Numbers<R> y(count(height * width * outputs), nan_of<R>), z = y;
        gemm(source, weights, StoreSink<R>{y.data(), outputs}, workspace, k);
        gemm_in_blocks(source, weights, StoreSink<R>{z.data(), outputs}, workspace, k);
        EXPECT_TRUE(same_bits(y, product(rows, weights, workspace, k)));
        EXPECT_TRUE(same_bits(z, y));
        expect_product<T>(y, reference<T>(rows, w, height * width, depth, outputs), depth);
      }
    }
  }
}

}  // namespace
}  // namespace dit
