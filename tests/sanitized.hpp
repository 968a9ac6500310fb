#pragma once
/// DIT_TEST_TSAN: 1 where this is compiled with the thread sanitizer. DIT_TEST_SANITIZED: with one that replaces
/// the C library's memory: it keeps what was given back, and ends the program where an allocation is too large for
/// it.

// g++ says so by a macro, clang by a feature; Eigen defines __has_feature for g++, as 0.
#if defined(__SANITIZE_THREAD__)
#define DIT_TEST_TSAN 1
#elif defined(__has_feature)
#define DIT_TEST_TSAN __has_feature(thread_sanitizer)
#else
#define DIT_TEST_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define DIT_TEST_SANITIZED 1
#elif defined(__has_feature)
#define DIT_TEST_SANITIZED (__has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || DIT_TEST_TSAN)
#else
#define DIT_TEST_SANITIZED DIT_TEST_TSAN
#endif
