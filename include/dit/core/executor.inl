#pragma once

#include <atomic>
#include <exception>
#include <mutex>

#include "dit/core/executor.hpp"

namespace dit { inline namespace DIT_ABI {

DIT_ONCE void Executor::run_tasks(Index tasks, void (*f)(const void* context, Index task, int strand),
                                  const void* context) {
  if (tasks <= 0) return;
  if (tasks == 1 || strands() == 1) {
    for (Index task = 0; task < tasks; ++task) f(context, task, 0);
    return;
  }
  struct Shared {
    void (*f)(const void* context, Index task, int strand);
    const void* context;
    Index tasks;
    std::atomic<Index> next{0};
    std::mutex mutex{};
    Index failed = 0;
    std::exception_ptr error{};
  } shared{f, context, tasks};
  run(
      [](void* all, int strand) noexcept {
        Shared& s = *static_cast<Shared*>(all);
        Index task = 0;
        try {
          while ((task = s.next.fetch_add(1, std::memory_order_relaxed)) < s.tasks) s.f(s.context, task, strand);
        } catch (...) {
          s.next.store(s.tasks, std::memory_order_relaxed);
          const std::lock_guard lock(s.mutex);
          if (!s.error || task < s.failed) {  // tasks before this one were begun before it, and are not given up
            s.failed = task;
            s.error = std::current_exception();
          }
        }
      },
      &shared);
  if (shared.error) std::rethrow_exception(shared.error);
}

}}  // namespace dit
