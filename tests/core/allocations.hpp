#pragma once
/// Counts heap allocations and their bytes, and makes a chosen one fail.
/// It replaces the global operator new, so one file of a program includes it.

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__APPLE__)
#include <malloc/malloc.h>
#else
#include <malloc.h>
#endif

namespace allocations {

inline std::atomic<long> count{0};  ///< since the program began
inline std::atomic<long> left{-1};  ///< how many succeed before one fails; below zero none fails

inline std::atomic<long long> live{0};  ///< bytes that are allocated now
inline std::atomic<long long> peak{0};  ///< the most they were since somebody set it

/// The bytes of a block, as malloc rounded them.
inline long long size_of(void* memory) {
#if defined(__APPLE__)
  return static_cast<long long>(::malloc_size(memory));
#elif defined(_WIN32)
  return static_cast<long long>(::_msize(memory));
#else
  return static_cast<long long>(::malloc_usable_size(memory));
#endif
}

/// While one of these lives, the allocation after `succeeding` others throws std::bad_alloc; later ones succeed.
class FailAfter {
 public:
  explicit FailAfter(long succeeding) { left = succeeding; }
  ~FailAfter() { left = -1; }
  FailAfter(const FailAfter&) = delete;
  FailAfter& operator=(const FailAfter&) = delete;
  bool failed() const { return left < 0; }
};

inline void* allocate(std::size_t bytes, std::size_t alignment) {
  ++count;
  if (left >= 0 && left-- == 0) throw std::bad_alloc();
  if (bytes >> 40 != 0) throw std::bad_alloc();  // where the sanitizers would end the program
  const std::size_t wanted = bytes > 0 ? bytes : 1, rounded = (wanted + alignment - 1) / alignment * alignment;
  const bool plain = alignment <= alignof(std::max_align_t);
  void* memory = plain ? std::malloc(wanted) : std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  const long long now = live += size_of(memory);
  for (long long before = peak; before < now && !peak.compare_exchange_weak(before, now);) {
  }
  return memory;
}

inline void release(void* memory) noexcept {
  if (memory != nullptr) live -= size_of(memory);
  std::free(memory);
}

}  // namespace allocations

// Where g++ sees only one of the two it warns that malloc and delete, or new and free, do not belong together.
#if defined(__GNUC__)
#define NOT_INLINED __attribute__((noinline))
#else
#define NOT_INLINED
#endif
NOT_INLINED void* operator new(std::size_t bytes) { return allocations::allocate(bytes, 1); }
NOT_INLINED void* operator new[](std::size_t bytes) { return allocations::allocate(bytes, 1); }
NOT_INLINED void* operator new(std::size_t bytes, std::align_val_t to) {
  return allocations::allocate(bytes, static_cast<std::size_t>(to));
}
NOT_INLINED void* operator new[](std::size_t bytes, std::align_val_t to) {
  return allocations::allocate(bytes, static_cast<std::size_t>(to));
}
NOT_INLINED void operator delete(void* memory) noexcept { allocations::release(memory); }
NOT_INLINED void operator delete[](void* memory) noexcept { allocations::release(memory); }
NOT_INLINED void operator delete(void* memory, std::size_t) noexcept { allocations::release(memory); }
NOT_INLINED void operator delete[](void* memory, std::size_t) noexcept { allocations::release(memory); }
NOT_INLINED void operator delete(void* memory, std::align_val_t) noexcept { allocations::release(memory); }
NOT_INLINED void operator delete[](void* memory, std::align_val_t) noexcept { allocations::release(memory); }
NOT_INLINED void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  allocations::release(memory);
}
NOT_INLINED void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  allocations::release(memory);
}
#undef NOT_INLINED
