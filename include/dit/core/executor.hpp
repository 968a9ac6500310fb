#pragma once
/// Who runs the tasks: the library's own pool, the user's, or the calling thread.

#include <atomic>
#include <exception>
#include <type_traits>

#include "dit/core/eigen.hpp"

namespace dit::inline DIT_ABI {

/// Runs the same function on several strands. Derive from it to bring one's own pool; `run` is all there is to it.
/// No strand waits for another, so running them one after the other on one thread is correct too.
class Executor {
 public:
  virtual ~Executor() = default;

  /// How many strands `run` starts, at least 1; constant over the executor's life.
  virtual int strands() const noexcept = 0;

  /// Calls `strand(context, i)` once for every i in [0, strands()), at the same time if it can, and returns when
  /// all have returned. `strand` does not throw.
  virtual void run(void (*strand)(void* context, int i) noexcept, void* context) = 0;

  /// Calls `f(task, strand)` once for every task in [0, tasks). Which strand takes a task is left open; what a task
  /// computes must not depend on it. `strand` in [0, strands()) names scratch that no other running task uses.
  /// The first exception that a task throws is rethrown here once all strands have stopped.
  template <class F>
  void parallel_for(Index tasks, F&& f) {
    if (tasks <= 0) return;
    if (tasks == 1 || strands() == 1) {
      for (Index task = 0; task < tasks; ++task) f(task, 0);
      return;
    }
    struct Shared {
      std::remove_reference_t<F>* f;
      Index tasks;
      std::atomic<Index> next{0};
      std::atomic<bool> failed{false};
      std::exception_ptr error{};
    } shared{&f, tasks};
    run(
        [](void* context, int strand) noexcept {
          Shared& s = *static_cast<Shared*>(context);
          try {
            for (Index task; (task = s.next.fetch_add(1, std::memory_order_relaxed)) < s.tasks;)
              (*s.f)(task, strand);
          } catch (...) {
            s.next.store(s.tasks, std::memory_order_relaxed);
            if (!s.failed.exchange(true)) s.error = std::current_exception();
          }
        },
        &shared);
    if (shared.error) std::rethrow_exception(shared.error);
  }
};

/// Everything on the calling thread.
class InlineExecutor final : public Executor {
 public:
  int strands() const noexcept override { return 1; }
  void run(void (*strand)(void*, int) noexcept, void* context) override { strand(context, 0); }
};

}  // namespace dit::inline DIT_ABI
