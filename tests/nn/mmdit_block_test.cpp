/// The blocks of Stable Diffusion 3, against the official formulas and what must hold for any weights.

#include "dit/nn/mmdit_block.hpp"

#include "dit/nn/init.hpp"
#include "dit/nn/plan.hpp"
#include "nn/blocks.hpp"

namespace {

using namespace dit;
using namespace support;

constexpr BlockConfig config{.width = 24, .heads = 3, .mlp = 96};
constexpr int width = config.width;
template <class T>
using Plain = MMDiTBlock<config, T>;
template <class T>
using Normed = MMDiTBlock<config, T, HeadNorm::sd3>;
template <class T>
using Last = MMDiTLastBlock<config, T>;
template <class T>
using Dual = MMDiTDualBlock<config, T>;

template <class T>
class MMDiTBlocks : public testing::Test {};
TYPED_TEST_SUITE(MMDiTBlocks, Scalars, ScalarName);

/// Image tokens [B, N, 24], text tokens [B, M, 24].
template <class T>
struct Streams {
  Tensor<T, 3> x, context;
};
template <class T>
Streams<T> random_streams(Index batch = 2, Index count = 13, Index text = 7) {
  return {normal<T, 3>({batch, count, width}, 2), normal<T, 3>({batch, text, width}, 3)};
}

/// The block alone, c [B, 24].
template <class Block, class T>
Streams<T> run(const Block& block, Streams<T> s, Tensor<T, 2> c, int threads = 2) {
  Workspace workspace(threads);
  block(tokens<width>(s.x), tokens<width>(s.context), tokens<width>(c), workspace);
  return s;
}

/// What the adaLN projections would give, [B, chunks * 24] for either stream.
template <class Block>
struct Numbers {
  using T = typename Block::R;
  static constexpr std::size_t chunks[2] = {Block::Modulations::x_chunks, Block::Modulations::context_chunks};
  std::vector<T> of[2];  ///< the image's, the text's

  static Numbers random(Index batch) {
    return {{normal<T>(batch * static_cast<Index>(chunks[0]) * width, 4),
             normal<T>(batch * static_cast<Index>(chunks[1]) * width, 5)}};
  }
  static Numbers zero(Index batch) {
    Numbers numbers = random(batch);
    for (auto& stream : numbers.of) std::fill(stream.begin(), stream.end(), T(0));
    return numbers;
  }
  /// Multiplies one chunk of one stream.
  Numbers times(std::size_t stream, std::size_t chunk, T factor) const {
    Numbers result = *this;
    for (std::size_t i = 0; i < of[stream].size(); ++i) {
      if (i / width % chunks[stream] == chunk) result.of[stream][i] *= factor;
    }
    return result;
  }
  /// Sets chunks of one stream to ones.
  Numbers with_ones(std::size_t stream, std::initializer_list<std::size_t> ones) const {
    Numbers result = *this;
    for (std::size_t i = 0; i < of[stream].size(); ++i) {
      for (const std::size_t chunk : ones) {
        if (i / width % chunks[stream] == chunk) result.of[stream][i] = 1;
      }
    }
    return result;
  }
  /// Chunks are shift, scale, gate, and again; text that ends has no gate.
  static std::vector<std::size_t> gates(std::size_t stream) {
    std::vector<std::size_t> result;
    for (std::size_t chunk = 2; chunk < chunks[stream]; chunk += 3) result.push_back(chunk);
    return result;
  }
  typename Block::Modulations chunked() const { return {{of[0].data()}, {of[1].data()}}; }
};

template <class Block, class T>
Streams<T> run(const Block& block, Streams<T> s, const Numbers<Block>& m, int threads = 2) {
  Workspace workspace(threads);
  block(tokens<width>(s.x), tokens<width>(s.context), m.chunked(), workspace);
  return s;
}

/// f(block, name) for every kind of block.
template <class T, class F>
void for_each_block(F&& f) {
  const auto call = [&]<class Block>(const Block& block, const char* name) {
    SCOPED_TRACE(name);
    f(block);
  };
  call(random_model<Plain<T>>(1), "MMDiTBlock");
  call(random_model<Normed<T>>(1), "MMDiTBlock with norms of q and k");
  call(random_model<Last<T>>(1), "MMDiTLastBlock");
  call(random_model<Dual<T>>(1), "MMDiTDualBlock");
}

template <class Block>
void expect_golden(const std::string& name, bool text_goes_on = true) {
  using T = typename Block::R;
  const Golden io(name + "_io");
  const auto block = golden_model<Block>(name);
  const auto out = run(block, Streams<T>{io.tensor<T, 3>("x"), io.tensor<T, 3>("context")}, io.tensor<T, 2>("c"));
  EXPECT_TRUE(close(out.x, io.tensor<double, 3>("x.out64"), one_layer<T>)) << name;
  if (text_goes_on) {
    EXPECT_TRUE(close(out.context, io.tensor<double, 3>("context.out64"), one_layer<T>)) << name;
  } else {
    EXPECT_TRUE(same_bits(out.context, io.tensor<T, 3>("context"))) << name;
  }
}

TYPED_TEST(MMDiTBlocks, MatchTheOfficialBlock) {
  expect_golden<Plain<TypeParam>>("mmdit_block");
  expect_golden<Normed<TypeParam>>("mmdit_block_qk_norm");
}

TYPED_TEST(MMDiTBlocks, MatchTheOfficialLastBlockWhichLeavesTheTextAlone) {
  expect_golden<Last<TypeParam>>("mmdit_block_pre_only", /*text_goes_on=*/false);
}

TYPED_TEST(MMDiTBlocks, MatchTheOfficialBlockOfDualAttention) {
  expect_golden<Dual<TypeParam>>("mmdit_block_dual");
}

TYPED_TEST(MMDiTBlocks, AreTheIdentityWhenFresh) {
  using T = TypeParam;
  for_each_block<T>([]<class Block>(const Block&) {
    Block fresh;
    init_adaln_zero(fresh, 1);
    const auto s = random_streams<T>();
    const auto out = run(fresh, s, normal<T, 2>({2, width}, 6));
    EXPECT_TRUE(same_bits(out.x, s.x));
    EXPECT_TRUE(same_bits(out.context, s.context));
  });
}

TYPED_TEST(MMDiTBlocks, LeaveAStreamAloneWhoseGatesAreZero) {
  using T = TypeParam;
  for_each_block<T>([]<class Block>(const Block& block) {
    using M = Numbers<Block>;
    const auto s = random_streams<T>();
    for (const std::size_t stream : {std::size_t{0}, std::size_t{1}}) {
      auto m = M::random(2);
      for (const std::size_t gate : M::gates(stream)) m = m.times(stream, gate, 0);
      const auto out = run(block, s, m);
      EXPECT_EQ(static_cast<bool>(same_bits(out.x, s.x)), stream == 0);
      EXPECT_EQ(static_cast<bool>(same_bits(out.context, s.context)), stream == 1 || M::gates(1).empty());
    }
  });
}

template <HeadNorm norm, class T, class Source>
Heads<T, width> qkv(const QkvProjection<width, config.heads, T, norm>& attn, const Lazy<Source, width>& x,
                    Workspace& workspace) {
  return attn(x, workspace);
}

/// x + branch(modulate(LN(x); shift, scale)) by hand, for one chunk at a time.
TYPED_TEST(MMDiTBlocks, TakeShiftScaleGateForAttentionThenForTheMlpThenForTheSecondAttention) {
  using T = TypeParam;
  const std::vector<T> ones(width, T(1)), zeros(width);
  const PerSample<T, width> one{ones.data(), 0}, none{zeros.data(), 0};
  struct Norm {
    PerSample<T, width> shift, scale;
  };
  const Norm plain{none, none}, shifted{one, none}, scaled{none, one};
  const auto modulated = [](Tokens<T, width> t, const Norm& m) {
    return modulate(layer_norm(t, 1e-6), m.shift, m.scale);
  };
  const auto s = random_streams<T>();
  Workspace workspace(1);
  for_each_block<T>([&]<class Block>(const Block& block) {
    const auto expect = [&](const Numbers<Block>& m, const Streams<T>& expected, const char* what) {
      const auto out = run(block, s, m);
      EXPECT_TRUE(same_bits(out.x, expected.x)) << what;
      EXPECT_TRUE(same_bits(out.context, expected.context)) << what;
    };
    const auto attention = [&](std::size_t gated, const Norm& image, const Norm& text) {
      auto out = s;
      const auto x = tokens<width>(out.x), context = tokens<width>(out.context);
      const auto scope = workspace.scope();
      const auto t = qkv(block.context_block.attn, modulated(context, text), workspace),
                 i = qkv(block.x_block.attn, modulated(x, image), workspace);
      joint_attention<config.heads>(workspace, t, i);
      if (gated == 0) {
        add_gated(x, one, block.x_block.attn.proj(i.answer()), workspace);
      } else if constexpr (requires { block.context_block.attn.proj; }) {
        add_gated(context, one, block.context_block.attn.proj(t.answer()), workspace);
      }
      return out;
    };
    const auto branch = [&](std::size_t stream, const auto& module, const Norm& m) {
      auto out = s;
      const auto to = stream == 0 ? tokens<width>(out.x) : tokens<width>(out.context);
      add_gated(to, one, module(modulated(to, m), workspace), workspace);
      return out;
    };
    const auto zero = Numbers<Block>::zero(2);
    const auto image = zero.with_ones(0, {2});
    expect(image, attention(0, plain, plain), "attention");
    expect(image.with_ones(0, {0}), attention(0, shifted, plain), "the image's shift");
    expect(image.with_ones(0, {1}), attention(0, scaled, plain), "the image's scale");
    expect(image.with_ones(1, {0}), attention(0, plain, shifted), "the text's shift");
    expect(image.with_ones(1, {1}), attention(0, plain, scaled), "the text's scale");
    expect(zero.with_ones(0, {5}), branch(0, block.x_block.mlp, plain), "the image's MLP");
    expect(zero.with_ones(0, {3, 5}), branch(0, block.x_block.mlp, shifted), "its shift");
    expect(zero.with_ones(0, {4, 5}), branch(0, block.x_block.mlp, scaled), "its scale");
    if constexpr (requires { block.x_block.attn2; }) {
      expect(zero.with_ones(0, {8}), branch(0, block.x_block.attn2, plain), "the second attention");
      expect(zero.with_ones(0, {6, 8}), branch(0, block.x_block.attn2, shifted), "its shift");
      expect(zero.with_ones(0, {7, 8}), branch(0, block.x_block.attn2, scaled), "its scale");
    }
    if constexpr (requires { block.context_block.mlp; }) {
      const auto text = zero.with_ones(1, {2});
      expect(text, attention(1, plain, plain), "the text's attention");
      expect(text.with_ones(1, {0}), attention(1, plain, shifted), "its shift");
      expect(text.with_ones(1, {1}), attention(1, plain, scaled), "its scale");
      expect(zero.with_ones(1, {5}), branch(1, block.context_block.mlp, plain), "the text's MLP");
      expect(zero.with_ones(1, {3, 5}), branch(1, block.context_block.mlp, shifted), "its shift");
      expect(zero.with_ones(1, {4, 5}), branch(1, block.context_block.mlp, scaled), "its scale");
    }
  });
}

/// out(2 g) = 2 out(g) - out(0) for each gate g, the others as they are. (With the MLP's at zero where it would
/// read what the gate changes.)
TYPED_TEST(MMDiTBlocks, AreAffineInEachGate) {
  using T = TypeParam;
  for_each_block<T>([]<class Block>(const Block& block) {
    using M = Numbers<Block>;
    const auto s = random_streams<T>();
    for (const std::size_t stream : {std::size_t{0}, std::size_t{1}}) {
      for (const std::size_t gate : M::gates(stream)) {
        auto m = M::random(2);
        if (gate != 5) m = m.times(stream, 5, 0);
        const auto without = run(block, s, m.times(stream, gate, 0)), once = run(block, s, m),
                   twice = run(block, s, m.times(stream, gate, 2));
        const auto expect = [&](const auto& zero, const auto& single, const auto& twofold) {
          std::vector<double> expected(static_cast<std::size_t>(single.size()));
          for (Index i = 0; i < single.size(); ++i) {
            expected[static_cast<std::size_t>(i)] =
                2 * static_cast<double>(single.data()[i]) - static_cast<double>(zero.data()[i]);
          }
          EXPECT_TRUE(close(twofold, expected, rounded<T>({32 * 0x1p-23, 1e-13}))) << stream << ", gate " << gate;
        };
        expect(without.x, once.x, twice.x);
        expect(without.context, once.context, twice.context);
        EXPECT_GT(distance(stream == 0 ? once.x : once.context, stream == 0 ? without.x : without.context).nmse,
                  1e-3);
      }
    }
  });
}

/// Both attentions' answers add up, so neither has seen the other's.
TYPED_TEST(MMDiTBlocks, OfDualAttentionReadTheBlocksInputTwice) {
  using T = TypeParam;
  using M = Numbers<Dual<T>>;
  const auto block = random_model<Dual<T>>(1);
  const auto s = random_streams<T>();
  const auto m = M::random(2).times(0, 5, 0);
  const auto both = run(block, s, m).x, first = run(block, s, m.times(0, 8, 0)).x,
             second = run(block, s, m.times(0, 2, 0)).x;
  std::vector<double> expected(static_cast<std::size_t>(both.size()));
  for (Index i = 0; i < both.size(); ++i) {
    expected[static_cast<std::size_t>(i)] = static_cast<double>(first.data()[i]) +
                                            static_cast<double>(second.data()[i]) -
                                            static_cast<double>(s.x.data()[i]);
  }
  EXPECT_TRUE(close(both, expected, rounded<T>({32 * 0x1p-23, 1e-13})));
}

TYPED_TEST(MMDiTBlocks, OfDualAttentionDoNotShowTheSecondOneTheText) {
  using T = TypeParam;
  const auto block = random_model<Dual<T>>(1);
  const auto m = Numbers<Dual<T>>::zero(2).with_ones(0, {8});
  auto s = random_streams<T>();
  const auto before = run(block, s, m).x;
  s.context = normal<T, 3>({2, 7, width}, 99);
  EXPECT_TRUE(same_bits(run(block, s, m).x, before));
}

/// Negative zeros would show any addition.
TYPED_TEST(MMDiTBlocks, ThatAreTheLastNeverWriteTheText) {
  using T = TypeParam;
  const auto block = random_model<Last<T>>(1);
  auto s = random_streams<T>();
  for (Index i = 0; i < s.context.size(); i += 2) s.context.data()[i] = T(-0.);
  const auto out = run(block, s, Numbers<Last<T>>::random(2));
  EXPECT_TRUE(same_bits(out.context, s.context));
  EXPECT_FALSE(same_bits(out.x, s.x));
}

TYPED_TEST(MMDiTBlocks, ThatAreTheLastDoNotSeeTheTextsQueries) {
  using T = TypeParam;
  auto block = random_model<Last<T>>(1);
  const auto s = random_streams<T>();
  const auto m = Numbers<Last<T>>::random(2);
  const auto expected = run(block, s, m);
  const std::vector<T> nan(width * width, std::numeric_limits<T>::quiet_NaN());
  block.context_block.attn.qkv.weight.set_rows(0, width, nan.data());
  EXPECT_TRUE(same_bits(run(block, s, m).x, expected.x));
}

TYPED_TEST(MMDiTBlocks, TurnWithTheirTokensAndDoNotSeeTheOtherStreamsOrder) {
  using T = TypeParam;
  for_each_block<T>([]<class Block>(const Block& block) {
    const auto s = random_streams<T>();
    const auto m = Numbers<Block>::random(2);
    const auto out = run(block, s, m);
    const auto other_text = run(block, Streams<T>{s.x, rolled(s.context, 0, 7, 3)}, m);
    EXPECT_TRUE(close(other_text.x, out.x, one_layer<T>));
    EXPECT_TRUE(close(other_text.context, rolled(out.context, 0, 7, 3), one_layer<T>));
    const auto other_image = run(block, Streams<T>{rolled(s.x, 0, 13, 5), s.context}, m);
    EXPECT_TRUE(close(other_image.x, rolled(out.x, 0, 13, 5), one_layer<T>));
    EXPECT_TRUE(close(other_image.context, out.context, one_layer<T>));
  });
}

TYPED_TEST(MMDiTBlocks, KeepSamplesApartInAnyOrder) {
  using T = TypeParam;
  for_each_block<T>([](const auto& block) {
    const auto s = random_streams<T>(3);
    const auto c = normal<T, 2>({3, width}, 6);
    const auto all = run(block, s, c);
    for (Index b = 0; b < 3; ++b) {
      const auto alone = run(block, Streams<T>{sample(s.x, b), sample(s.context, b)}, sample(c, b));
      EXPECT_TRUE(same_bits(alone.x, sample(all.x, b))) << b;
      EXPECT_TRUE(same_bits(alone.context, sample(all.context, b))) << b;
    }
    const auto turned = run(block, Streams<T>{reversed(s.x), reversed(s.context)}, reversed(c));
    EXPECT_TRUE(same_bits(turned.x, reversed(all.x)));
    EXPECT_TRUE(same_bits(turned.context, reversed(all.context)));
  });
}

TYPED_TEST(MMDiTBlocks, DoNotSeeTheNumberOfThreadsOrHowTheModulationsWereMade) {
  using T = TypeParam;
  for_each_block<T>([]<class Block>(const Block& block) {
    const auto s = random_streams<T>(2, 37, 19);
    auto c = normal<T, 2>({2, width}, 6);
    const auto expected = run(block, s, c, 1);
    for (const int threads : {2, 3, 5}) {
      const auto out = run(block, s, c, threads);
      EXPECT_TRUE(same_bits(out.x, expected.x)) << threads;
      EXPECT_TRUE(same_bits(out.context, expected.context)) << threads;
    }
    Workspace workspace(2);
    auto m = Numbers<Block>::zero(2);
    const auto activated = silu_condition(tokens<width>(c), 2, workspace);
    block.x_block.adaLN_modulation(activated, m.of[0].data(), workspace);
    block.context_block.adaLN_modulation(activated, m.of[1].data(), workspace);
    const auto out = run(block, s, m);
    EXPECT_TRUE(same_bits(out.x, expected.x));
    EXPECT_TRUE(same_bits(out.context, expected.context));
  });
}

TYPED_TEST(MMDiTBlocks, TakeTheArenaThatTheySay) {
  using T = TypeParam;
  struct Run {
    Index batch, count, text;
    int threads;
  };
  for_each_block<T>([]<class Block>(const Block& block) {
    for (const Run& r : {Run{1, 1, 1, 1}, Run{2, 45, 7, 2}, Run{3, 5, 100, 3}, Run{1, 300, 77, 2}}) {
      auto s = random_streams<T>(r.batch, r.count, r.text);
      const auto m = Numbers<Block>::random(r.batch);
      Workspace workspace(r.threads);
      block(tokens<width>(s.x), tokens<width>(s.context), m.chunked(), workspace);
      const auto pass = [&r](const Block& one, Workspace& meter) {
        one(Tokens<T, width>{nullptr, r.batch, r.count}, Tokens<T, width>{nullptr, r.batch, r.text},
            typename Block::Modulations{}, meter);
      };
      EXPECT_EQ(workspace.high_water(), plan_of<Block>(r.threads, pass).arena)
          << r.batch << " x (" << r.count << " + " << r.text << ") on " << r.threads;
    }
  });
}

TYPED_TEST(MMDiTBlocks, RefuseEmptyTokensOtherBatchesAndMissingModulations) {
  using T = TypeParam;
  for_each_block<T>([]<class Block>(const Block& block) {
    std::vector<T> numbers(4 * 9 * width);
    Workspace workspace(1);
    const auto t = [&](Index batch, Index count) { return Tokens<T, width>{numbers.data(), batch, count}; };
    const Tokens<T, width> nothing{nullptr, 2, 2};
    EXPECT_ERROR(errc::bad_input_shape, block(t(2, 0), t(2, 2), t(2, 1), workspace));
    EXPECT_ERROR(errc::bad_input_shape, block(t(0, 2), t(0, 2), t(0, 1), workspace));
    EXPECT_ERROR(errc::bad_input_shape, block(nothing, t(2, 2), t(2, 1), workspace));
    EXPECT_ERROR(errc::bad_condition, block(t(2, 2), t(2, 0), t(2, 1), workspace));
    EXPECT_ERROR(errc::bad_condition, block(t(2, 2), nothing, t(2, 1), workspace));
    EXPECT_ERROR(errc::bad_condition, block(t(2, 2), t(1, 2), t(2, 1), workspace));
    EXPECT_ERROR(errc::bad_condition, block(t(1, 2), t(2, 2), t(1, 1), workspace));
    EXPECT_ERROR(errc::bad_condition, block(t(2, 2), t(2, 2), t(1, 1), workspace));
    EXPECT_ERROR(errc::bad_condition, block(t(2, 2), t(2, 2), t(1, 2), workspace));
    EXPECT_ERROR(errc::bad_condition, block(t(2, 2), t(2, 2), nothing, workspace));
    const auto m = Numbers<Block>::zero(2);
    const auto given = m.chunked();
    EXPECT_ERROR(errc::bad_condition, block(t(2, 2), t(2, 2), {given.x, {}}, workspace));
    EXPECT_ERROR(errc::bad_condition, block(t(2, 2), t(2, 2), {{}, given.context}, workspace));
    EXPECT_ERROR(errc::bad_state, Block{}(t(2, 2), t(2, 2), t(2, 1), workspace));
    EXPECT_ERROR(errc::bad_state, Block{}(t(2, 2), t(2, 2), given, workspace));
    block(t(2, 2), t(2, 2), t(2, 1), workspace);
    block(t(2, 2), t(2, 2), given, workspace);
  });
}

}  // namespace
