#pragma once
/// DIT_TEST_ASAN, DIT_TEST_TSAN: 1 where this is compiled with the address or the thread sanitizer. They keep
/// memory that was given back, and end the program where an allocation is too large for them.

#if defined(__has_feature)  // clang
#define DIT_TEST_ASAN __has_feature(address_sanitizer)
#define DIT_TEST_TSAN __has_feature(thread_sanitizer)
#else
#if defined(__SANITIZE_ADDRESS__)
#define DIT_TEST_ASAN 1
#else
#define DIT_TEST_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__)
#define DIT_TEST_TSAN 1
#else
#define DIT_TEST_TSAN 0
#endif
#endif
#define DIT_TEST_SANITIZED (DIT_TEST_ASAN || DIT_TEST_TSAN)
