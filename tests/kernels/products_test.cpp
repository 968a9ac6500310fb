/// What an instruction set does with operands of T, verb by verb, between forbidden pages: the micro-kernel, what
/// packs for it, what rounds.

#include "kernels/support.hpp"

#if DIT_AMX
#include "dit/kernels/simd_amx.hpp"
#endif

namespace dit { namespace {

using namespace dit::test;

template <class T>
class Products : public ::testing::Test {};
TYPED_TEST_SUITE(Products, Weights, WeightName);

/// Operands as words, of random integers that T holds; `offset` larger, in eight bits without a sign.
template <class T>
Numbers<T> operand(Index words, unsigned seed, std::int32_t offset = 0) {
  Numbers<T> x(count(words * word_size<T>));
  const auto numbers = random_integers<float>(static_cast<Index>(x.size()), seed, is_int8<T> ? 127 : 50);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto value = static_cast<std::int32_t>(numbers[i]) + offset;
    if constexpr (is_int8<T>) {
      x[i] = static_cast<int8>(value > 127 ? value - 256 : value);
    } else {
      x[i] = static_cast<T>(static_cast<float>(value));
    }
  }
  return x;
}
/// Its value for the kernels that add `offset`.
template <class T>
double value_of(T x, std::int32_t offset = 0) {
  if constexpr (is_int8<T>) return offset != 0 ? static_cast<std::uint8_t>(x) : x;
  return static_cast<double>(x);
}

TYPED_TEST(Products, OfEveryInstanceOfTheMicroKernelAreExactAndWithinTheirOperands) {
  using T = TypeParam;
  using Sum = accumulator<T>;
  constexpr Index word = word_size<T>;
  for (const Isa isa : isas<T>()) {
    const Kernels<T>& k = kernels<T>(isa);
    for (int rows = 1; rows <= k.panel_rows; ++rows) {
      for (const int strips : {1, 2}) {
        for (const Index steps : {0, 1, 2, 7}) {
          for (const Index w_step : {16, 32}) {
            const Index w_strip = w_step == 32 ? 16 : steps * 16;
            const auto a = operand<T>(rows * steps, 33, k.offset);
            const auto b = operand<T>(steps * w_step * (w_step == 32 ? 1 : strips), 34);
            const auto c = random_integers<Sum>(rows * tile_width, 35, 50);
            Numbers<double> products(count(rows * tile_width), 0);
            for (Index r = 0; r < rows; ++r) {
              for (Index j = 0; j < 16 * strips; ++j) {
                for (Index s = 0; s < steps * word; ++s) {
                  const auto lane = (s / word * w_step + j / 16 * w_strip + j % 16) * word + s % word;
                  products[count(r * tile_width + j)] +=
                      value_of(a[count((s / word * rows + r) * word + s % word)], k.offset) *
                      value_of(b[count(lane)]);
                }
              }
            }
            for (const bool accumulate : {false, true}) {
              for (const Edge edge : {Edge::before, Edge::after}) {
                Guarded<T> panel(a, edge), w(b, edge);
                Guarded<Sum> tile(c, edge);
                k.multiply(rows, strips, steps, panel.data(), w.data(), w_step, w_strip, accumulate, tile.data());
                for (std::size_t i = 0; i < products.size(); ++i) {
                  const bool kept = accumulate || i % tile_width >= count(16 * strips);
                  ASSERT_EQ(static_cast<double>(tile.data()[i]), products[i] + (kept ? c[i] : Sum(0)))
                      << text(isa) << " rows " << rows << " strips " << strips << " steps " << steps;
                }
              }
            }
          }
        }
      }
    }
  }
}

/// x as a panel's number: exactly, rounded to bf16, or in steps of 1 / inverse.
template <class T>
T as_packed(real<T> x, real<T> inverse, std::int32_t offset = 0) {
  if constexpr (is_int8<T>) {
    const float scaled = x * inverse;
    return static_cast<int8>(static_cast<std::uint8_t>(static_cast<int>(std::nearbyint(scaled)) + offset));
  } else {
    static_cast<void>(inverse), static_cast<void>(offset);
    return static_cast<T>(x);
  }
}

/// Lengths around 1, 2, 3 and 4 steps of any T, and everything below.
const std::vector<Index> lengths{1,  2,  3,  4,  5,  7,  8,  9,  15, 16, 17, 31, 32,  33,  47,
                                 48, 49, 50, 60, 61, 62, 63, 64, 65, 80, 95, 96, 127, 128, 129};

/// One factor for each row, of which no number is above 127.
template <class T>
Numbers<real<T>> inverses(const Numbers<real<T>>& x, Index stride, Index rows, Index columns) {
  Numbers<real<T>> inverse(count(rows), real<T>(1));
  for (Index r = 0; r < rows && is_int8<T>; ++r) {
    real<T> most = 0;
    for (Index c = 0; c < columns; ++c) most = std::max(most, std::abs(x[count(r * stride + c)]));
    inverse[count(r)] = 127 / most;
  }
  return inverse;
}

template <class T>
void expect_words(const Numbers<T>& to, Index word, const Numbers<T>& expected, const std::string& where) {
  for (Index e = 0; e < word_size<T>; ++e) {
    const auto i = count(word * word_size<T> + e);
    ASSERT_EQ(std::memcmp(&to[i], &expected[count(e)], sizeof(T)), 0)
        << where << ", word " << word << " number " << e << ": " << value_of(to[i]) << " instead of "
        << value_of(expected[count(e)]);
  }
}

TYPED_TEST(Products, ArePackedTransposedAndRoundedOnceFromAnyBlock) {
  using T = TypeParam;
  using R = real<T>;
  constexpr Index word = word_size<T>;
  for (const Isa isa : isas<T>()) {
    const Kernels<T>& k = kernels<T>(isa);
    for (const Index rows : {1, 2, 3, 5, 6, 8, 13, 14, 15, 16}) {
      for (const Index columns : lengths) {
        for (const Index gap : {0, 3}) {
          const Index stride = columns + gap, to_stride = rows + gap, steps = words<T>(columns);
          const auto from = random_numbers<R>((rows - 1) * stride + columns, 36);
          const auto inverse = inverses<T>(from, stride, rows, columns);
          for (const Edge edge : {Edge::before, Edge::after}) {
            Guarded<R> x(from, edge), factor(inverse, edge);
            Guarded<T> to(((steps - 1) * to_stride + rows) * word, edge);
            k.pack(x.data(), stride, rows, columns, is_int8<T> ? factor.data() : nullptr, to.data(), to_stride);
            const auto packed = to.numbers();
            const std::string where = text(isa) + " " + to_string(Shape<3>{rows, columns, gap});
            for (Index w = 0; w < steps; ++w) {
              for (Index r = 0; r < (w + 1 < steps ? to_stride : rows); ++r) {
                Numbers<T> expected(count(word), poison<T>());  // between its columns nothing is written
                for (Index e = 0; r < rows && e < word; ++e) {
                  const Index c = w * word + e;
                  expected[count(e)] =
                      c < columns ? as_packed<T>(from[count(r * stride + c)], inverse[count(r)]) : T(0);
                }
                ASSERT_NO_FATAL_FAILURE(expect_words(packed, w * to_stride + r, expected, where));
              }
            }
          }
        }
      }
    }
  }
}

/// Into some rows of a panel, from a word on, from real and from stored numbers; the rest of the panel is left
/// alone.
TYPED_TEST(Products, GoToTheirRowsAndNumbersOfAPanel) {
  using T = TypeParam;
  using R = real<T>;
  using S = stored<T>;
  constexpr Index word = word_size<T>;
  for (const Isa isa : isas<T>()) {
    const Kernels<T>& k = kernels<T>(isa);
    const Index height = k.panel_rows;
    for (const auto& [row, rows] : {Shape<2>{0, height}, Shape<2>{0, 1}, Shape<2>{height - 1, 1},
                                    Shape<2>{height / 2, height - height / 2}, Shape<2>{height / 3, 1}}) {
      for (const Index columns : lengths) {
        for (const Index begin : {Index{0}, 3 * word}) {
          const Index steps = words<T>(columns), before = begin / word, stride = columns + 5;
          auto from = random_numbers<R>((rows - 1) * stride + columns, 37);
          auto rounded = as_stored<T>(from);
          rounded[0] = rounded[count(columns - 1)] = std::numeric_limits<S>::denorm_min();  // as it is, to the bit
          const auto inverse = inverses<T>(from, stride, rows, columns);
          for (const bool was_stored : {false, true}) {
            for (const Edge edge : {Edge::before, Edge::after}) {
              Guarded<R> x(from, edge), factor(inverse, edge);
              Guarded<S> y(rounded, edge);
              Guarded<T> panel((before + steps) * height * word, edge);
              const R* const factors = is_int8<T> ? factor.data() : nullptr;
              if (was_stored) {
                k.pack_stored(y.data(), stride, rows, row, begin, columns, factors, height, panel.data());
              } else {
                k.pack_panel(x.data(), stride, rows, row, begin, columns, factors, height, panel.data());
              }
              const auto packed = panel.numbers();
              const std::string where = text(isa) + " " + to_string(Shape<3>{row, rows, columns}) +
                                        (was_stored ? " stored" : " real") + " from " + std::to_string(begin);
              for (Index w = 0; w < before + steps; ++w) {
                for (Index r = 0; r < height; ++r) {
                  Numbers<T> expected(count(word), poison<T>());
                  const bool written = w >= before && r >= row && r < row + rows;
                  for (Index e = 0; written && e < word; ++e) {
                    const Index c = (w - before) * word + e;
                    const auto at = count((r - row) * stride + c);
                    const R number = c >= columns ? R(0) : was_stored ? static_cast<R>(rounded[at]) : from[at];
                    expected[count(e)] = as_packed<T>(number, inverse[count(r - row)], k.offset);
                  }
                  ASSERT_NO_FATAL_FAILURE(expect_words(packed, w * height + r, expected, where));
                }
              }
            }
          }
        }
      }
    }
  }
}

template <class T>
class StoredProducts : public ::testing::Test {};
using StoredTypes = ::testing::Types<float, double, bf16>;
TYPED_TEST_SUITE(StoredProducts, StoredTypes, WeightName);

TYPED_TEST(StoredProducts, OfValuesStandUprightInTheirPanels) {
  using T = TypeParam;
  constexpr Index word = word_size<T>;
  for (const Isa isa : isas<T>()) {
    const Kernels<T>& k = kernels<T>(isa);
    for (Index width = 1; width <= 16; ++width) {
      for (const Index depth : {1, 2, 3, 7, 8, 31, 128}) {
        for (const Index first : {0, 5}) {
          const auto from = as_stored<T>(random_numbers<real<T>>(depth * (first + width), 38));
          for (const Edge edge : {Edge::before, Edge::after}) {
            Guarded<T> x(from, edge), panel(words<T>(depth) * width * word, edge);
            std::vector<const T*> rows;
            for (Index t = 0; t < depth; ++t) rows.push_back(x.data() + t * (first + width));
            k.pack_upright(rows.data(), first, depth, width, panel.data());
            for (Index t = 0; t < words<T>(depth) * word; ++t) {
              for (Index c = 0; c < width; ++c) {
                const T expected = t < depth ? from[count(t * (first + width) + first + c)] : T(0);
                const T got = panel.data()[(t / word * width + c) * word + t % word];
                ASSERT_EQ(static_cast<double>(got), static_cast<double>(expected))
                    << text(isa) << " " << to_string(Shape<3>{width, depth, first}) << " key " << t;
              }
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(StoredProducts, LieDownAgainRoundedOnce) {
  using T = TypeParam;
  using R = real<T>;
  for (const Isa isa : isas<T>()) {
    const Kernels<T>& k = kernels<T>(isa);
    for (Index rows = 1; rows <= 16; ++rows) {
      for (const Index columns : {1, 2, 15, 16, 17, 32}) {
        for (const Index gap : {0, 3}) {
          const Index from_stride = columns + gap, to_stride = rows + gap;
          const auto from = random_numbers<R>((rows - 1) * from_stride + columns, 39);
          for (const Edge edge : {Edge::before, Edge::after}) {
            Guarded<R> x(from, edge);
            Guarded<T> to((columns - 1) * to_stride + rows, edge);
            k.unpack(x.data(), from_stride, rows, columns, to.data(), to_stride);
            for (Index c = 0; c < columns; ++c) {
              for (Index r = 0; r < (c + 1 < columns ? to_stride : rows); ++r) {
                const double got = static_cast<double>(to.data()[c * to_stride + r]);
                if (r < rows) {
                  ASSERT_EQ(got, static_cast<double>(static_cast<T>(from[count(r * from_stride + c)])))
                      << text(isa);
                } else {
                  ASSERT_TRUE(std::isnan(got)) << text(isa) << " wrote between its columns";
                }
              }
            }
          }
        }
      }
    }
  }
}

/// Number `key` of a query among the numerators that a softmax leaves.
template <class T>
double numerator(const Numbers<real<T>>& scores, Index key, Index query) {
  const auto* const words = reinterpret_cast<const T*>(scores.data());
  constexpr Index word = word_size<T>;
  return static_cast<double>(words[(key / word * tile_width + query) * word + key % word]);
}

/// 2^x for x <= 0, seen in the sum of a single key: to a unit in the last place, or, where a bf16 becomes of it, to
/// 1.02e-4; below the smallest normal number to two of its units, since the power comes in two factors.
TYPED_TEST(StoredProducts, HavePowersOfTwoWithinTheirBound) {
  using T = TypeParam;
  using R = real<T>;
  const double bound = sizeof(T) == 2 ? 1.02e-4 : eps<R>;
  for (const Isa isa : isas<T>()) {
    const Kernels<T>& k = kernels<T>(isa);
    Numbers<R> x;
    for (double at = -152; at < 0; at += 0.00071) x.push_back(static_cast<R>(at));
    for (int whole = -152; whole < 0; ++whole) {
      for (const R at : {R(whole), R(whole) + R(0.5), std::nextafter(R(whole) + R(0.5), R(0)),
                         std::nextafter(R(whole) + R(0.5), R(-200)), std::nextafter(R(whole), R(0))}) {
        x.push_back(at);
      }
    }
    x.insert(x.end(),
             {R(0), R(-0.0), R(-1e-30), R(-1e4), std::numeric_limits<R>::lowest(), R(-INFINITY), nan_of<R>});
    x.resize((x.size() + 31) / 32 * 32, R(0));
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); i += 32) {
      Numbers<R> scores(x.begin() + static_cast<std::ptrdiff_t>(i),
                        x.begin() + static_cast<std::ptrdiff_t>(i + 32));
      Numbers<R> highest(32, R(0)), sum(32, R(0)), factor(32, nan_of<R>);
      k.online_softmax(scores.data(), 1, R(1), highest.data(), sum.data(), factor.data());
      for (std::size_t j = 0; j < 32; ++j) {
        const double at = static_cast<double>(x[i + j]), p = static_cast<double>(sum[j]), exact = std::exp2(at);
        if (std::isnan(at)) {
          ASSERT_TRUE(std::isnan(p)) << text(isa);
          ASSERT_TRUE(std::isnan(numerator<T>(scores, 0, static_cast<Index>(j)))) << text(isa);
          continue;
        }
        const double smallest = static_cast<double>(std::numeric_limits<R>::denorm_min());
        ASSERT_LE(std::abs(p - exact), bound * exact + 2 * smallest) << text(isa) << " 2^" << at << " became " << p;
        if (exact > 1e-37) worst = std::max(worst, std::abs(p - exact) / exact);
        if (at == 0) {
          ASSERT_EQ(p, 1) << text(isa);
        }
        // And rounded once more, in its place, beside nothing.
        auto rounded = static_cast<double>(static_cast<T>(sum[j]));
        if (k.flushes && p < static_cast<double>(std::numeric_limits<R>::min())) rounded = 0;
        ASSERT_EQ(numerator<T>(scores, 0, static_cast<Index>(j)), rounded) << text(isa) << " 2^" << at;
        if (word_size < T >> 1) {
          ASSERT_EQ(numerator<T>(scores, 1, static_cast<Index>(j)), 0) << text(isa);
        }
      }
    }
    EXPECT_LE(worst, bound) << text(isa);
    if (sizeof(T) == 2) {
      EXPECT_GT(worst, bound / 2) << text(isa) << ": the bound says too much";
    }
  }
}

/// A softmax over a block after others: what is highest only grows, what was summed before shrinks with it.
TYPED_TEST(StoredProducts, GoThroughASoftmaxBlockByBlock) {
  using T = TypeParam;
  using R = real<T>;
  const double of_powers = sizeof(T) == 2 ? 1.02e-4 : 2 * eps<R>, of_numerators = sizeof(T) == 2 ? 0x1p-8 : 0;
  for (const Isa isa : isas<T>()) {
    const Kernels<T>& k = kernels<T>(isa);
    for (const Index keys : {1, 2, 3, 8, 31, 127, 128}) {
      for (const double scale : {0.125, 1.0, 2.5}) {
        const auto x = random_numbers<R>(keys * tile_width, 50, 2);
        auto before = random_numbers<R>(tile_width, 51, 4), summed = random_numbers<R>(tile_width, 52);
        for (R& s : summed) s = std::abs(s);
        before[3] = std::numeric_limits<R>::lowest(), summed[3] = 0;  // the first block
        for (const Edge edge : {Edge::before, Edge::after}) {
          Guarded<R> scores(x, edge), highest(before, edge), sum(summed, edge), factor(tile_width, edge);
          k.online_softmax(scores.data(), keys, static_cast<R>(scale), highest.data(), sum.data(), factor.data());
          const auto left = scores.numbers();
          for (Index q = 0; q < tile_width; ++q) {
            const std::string where = text(isa) + " " + std::to_string(keys) + " keys, query " + std::to_string(q);
            R top = before[count(q)];
            for (Index j = 0; j < keys; ++j) top = std::max(top, x[count(j * tile_width + q)]);
            ASSERT_EQ(highest.data()[q], top) << where;
            const double f = std::exp2(scale * (static_cast<double>(before[count(q)]) - static_cast<double>(top)));
            // The difference is rounded, which counts as often as it is large.
            const auto error = [&](double p, double bound) {
              return (bound + std::abs(std::log2(std::max(p, 1e-30))) * eps<R>)*p + 1e-40;
            };
            ASSERT_NEAR(static_cast<double>(factor.data()[q]), f, error(f, 2 * eps<R>)) << where;
            double total = static_cast<double>(summed[count(q)]) * f, most = error(total, 4 * eps<R>) + error(f, 0);
            for (Index j = 0; j < keys; ++j) {
              const double p =
                  std::exp2(scale * (static_cast<double>(x[count(j * tile_width + q)]) - static_cast<double>(top)));
              ASSERT_NEAR(numerator<T>(left, j, q), p, error(p, of_powers + 1.01 * of_numerators))
                  << where << " " << j;
              total += p;
              most += error(p, of_powers);
            }
            most += static_cast<double>(keys) * eps<R> * total;
            ASSERT_NEAR(static_cast<double>(sum.data()[q]), total, most) << where;
          }
        }
      }
    }
  }
}

TYPED_TEST(Products, AreStoredAndReadBackAsTheModelStoresThem) {
  using T = TypeParam;
  using R = real<T>;
  using S = stored<T>;
  for (const Isa isa : isas<T>()) {
    const Kernels<T>& k = kernels<T>(isa);
    for (const Index columns : {1, 2, 7, 15, 16, 17, 31, 32}) {
      for (const Index rows : {1, 3, 14}) {
        for (const Edge edge : {Edge::before, Edge::after}) {
          const auto tile = random_numbers<R>(rows * tile_width, 40);
          const Index stride = columns + 2;
          Guarded<R> from(tile, edge);
          Guarded<S> to((rows - 1) * stride + columns, edge);
          k.store_rounded(from.data(), rows, columns, to.data(), stride);
          for (Index r = 0; r < rows; ++r) {
            for (Index c = 0; c < (r + 1 < rows ? stride : columns); ++c) {
              const double got = static_cast<double>(to.data()[r * stride + c]);
              if (c < columns) {
                ASSERT_EQ(got, static_cast<double>(static_cast<S>(tile[count(r * tile_width + c)]))) << text(isa);
              } else {
                ASSERT_TRUE(std::isnan(got)) << text(isa) << " wrote between its rows";
              }
            }
          }
        }
      }
    }
    for (const Index n : lengths) {
      const auto numbers = as_stored<T>(random_numbers<R>(n, 41));
      for (const Edge edge : {Edge::before, Edge::after}) {
        Guarded<S> x(numbers, edge);
        Guarded<R> y(n, edge);
        k.widen(x.data(), n, y.data());
        EXPECT_TRUE(same_bits(y.numbers(), widened<R>(numbers))) << text(isa) << n;
      }
    }
  }
}

/// All upper halves with all lower halves that matter to a rounding: below, at and above a tie, and exact ones.
/// Subnormal numbers may become 0 where the machine's instruction says so.
TEST(Bf16, IsRoundedToNearestTiesToEvenByAllInstructionSets) {
  Numbers<float> x;
  for (std::uint32_t upper = 0; upper < 65536; ++upper) {
    for (const std::uint32_t lower : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const std::uint32_t bits = upper << 16 | lower;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      x.push_back(value);
    }
  }
  for (const Isa isa : isas<bf16>()) {
    const Kernels<bf16>& k = kernels<bf16>(isa);
    Numbers<bf16> y(x.size()), in_a_panel(x.size());
    for (std::size_t i = 0; i < x.size(); i += 32) {  // two lengths: whole steps and what is left of one
      const bool whole = i / 32 % 2 == 0;
      k.store_rounded(&x[i], 1, whole ? 32 : 15, &y[i], 32);
      if (!whole) k.store_rounded(&x[i] + 15, 1, 17, &y[i] + 15, 32);
      k.pack_panel(&x[i], 32, 1, 0, 0, 32, nullptr, 1, &in_a_panel[i]);
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      for (const bf16 rounded : {y[i], in_a_panel[i]}) {
        std::uint16_t got;
        std::memcpy(&got, &rounded, sizeof got);
        const std::uint16_t expected = detail::encode<bf16>(x[i]);
        if (std::isnan(x[i])) {
          ASSERT_TRUE(std::isnan(static_cast<float>(rounded))) << text(isa) << " a NaN became " << got;
          ASSERT_EQ(got >> 15, expected >> 15) << text(isa) << " a NaN lost its sign";
        } else if (k.flushes && std::abs(x[i]) < std::numeric_limits<float>::min()) {
          ASSERT_EQ(got & 0x7fff, 0) << text(isa) << " " << x[i];
        } else {
          ASSERT_EQ(got, expected) << text(isa) << " " << x[i];
        }
      }
    }
  }
}

/// What lies in memory and what lies in panels; of AMX's kernels too, where they run but for the tiles.
TEST(Bf16, IsFlushedWhereTheTableSaysSoAndNowhereElse) {
  std::vector<const dit::Products<bf16>*> tables;
  for (const Isa isa : isas<bf16>()) tables.push_back(&kernels<bf16>(isa));
#if DIT_AMX
  if (supports(Isa::avx512bf16)) tables.push_back(&amx::products<bf16>);
#endif
  for (const dit::Products<bf16>* k : tables) {
    for (const float least : {0x1p-133f, -0x1.fp-127f}) {
      const Numbers<float> x(32, least);
      Numbers<bf16> y(32), in_a_panel(32), in_strips(32);
      k->store_rounded(x.data(), 1, 32, y.data(), 32);
      k->pack_panel(x.data(), 32, 1, 0, 0, 32, nullptr, 1, in_a_panel.data());
      k->pack(x.data(), 32, 1, 32, nullptr, in_strips.data(), 1);
      const float expected = k->flushes ? 0 : std::abs(static_cast<float>(static_cast<bf16>(least)));
      for (const auto& rounded : {y, in_a_panel, in_strips}) {
        for (const bf16 r : rounded) ASSERT_EQ(std::abs(static_cast<float>(r)), expected) << k->name;
      }
    }
  }
}

// What int8 needs besides.

TEST(Int8, FindsTheHighestOfEveryRow) {
  for (const Isa isa : isas<int8>()) {
    const Kernels<int8>& k = kernels<int8>(isa);
    for (const Index rows : {1, 3, 14}) {
      for (const Index columns : lengths) {
        const Index stride = columns + 3;
        auto x = random_numbers<float>((rows - 1) * stride + columns, 42);
        for (Index r = 1; r < rows; ++r) {  // between rows lies what must not be seen
          std::fill_n(&x[count(r * stride - 3)], 3, 1e9F);
        }
        const auto y = as_stored<int8>(x);
        for (const Edge edge : {Edge::before, Edge::after}) {
          Guarded<float> from(x, edge), highest(rows, edge), of_stored(rows, edge);
          Guarded<bf16> stored_from(y, edge);
          for (Index r = 0; r < rows; ++r) highest.data()[r] = of_stored.data()[r] = r % 2 ? 2.5F : 0.F;
          k.find_highest(from.data(), stride, rows, columns, highest.data());
          k.find_highest_stored(stored_from.data(), stride, rows, columns, of_stored.data());
          for (Index r = 0; r < rows; ++r) {
            float most = r % 2 ? 2.5F : 0.F, most_stored = most;
            for (Index c = 0; c < columns; ++c) {
              most = std::max(most, std::abs(x[count(r * stride + c)]));
              most_stored = std::max(most_stored, std::abs(static_cast<float>(y[count(r * stride + c)])));
            }
            ASSERT_EQ(highest.data()[r], most) << text(isa) << columns;
            ASSERT_EQ(of_stored.data()[r], most_stored) << text(isa) << columns;
          }
        }
      }
    }
  }
}

TEST(Int8, FindsNanAndInfinityWhereverTheyAre) {
  for (const Isa isa : isas<int8>()) {
    const Kernels<int8>& k = kernels<int8>(isa);
    for (const Index columns : lengths) {
      for (Index at = 0; at < columns; ++at) {
        for (const float bad : {nan_of<float>, -nan_of<float>, INFINITY, -INFINITY}) {
          auto x = random_numbers<float>(columns, 43);
          x[count(at)] = bad;
          const auto y = as_stored<int8>(x);
          float highest = 0, of_stored = 0;
          k.find_highest(x.data(), columns, 1, columns, &highest);
          k.find_highest_stored(y.data(), columns, 1, columns, &of_stored);
          for (const float found : {highest, of_stored}) {
            ASSERT_TRUE(std::isnan(bad) ? std::isnan(found) : found == INFINITY)
                << text(isa) << " " << bad << " is number " << at << " of " << columns << ", found " << found;
          }
        }
      }
      float highest = nan_of<float>;  // of the pieces before
      const auto x = random_numbers<float>(columns, 44);
      k.find_highest(x.data(), columns, 1, columns, &highest);
      ASSERT_TRUE(std::isnan(highest)) << text(isa);
    }
  }
}

/// Three roundings: of the integer, of the two scales' product, of the last product.
TEST(Int8, SumsBecomeFloatsWithinTwoUlps) {
  for (const Isa isa : isas<int8>()) {
    const Kernels<int8>& k = kernels<int8>(isa);
    for (const Index columns : {1, 15, 16, 17, 32}) {
      const Index rows = k.panel_rows, padded = (columns + 15) / 16 * 16;
      auto sums = random_integers<std::int32_t>(rows * tile_width, 45, 2000000000);
      const auto correction = random_integers<std::int32_t>(padded, 46, 100000000);
      for (std::size_t i = 0; i < sums.size(); i += 3) sums[i] /= 1 << i % 29;
      auto row_scale = random_numbers<float>(rows, 47), column_scale = random_numbers<float>(padded, 48);
      for (float& s : row_scale) s = std::abs(s);
      for (float& s : column_scale) s = std::abs(s);
      for (const Edge edge : {Edge::before, Edge::after}) {
        Guarded<std::int32_t> tile(sums, edge), of_columns(correction, edge);
        Guarded<float> of_rows(row_scale, edge), of_outputs(column_scale, edge);
        k.dequantise(tile.data(), rows, columns, of_columns.data(), of_rows.data(), of_outputs.data());
        for (Index r = 0; r < rows; ++r) {
          for (Index c = 0; c < columns; ++c) {
            const std::int64_t sum =
                std::int64_t{sums[count(r * tile_width + c)]} + (k.offset != 0 ? correction[count(c)] : 0);
            const double exact = static_cast<double>(sum) * static_cast<double>(row_scale[count(r)]) *
                                 static_cast<double>(column_scale[count(c)]);
            float got;
            std::memcpy(&got, tile.data() + r * tile_width + c, sizeof got);
            const float nearest = static_cast<float>(exact);
            const double ulp = static_cast<double>(std::nextafter(std::abs(nearest), INFINITY)) - std::abs(nearest);
            if (sum > std::numeric_limits<std::int32_t>::max() || sum < std::numeric_limits<std::int32_t>::min())
              continue;
            ASSERT_LE(std::abs(static_cast<double>(got) - exact), 2 * ulp) << text(isa) << " " << sum;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace dit
