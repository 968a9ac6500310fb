#pragma once
/// The library's own executor: a fork-join pool whose threads spin for a moment before they sleep.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
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

  /// Starts a thread that runs the given function, or throws. Replaceable, for names, priorities and tests; none is
  /// std::thread itself.
  using Launch = std::function<std::thread(std::function<void()>)>;

  /// `threads` strands, the caller included; 0 means one for every core that the process may use. Where the system
  /// gives fewer threads the pool has fewer strands, which changes no result.
  /// Throws errc::bad_option for a number outside [0, 1024].
  explicit ThreadPool(int threads = 0, const Launch& launch = {});
  DIT_ONCE_VIRTUAL ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int strands() const noexcept override { return static_cast<int>(threads_.size()) + 1; }

  DIT_ONCE_VIRTUAL void run(void (*strand)(void*, int) noexcept, void* context) override;

 private:
  using Strand = void (*)(void*, int) noexcept;
  static constexpr std::size_t line = 64;  // what is written often stays off the cache lines of what is read often

  void start(int threads, const Launch& launch);

  /// Hands out a strand and wakes whoever sleeps. No strand, for ever.
  std::uint32_t post(Strand strand, void* context) noexcept;

  /// Strand i of a round belongs to whoever claims it first. All are claimed before the next round begins, so a
  /// claim that succeeds is always one of the round that is running.
  bool claim(int i, std::uint32_t round) noexcept;

  void work(int i) noexcept;

  /// Spins first, then sleeps.
  template <class Condition, class Sleep>
  void wait_while(Condition condition, Sleep sleep) noexcept;

  /// Is this a thread that is running one of our strands? Only it could have written its own id.
  bool is_inside() const noexcept;

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

#ifndef DIT_EXTERN
#include "dit/core/thread_pool.inl"
#endif
