#pragma once
/// Products of int8 with NEON's `sdot` (FEAT_DotProd: Cortex-A76, Neoverse N1, Apple M1).

#include "dit/kernels/simd_neon.hpp"

#if DIT_ARM64
#if defined(__clang__)
#define DIT_TARGET __attribute__((target("dotprod"), no_sanitize("undefined")))
#else
#define DIT_TARGET __attribute__((target("arch=armv8.2-a+dotprod"), no_sanitize("undefined")))
#endif
#include "dit/kernels/inline.inl"

namespace dit { inline namespace DIT_ABI { namespace neondot {

#include "dit/kernels/vec_neon.inl"

template <class T>
inline constexpr int panel_rows = 6;

/// (Not every compiler has the intrinsic where the whole program is not for such a machine.)
template <int lane>
DIT_INLINE int32x4_t dot(int32x4_t a, int32x4_t b, int32x4_t sum) {
  __asm__("sdot %0.4s, %1.16b, %2.4b[%3]" : "+w"(sum) : "w"(b), "w"(a), "i"(lane));
  return sum;
}
DIT_INLINE int32x4_t dot(int32x4_t a, int lane, int32x4_t b, int32x4_t sum) {
  switch (lane) {
    case 0:
      return dot<0>(a, b, sum);
    case 1:
      return dot<1>(a, b, sum);
    case 2:
      return dot<2>(a, b, sum);
    default:
      return dot<3>(a, b, sum);
  }
}

#include "dit/kernels/body_step_neon.inl"

#include "dit/kernels/body_micro.inl"
#include "dit/kernels/body_multiply.inl"

template <class T>
constexpr Products<T> make_products() {
  Products<T> p = neon::products<T>;
  p.name = "neondot";
  p.panel_rows = panel_rows<T>;
  p.multiply = multiply<T>;
  return p;
}
template <class T>
inline constexpr Products<T> products = make_products<T>();

}}}  // namespace dit::neondot

#undef DIT_TARGET
#undef DIT_INLINE
#undef DIT_UNROLL
#endif
