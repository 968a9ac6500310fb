/// The two blocks of FLUX.1, against the official formulas and what must hold for any weights.

#include "dit/nn/flux_block.hpp"

#include "dit/nn/init.hpp"
#include "dit/nn/plan.hpp"
#include "nn/blocks.hpp"

namespace {

using namespace dit;
using namespace support;

constexpr BlockConfig config{.width = 48, .heads = 3, .mlp = 192};
constexpr int width = config.width, head_dim = width / config.heads;
template <class T>
using Double = DoubleStreamBlock<config, T>;
template <class T>
using Single = SingleStreamBlock<config, T>;

template <class T>
class FluxBlocks : public testing::Test {};
TYPED_TEST_SUITE(FluxBlocks, Scalars, ScalarName);

/// A place on each of three axes for every token, text first.
using Places = std::vector<std::array<int, 3>>;

/// Text, all of it at zero, and the image's grid.
Places places(Index text, int height, int columns) {
  Places all(static_cast<std::size_t>(text), {0, 0, 0});
  for (int i = 0; i < height * columns; ++i) all.push_back({0, i / columns, i % columns});
  return all;
}
Places golden_places(const Golden& io) {
  Places all;
  const auto ids = io.values<double>("ids");
  for (std::size_t i = 0; i < ids.size(); i += 3) {
    all.push_back({static_cast<int>(ids[i]), static_cast<int>(ids[i + 1]), static_cast<int>(ids[i + 2])});
  }
  return all;
}

/// Their turns, with the memory.
template <class T>
struct Turns {
  std::vector<T> cos, sin;
  Rope<T> rope{};

  explicit Turns(const Places& all) : cos(all.size() * head_dim), sin(cos.size()) {
    Workspace workspace(1);
    rope = rope_table(
        std::array{4, 6, 6}, 1e4, static_cast<Index>(all.size()),
        [&](Index token, int axis) { return all[static_cast<std::size_t>(token)][static_cast<std::size_t>(axis)]; },
        cos.data(), sin.data(), workspace);
  }
};

template <class T>
struct Streams {
  Tensor<T, 3> img, txt;
};

/// The blocks alone, c [B, 48] before its SiLU; `turns` of all tokens, text first, or none.
template <class T>
Streams<T> run(const Double<T>& block, Streams<T> s, Tensor<T, 2> c, Rope<T> turns, int threads = 2) {
  Workspace workspace(threads);
  const Index text = s.txt.dimension(1);
  block(tokens<width>(s.img), tokens<width>(s.txt), tokens<width>(c), workspace, turns, turns.from(text, head_dim));
  return s;
}
template <class T>
Tensor<T, 3> run(const Single<T>& block, Tensor<T, 3> z, Tensor<T, 2> c, Rope<T> turns, int threads = 2) {
  Workspace workspace(threads);
  block(tokens<width>(z), tokens<width>(c), workspace, turns);
  return z;
}
/// With the three chunks given.
template <class T>
Tensor<T, 3> run(const Single<T>& block, Tensor<T, 3> z, const std::vector<T>& three, Rope<T> turns = {}) {
  Workspace workspace(2);
  block(tokens<width>(z), typename Single<T>::Modulations{three.data()}, workspace, turns);
  return z;
}

TYPED_TEST(FluxBlocks, MatchTheOfficialDoubleStreamBlock) {
  using T = TypeParam;
  const Golden io("flux_double_block_io");
  const Turns<T> turns(golden_places(io));
  const auto out =
      run(golden_model<Double<T>>("flux_double_block"), Streams<T>{io.tensor<T, 3>("img"), io.tensor<T, 3>("txt")},
          io.tensor<T, 2>("c"), turns.rope);
  EXPECT_TRUE(close(out.img, io.tensor<double, 3>("img.out64"), one_layer<T>));
  EXPECT_TRUE(close(out.txt, io.tensor<double, 3>("txt.out64"), one_layer<T>));
}

TYPED_TEST(FluxBlocks, MatchTheOfficialSingleStreamBlock) {
  using T = TypeParam;
  const Golden io("flux_single_block_io");
  const Turns<T> turns(golden_places(io));
  const auto out =
      run(golden_model<Single<T>>("flux_single_block"), io.tensor<T, 3>("x"), io.tensor<T, 2>("c"), turns.rope);
  EXPECT_TRUE(close(out, io.tensor<double, 3>("out64"), one_layer<T>));
}

/// Seven tokens of text and a grid of 3 x 5, two samples; everything random.
template <class T>
struct Case {
  static constexpr Index text = 7, count = 15;
  Double<T> double_block = random_model<Double<T>>(1);
  Single<T> single_block = random_model<Single<T>>(2);
  Streams<T> s{normal<T, 3>({2, count, width}, 3), normal<T, 3>({2, text, width}, 4)};
  Tensor<T, 3> z = normal<T, 3>({2, text + count, width}, 5);
  Tensor<T, 2> c = normal<T, 2>({2, width}, 6);
  Turns<T> turns{places(text, 3, 5)};
};

TYPED_TEST(FluxBlocks, AreTheIdentityWhenFresh) {
  using T = TypeParam;
  Case<T> f;
  init_adaln_zero(f.double_block, 1);
  init_adaln_zero(f.single_block, 1);
  const auto out = run(f.double_block, f.s, f.c, f.turns.rope);
  EXPECT_TRUE(same_bits(out.img, f.s.img));
  EXPECT_TRUE(same_bits(out.txt, f.s.txt));
  EXPECT_TRUE(same_bits(run(f.single_block, f.z, f.c, f.turns.rope), f.z));
}

/// [2, 3 * 48] with one factor for each chunk.
template <class T>
std::vector<T> scaled(std::vector<T> three, const std::array<T, 3>& factors) {
  for (std::size_t i = 0; i < three.size(); ++i) three[i] *= factors[i / width % 3];
  return three;
}

TYPED_TEST(FluxBlocks, OfOneStreamAreTheIdentityAtAZeroGateAndAffineInIt) {
  using T = TypeParam;
  const Case<T> f;
  const auto three = normal<T>(2 * 3 * width, 7);
  EXPECT_TRUE(same_bits(run(f.single_block, f.z, scaled<T>(three, {1, 1, 0}), f.turns.rope), f.z));
  const auto once = run(f.single_block, f.z, three, f.turns.rope),
             twice = run(f.single_block, f.z, scaled<T>(three, {1, 1, 2}), f.turns.rope);
  std::vector<double> expected(static_cast<std::size_t>(once.size()));
  for (Index i = 0; i < once.size(); ++i) {
    expected[static_cast<std::size_t>(i)] =
        2 * static_cast<double>(once.data()[i]) - static_cast<double>(f.z.data()[i]);
  }
  EXPECT_TRUE(close(twice, expected, rounded<T>({32 * 0x1p-23, 1e-13})));
}

/// z + linear2([Attention(q, k, v) | GELU(h)]) by hand, every part in memory of its own.
TYPED_TEST(FluxBlocks, OfOneStreamTakeShiftScaleGateAndSetAttentionBeforeTheMlp) {
  using T = TypeParam;
  const Case<T> f;
  const Single<T>& block = f.single_block;
  Workspace workspace(1);
  const std::vector<T> ones(width, T(1)), zeros(width);
  const PerSample<T, width> one{ones.data(), 0}, none{zeros.data(), 0};
  const auto by_hand = [&](PerSample<T, width> shift, PerSample<T, width> scale) {
    auto z = f.z;
    const Index batch = 2, count = z.dimension(1), rows = batch * count;
    const auto scope = workspace.scope();
    const auto projected = take_tokens<T, 3 * width + config.mlp>(batch, count, workspace);
    store(projected, block.linear1(modulate(layer_norm(tokens<width>(z), 1e-6), shift, scale)), workspace);
    const auto qkv = take_tokens<T, 3 * width>(batch, count, workspace);
    const auto side_by_side = take_tokens<T, width + config.mlp>(batch, count, workspace);
    for (Index r = 0; r < rows; ++r) {
      const T* const from = projected.data + r * projected.width;
      std::copy_n(from, 3 * width, qkv.data + r * 3 * width);
      kernels<T>().activate(Activation::gelu_tanh, from + 3 * width, config.mlp,
                            side_by_side.data + r * side_by_side.width + width);
    }
    auto own = normalise_and_turn<config.heads>(split_heads<width>(qkv), block.norm.query_weight.data(),
                                                block.norm.key_weight.data(), 1e-6, f.turns.rope);
    const auto answer = take_tokens<T, width>(batch, count, workspace);
    own.out = answer.data;
    own.out_stride = width;
    joint_attention<config.heads>(workspace, own);
    for (Index r = 0; r < rows; ++r) {
      std::copy_n(answer.data + r * width, width, side_by_side.data + r * side_by_side.width);
    }
    add_gated(tokens<width>(z), one, block.linear2(side_by_side), workspace);
    return z;
  };
  const std::vector<T> all(2 * 3 * width, T(1));
  EXPECT_TRUE(same_bits(run(block, f.z, scaled<T>(all, {0, 0, 1}), f.turns.rope), by_hand(none, none)));
  EXPECT_TRUE(same_bits(run(block, f.z, scaled<T>(all, {1, 0, 1}), f.turns.rope), by_hand(one, none)));
  EXPECT_TRUE(same_bits(run(block, f.z, scaled<T>(all, {0, 1, 1}), f.turns.rope), by_hand(none, one)));
}

/// DoubleStreamBlock has its own names only.
TYPED_TEST(FluxBlocks, OfTwoStreamsAreMMDiTBlocksWithNormsAndTurns) {
  using T = TypeParam;
  const Case<T> f;
  const auto expected = run(f.double_block, f.s, f.c, f.turns.rope);
  auto s = f.s;
  auto c = f.c;
  Workspace workspace(2);
  const MMDiTBlock<config, T, HeadNorm::flux>& block = f.double_block;
  block(tokens<width>(s.img), tokens<width>(s.txt), tokens<width>(c), workspace, f.turns.rope,
        f.turns.rope.from(f.text, head_dim));
  EXPECT_TRUE(same_bits(s.img, expected.img));
  EXPECT_TRUE(same_bits(s.txt, expected.txt));
}

TYPED_TEST(FluxBlocks, WithoutTurnsAreThoseOfTokensAllAtPlaceZero) {
  using T = TypeParam;
  const Case<T> f;
  const Turns<T> zero(Places(static_cast<std::size_t>(f.text + f.count)));
  const auto none = run(f.double_block, f.s, f.c, Rope<T>{}), at_zero = run(f.double_block, f.s, f.c, zero.rope);
  EXPECT_TRUE(same_bits(none.img, at_zero.img));
  EXPECT_TRUE(same_bits(none.txt, at_zero.txt));
  EXPECT_TRUE(same_bits(run(f.single_block, f.z, f.c, Rope<T>{}), run(f.single_block, f.z, f.c, zero.rope)));
  EXPECT_GT(distance(run(f.double_block, f.s, f.c, f.turns.rope).img, none.img).nmse, 1e-6);
}

/// Only distances count.
TYPED_TEST(FluxBlocks, DoNotSeeAConstantAddedToAllPlacesOfAnAxis) {
  using T = TypeParam;
  const Case<T> f;
  const auto out = run(f.double_block, f.s, f.c, f.turns.rope);
  const auto z = run(f.single_block, f.z, f.c, f.turns.rope);
  for (std::size_t axis = 0; axis < 3; ++axis) {
    auto moved = places(f.text, 3, 5);
    for (auto& place : moved) place[axis] += 9;
    const Turns<T> turns(moved);
    const auto other = run(f.double_block, f.s, f.c, turns.rope);
    EXPECT_TRUE(close(other.img, out.img, one_layer<T>)) << axis;
    EXPECT_TRUE(close(other.txt, out.txt, one_layer<T>)) << axis;
    EXPECT_TRUE(close(run(f.single_block, f.z, f.c, turns.rope), z, one_layer<T>)) << axis;
  }
}

/// `rolled` for places.
Places rolled_places(Places all, Index first, Index count, Index by) {
  std::rotate(all.begin() + first, all.begin() + first + by, all.begin() + first + count);
  return all;
}

TYPED_TEST(FluxBlocks, DoNotSeeTheOrderOfTheText) {
  using T = TypeParam;
  const Case<T> f;
  const auto out = run(f.double_block, f.s, f.c, f.turns.rope),
             other = run(f.double_block, Streams<T>{f.s.img, rolled(f.s.txt, 0, f.text, 3)}, f.c, f.turns.rope);
  EXPECT_TRUE(close(other.img, out.img, one_layer<T>));
  EXPECT_TRUE(close(other.txt, rolled(out.txt, 0, f.text, 3), one_layer<T>));
  EXPECT_TRUE(close(run(f.single_block, rolled(f.z, 0, f.text, 3), f.c, f.turns.rope),
                    rolled(run(f.single_block, f.z, f.c, f.turns.rope), 0, f.text, 3), one_layer<T>));
}

TYPED_TEST(FluxBlocks, TurnWithTheImagesTokensIfTheirPlacesDo) {
  using T = TypeParam;
  const Case<T> f;
  const Turns<T> turns(rolled_places(places(f.text, 3, 5), f.text, f.count, 4));
  const auto out = run(f.double_block, f.s, f.c, f.turns.rope),
             other = run(f.double_block, Streams<T>{rolled(f.s.img, 0, f.count, 4), f.s.txt}, f.c, turns.rope);
  EXPECT_TRUE(close(other.img, rolled(out.img, 0, f.count, 4), one_layer<T>));
  EXPECT_TRUE(close(other.txt, out.txt, one_layer<T>));
  const auto z = run(f.single_block, f.z, f.c, f.turns.rope);
  EXPECT_TRUE(close(run(f.single_block, rolled(f.z, f.text, f.count, 4), f.c, turns.rope),
                    rolled(z, f.text, f.count, 4), one_layer<T>));
  // Without their places they do not.
  const auto lost = run(f.single_block, rolled(f.z, f.text, f.count, 4), f.c, f.turns.rope);
  EXPECT_GT(distance(lost, rolled(z, f.text, f.count, 4)).nmse, 1e-6);
}

TYPED_TEST(FluxBlocks, KeepSamplesApartInAnyOrder) {
  using T = TypeParam;
  const Case<T> f;
  const auto all = run(f.double_block, f.s, f.c, f.turns.rope);
  const auto all_z = run(f.single_block, f.z, f.c, f.turns.rope);
  for (Index b = 0; b < 2; ++b) {
    const auto alone =
        run(f.double_block, Streams<T>{sample(f.s.img, b), sample(f.s.txt, b)}, sample(f.c, b), f.turns.rope);
    EXPECT_TRUE(same_bits(alone.img, sample(all.img, b))) << b;
    EXPECT_TRUE(same_bits(alone.txt, sample(all.txt, b))) << b;
    EXPECT_TRUE(same_bits(run(f.single_block, sample(f.z, b), sample(f.c, b), f.turns.rope), sample(all_z, b)));
  }
  const auto other =
      run(f.double_block, Streams<T>{reversed(f.s.img), reversed(f.s.txt)}, reversed(f.c), f.turns.rope);
  EXPECT_TRUE(same_bits(other.img, reversed(all.img)));
  EXPECT_TRUE(same_bits(other.txt, reversed(all.txt)));
  EXPECT_TRUE(same_bits(run(f.single_block, reversed(f.z), reversed(f.c), f.turns.rope), reversed(all_z)));
}

TYPED_TEST(FluxBlocks, DoNotSeeTheNumberOfThreads) {
  using T = TypeParam;
  const Case<T> f;
  const auto expected = run(f.double_block, f.s, f.c, f.turns.rope, 1);
  const auto expected_z = run(f.single_block, f.z, f.c, f.turns.rope, 1);
  for (const int threads : {2, 3, 5}) {
    const auto out = run(f.double_block, f.s, f.c, f.turns.rope, threads);
    EXPECT_TRUE(same_bits(out.img, expected.img)) << threads;
    EXPECT_TRUE(same_bits(out.txt, expected.txt)) << threads;
    EXPECT_TRUE(same_bits(run(f.single_block, f.z, f.c, f.turns.rope, threads), expected_z)) << threads;
  }
}

TYPED_TEST(FluxBlocks, TakeTheArenaThatTheySay) {
  using T = TypeParam;
  const Case<T> f;
  struct Run {
    Index batch, text;
    int height, threads;
  };
  for (const Run& r : {Run{1, 1, 1, 1}, Run{2, 7, 9, 2}, Run{3, 60, 1, 3}, Run{1, 77, 40, 2}}) {
    const Index count = 5 * r.height;
    Streams<T> s{normal<T, 3>({r.batch, count, width}, 3), normal<T, 3>({r.batch, r.text, width}, 4)};
    auto z = normal<T, 3>({r.batch, r.text + count, width}, 5);
    const auto six = normal<T>(2 * r.batch * 6 * width, 7);
    const Turns<T> turns(places(r.text, r.height, 5));
    Workspace of_double(r.threads), of_single(r.threads);
    f.double_block(tokens<width>(s.img), tokens<width>(s.txt), {{six.data()}, {six.data() + r.batch * 6 * width}},
                   of_double, turns.rope, turns.rope.from(r.text, head_dim));
    const Tokens<T, width> img{nullptr, r.batch, count}, txt{nullptr, r.batch, r.text};
    const auto of_two = [&](const Double<T>& one, Workspace& meter) {
      one(img, txt, typename Double<T>::Modulations{}, meter);
    };
    EXPECT_EQ(of_double.high_water(), plan_of<Double<T>>(r.threads, of_two).arena) << r.batch;
    f.single_block(tokens<width>(z), typename Single<T>::Modulations{six.data()}, of_single, turns.rope);
    const auto of_one = [&](const Single<T>& one, Workspace& meter) {
      one(Tokens<T, width>{nullptr, r.batch, r.text + count}, typename Single<T>::Modulations{}, meter);
    };
    EXPECT_EQ(of_single.high_water(), plan_of<Single<T>>(r.threads, of_one).arena) << r.batch;
  }
}

TYPED_TEST(FluxBlocks, RefuseEmptyTokensOtherBatchesAndMissingModulations) {
  using T = TypeParam;
  const Case<T> f;
  std::vector<T> numbers(4 * 9 * width);
  Workspace workspace(1);
  const auto t = [&](Index batch, Index count) { return Tokens<T, width>{numbers.data(), batch, count}; };
  const Tokens<T, width> nothing{nullptr, 2, 2};
  const Single<T>& single = f.single_block;
  EXPECT_ERROR(errc::bad_input_shape, single(t(2, 0), t(2, 1), workspace));
  EXPECT_ERROR(errc::bad_input_shape, single(t(0, 2), t(0, 1), workspace));
  EXPECT_ERROR(errc::bad_input_shape, single(nothing, t(2, 1), workspace));
  EXPECT_ERROR(errc::bad_condition, single(t(2, 2), t(1, 1), workspace));
  EXPECT_ERROR(errc::bad_condition, single(t(2, 2), t(1, 2), workspace));
  EXPECT_ERROR(errc::bad_condition, single(t(2, 2), nothing, workspace));
  EXPECT_ERROR(errc::bad_condition, single(t(2, 2), typename Single<T>::Modulations{}, workspace));
  EXPECT_ERROR(errc::bad_state, Single<T>{}(t(2, 2), t(2, 1), workspace));
  EXPECT_ERROR(errc::bad_state, Single<T>{}(t(2, 2), typename Single<T>::Modulations{numbers.data()}, workspace));
  single(t(2, 2), t(2, 1), workspace);
  const Double<T>& both = f.double_block;
  EXPECT_ERROR(errc::bad_input_shape, both(t(2, 0), t(2, 2), t(2, 1), workspace));
  EXPECT_ERROR(errc::bad_condition, both(t(2, 2), t(2, 0), t(2, 1), workspace));
  EXPECT_ERROR(errc::bad_condition, both(t(2, 2), t(1, 2), t(2, 1), workspace));
  EXPECT_ERROR(errc::bad_condition, both(t(2, 2), t(2, 2), t(1, 1), workspace));
  EXPECT_ERROR(errc::bad_condition, both(t(2, 2), t(2, 2), {}, workspace));
  EXPECT_ERROR(errc::bad_state, Double<T>{}(t(2, 2), t(2, 2), t(2, 1), workspace));
  both(t(2, 2), t(2, 2), t(2, 1), workspace);
}

}  // namespace
