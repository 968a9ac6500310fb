#pragma once
/// Products of bf16 and int8 in AMX (Sapphire Rapids and later): 16 x 16 x 16 words in an instruction.
///
/// A strip lies in memory as AMX wants its right operand, [words][16]. The left one has a row of sixteen words for
/// every row of A, so a panel is turned, 16 x 16 words at a time, on its way to the tiles; that should cost about
/// as many cycles as the products, on other ports.
///
/// What these instructions do is known to us from Intel's manual only. The tests run everything but the
/// instructions themselves over an emulation of them.

#include "dit/kernels/table.hpp"

#if DIT_AMX
#include "dit/kernels/simd_avx512_bf16.hpp"
#include "dit/kernels/simd_avx512_vnni.hpp"

#define DIT_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"), no_sanitize("undefined")))
#include "dit/kernels/inline.inl"
#define DIT_NATIVE_BF16 0

namespace dit { inline namespace DIT_ABI { namespace amx {

template <class T>
inline constexpr int parts = 1;

#include "dit/kernels/vec_avx512.inl"

/// The shapes of the eight tiles, as the instruction reads them: bytes in a row, and rows.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, first_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {};
  std::uint8_t rows[16] = {};

  void set(int tile, Index rows_, Index words) {
    if (rows_ == 0 || words == 0) return;  // one that will not be used
    rows[tile] = static_cast<std::uint8_t>(rows_);
    bytes[tile] = static_cast<std::uint16_t>(4 * words);
  }
};

/// The machine's tiles. (Not through intrinsics: those of g++ paste the tile's number into the instruction's name,
/// so it cannot come from a template.) Strides are in words.
struct Tiles {
  static void configure(const TileShapes& shapes) { __asm__ volatile("ldtilecfg %0" : : "m"(shapes)); }
  static void release() { __asm__ volatile("tilerelease"); }
  template <int tile>
  static void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(tile));
  }
  template <int tile>
  static void load(const void* from, Index stride) {
    __asm__ volatile("{tileloadd (%0,%1,1), %%tmm%c2|tileloadd tmm%c2, [%0+%1*1]}"
                     :
                     : "r"(from), "r"(4 * stride), "i"(tile)
                     : "memory");
  }
  template <int tile>
  static void store(void* to, Index stride) {
    __asm__ volatile("{tilestored %%tmm%c2, (%0,%1,1)|tilestored [%0+%1*1], tmm%c2}"
                     :
                     : "r"(to), "r"(4 * stride), "i"(tile)
                     : "memory");
  }
  /// sum[m][n] += the product of the words a[m][k] and b[k][n], over k.
  template <class T, int sum, int a, int b>
  static void multiply() {
    if constexpr (std::is_same_v<T, int8>) {
      __asm__ volatile("{tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0|tdpbssd tmm%c0, tmm%c1, tmm%c2}"
                       :
                       : "i"(sum), "i"(a), "i"(b));
    } else {
      __asm__ volatile("{tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0|tdpbf16ps tmm%c0, tmm%c1, tmm%c2}"
                       :
                       : "i"(sum), "i"(a), "i"(b));
    }
  }
};

inline constexpr Index slab = 16;  ///< words that a row of a tile takes

/// Four words of each of the steps 0, 4, 8 and 12.
DIT_INLINE __m512 four_steps(const float* p, Index step) {
  __m512 v = _mm512_maskz_broadcast_f32x4(0x000f, _mm_loadu_ps(p));
  v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(p + 4 * step));
  v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(p + 8 * step));
  return _mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(p + 12 * step));
}
/// [words][rows] to [rows][slab], slab after slab. Rows come by fours: up to three words are read beyond the last
/// slab, and up to three rows written.
DIT_TARGET inline void turn(const float* panel, Index words, Index rows, float* to) {
  for (; words > 0; words -= slab, panel += slab * rows, to += slab * rows) {
    for (Index r = 0; r < rows; r += 4) {
      const float* const p = panel + r;
      const __m512 a = four_steps(p, rows), b = four_steps(p + rows, rows);
      const __m512 c = four_steps(p + 2 * rows, rows), d = four_steps(p + 3 * rows, rows);
      const __m512 ab = _mm512_maskz_unpacklo_ps(every, a, b), ab_high = _mm512_maskz_unpackhi_ps(every, a, b);
      const __m512 cd = _mm512_maskz_unpacklo_ps(every, c, d), cd_high = _mm512_maskz_unpackhi_ps(every, c, d);
      _mm512_storeu_ps(to + r * slab, _mm512_maskz_shuffle_ps(every, ab, cd, 0x44));
      _mm512_storeu_ps(to + (r + 1) * slab, _mm512_maskz_shuffle_ps(every, ab, cd, 0xee));
      _mm512_storeu_ps(to + (r + 2) * slab, _mm512_maskz_shuffle_ps(every, ab_high, cd_high, 0x44));
      _mm512_storeu_ps(to + (r + 3) * slab, _mm512_maskz_shuffle_ps(every, ab_high, cd_high, 0xee));
    }
  }
}

/// Tiles 0 and 1 are the sums of the strips; `first` is for the panel's slab, the two after it for those of W.
template <class Unit, int first, class T>
void multiply_slab(const float* a, const T* w, Index w_step, Index w_strip, int strips) {
  Unit::template load<first>(a, slab);
  Unit::template load<first + 1>(w, w_step);
  Unit::template multiply<T, 0, first, first + 1>();
  if (strips < 2) return;
  Unit::template load<first + 2>(w + w_strip * word_size<T>, w_step);
  Unit::template multiply<T, 1, first, first + 2>();
}

/// Products::multiply. `Unit` is Tiles, or a test's emulation of them.
template <class Unit, class T>
DIT_TARGET void multiply(int rows, int strips, Index steps, const T* panel, const T* w, Index w_step, Index w_strip,
                         bool accumulate, accumulator<T>* tile) {
  constexpr Index at_once = 4 * slab, beyond = 3;
  alignas(64) float turned[16 * at_once], rest[16 * at_once + beyond];
  alignas(64) accumulator<T> sums[16 * tile_width];
  const Index last = steps % slab;  // the words that fill no slab have tiles of their own
  TileShapes shapes;
  for (const int sum : {0, 1}) shapes.set(sum, rows, strip_width);
  shapes.set(2, rows, slab);
  shapes.set(5, rows, last);
  for (const int s : {1, 2}) {
    shapes.set(2 + s, slab, strip_width);
    shapes.set(5 + s, last, strip_width);
  }
  Unit::configure(shapes);
  Unit::template zero<0>();
  Unit::template zero<1>();
  const auto* const words = reinterpret_cast<const float*>(panel);  // which are only moved about
  for (Index k = 0; k < steps; k += at_once) {
    const Index n = steps - k < at_once ? steps - k : at_once;
    const float* from = words + k * rows;
    if (steps - k < at_once + beyond) {  // a copy has room to read on
      const Index end = (n + slab - 1) / slab * slab * rows + beyond;
      __builtin_memcpy(rest, from, static_cast<std::size_t>(n * rows) * sizeof(float));
      __builtin_memset(rest + n * rows, 0, static_cast<std::size_t>(end - n * rows) * sizeof(float));
      from = rest;
    }
    turn(from, n, rows, turned);
    Index i = 0;
    for (; i + slab <= n; i += slab) {
      multiply_slab<Unit, 2>(turned + i * rows, w + (k + i) * w_step * word_size<T>, w_step, w_strip, strips);
    }
    if (i < n) {
      multiply_slab<Unit, 5>(turned + i * rows, w + (k + i) * w_step * word_size<T>, w_step, w_strip, strips);
    }
  }
  accumulator<T>* const to = accumulate ? sums : tile;
  Unit::template store<0>(to, tile_width);
  if (strips == 2) Unit::template store<1>(to + strip_width, tile_width);
  Unit::release();
  if (!accumulate) return;
  for (int r = 0; r < rows; ++r) {
    for (int s = 0; s < strips; ++s) {
      const Index at = r * tile_width + s * strip_width;
      store(tile + at, load(tile + at) + load(sums + at));
    }
  }
}

/// Both operands' bytes have signs, so nothing is lifted and nothing to be taken back.
template <class S>
DIT_TARGET void pack_panel(const S* x, Index stride, Index rows, Index row, Index begin, Index columns,
                           const float* inverse, Index height, int8* panel) {
  avx512vnni::pack_rows<int8, false>(x, stride, rows, columns, inverse,
                                     panel + begin * height + row * word_size<int8>, height);
}
inline void dequantise(std::int32_t* tile, Index rows, Index columns, const std::int32_t*, const float* row_scale,
                       const float* column_scale) {
  static constexpr std::int32_t nothing[tile_width] = {};
  avx512vnni::dequantise<int8>(tile, rows, columns, nothing, row_scale, column_scale);
}

template <class T, class Unit>
constexpr Products<T> make_products() {
  Products<T> p{};
  if constexpr (std::is_same_v<T, int8>) {
    p = avx512vnni::products<int8>;
    p.pack_panel = pack_panel<float>;
    p.pack_stored = pack_panel<bf16>;
    p.dequantise = dequantise;
    p.offset = 0;
  } else {
    p = avx512bf16::products<bf16>;
  }
  p.name = "amx";
  p.panel_rows = 16;
  p.multiply = multiply<Unit, T>;
  return p;
}
template <class T>
inline constexpr Products<T> products = make_products<T, Tiles>();

}}}  // namespace dit::amx

#undef DIT_NATIVE_BF16
#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
#endif
