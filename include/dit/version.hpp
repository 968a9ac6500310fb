#pragma once
/// The version of dit, and the inline namespace that everything lives in.

#define DIT_VERSION_MAJOR 0
#define DIT_VERSION_MINOR 1
#define DIT_VERSION_PATCH 0

// A header compiled with different machine flags in two objects yields two different bodies. They get two
// different names, so that the linker never picks the AVX-512 body for the machine that has none.
#if defined(__AVX512F__)
#define DIT_ABI v0_1_avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define DIT_ABI v0_1_avx2
#elif defined(__AVX__)
#define DIT_ABI v0_1_avx
#else
#define DIT_ABI v0_1
#endif
