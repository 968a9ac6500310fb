#pragma once
/// Large pages for large blocks, and memory that goes back to the system.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "dit/version.hpp"

namespace dit { inline namespace DIT_ABI {

/// Asks the system to use large pages for fresh memory of 2 MB and more; where it has none, nothing happens. A
/// model streams through far more pages of 4 KB than the processor remembers, and on a virtual machine a page that
/// it has forgotten costs two walks: large ones made products with weights of 5 to 40 MB 5 to 10 % faster. No
/// memory is used beyond what the pages of the block would have taken.
inline void prefer_large_pages(void* memory, std::size_t bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t large = std::uintptr_t{1} << 21,
                           page = std::uintptr_t{1} << 16;  // of any Linux, or more
  if (bytes < large) return;
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(memory) + bytes) / page * page;
  static_cast<void>(madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE));  // advice may be declined
#else
  static_cast<void>(memory);
  static_cast<void>(bytes);
#endif
}

namespace detail {
/// Of memory from `zeroed_memory`.
struct Free {
  std::size_t mapped = 0;  ///< bytes; 0: it is the C++ library's
  void operator()(std::byte* memory) const noexcept {
#if defined(__linux__)
    if (mapped > 0) {
      munmap(memory, mapped);
      return;
    }
#endif
    ::operator delete[](memory, std::align_val_t(64));
  }
};
}  // namespace detail

using Memory = std::unique_ptr<std::byte[], detail::Free>;

/// Bytes at a multiple of 64, zero from `first_zero` on; what is before is for the caller to fill. On Linux large
/// blocks are pages of their own: nobody has touched them, so whoever fills them first has them near and waits for
/// them; they lie next to those of the block before, so that large pages reach over several blocks; and they go
/// back to the system at once when they are freed. Throws std::bad_alloc.
inline Memory zeroed_memory(std::size_t bytes, std::size_t first_zero = 0) {
#if defined(__linux__)
  constexpr std::size_t large = std::size_t{1} << 19;
  if (bytes >= large) {
    void* const pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    static_cast<void>(madvise(pages, bytes, MADV_HUGEPAGE));
#endif
    return Memory(static_cast<std::byte*>(pages), detail::Free{bytes});
  }
#endif
  Memory memory(static_cast<std::byte*>(::operator new[](bytes, std::align_val_t(64))));
  std::memset(memory.get() + first_zero, 0, bytes - first_zero);
  return memory;
}

}}  // namespace dit
