#pragma once
/// The wave of activations: one arena, sized once, and the threads that fill it.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "dit/core/error.hpp"
#include "dit/core/executor.hpp"
#include "dit/core/memory.hpp"
#include "dit/core/thread_pool.hpp"

namespace dit { inline namespace DIT_ABI {

/// Every block that a Workspace hands out starts at a multiple of this many bytes: a cache line, a zmm register.
inline constexpr std::size_t alignment = 64;

/// Bytes that `Workspace::take<T>(n)` uses up.
template <class T>
constexpr std::size_t arena_bytes(Index n) {
  return (static_cast<std::size_t>(n) * sizeof(T) + alignment - 1) / alignment * alignment;
}

/// Scratch memory for a forward pass, and the executor that runs it. A model is const and may be shared; a
/// Workspace belongs to one forward pass at a time.
///
/// Memory is taken in stack order: what was taken inside a `scope()` is free again when the scope ends. It grows
/// when it must, so any Workspace works for any model, and when everything is free again it becomes one block that
/// is large enough: from the second pass on nothing is allocated. With `plan<Model>(...)` bytes the first pass
/// allocates nothing either.
class Workspace {
 public:
  /// Own pool with `threads` threads, the caller included; 0 means one for every core.
  explicit Workspace(int threads = 0, std::size_t bytes = 0)
      : pool_(std::make_unique<ThreadPool>(threads)), executor_(pool_.get()) {
    reserve(bytes);
  }
  /// The user's executor, which must outlive the Workspace.
  explicit Workspace(Executor& executor, std::size_t bytes = 0) : executor_(&executor) { reserve(bytes); }

  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  Executor& executor() const noexcept { return *executor_; }
  int strands() const noexcept { return executor_->strands(); }

  template <class F>
  void parallel_for(Index tasks, F&& f) {
    executor_->parallel_for(tasks, static_cast<F&&>(f));
  }

  /// Uninitialised memory for n values, aligned, valid until the enclosing scope ends.
  template <class T>
  T* take(Index n) {
    static_assert(std::is_trivially_destructible_v<T>, "a Workspace holds plain numbers");
    constexpr Index limit = std::numeric_limits<Index>::max() / static_cast<Index>(2 * sizeof(T));
    require(n >= 0 && n <= limit, errc::out_of_memory, "no machine has memory for that many activations");
    const std::size_t bytes = arena_bytes<T>(n);
    if (blocks_.empty() || blocks_.back().used + bytes > blocks_.back().size) grow(bytes);
    Block& block = blocks_.back();
    std::byte* at = block.memory.get() + block.used;
    block.used += bytes;
    used_ += bytes;
    high_water_ = std::max(high_water_, used_);
    return reinterpret_cast<T*>(at);
  }

  /// Gives back, at its end, what was taken since it began. May be moved, into a value that lives on such memory.
  class Scope {
   public:
    explicit Scope(Workspace& workspace)
        : workspace_(&workspace),
          blocks_(workspace.blocks_.size()),
          used_in_block_(blocks_ == 0 ? 0 : workspace.blocks_.back().used),
          used_(workspace.used_) {}
    Scope(Scope&& other) noexcept
        : workspace_(std::exchange(other.workspace_, nullptr)),
          blocks_(other.blocks_),
          used_in_block_(other.used_in_block_),
          used_(other.used_) {}
    Scope& operator=(Scope&&) = delete;
    ~Scope() {
      if (workspace_) workspace_->release(blocks_, used_in_block_, used_);
    }

   private:
    Workspace* workspace_;
    std::size_t blocks_, used_in_block_, used_;
  };
  [[nodiscard]] Scope scope() { return Scope(*this); }

  /// For the length of a pass; a second pass on the same Workspace at the same time is `errc::busy`.
  class Lease {
   public:
    explicit Lease(Workspace& workspace) : flag_(workspace.busy_) {
      require(!flag_.test_and_set(std::memory_order_acquire), errc::busy,
              "this Workspace is in use by another pass; give every thread its own");
    }
    ~Lease() { flag_.clear(std::memory_order_release); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

   private:
    std::atomic_flag& flag_;
  };
  [[nodiscard]] Lease lease() { return Lease(*this); }

  /// Makes sure that `bytes` fit without another allocation. Nothing may be taken at the time.
  void reserve(std::size_t bytes) {
    require(used_ == 0, errc::bad_state, "a Workspace cannot be resized while memory is taken from it");
    if (bytes > capacity()) {
      blocks_.clear();
      add_block(bytes);
    }
  }

  std::size_t capacity() const noexcept {
    std::size_t bytes = 0;
    for (const Block& block : blocks_) bytes += block.size;
    return bytes;
  }
  /// The most bytes that were taken at one time.
  std::size_t high_water() const noexcept { return high_water_; }

 private:
  struct AlignedDelete {
    void operator()(std::byte* memory) const noexcept { ::operator delete[](memory, std::align_val_t(alignment)); }
  };
  struct Block {
    std::unique_ptr<std::byte[], AlignedDelete> memory;
    std::size_t size = 0, used = 0;
  };

  void add_block(std::size_t bytes) {
    try {
      auto* memory = static_cast<std::byte*>(::operator new[](bytes, std::align_val_t(alignment)));
      prefer_large_pages(memory, bytes);
      blocks_.push_back({std::unique_ptr<std::byte[], AlignedDelete>(memory), bytes, 0});
    } catch (const std::bad_alloc&) {
      throw Error(errc::out_of_memory, "no memory for " + std::to_string(bytes) + " bytes of activations");
    }
  }

  void grow(std::size_t bytes) {
    constexpr std::size_t smallest = std::size_t{1} << 16;
    if (used_ == 0) blocks_.clear();
    add_block(std::max({bytes, capacity(), smallest}));
  }

  /// Back to what was there when a scope began. What was added since becomes one block, large enough for the next
  /// time.
  void release(std::size_t blocks, std::size_t used_in_block, std::size_t used) noexcept {
    used_ = used;
    if (used == 0) blocks = 0;
    if (blocks > 0) blocks_[blocks - 1].used = used_in_block;
    if (blocks_.size() == blocks) return;
    const std::size_t wanted = high_water_ - used;
    blocks_.back().used = 0;
    if (blocks_.size() == blocks + 1 && blocks_.back().size >= wanted) return;
    blocks_.resize(blocks);
    try {
      add_block(wanted);
    } catch (...) {  // the next pass will try again, and say so if it fails
    }
  }

  std::unique_ptr<ThreadPool> pool_;
  Executor* executor_;
  std::vector<Block> blocks_;
  std::size_t used_ = 0, high_water_ = 0;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

}}  // namespace dit
