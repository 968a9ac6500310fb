#pragma once
/// The kernels in NEON, which every 64-bit ARM has.

#include "dit/kernels/table.hpp"

#if DIT_ARM64
#include <arm_neon.h>

#include <limits>

#define DIT_TARGET __attribute__((no_sanitize("undefined")))
#include "dit/kernels/inline.inl"

namespace dit { inline namespace DIT_ABI { namespace neon {

#include "dit/kernels/vec_neon.inl"

/// 6 rows x 1 strip are 24 sums; with 2 registers of activations, 1 of weights and what widens them that makes less
/// than 32. A product of int8 takes more on its way.
template <class T>
inline constexpr int panel_rows = std::is_same_v<T, int8> ? 4 : 6;

/// Sums of two products fit 16 bits, since no weight is -128.
DIT_INLINE int32x4_t dot(int32x4_t a, int lane, int32x4_t b, int32x4_t sum) {
  const int8x16_t four = vreinterpretq_s8_s32(b), word = vreinterpretq_s8_s32(vdupq_n_s32(a[lane]));
  const int16x8_t low = vmull_s8(vget_low_s8(four), vget_low_s8(word)), high = vmull_high_s8(four, word);
  sum = vpadalq_s16(sum, vpaddq_s16(low, high));
  // Without this, g++ multiplies several columns before it adds, and runs out of registers.
  __asm__ __volatile__("" : "+w"(sum));
  return sum;
}

#include "dit/kernels/body_step_neon.inl"

#include "dit/kernels/body.inl"

template <class T>
inline constexpr Products<T> products = make_products<T>("neon");

}}}  // namespace dit::neon

#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
#endif
