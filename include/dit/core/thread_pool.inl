#pragma once

#include <algorithm>
#include <new>
#include <string>

#include "dit/core/cores.hpp"
#include "dit/core/error.hpp"
#include "dit/core/thread_pool.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {
/// Lets the processor's other thread have its turn.
DIT_ONCE void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  __asm__ volatile("yield");
#else
  std::this_thread::yield();
#endif
}
}  // namespace detail

template <class Condition, class Sleep>
void ThreadPool::wait_while(Condition condition, Sleep sleep) noexcept {
  using Clock = std::chrono::steady_clock;
  if (!condition()) return;
  for (const auto end = Clock::now() + patience_; Clock::now() < end;) {
    for (int i = 0; i < 32; ++i) {
      if (!condition()) return;
      detail::relax();
    }
  }
  while (condition()) sleep();
}

DIT_ONCE ThreadPool::ThreadPool(int threads, const Launch& launch) {
  if (threads < 0 || threads > max_threads) {
    detail::fail(errc::bad_option, {"a pool has 1 to 1024 threads, or 0 for one per core; got ", threads});
  }
  const int cores = available_cores();
  if (threads == 0) threads = std::min(cores, max_threads);
  if (threads > cores) patience_ = {};  // spinning would only keep the others from running
  start(threads, launch);
}

DIT_ONCE_VIRTUAL ThreadPool::~ThreadPool() {
  post(nullptr, nullptr);
  for (std::thread& thread : threads_) thread.join();
}

DIT_ONCE_VIRTUAL void ThreadPool::run(void (*strand)(void*, int) noexcept, void* context) {
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

DIT_ONCE void ThreadPool::start(int threads, const Launch& launch) {
  const auto others = static_cast<std::size_t>(threads - 1);
  try {
    claims_ = std::make_unique<Claim[]>(others + 1);
    threads_.reserve(others);
  } catch (const std::bad_alloc&) {
    detail::fail(errc::out_of_memory, {"no memory for a pool of ", threads, " threads"});
  }
  try {
    for (int i = 1; i < threads; ++i) {
      const auto strand = [this, i] { work(i); };
      threads_.push_back(launch ? launch(strand) : std::thread(strand));
    }
  } catch (...) {  // as many as there are
  }
}

DIT_ONCE std::uint32_t ThreadPool::post(Strand strand, void* context) noexcept {
  strand_ = strand;
  context_ = context;
  const std::uint32_t round = round_.load(std::memory_order_relaxed) + 1;
  round_.store(round, std::memory_order_release);
  round_.notify_all();
  return round;
}

DIT_ONCE bool ThreadPool::claim(int i, std::uint32_t round) noexcept {
  std::uint32_t last = round - 1;
  auto& claimed = claims_[static_cast<std::size_t>(i)].round;
  return claimed.load(std::memory_order_relaxed) == last &&
         claimed.compare_exchange_strong(last, round, std::memory_order_acq_rel, std::memory_order_relaxed);
}

DIT_ONCE void ThreadPool::work(int i) noexcept {
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

DIT_ONCE bool ThreadPool::is_inside() const noexcept {
  const std::thread::id self = std::this_thread::get_id();
  if (caller_.load(std::memory_order_relaxed) == self) return true;
  for (const std::thread& thread : threads_) {
    if (thread.get_id() == self) return true;
  }
  return false;
}

}}  // namespace dit
