/// The products of AMX without a machine that has it: its eight tiles are emulated here, as Intel's manual
/// describes the instructions, everything else is what such a machine would run. What stays untested are the
/// instructions' spelling, which the compiler checks, and that the manual was understood.

#include "dit/kernels/kernels.hpp"
#if DIT_AMX
#include "dit/kernels/simd_amx.hpp"
#endif

#include <stdexcept>

#include "kernels/attention_support.hpp"
#include "kernels/gemm_support.hpp"

#if DIT_AMX

namespace dit { namespace {

using namespace dit::test;

/// Of a thread.
struct EmulatedTiles {
  static inline thread_local amx::TileShapes shapes{};
  static inline thread_local bool configured = false;
  static inline thread_local unsigned char data[8][16][64];

  /// What raises an exception on the machine.
  static void require(bool allowed, const char* what) {
    if (!allowed) throw std::logic_error(what);
  }
  static std::size_t rows(int tile) {
    require(configured && shapes.rows[tile] > 0, "a tile without a shape");
    return shapes.rows[tile];
  }
  static std::size_t bytes(int tile) { return rows(tile) > 0 ? shapes.bytes[tile] : 0; }

  static void configure(const amx::TileShapes& to) {
    const auto* const raw = reinterpret_cast<const unsigned char*>(&to);
    static_assert(sizeof to == 64);
    require(raw[0] == 1 && raw[1] == 0, "no palette of eight tiles");
    for (int i = 2; i < 16; ++i) require(raw[i] == 0, "a reserved byte");
    for (std::size_t tile = 0; tile < 16; ++tile) {
      const int length = raw[16 + 2 * tile] + 256 * raw[17 + 2 * tile], height = raw[48 + tile];
      require((length == 0) == (height == 0) && length <= 64 && height <= 16, "a shape that no tile has");
      require(tile < 8 || height == 0, "a ninth tile");
    }
    shapes = to;
    configured = true;
    std::memset(data, 0, sizeof data);
  }
  static void release() { configured = false; }
  template <int tile>
  static void zero() {
    rows(tile);
    std::memset(data[tile], 0, sizeof data[tile]);
  }
  template <int tile>
  static void load(const void* from, Index stride) {
    std::memset(data[tile], 0, sizeof data[tile]);
    for (std::size_t r = 0; r < rows(tile); ++r) {
      std::memcpy(data[tile][r], static_cast<const unsigned char*>(from) + count(stride) * 4 * r, bytes(tile));
    }
  }
  template <int tile>
  static void store(void* to, Index stride) {
    for (std::size_t r = 0; r < rows(tile); ++r) {
      std::memcpy(static_cast<unsigned char*>(to) + count(stride) * 4 * r, data[tile][r], bytes(tile));
    }
  }
  template <class X>
  static X at(int tile, std::size_t row, std::size_t i) {
    X x;
    std::memcpy(&x, data[tile][row] + i * sizeof x, sizeof x);
    return x;
  }
  /// Subnormal numbers count as 0, before and after.
  static float flushed(float x) { return std::abs(x) < 0x1p-126F ? std::copysign(0.F, x) : x; }
  static float number(int tile, std::size_t row, std::size_t i) {
    return flushed(detail::decode<bf16>(at<std::uint16_t>(tile, row, i)));
  }
  template <class T, int sum, int a, int b>
  static void multiply() {
    require(rows(sum) == rows(a) && bytes(sum) == bytes(b) && bytes(a) == 4 * rows(b), "shapes that do not fit");
    for (std::size_t m = 0; m < rows(sum); ++m) {
      for (std::size_t n = 0; n < bytes(sum) / 4; ++n) {
        auto total = at<accumulator<T>>(sum, m, n);
        if constexpr (is_int8<T>) {
          for (std::size_t k = 0; k < bytes(a); ++k) {
            total += at<int8>(a, m, k) * static_cast<int>(at<int8>(b, k / 4, 4 * n + k % 4));
          }
        } else {
          float even = 0, odd = 0;
          for (std::size_t k = 0; k < bytes(a) / 4; ++k) {
            even = flushed(std::fma(number(a, m, 2 * k), number(b, k, 2 * n), even));
            odd = flushed(std::fma(number(a, m, 2 * k + 1), number(b, k, 2 * n + 1), odd));
          }
          total = flushed(flushed(total) + flushed(even + odd));
        }
        std::memcpy(data[sum][m] + 4 * n, &total, 4);
      }
    }
  }
};

/// AMX rests on AVX-512, and what packs on these two; where they do not run there is nothing to test.
template <class T>
constexpr Isa below = is_int8<T> ? Isa::avx512vnni : Isa::avx512bf16;
template <class T>
Kernels<T> emulated() {
  Kernels<T> k = kernels<T>(below<T>);
  static_cast<Products<T>&>(k) = amx::make_products<T, EmulatedTiles>();
  k.isa = Isa::amx;
  return k;
}

template <class T>
class Amx : public ::testing::Test {};
using Words = ::testing::Types<bf16, int8>;
TYPED_TEST_SUITE(Amx, Words, WeightName);

TYPED_TEST(Amx, MultipliesExactlyAndWithinItsOperands) {
  using T = TypeParam;
  using Sum = accumulator<T>;
  constexpr Index word = word_size<T>;
  if (!supports(below<T>)) return;
  const auto k = emulated<T>();
  const auto value = [](T x) { return static_cast<double>(x); };
  for (const int rows : {1, 2, 7, 15, 16}) {
    for (const int strips : {1, 2}) {
      for (const Index steps : {0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 129, 144}) {
        for (const Index w_step : {16, 32}) {
          const Index w_strip = w_step == 32 ? 16 : steps * 16;
          const auto numbers = [&](Index n, unsigned seed) {
            const auto x = random_integers<float>(n * word, seed, is_int8<T> ? 127 : 50);
            Numbers<T> y(x.size());
            for (std::size_t i = 0; i < x.size(); ++i) y[i] = static_cast<T>(x[i]);
            return y;
          };
          const auto a = numbers(rows * steps, 1), b = numbers(steps * (w_step == 32 ? 32 : 16 * strips), 2);
          const auto before = random_integers<Sum>(rows * tile_width, 3, 50);
          for (const bool accumulate : {false, true}) {
            for (const Edge edge : {Edge::before, Edge::after}) {
              Guarded<T> panel(a, edge), w(b, edge);
              Guarded<Sum> tile(before, edge);
              k.multiply(rows, strips, steps, panel.data(), w.data(), w_step, w_strip, accumulate, tile.data());
              for (Index i = 0; i < rows * tile_width; ++i) {
                const Index r = i / tile_width, c = i % tile_width;
                double sum = c < 16 * strips && !accumulate ? 0 : static_cast<double>(before[count(i)]);
                for (Index s = 0; s < steps * word && c < 16 * strips; ++s) {
                  sum += value(a[count((s / word * rows + r) * word + s % word)]) *
                         value(b[count((s / word * w_step + c / 16 * w_strip + c % 16) * word + s % word)]);
                }
                ASSERT_EQ(static_cast<double>(tile.data()[i]), sum)
                    << "rows " << rows << " strips " << strips << " steps " << steps << " number " << i;
              }
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(Amx, MatchesTheDoubleLoopAcrossAllBlockEdges) {
  using T = TypeParam;
  if (!supports(below<T>)) return;
  Workspace workspace(2);
  auto small = emulated<T>();
  small.blocking = {.depth = 20 * word_size<T>, .words = 500, .pairs = 2};
  for (const auto& k : {emulated<T>(), small}) {
    for (const Index rows : {1, 16, 17, 33, 50}) {
      for (const Index outputs : {1, 16, 31, 33, 70}) {
        for (const Index depth : {1, 31, 64, 65, 200}) {
          SCOPED_TRACE(to_string(Shape<3>{rows, depth, outputs}));
          const auto a = random_numbers<float>(rows * depth, 4), w = random_numbers<float>(outputs * depth, 5);
          const auto y = product(a, packed<T>(w, outputs, depth), workspace, k);
          expect_product<T>(y, reference<T>(a, w, rows, depth, outputs), depth);
        }
      }
    }
  }
}

TYPED_TEST(Amx, TakesRowsAsTheyAreStoredAndAgreesWithTheOthers) {
  using T = TypeParam;
  if (!supports(below<T>)) return;
  Workspace workspace(1);
  const Index rows = 40, depth = 150, outputs = 37;
  const auto a = as_stored<T>(random_numbers<float>(rows * depth, 6));
  const auto w = packed<T>(random_numbers<float>(outputs * depth, 7), outputs, depth);
  const auto run = [&](const Kernels<T>& k) {
    Numbers<float> y(count(rows * outputs), nan_of<float>);
    gemm(RowsSource<bf16>{a.data(), rows, depth}, w, StoreSink<float>{y.data(), outputs}, workspace, k);
    return y;
  };
  const auto y = run(emulated<T>()), expected = run(kernels<T>(Isa::portable));
  if constexpr (is_int8<T>) {
    EXPECT_TRUE(same_bits(y, expected));
  } else {
    EXPECT_LE(nmse(y, expected), 1e-12);
  }
}

TEST(AmxAttention, MatchesDouble) {
  if (!supports(Isa::avx512bf16)) return;
  Workspace workspace(2);
  for (const Index d : {1, 24, 64, 72}) {
    for (const Index n : {1, 33, 150}) {
      const Operands<bf16> o(1, n, n + 7, 2, d, 8);
      EXPECT_LE(nmse(run(o, workspace, emulated<bf16>()), naive(o)), attention_nmse<bf16>) << n << " " << d;
    }
  }
}

}  // namespace
}  // namespace dit

#endif
