#pragma once
/// Products of bf16 and int8 with NEON's `bfmmla` and `smmla` (FEAT_BF16 and FEAT_I8MM: Neoverse V1 and N2, Apple
/// M2).

#include "dit/kernels/simd_neon.hpp"

#if DIT_ARM64
#if defined(__clang__)
#define DIT_TARGET __attribute__((target("bf16,i8mm"), no_sanitize("undefined")))
#else
#define DIT_TARGET __attribute__((target("arch=armv8.2-a+bf16+i8mm"), no_sanitize("undefined")))
#endif
#include "dit/kernels/inline.inl"

namespace dit { inline namespace DIT_ABI { namespace neonmmla {

#include "dit/kernels/vec_neon.inl"

template <class T>
inline constexpr int panel_rows = 6;

// An instruction takes two rows of A and two columns of W, two words deep each, and adds the four sums
//     (row 0, column 0), (row 0, column 1), (row 1, column 0), (row 1, column 1).
// Both operands are zipped from the words of two steps; what lacks a second step takes zeros. Nothing may change
// the order of these instructions (`volatile`, and a barrier for the loads): g++ 12 would load the whole strip
// first and then lack registers.

DIT_INLINE float32x4_t multiply_pairs(int32x4_t a, int32x4_t b, float32x4_t sum) {
  __asm__ volatile("bfmmla %0.4s, %1.8h, %2.8h" : "+w"(sum) : "w"(a), "w"(b));
  return sum;
}
DIT_INLINE int32x4_t multiply_pairs(int32x4_t a, int32x4_t b, int32x4_t sum) {
  __asm__ volatile("smmla %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
  return sum;
}

/// sum[8 i + j] is of rows 2 i and 2 i + 1, columns 2 j and 2 j + 1.
template <int rows, bool last, class T>
DIT_INLINE void multiply_two_steps(const T* panel, const T* w, Index w_step,
                                   Part<accumulator<T>> (&sum)[(rows + 1) / 2 * 8]) {
  constexpr int quads = (rows + 3) / 4, pairs = (rows + 1) / 2;
  const int32x4_t zero = vdupq_n_s32(0);
  int32x4_t first[quads], second[quads], a[2 * quads];
  load_rows<rows>(panel, first);
  if constexpr (!last) load_rows<rows>(panel + rows * word_size<T>, second);
  DIT_UNROLL for (int i = 0; i < quads; ++i) {
    if constexpr (last) second[i] = zero;
    a[2 * i] = vzip1q_s32(first[i], second[i]);
    a[2 * i + 1] = vzip2q_s32(first[i], second[i]);
  }
  DIT_UNROLL for (int j = 0; j < 4; ++j) {
    const T* const at = w + 4 * j * word_size<T>;
    const auto even = read<int32x4_t>(at), odd = last ? zero : read<int32x4_t>(at + w_step);
    const int32x4_t low = vzip1q_s32(even, odd), high = vzip2q_s32(even, odd);
    DIT_UNROLL for (int i = 0; i < pairs; ++i) {
      sum[8 * i + 2 * j] = multiply_pairs(a[i], low, sum[8 * i + 2 * j]);
      sum[8 * i + 2 * j + 1] = multiply_pairs(a[i], high, sum[8 * i + 2 * j + 1]);
    }
    __asm__ volatile("" : : : "memory");
  }
}

template <int rows, int strips, class T>
DIT_TARGET void multiply_tile(Index steps, const T* panel, const T* w, Index w_step, Index, bool accumulate,
                              accumulator<T>* tile) {
  using R = accumulator<T>;
  constexpr int pairs = (rows + 1) / 2;
  Part<R> sum[8 * pairs];
  DIT_UNROLL for (int i = 0; i < 8 * pairs; ++i) sum[i] = broadcast(R(0)).part[0];
  for (; steps >= 2; steps -= 2) {
    multiply_two_steps<rows, false>(panel, w, w_step, sum);
    panel += 2 * rows * word_size<T>;
    w += 2 * w_step;
  }
  if (steps > 0) multiply_two_steps<rows, true>(panel, w, w_step, sum);
  DIT_UNROLL for (int i = 0; i < pairs; ++i) {
    Vec<R> row[2];
    DIT_UNROLL for (int j = 0; j < 4; ++j) {
      const Part<R> left = sum[8 * i + 2 * j], right = sum[8 * i + 2 * j + 1];
      row[0].part[j] = low_halves(left, right);
      row[1].part[j] = high_halves(left, right);
    }
    DIT_UNROLL for (int r = 0; r < 2; ++r) {
      R* const to = tile + (2 * i + r) * tile_width;
      if (2 * i + r < rows) store(to, accumulate ? row[r] + load(to) : row[r]);
    }
  }
}

#include "dit/kernels/body_multiply.inl"

template <class T>
constexpr Products<T> make_products() {
  Products<T> p = neon::products<T>;
  p.name = "neonmmla";
  p.panel_rows = panel_rows<T>;
  p.multiply = multiply<T>;
  return p;
}
template <class T>
inline constexpr Products<T> products = make_products<T>();

}}}  // namespace dit::neonmmla

#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
#endif
