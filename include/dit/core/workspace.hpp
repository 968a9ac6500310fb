#pragma once
/// The wave of activations: one arena, sized once, and the threads that fill it.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
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

/// Argument of a Workspace that only counts: the strands that an executor would have.
struct Meter {
  int strands = 1;
};

/// Scratch memory for a forward pass, and the executor that runs it. A model is const and may be shared; a
/// Workspace belongs to one forward pass at a time.
///
/// Memory is taken in stack order: what was taken inside a `scope()` is free again when the scope ends. It grows
/// when it must, so any Workspace works for any model, and when everything is free again it becomes one block that
/// is large enough: from the second pass on nothing is allocated. With `plan<Model>(...)` bytes the first pass
/// allocates nothing either.
///
/// A Workspace made from a `Meter` runs nothing: `take` gives null pointers, tasks are left out, products and
/// attentions count themselves. The same forward pass then says what it will take, and the compiler can run it:
///     Workspace meter(Meter{.strands = 2});
///     block(tokens, c, meter);                    // of pointers that may be null
///     meter.high_water(), meter.flops()
class Workspace {
 public:
  /// Own pool with `threads` threads, the caller included; 0 means one for every core.
  explicit Workspace(int threads = 0, std::size_t bytes = 0)
      : Workspace(std::make_unique<ThreadPool>(threads), nullptr, bytes) {}
  /// The user's executor, which must outlive the Workspace.
  explicit Workspace(Executor& executor, std::size_t bytes = 0) : Workspace(nullptr, &executor, bytes) {}
  /// One that only counts.
  constexpr explicit Workspace(Meter meter) : strands_(meter.strands) {}

  constexpr ~Workspace() {
    if (store_ != nullptr) destroy(store_);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// Errors: bad_state for one that only counts.
  Executor& executor() const {
    require(!counts(), errc::bad_state, "a Workspace that only counts has no executor");
    return *store_->executor;
  }
  constexpr int strands() const noexcept { return strands_; }

  /// True for a meter.
  constexpr bool counts() const noexcept { return store_ == nullptr; }
  /// True where `p` is memory; in a meter null is.
  constexpr bool holds(const void* p) const noexcept { return p != nullptr || counts(); }

  /// As Executor's; a meter leaves the tasks out.
  template <class F>
  constexpr void parallel_for(Index tasks, F&& f) {
    if (!counts()) executor().parallel_for(tasks, static_cast<F&&>(f));
  }
  template <class F>
  constexpr void parallel_ranges(Index items, Index each, F&& f) {
    if (!counts()) executor().parallel_ranges(items, each, static_cast<F&&>(f));
  }

  /// Uninitialised memory for n values, aligned, valid until the enclosing scope ends.
  template <class T>
  constexpr T* take(Index n) {
    static_assert(std::is_trivially_destructible_v<T>, "a Workspace holds plain numbers");
    constexpr Index limit = std::numeric_limits<Index>::max() / static_cast<Index>(2 * sizeof(T));
    require(n >= 0 && n <= limit, errc::out_of_memory, "no machine has memory for that many activations");
    const std::size_t bytes = arena_bytes<T>(n);
    if (counts()) {
      use(bytes);
      return nullptr;
    }
    return static_cast<T*>(carve(bytes));
  }

  /// Gives back, at its end, what was taken since it began. May be moved, into a value that lives on such memory.
  class Scope {
   public:
    constexpr explicit Scope(Workspace& workspace)
        : workspace_(&workspace), blocks_(workspace.blocks()), used_(workspace.used_) {
      if (blocks_ > 0) used_in_block_ = workspace.used_in_block();
    }
    constexpr Scope(Scope&& other) noexcept
        : workspace_(std::exchange(other.workspace_, nullptr)),
          blocks_(other.blocks_),
          used_in_block_(other.used_in_block_),
          used_(other.used_) {}
    Scope& operator=(Scope&&) = delete;
    constexpr ~Scope() {
      if (workspace_ == nullptr) return;
      workspace_->used_ = used_;
      if (!workspace_->counts()) workspace_->release(blocks_, used_in_block_);
    }

   private:
    Workspace* workspace_;
    std::size_t blocks_, used_in_block_ = 0;
    std::uint64_t used_;
  };
  [[nodiscard]] constexpr Scope scope() { return Scope(*this); }

  /// For the length of a pass; a second pass on the same Workspace at the same time is `errc::busy`.
  class Lease {
   public:
    explicit Lease(Workspace& workspace) : flag_(workspace.counts() ? nullptr : &workspace.store_->busy) {
      require(!flag_ || !flag_->test_and_set(std::memory_order_acquire), errc::busy,
              "this Workspace is in use by another pass; give every thread its own");
    }
    ~Lease() {
      if (flag_) flag_->clear(std::memory_order_release);
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

   private:
    std::atomic_flag* flag_;
  };
  [[nodiscard]] Lease lease() { return Lease(*this); }

  /// Indices 0 .. count - 1 of passes that take the same memory and the same time each. A meter goes through one of
  /// them and counts it `count` times:
  ///     for (const Index layer : workspace.passes(depth)) blocks[layer](x, m.block(layer), workspace);
  class Passes {
   public:
    constexpr Passes(Workspace& workspace, Index count) : workspace_(workspace), count_(count) {
      if (!workspace.counts() || count <= 0) return;
      before_ = std::exchange(workspace.times_, workspace.times_ * static_cast<std::uint64_t>(count));
      count_ = 1;
    }
    constexpr ~Passes() {
      if (before_ != 0) workspace_.times_ = before_;
    }
    Passes(const Passes&) = delete;
    Passes& operator=(const Passes&) = delete;

    struct Iterator {
      Index i;
      constexpr Index operator*() const { return i; }
      constexpr Iterator& operator++() { return ++i, *this; }
      constexpr bool operator!=(const Iterator& other) const { return i < other.i; }
    };
    constexpr Iterator begin() const { return {0}; }
    constexpr Iterator end() const { return {count_}; }

   private:
    Workspace& workspace_;
    Index count_;
    std::uint64_t before_ = 0;  ///< 0: not a meter
  };
  [[nodiscard]] constexpr Passes passes(Index count) { return Passes(*this, count); }

  /// For what counts itself instead of running: `bytes` were taken and given back, `flops` would have been done.
  constexpr void count(std::size_t bytes, std::uint64_t flops) {
    high_water_ = std::max(high_water_, used_ + bytes);
    flops_ += times_ * flops;
  }

  /// Makes sure that `bytes` fit without another allocation. Nothing may be taken at the time.
  void reserve(std::size_t bytes) {
    require(used_ == 0, errc::bad_state, "a Workspace cannot be resized while memory is taken from it");
    if (bytes > capacity()) {
      store_->blocks.clear();
      add_block(bytes);
    }
  }

  std::size_t capacity() const noexcept {
    std::size_t bytes = 0;
    if (store_ == nullptr) return bytes;
    for (const Block& block : store_->blocks) bytes += block.size;
    return bytes;
  }
  /// The most bytes that were taken at one time.
  constexpr std::uint64_t high_water() const noexcept { return high_water_; }
  /// Multiplications and additions that a meter has counted: of products, convolutions and attentions.
  constexpr std::uint64_t flops() const noexcept { return flops_; }

 private:
  struct AlignedDelete {
    void operator()(std::byte* memory) const noexcept { ::operator delete[](memory, std::align_val_t(alignment)); }
  };
  struct Block {
    std::unique_ptr<std::byte[], AlignedDelete> memory;
    std::size_t size = 0, used = 0;
  };
  /// The running part; a meter has none.
  struct Store {
    std::unique_ptr<ThreadPool> pool;  ///< null where the executor is the user's
    Executor* executor = nullptr;
    std::vector<Block> blocks{};
    std::atomic_flag busy = ATOMIC_FLAG_INIT;
  };

  Workspace(std::unique_ptr<ThreadPool> pool, Executor* executor, std::size_t bytes) {
    auto store = or_out_of_memory("a Workspace", [] { return std::make_unique<Store>(); });
    store->executor = pool ? pool.get() : executor;
    store->pool = std::move(pool);
    strands_ = store->executor->strands();
    store_ = store.get();
    if (bytes > 0) add_block(bytes);
    static_cast<void>(store.release());
  }
  static void destroy(Store* store) noexcept { delete store; }

  constexpr void use(std::size_t bytes) {
    used_ += bytes;
    high_water_ = std::max(high_water_, used_);
  }
  constexpr std::size_t blocks() const { return counts() ? 0 : store_->blocks.size(); }
  std::size_t used_in_block() const { return store_->blocks.back().used; }

  void* carve(std::size_t bytes) {
    std::vector<Block>& blocks = store_->blocks;
    if (blocks.empty() || blocks.back().used + bytes > blocks.back().size) grow(bytes);
    Block& block = blocks.back();
    std::byte* const at = block.memory.get() + block.used;
    block.used += bytes;
    use(bytes);
    return at;
  }

  void add_block(std::size_t bytes) {
    try {
      auto* memory = static_cast<std::byte*>(::operator new[](bytes, std::align_val_t(alignment)));
      prefer_large_pages(memory, bytes);
      store_->blocks.push_back({std::unique_ptr<std::byte[], AlignedDelete>(memory), bytes, 0});
    } catch (const std::bad_alloc&) {
      throw Error(errc::out_of_memory, "no memory for " + std::to_string(bytes) + " bytes of activations");
    }
  }

  void grow(std::size_t bytes) {
    constexpr std::size_t smallest = std::size_t{1} << 16;
    if (used_ == 0) store_->blocks.clear();
    add_block(std::max({bytes, capacity(), smallest}));
  }

  /// Back to what was there when a scope began. What was added since becomes one block, large enough for the next
  /// time.
  void release(std::size_t kept, std::size_t used_in_block) noexcept {
    std::vector<Block>& blocks = store_->blocks;
    if (used_ == 0) kept = 0;
    if (kept > 0) blocks[kept - 1].used = used_in_block;
    if (blocks.size() == kept) return;
    const auto wanted = static_cast<std::size_t>(high_water_ - used_);
    blocks.back().used = 0;
    if (blocks.size() == kept + 1 && blocks.back().size >= wanted) return;
    blocks.resize(kept);
    try {
      add_block(wanted);
    } catch (...) {  // the next pass will try again, and say so if it fails
    }
  }

  Store* store_ = nullptr;  ///< null: a meter
  int strands_ = 1;
  std::uint64_t used_ = 0, high_water_ = 0, flops_ = 0, times_ = 1;
};

}}  // namespace dit
