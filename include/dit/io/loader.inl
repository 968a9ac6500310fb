#pragma once

#include <algorithm>
#include <iterator>

#include "dit/io/loader.hpp"

namespace dit { inline namespace DIT_ABI { namespace detail {

DIT_ONCE Loader::Loader(Executor& executor, bool check_finite)
    : executor_(executor), check_finite_(check_finite), scratch_(static_cast<std::size_t>(executor.strands())) {}

DIT_ONCE void Loader::add(void* parameter, const LoadedType& type, const std::vector<Source>& sources) {
  /// Of a packed weight in a task: several of the system's large pages, so that threads seldom meet in one.
  constexpr Index task_bytes = Index{1} << 22;
  Job job{parameter, &type, &sources, type.shape[0], type.shape[0], tasks_};
  if (type.set_rows != nullptr) {
    type.allocate(parameter);
    const auto row_bytes = static_cast<Index>(type.bytes) / job.rows;
    job.rows_per_task = (task_bytes / std::max<Index>(1, row_bytes) / strip_width + 1) * strip_width;
  }
  jobs_.push_back(job);
  tasks_ += (job.rows + job.rows_per_task - 1) / job.rows_per_task;
}

DIT_ONCE void Loader::run() {
  executor_.parallel_for(tasks_, [this](Index task, int strand) {
    const auto next = std::upper_bound(jobs_.begin(), jobs_.end(), task,
                                       [](Index i, const Job& job) { return i < job.first_task; });
    const Job& job = *std::prev(next);
    const Index first = (task - job.first_task) * job.rows_per_task;
    const Index count = std::min(job.rows_per_task, job.rows - first);
    if (job.type->set_rows != nullptr) {
      read_packed(job, first, count, scratch_[static_cast<std::size_t>(strand)]);
    } else {
      read_plain(job, first, count);
    }
  });
}

/// Calls f(source, its row, the parameter's row, how many) for every piece of rows [first, first + count).
template <class F>
void for_each_piece(const std::vector<Source>& sources, Index first, Index count, F&& f) {
  Index row = 0;
  for (const Source& source : sources) {
    const Index begin = std::max(first, row), end = std::min(first + count, row + source.count);
    if (begin < end) f(source, source.first + begin - row, begin, end - begin);
    row += source.count;
  }
}

DIT_ONCE void Loader::read_packed(const Job& job, Index first, Index count, Scratch& scratch) const {
  /// Of rows on their way, in a strand unless a strip takes more, and in all of them: a quarter of the memory that
  /// loading may take beside a tensor, since a conversion or a convolution's other order takes some as well.
  constexpr Index cached_bytes = Index{1} << 18, all_bytes = Index{1} << 22;
  const LoadedType& type = *job.type;
  const Index row_bytes = std::max<Index>(1, type.row_size * static_cast<Index>(type.number_bytes));
  const Index strips = std::max<Index>(1, cached_bytes / row_bytes / strip_width);
  const Index affordable = std::max<Index>(1, all_bytes / executor_.strands() / row_bytes);
  const Index at_once = std::min({strips * strip_width, affordable, count});
  scratch.resize(std::max(scratch.size(), static_cast<std::size_t>(at_once * row_bytes)));
  for (Index done = 0; done < count; done += at_once) {
    for_each_piece(*job.sources, first + done, std::min(at_once, count - done),
                   [&](const Source& source, Index from, Index row, Index rows) {
                     // Kernels round fastest from floats, which F16 becomes on its way.
                     const DType stored = source.info().dtype;
                     const bool unpacked = stored != DType::F32 && stored != DType::F16;
                     (unpacked ? type.read_unpacked : type.read)(source, from, rows, scratch.data(), check_finite_);
                     type.set_rows(job.parameter, row, rows, scratch.data(), unpacked);
                   });
  }
}

DIT_ONCE void Loader::read_plain(const Job& job, Index first, Index count) const {
  const LoadedType& type = *job.type;
  auto* const numbers = static_cast<std::byte*>(type.numbers(job.parameter));
  const Index row_bytes = type.row_size * static_cast<Index>(type.number_bytes);
  for_each_piece(*job.sources, first, count, [&](const Source& source, Index from, Index row, Index rows) {
    type.read(source, from, rows, numbers + row * row_bytes, check_finite_);
  });
}

template <class Number>
void read_rows(const Source& source, Index first, Index rows, void* values, bool check_finite) {
  const TensorInfo info = source.info();
  auto* const numbers = static_cast<Number*>(values);
  source.file->read_rows(info, static_cast<std::uint64_t>(first), static_cast<std::uint64_t>(rows), numbers);
  if (!check_finite) return;
  Index count = rows;
  for (std::size_t axis = 1; axis < info.shape.size(); ++axis) count *= static_cast<Index>(info.shape[axis]);
  if (all_finite(numbers, static_cast<std::size_t>(count))) return;
  fail(errc::non_finite_weight, {"the tensor has a NaN or an infinity"}, source.file->file(), info.name);
}

#ifdef DIT_EXTERN
template void read_rows<float>(const Source&, Index, Index, void*, bool);
template void read_rows<double>(const Source&, Index, Index, void*, bool);
template void read_rows<bf16>(const Source&, Index, Index, void*, bool);
template void read_rows<f16>(const Source&, Index, Index, void*, bool);
#endif

}}}  // namespace dit::detail
