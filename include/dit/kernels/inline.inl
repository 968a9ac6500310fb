// For a simd_*.hpp that has just defined DIT_TARGET: a small function that becomes part of its caller, and a loop
// of constant length that is to disappear. DIT_TARGET also keeps out the sanitizer of undefined behaviour, whose
// checks of every index in these unrolled bodies take most of a minute to compile; tests put them between forbidden
// pages.
#if defined(_MSC_VER) && !defined(__clang__)
#define DIT_INLINE __forceinline
#define DIT_UNROLL
#else
#if defined(__OPTIMIZE__)
#define DIT_INLINE inline __attribute__((always_inline)) DIT_TARGET
#else  // without an optimiser every value keeps a place on the stack: 100 KB for a GELU made of inlined steps
#define DIT_INLINE inline DIT_TARGET
#endif
#if defined(__clang__)
#define DIT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define DIT_UNROLL _Pragma("GCC unroll 32")
#endif
#endif
#if !defined(DIT_PREFETCH)
#if defined(__GNUC__)
#define DIT_PREFETCH(p) __builtin_prefetch(p)
#else
#define DIT_PREFETCH(p) static_cast<void>(p)
#endif
#endif
#if !defined(DIT_READ_AGAIN)
#if defined(__GNUC__)
#define DIT_READ_AGAIN __asm__ volatile("" : : : "memory")
#else
#define DIT_READ_AGAIN static_cast<void>(0)
#endif
#endif
