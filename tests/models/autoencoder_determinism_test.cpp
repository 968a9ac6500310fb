/// Decoders: the same bits for any number of threads, batched or alone, wherever the numbers lie; the memory that
/// was planned, to the byte; and what they refuse.

#include "core/allocations.hpp"
#include "models/autoencoders.hpp"

namespace {

using namespace dit;
using namespace support;

template <class M>
class AnyDecoder : public testing::Test {
 public:
  M model = random_model<M>(1);
};
TYPED_TEST_SUITE(AnyDecoder, Decoders, ModelName);

template <class T>
Tensor<T, 4> samples(const Tensor<T, 4>& x, Index first, Index count) {
  Tensor<T, 4> some(count, x.dimension(1), x.dimension(2), x.dimension(3));
  std::copy_n(x.data() + first * (x.size() / x.dimension(0)), some.size(), some.data());
  return some;
}

TYPED_TEST(AnyDecoder, DoesNotSeeTheNumberOfThreads) {
  const auto latents = latents_for<TypeParam>(1, 11, 9, 2);
  for (const bool tiled : {false, true}) {
    const Decoding<TypeParam> decode{tiled};
    Workspace alone(1);
    const auto expected = decode(this->model, latents, alone);
    for (const int threads : {2, 3, 5}) {
      Workspace workspace(threads);
      EXPECT_TRUE(same_bits(decode(this->model, latents, workspace), expected)) << threads;
    }
  }
}

TYPED_TEST(AnyDecoder, DoesNotSeeTheBatch) {
  const auto latents = latents_for<TypeParam>(3, 5, 9, 2);
  Workspace workspace(2);
  for (const bool tiled : {false, true}) {
    const Decoding<TypeParam> decode{tiled};
    const auto all = decode(this->model, latents, workspace);
    for (const Index b : {0, 1, 2}) {
      EXPECT_TRUE(same_bits(decode(this->model, samples(latents, b, 1), workspace), samples(all, b, 1))) << b;
    }
  }
}

TYPED_TEST(AnyDecoder, DoesNotSeeAlignmentAndStaysWithinTheImage) {
  using R = typename TypeParam::R;
  const auto latents = latents_for<TypeParam>(1, 5, 9, 2);
  for (const bool tiled : {false, true}) {
    const Decoding<TypeParam> decode{tiled};
    Workspace workspace(2);
    const auto expected = decode(this->model, latents, workspace);
    for (const Index offset : {1, 3, 15}) {
      std::vector<R> in(static_cast<std::size_t>(latents.size() + 16)),
          out(static_cast<std::size_t>(expected.size() + 16), R(-7));
      std::copy_n(latents.data(), latents.size(), in.data() + offset);
      const View<const R, 4> x{in.data() + offset, View<const R, 4>(latents).shape};
      const View<R, 4> image{out.data() + 16 - offset, View<const R, 4>(expected).shape};
      decode(this->model, x, image, workspace);
      EXPECT_TRUE(std::equal(image.begin(), image.end(), expected.data())) << offset;
      for (R* outside = out.data(); outside != image.begin(); ++outside) EXPECT_EQ(*outside, R(-7));
      for (R* outside = image.end(); outside != out.data() + out.size(); ++outside) EXPECT_EQ(*outside, R(-7));
    }
  }
}

TYPED_TEST(AnyDecoder, DoesNotSeeWhatTheWorkspaceHeldBefore) {
  using R = typename TypeParam::R;
  const auto latents = latents_for<TypeParam>(1, 9, 11, 2);
  for (const bool tiled : {false, true}) {
    const Decoding<TypeParam> decode{tiled};
    Workspace clean(2), workspace(2);
    {
      const auto scope = workspace.scope();
      std::fill_n(workspace.take<R>(1 << 20), 1 << 20, std::numeric_limits<R>::quiet_NaN());
    }
    EXPECT_TRUE(same_bits(decode(this->model, latents, workspace), decode(this->model, latents, clean)));
  }
}

TYPED_TEST(AnyDecoder, OfOneTileIsTheWholeOne) {
  const auto latents = latents_for<TypeParam>(1, 7, 6, 2);  // 7 of 8: what an eighth's overlap leaves
  Workspace workspace(2);
  EXPECT_TRUE(same_bits(this->model.decode_tiled(latents, workspace, 8), this->model.decode(latents, workspace)));
}

constexpr Shape<2> shapes[] = {{1, 1}, {8, 8}, {9, 7}, {5, 21}, {30, 17}, {48, 50}};

TYPED_TEST(AnyDecoder, TakesWhatWasPlannedAndAllocatesNothing) {
  using R = typename TypeParam::R;
  for (const auto& shape : shapes) {
    for (const bool tiled : {false, true}) {
      const bool slow = kernels<scalar_of<TypeParam>>().isa == Isa::portable;
      if (slow && shape[0] * shape[1] > 80) continue;  // and no other case
      const Decoding<TypeParam> decode{tiled};
      const auto latents = latents_for<TypeParam>(1, shape[0], shape[1], 2);
      Tensor<R, 4> images(1, 3, 8 * shape[0], 8 * shape[1]);
      for (const int threads : {1, 3}) {
        const std::uint64_t planned = decode.arena(shape, threads);
        Workspace workspace(threads, planned);
        const long before = allocations::count;
        decode(this->model, latents, images, workspace);
        EXPECT_EQ(allocations::count - before, 0) << to_string(shape) << ", " << threads << " threads";
        EXPECT_EQ(workspace.high_water(), planned) << to_string(shape) << ", " << threads << " threads, " << tiled;
      }
    }
  }
}

TYPED_TEST(AnyDecoder, InTilesTakesTheMemoryOfATileAndItsSeams) {
  using R = typename TypeParam::R;
  const Decoding<TypeParam> in_tiles{true}, whole{false};
  const std::uint64_t one = in_tiles.arena({8, 8}, 2), many = in_tiles.arena({96, 96}, 2);
  EXPECT_LT(many, one + 3 * 64 * 8 * (96 + 32) * sizeof(R) + 3 * 64 * 64 * 2 * sizeof(R));
  EXPECT_GT(whole.arena({96, 96}, 2), 10 * many);
}

TYPED_TEST(AnyDecoder, RefusesShapesThatDoNotFit) {
  using R = typename TypeParam::R;
  std::vector<R> memory(40000);
  Workspace workspace(1);
  for (const bool tiled : {false, true}) {
    const Decoding<TypeParam> decode{tiled};
    const auto call = [&](const Shape<4>& in, const Shape<4>& out, Index at = 10000) {
      decode(this->model, View<const R, 4>(memory.data(), in), View<R, 4>(memory.data() + at, out), workspace);
    };
    const auto own = [&](const Shape<4>& in) {
      decode(this->model, View<const R, 4>(memory.data(), in), workspace);
    };
    const Shape<4> latents{2, 4, 3, 5}, images{2, 3, 24, 40};
    call(latents, images);
    EXPECT_ERROR(errc::bad_input_shape, call({2, 3, 3, 5}, images));
    EXPECT_ERROR(errc::bad_input_shape, call({2, 16, 3, 5}, images));
    EXPECT_ERROR(errc::bad_input_shape, call(latents, {2, 3, 40, 24}));
    EXPECT_ERROR(errc::bad_input_shape, call(latents, {1, 3, 24, 40}));
    EXPECT_ERROR(errc::bad_input_shape, call(latents, {2, 4, 24, 40}));
    EXPECT_ERROR(errc::bad_input_shape, call({0, 4, 3, 5}, {0, 3, 24, 40}));
    EXPECT_ERROR(errc::bad_input_shape, call({2, 4, 0, 5}, {2, 3, 0, 40}));
    EXPECT_ERROR(errc::bad_input_shape, call({2, 4, -3, -5}, {2, 3, -24, -40}));
    EXPECT_ERROR(errc::bad_input_shape, own({1, 4, Index{1} << 40, Index{1} << 40}));
    EXPECT_ERROR(errc::bad_input_shape, own({1, 5, 3, 5}));
    EXPECT_ERROR(errc::bad_input_shape, decode(this->model, View<const R, 4>(nullptr, latents), workspace));
    EXPECT_ERROR(errc::bad_input_shape, decode(this->model, View<const R, 4>(memory.data(), latents),
                                               View<R, 4>(nullptr, images), workspace));
    EXPECT_ERROR(errc::aliasing, call(latents, images, 119));
    call(latents, images, 120);
    workspace.reserve(1);  // which throws while something is taken
  }
}

TYPED_TEST(AnyDecoder, RefusesTilesThatDoNotDivide) {
  const auto latents = latents_for<TypeParam>(1, 5, 9, 2);
  Workspace workspace(1);
  for (const Index tile : {-8, 0, 1, 2, 3, 6, 7, 9, 1 << 30}) {
    EXPECT_ERROR(errc::bad_option, this->model.decode_tiled(latents, workspace, tile));
    EXPECT_ERROR(errc::bad_option, plan_tiled<TypeParam>(1, {5, 9}, 1, tile));
  }
  const Plan large_tiles = plan_tiled<TypeParam>(1, {8, 8}, 1, 1 << 16);
  EXPECT_LT(large_tiles.arena, std::uint64_t{1} << 28) << "no more than the image needs";
}

TYPED_TEST(AnyDecoder, WithoutWeightsIsABadState) {
  const auto latents = latents_for<TypeParam>(1, 3, 5, 2);
  Workspace workspace(1);
  const TypeParam empty;
  EXPECT_ERROR(errc::bad_state, empty.decode(latents, workspace));
  EXPECT_ERROR(errc::bad_state, empty.decode_tiled(latents, workspace));
  workspace.reserve(1);  // which throws while something is taken
}

TYPED_TEST(AnyDecoder, RefusesABusyWorkspace) {
  const auto latents = latents_for<TypeParam>(1, 3, 5, 2);
  Workspace workspace(1);
  const auto lease = workspace.lease();
  EXPECT_ERROR(errc::busy, this->model.decode(latents, workspace));
  EXPECT_ERROR(errc::busy, this->model.decode_tiled(latents, workspace));
}

TYPED_TEST(AnyDecoder, KeepsANaNInItsSample) {
  auto latents = latents_for<TypeParam>(2, 3, 5, 2);
  Workspace workspace(2);
  const auto clean = this->model.decode(latents, workspace);
  latents.data()[7] = std::numeric_limits<typename TypeParam::R>::quiet_NaN();
  const auto images = this->model.decode(latents, workspace);
  EXPECT_TRUE(same_bits(samples(images, 1, 1), samples(clean, 1, 1)));
  EXPECT_TRUE(std::isnan(images.data()[0]));
}

}  // namespace
