#pragma once
/// Who runs the tasks: the library's own pool, the user's, or the calling thread.

#include <algorithm>
#include <memory>

#include "dit/core/eigen.hpp"

namespace dit { inline namespace DIT_ABI {

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
  /// Once a task has thrown no more are begun, and when all strands have stopped the exception of the first in
  /// order is rethrown here: the same however many there are.
  template <class F>
  void parallel_for(Index tasks, F&& f) {
    auto* const function = std::addressof(f);
    run_tasks(
        tasks,
        [](const void* context, Index task, int strand) {
          (**static_cast<decltype(function)*>(context))(task, strand);
        },
        &function);
  }

  /// Calls `f(begin, end)` for ranges that make up [0, items), at the same time where that is worth it, for work as
  /// light as a copy: an item is `each` numbers. What becomes of an item must not depend on its range.
  template <class F>
  void parallel_ranges(Index items, Index each, F&& f) {
    if (items <= 0) return;
    constexpr Index worth = Index{1} << 14;  // numbers: some ten times what handing them out costs
    const Index tasks = std::clamp<Index>(items * each / worth, 1, std::min<Index>(items, 4 * strands()));
    parallel_for(tasks, [&](Index task, int) { f(items * task / tasks, items * (task + 1) / tasks); });
  }

 private:
  /// `parallel_for` without its function's type.
  void run_tasks(Index tasks, void (*f)(const void* context, Index task, int strand), const void* context);
};

/// Everything on the calling thread.
class InlineExecutor final : public Executor {
 public:
  int strands() const noexcept override { return 1; }
  void run(void (*strand)(void*, int) noexcept, void* context) override { strand(context, 0); }
};

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/core/executor.inl"
#endif
