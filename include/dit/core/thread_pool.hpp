#pragma once
/// The library's own executor: a fork-join pool whose threads spin for a moment before they sleep.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "dit/core/cores.hpp"
#include "dit/core/error.hpp"
#include "dit/core/executor.hpp"

namespace dit { inline namespace DIT_ABI {

/// A fixed number of threads, the caller of `run` among them as strand 0.
///
/// A call costs well under a microsecond when the threads are still awake from the last one: they spin for 20 us
/// before they sleep. A thread that did not wake up in time is not waited for: the caller runs its strand as well.
/// Calls from several threads take turns. A call from inside one of the pool's own strands runs on that thread
/// alone.
class ThreadPool final : public Executor {
 public:
  static constexpr int max_threads = 1024;

  /// Starts a thread that runs the given function, or throws. Replaceable, for names, priorities and tests.
  using Launch = std::function<std::thread(std::function<void()>)>;

  /// `threads` strands, the caller included; 0 means one for every core that the process may use. Where the system
  /// gives fewer threads the pool has fewer strands, which changes no result.
  /// Throws errc::bad_option for a number outside [0, 1024].
  explicit ThreadPool(
      int threads = 0, const Launch& launch = [](std::function<void()> f) { return std::thread(std::move(f)); }) {
    if (threads < 0 || threads > max_threads) {
      throw Error(errc::bad_option,
                  "a pool has 1 to 1024 threads, or 0 for one per core; got " + std::to_string(threads));
    }
    const int cores = available_cores();
    if (threads == 0) threads = std::min(cores, max_threads);
    if (threads > cores) patience_ = {};  // spinning would only keep the others from running
    start(threads, launch);
  }

  ~ThreadPool() override {
    post(nullptr, nullptr);
    for (std::thread& thread : threads_) thread.join();
  }

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int strands() const noexcept override { return static_cast<int>(threads_.size()) + 1; }

  void run(void (*strand)(void*, int) noexcept, void* context) override {
    if (threads_.empty() || is_inside()) {
      for (int i = 0; i < strands(); ++i) strand(context, i);
      return;
    }
    const std::lock_guard turn(turn_);
    caller_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    pending_.store(strands() - 1, std::memory_order_relaxed);
    const std::uint32_t round = post(strand, context);
    strand(context, 0);
    for (int i = 1; i < strands() && pending_.load(std::memory_order_acquire) != 0; ++i) {  // not awake yet
      if (claim(i, round)) {
        strand(context, i);
        pending_.fetch_sub(1, std::memory_order_relaxed);
      }
    }
    wait_while([this] { return pending_.load(std::memory_order_acquire) != 0; },
               [this] {
                 const int left = pending_.load(std::memory_order_relaxed);
                 if (left != 0) pending_.wait(left, std::memory_order_relaxed);
               });
    caller_.store({}, std::memory_order_relaxed);
  }

 private:
  using Strand = void (*)(void*, int) noexcept;
  static constexpr std::size_t line = 64;  // what is written often stays off the cache lines of what is read often

  void start(int threads, const Launch& launch) {
    const auto others = static_cast<std::size_t>(threads - 1);
    try {
      claims_ = std::make_unique<Claim[]>(others + 1);
      threads_.reserve(others);
    } catch (const std::bad_alloc&) {
      throw Error(errc::out_of_memory, "no memory for a pool of " + std::to_string(threads) + " threads");
    }
    try {
      for (int i = 1; i < threads; ++i) threads_.push_back(launch([this, i] { work(i); }));
    } catch (...) {  // as many as there are
    }
  }

  /// Hands out a strand and wakes whoever sleeps. No strand, for ever.
  std::uint32_t post(Strand strand, void* context) noexcept {
    strand_ = strand;
    context_ = context;
    const std::uint32_t round = round_.load(std::memory_order_relaxed) + 1;
    round_.store(round, std::memory_order_release);
    round_.notify_all();
    return round;
  }

  /// Strand i of a round belongs to whoever claims it first. All are claimed before the next round begins, so a
  /// claim that succeeds is always one of the round that is running.
  bool claim(int i, std::uint32_t round) noexcept {
    std::uint32_t last = round - 1;
    auto& claimed = claims_[static_cast<std::size_t>(i)].round;
    return claimed.load(std::memory_order_relaxed) == last &&
           claimed.compare_exchange_strong(last, round, std::memory_order_acq_rel, std::memory_order_relaxed);
  }

  void work(int i) noexcept {
    std::uint32_t round = 0;
    for (;;) {
      wait_while([this, round] { return round_.load(std::memory_order_acquire) == round; },
                 [this, round] { round_.wait(round, std::memory_order_relaxed); });
      round = round_.load(std::memory_order_acquire);
      if (!claim(i, round)) continue;
      if (strand_ == nullptr) return;
      strand_(context_, i);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
    }
  }

  /// Spins first, then sleeps.
  template <class Condition, class Sleep>
  void wait_while(Condition condition, Sleep sleep) noexcept {
    using Clock = std::chrono::steady_clock;
    if (!condition()) return;
    for (const auto end = Clock::now() + patience_; Clock::now() < end;) {
      for (int i = 0; i < 32; ++i) {
        if (!condition()) return;
        relax();
      }
    }
    while (condition()) sleep();
  }

  static void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ volatile("yield");
#else
    std::this_thread::yield();
#endif
  }

  /// Is this a thread that is running one of our strands? Only it could have written its own id.
  bool is_inside() const noexcept {
    const std::thread::id self = std::this_thread::get_id();
    if (caller_.load(std::memory_order_relaxed) == self) return true;
    for (const std::thread& thread : threads_) {
      if (thread.get_id() == self) return true;
    }
    return false;
  }

  struct alignas(line) Claim {
    std::atomic<std::uint32_t> round{0};  ///< the last in which the strand was taken
  };

  // Set at the start.
  std::vector<std::thread> threads_;
  std::unique_ptr<Claim[]> claims_;  ///< by strand
  std::chrono::microseconds patience_{20};
  // Of callers alone.
  alignas(line) std::mutex turn_;
  std::atomic<std::thread::id> caller_{};
  // From the caller to the threads, in one go.
  alignas(line) std::atomic<std::uint32_t> round_{0};
  Strand strand_ = nullptr;
  void* context_ = nullptr;
  // And back.
  alignas(line) std::atomic<int> pending_{0};
};

}}  // namespace dit
