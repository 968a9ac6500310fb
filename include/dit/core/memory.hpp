#pragma once
/// Large pages for large blocks, and memory that goes back to the system.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

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

/// An owning block of bytes, aligned to 64, zero or for the caller to fill; moves, but is not copied. A literal
/// type, so that whatever owns its numbers through it is one as well: the compiler can make a model, count it and
/// walk it.
///
/// Three states: empty; with memory; `planned`, which has a size and no memory and is not empty. Planned models run
/// their forward pass in a plan (nn/plan.hpp).
class Memory {
 public:
  constexpr Memory() = default;
  /// `bytes` of memory, zero from `first_zero` on. On Linux large blocks are pages of their own: nobody has touched
  /// them, so the thread that fills them first has them near and waits for them; they lie next to those of the
  /// block before, so that large pages reach over several blocks; and they go back to the system at once when they
  /// are freed. Throws std::bad_alloc.
  static Memory zeroed(std::size_t bytes, std::size_t first_zero = 0) {
    if (bytes == 0) return {};
#if defined(__linux__)
    if (bytes >= mapped_from) {
      void* const pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (pages == MAP_FAILED) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
      static_cast<void>(madvise(pages, bytes, MADV_HUGEPAGE));
#endif
      return Memory(static_cast<std::byte*>(pages), bytes);
    }
#endif
    auto* const memory = static_cast<std::byte*>(::operator new[](bytes, std::align_val_t(64)));
    if (first_zero < bytes) std::memset(memory + first_zero, 0, bytes - first_zero);
    return Memory(memory, bytes);
  }
  /// A size without memory.
  static constexpr Memory planned(std::size_t bytes) { return Memory(nullptr, bytes); }

  constexpr Memory(Memory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  constexpr Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  constexpr ~Memory() {
    if (data_ != nullptr) release();
  }

  /// Null where it is empty or planned.
  constexpr std::byte* get() const noexcept { return data_; }
  constexpr std::size_t bytes() const noexcept { return bytes_; }
  constexpr bool empty() const noexcept { return bytes_ == 0; }

 private:
  static constexpr std::size_t mapped_from = std::size_t{1} << 19;

  constexpr Memory(std::byte* data, std::size_t bytes) : data_(data), bytes_(bytes) {}

  void release() noexcept {
#if defined(__linux__)
    if (bytes_ >= mapped_from) return static_cast<void>(munmap(data_, bytes_));
#endif
    ::operator delete[](data_, std::align_val_t(64));
  }

  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}}  // namespace dit
