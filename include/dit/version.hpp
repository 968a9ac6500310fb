#pragma once
/// The version of dit, the inline namespace that everything lives in, and where bodies of functions are compiled.

#define DIT_VERSION_MAJOR 0
#define DIT_VERSION_MINOR 2
#define DIT_VERSION_PATCH 0

// A header compiled with different machine flags in two objects yields two different bodies. They get two
// different names, so that the linker never picks the AVX-512 body for the machine that has none.
#if defined(__AVX512F__)
#define DIT_ABI_SIMD avx512
#elif defined(__AVX2__)
#define DIT_ABI_SIMD avx2
#elif defined(__AVX__)
#define DIT_ABI_SIMD avx
#elif defined(__SSE4_1__)
#define DIT_ABI_SIMD sse4
#elif defined(__ARM_FEATURE_SVE)
#define DIT_ABI_SIMD sve
#elif defined(__ARM_FEATURE_DOTPROD)
#define DIT_ABI_SIMD dot
#elif defined(__ARM_FEATURE_ATOMICS)
#define DIT_ABI_SIMD lse
#else
#define DIT_ABI_SIMD base
#endif
#if defined(__FMA__)
#define DIT_ABI_FMA fma
#else
#define DIT_ABI_FMA nofma
#endif
#define DIT_ABI_PASTE(simd, fma) v0_2_##simd##_##fma
#define DIT_ABI_NAME(simd, fma) DIT_ABI_PASTE(simd, fma)
#define DIT_ABI DIT_ABI_NAME(DIT_ABI_SIMD, DIT_ABI_FMA)

// Before the body, in an *.inl, of what is no template: inline in every file, or compiled once for all those that
// define DIT_EXTERN (dit/extern.hpp). A virtual function has the other one, in its class as well, so that files
// which do not use the class do not get its table.
#ifdef DIT_EXTERN
#define DIT_ONCE
#define DIT_ONCE_VIRTUAL
#else
#define DIT_ONCE_VIRTUAL inline
#ifdef __GNUC__
#define DIT_ONCE inline __attribute__((noinline))  // inlined into one another they would compile half as fast
#else
#define DIT_ONCE inline
#endif
#endif
