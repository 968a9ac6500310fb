#pragma once
/// Numbers from files into parameters, by several threads.

#include <algorithm>
#include <cstddef>
#include <vector>

#include "dit/core/executor.hpp"
#include "dit/io/binding.hpp"
#include "dit/nn/module.hpp"

namespace dit { inline namespace DIT_ABI { namespace detail {

template <class P>
inline constexpr bool is_packed = requires(const P& p) {
  p.packed();
};

template <class P>
std::size_t bytes_once_loaded(const P& p) {
  if constexpr (is_packed<P>) {
    return std::remove_cvref_t<decltype(p.packed())>::bytes(P::rows, P::row_size);
  } else {
    return static_cast<std::size_t>(P::size) * sizeof(typename P::scalar);
  }
}

/// Loads parameters in tasks: strips of a packed weight, or another parameter as a whole. What a task reads, rounds
/// and packs at a time stays in its core's cache, and its thread is the first to touch the memory that it fills.
class Loader {
 public:
  Loader(Executor& executor, bool check_finite)
      : executor_(executor), check_finite_(check_finite), scratch_(static_cast<std::size_t>(executor.strands())) {}

  /// The parameter and where its rows come from, in their order; both must stay.
  template <class P>
  void add(P& p, const std::vector<Source>& sources) {
    using R = real<typename P::scalar>;
    Job job{&p, &sources, P::rows, P::row_size, P::rows, tasks_};
    if constexpr (is_packed<P>) {
      p.allocate_to_set_rows();
      const auto row_bytes = static_cast<Index>(bytes_once_loaded(p)) / P::rows;
      job.rows_per_task = (task_bytes / std::max<Index>(1, row_bytes) / strip_width + 1) * strip_width;
      job.read = &Loader::read_packed<R, typename P::Unpacked>;
      job.set = set_rows<P>;
    } else {
      job.read = &Loader::read_plain<R>;
      job.numbers = numbers<P>;
    }
    jobs_.push_back(job);
    tasks_ += (job.rows + job.rows_per_task - 1) / job.rows_per_task;
  }

  /// What is wrong with the first of them in order is thrown, whatever the threads met first.
  void run() {
    executor_.parallel_for(tasks_, [this](Index task, int strand) {
      const auto next = std::upper_bound(jobs_.begin(), jobs_.end(), task,
                                         [](Index i, const Job& job) { return i < job.first_task; });
      const Job& job = *std::prev(next);
      const Index first = (task - job.first_task) * job.rows_per_task;
      (this->*job.read)(job, first, std::min(job.rows_per_task, job.rows - first),
                        scratch_[static_cast<std::size_t>(strand)]);
    });
  }

 private:
  using Scratch = std::vector<std::byte>;
  /// A parameter without its type, so that reading is compiled once for every shape of a model.
  struct Job {
    void* parameter;
    const std::vector<Source>* sources;
    Index rows, row_size, rows_per_task, first_task;
    void (Loader::*read)(const Job& job, Index first, Index count, Scratch& scratch) const = nullptr;
    void (*set)(void* parameter, Index row, Index count, const void* values, bool unpacked) = nullptr;
    void* (*numbers)(void* parameter) = nullptr;
  };
  template <class P>
  static void set_rows(void* parameter, Index row, Index count, const void* values, bool unpacked) {
    P& p = *static_cast<P*>(parameter);
    if (unpacked) {
      p.set_rows(row, count, static_cast<const typename P::Unpacked*>(values));
    } else {
      p.set_rows(row, count, static_cast<const real<typename P::scalar>*>(values));
    }
  }
  template <class P>
  static void* numbers(void* parameter) {
    P& p = *static_cast<P*>(parameter);
    p.allocate_to_set_rows();
    return p.data();
  }

  /// Of a packed weight in a task: several of the system's large pages, so that threads seldom meet in one.
  static constexpr Index task_bytes = Index{1} << 22;
  /// Of rows on their way, in a strand unless a strip takes more, and in all of them: a quarter of the memory that
  /// loading may take beside a tensor, since a conversion or a convolution's other order takes some as well.
  static constexpr Index cached_bytes = Index{1} << 18, all_bytes = Index{1} << 22;

  template <class R, class Unpacked>
  void read_packed(const Job& job, Index first, Index count, Scratch& scratch) const {
    const Index row_bytes = std::max<Index>(1, job.row_size * static_cast<Index>(sizeof(R)));
    const Index strips = std::max<Index>(1, cached_bytes / row_bytes / strip_width);
    const Index affordable = std::max<Index>(1, all_bytes / executor_.strands() / row_bytes);
    const Index at_once = std::min({strips * strip_width, affordable, count});
    scratch.resize(std::max(scratch.size(), static_cast<std::size_t>(at_once * row_bytes)));
    for (Index done = 0; done < count; done += at_once) {
      for_each_piece(job, first + done, std::min(at_once, count - done),
                     [&](const Source& source, Index from, Index row, Index rows) {
                       const DType stored = source.info.dtype;
                       // Kernels round fastest from floats, which F16 becomes on its way.
                       const bool unpacked = stored != DType::F32 && stored != DType::F16;
                       if (unpacked) {
                         read(job, source, from, rows, reinterpret_cast<Unpacked*>(scratch.data()));
                       } else {
                         read(job, source, from, rows, reinterpret_cast<R*>(scratch.data()));
                       }
                       job.set(job.parameter, row, rows, scratch.data(), unpacked);
                     });
    }
  }

  template <class R>
  void read_plain(const Job& job, Index first, Index count, Scratch&) const {
    R* const numbers = static_cast<R*>(job.numbers(job.parameter));
    for_each_piece(job, first, count, [&](const Source& source, Index from, Index row, Index rows) {
      read(job, source, from, rows, numbers + row * job.row_size);
    });
  }

  /// Calls f(source, its row, the parameter's row, how many) for every piece of rows [first, first + count).
  template <class F>
  static void for_each_piece(const Job& job, Index first, Index count, F&& f) {
    Index row = 0;
    for (const Source& source : *job.sources) {
      const Index begin = std::max(first, row), end = std::min(first + count, row + source.count);
      if (begin < end) f(source, source.first + begin - row, begin, end - begin);
      row += source.count;
    }
  }

  template <class Number>
  void read(const Job& job, const Source& source, Index first, Index rows, Number* values) const {
    source.file->read_rows(source.info, static_cast<std::uint64_t>(first), static_cast<std::uint64_t>(rows),
                           values);
    if (check_finite_ && !all_finite(values, static_cast<std::size_t>(rows * job.row_size))) {
      throw Error(errc::non_finite_weight, "the tensor has a NaN or an infinity",
                  {source.file->file(), source.info.name, {}});
    }
  }

  Executor& executor_;
  bool check_finite_;
  std::vector<Scratch> scratch_;  ///< of every strand
  std::vector<Job> jobs_;
  Index tasks_ = 0;
};

}}}  // namespace dit::detail
