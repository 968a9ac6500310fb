/// Images as sequences of patches, against the index formulas, written out.

#include "dit/ops/patch.hpp"

#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

struct Case {
  Index batch, channels, rows, columns, patch;
};
/// Shapes that depend on the seed, 1 x 1 patches and single patches among them.
Case random_case(unsigned seed) {
  std::mt19937 generator(seed);
  const auto upto = [&generator](unsigned n) { return static_cast<Index>(1 + generator() % n); };
  return {upto(3), upto(5), upto(6), upto(6), upto(5)};
}

/// f(b, c, row, column, i, j, value) for every pixel
template <class F>
void for_each_pixel(const Case& k, const Tensor<float, 4>& image, F&& f) {
  for (Index b = 0; b < k.batch; ++b)
    for (Index c = 0; c < k.channels; ++c)
      for (Index y = 0; y < k.rows * k.patch; ++y)
        for (Index x = 0; x < k.columns * k.patch; ++x)
          f(b, c, y / k.patch, x / k.patch, y % k.patch, x % k.patch, image(b, c, y, x));
}

Tensor<float, 4> random_image(const Case& k, unsigned seed) {
  return normal<float, 4>({k.batch, k.channels, k.rows * k.patch, k.columns * k.patch}, seed);
}

template <PatchOrder order>
std::vector<float> patches_of(const Tensor<float, 4>& image, Index patch) {
  std::vector<float> patches(static_cast<std::size_t>(image.size()), -1.0F);
  patchify<order>(View<const float, 4>(image), patch, patches.data());
  return patches;
}

constexpr unsigned cases = 60;

TEST(Patches, OnTheInputSideAreChannelFirst) {
  for (unsigned seed = 0; seed < cases; ++seed) {
    const Case k = random_case(seed);
    const auto image = random_image(k, seed);
    const auto patches = patches_of<PatchOrder::channel_first>(image, k.patch);
    bool same = true;
    for_each_pixel(k, image, [&](Index b, Index c, Index r, Index s, Index i, Index j, float value) {
      const Index token = (b * k.rows + r) * k.columns + s;
      const Index feature = (c * k.patch + i) * k.patch + j;
      same = same && patches[static_cast<std::size_t>(token * k.channels * k.patch * k.patch + feature)] == value;
    });
    EXPECT_TRUE(same) << "seed " << seed;
  }
}

TEST(Patches, OnTheOutputSideAreChannelLast) {
  for (unsigned seed = 0; seed < cases; ++seed) {
    const Case k = random_case(seed);
    const auto image = random_image(k, seed);
    const auto patches = patches_of<PatchOrder::channel_last>(image, k.patch);
    bool same = true;
    for_each_pixel(k, image, [&](Index b, Index c, Index r, Index s, Index i, Index j, float value) {
      const Index token = (b * k.rows + r) * k.columns + s;
      const Index feature = (i * k.patch + j) * k.channels + c;
      same = same && patches[static_cast<std::size_t>(token * k.channels * k.patch * k.patch + feature)] == value;
    });
    EXPECT_TRUE(same) << "seed " << seed;
  }
}

template <PatchOrder order>
void expect_round_trip(unsigned seed) {
  const Case k = random_case(seed);
  const auto image = random_image(k, seed);
  Tensor<float, 4> back(image.dimensions());
  back.setConstant(-1.0F);
  unpatchify<order>(patches_of<order>(image, k.patch).data(), k.patch, View<float, 4>(back));
  EXPECT_TRUE(same_bits(back, image)) << "seed " << seed;
}
TEST(Patches, ComeBackAsTheImageInEitherOrder) {
  for (unsigned seed = 0; seed < cases; ++seed) {
    expect_round_trip<PatchOrder::channel_first>(seed);
    expect_round_trip<PatchOrder::channel_last>(seed);
  }
}

TEST(Patches, OfABatchAreThoseOfItsImages) {
  const auto image = normal<float, 4>({3, 4, 6, 10}, 1);
  const auto all = patches_of<PatchOrder::channel_first>(image, 2);
  for (Index b = 0; b < 3; ++b) {
    std::vector<float> one(4 * 6 * 10);
    patchify<PatchOrder::channel_first>(View<const float, 4>(image.data() + b * 240, {1, 4, 6, 10}), 2, one.data());
    EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + b * 240)) << b;
  }
}

TEST(Patches, DoNotCoverAnImageThatTheyDoNotDivide) {
  float pixel = 0;
  const auto grid = [&pixel](const Shape<4>& shape, Index patch) {
    return patch_grid(View<float, 4>(&pixel, shape), patch);
  };
  EXPECT_EQ(grid({2, 3, 8, 12}, 4), (Grid{2, 3}));
  EXPECT_ERROR(errc::bad_input_shape, grid({1, 4, 7, 8}, 2));
  EXPECT_ERROR(errc::bad_input_shape, grid({1, 4, 8, 7}, 2));
  EXPECT_ERROR(errc::bad_input_shape, grid({0, 4, 8, 8}, 2));
  EXPECT_ERROR(errc::bad_input_shape, grid({1, 0, 8, 8}, 2));
  EXPECT_ERROR(errc::bad_input_shape, grid({1, 4, 0, 8}, 2));
  EXPECT_ERROR(errc::bad_input_shape, grid({1, 4, 8, -8}, 2));
  EXPECT_ERROR(errc::bad_input_shape, grid({1, 4, 8, 8}, 0));
  EXPECT_ERROR(errc::bad_input_shape, grid({1, 4, 8, 8}, -2));
  EXPECT_ERROR(errc::bad_input_shape, grid({Index{1} << 62, 4, 8, 8}, 2));
  EXPECT_ERROR(errc::bad_input_shape, grid({1, 1, Index{1} << 40, Index{1} << 40}, 2));
  EXPECT_ERROR(errc::bad_input_shape, patch_grid(View<float, 4>(nullptr, {1, 4, 8, 8}), 2));
}

TEST(Images, OfAModelHaveTheShapeThatItMakesAndMemoryOfTheirOwn) {
  std::vector<float> memory(400);
  const View<const float, 4> in(memory.data(), {1, 2, 6, 10});
  const auto out = [&memory](Index at, const Shape<4>& shape) { return View<float, 4>(memory.data() + at, shape); };
  require_images<float>(in, 2, 2, out(120, {1, 2, 6, 10}));
  EXPECT_ERROR(errc::bad_input_shape, require_images<float>(in, 2, 4, out(120, {1, 2, 6, 10})));
  EXPECT_ERROR(errc::bad_input_shape, require_images<float>(in, 2, 2, out(120, {1, 2, 10, 6})));
  EXPECT_ERROR(errc::bad_input_shape, require_images<float>(in, 4, 2, out(120, {1, 2, 6, 10})));
  EXPECT_ERROR(errc::bad_input_shape, require_images<float>(in, 2, 2, View<float, 4>(nullptr, {1, 2, 6, 10})));
  EXPECT_ERROR(errc::aliasing, require_images<float>(in, 2, 2, out(0, {1, 2, 6, 10})));
  EXPECT_ERROR(errc::aliasing, require_images<float>(in, 2, 2, out(119, {1, 2, 6, 10})));
}

template <PatchOrder order>
void expect_same_on_all_strands() {
  const Case k{2, 5, 40, 37, 3};
  const auto image = random_image(k, 1);
  const auto expected = patches_of<order>(image, k.patch);
  for (const int threads : {2, 3, 5}) {
    Workspace workspace(threads);
    std::vector<float> patches(expected.size());
    patchify<order>(View<const float, 4>(image), k.patch, patches.data(), workspace.executor());
    EXPECT_EQ(patches, expected) << threads << " threads";
    Tensor<float, 4> back(image.dimensions());
    unpatchify<order>(patches.data(), k.patch, View<float, 4>(back), workspace.executor());
    EXPECT_TRUE(same_bits(back, image)) << threads << " threads";
  }
}

TEST(Patches, AreTheSameOnAnyNumberOfThreads) {  // of an image large enough to be shared
  expect_same_on_all_strands<PatchOrder::channel_first>();
  expect_same_on_all_strands<PatchOrder::channel_last>();
}

}  // namespace
