#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "dit/core/cores.hpp"
#include "dit/io/load.hpp"

namespace dit { inline namespace DIT_ABI { namespace detail {

DIT_ONCE void add_wanted(std::vector<Wanted>& wanted, const Path& path, std::span<const Index> shape) {
  wanted.push_back({path.str(), {shape.begin(), shape.end()}, shape[0], false});
}

DIT_ONCE void mark_derived(std::vector<Wanted>& wanted, std::span<const std::string_view> derived) {
  for (Wanted& tensor : wanted) {
    tensor.derived = std::find(derived.begin(), derived.end(), tensor.name) != derived.end();
  }
}

DIT_ONCE void ParametersToLoad::add(const Path& path, void* parameter, const LoadedType& type) {
  add_wanted(wanted, path, type.shape);
  parameters.push_back({parameter, &type});
}

DIT_ONCE ParametersToLoad parameters_of(void* model, const LoadedModel& type) {
  ParametersToLoad list;
  type.list(model, list);
  mark_derived(list.wanted, type.derived);
  return list;
}

DIT_ONCE LoadReport inspect(void* model, const LoadedModel& type, const Checkpoint& checkpoint,
                            const LoadOptions& options) {
  const ParametersToLoad list = parameters_of(model, type);
  return Binder(checkpoint, list.wanted, type.layouts, options).bind().report;
}

/// The pool that loads so many bytes: a small model is read before a second thread has started.
DIT_ONCE int loading_threads(std::size_t bytes) {
  constexpr std::size_t worth_a_thread = std::size_t{1} << 23;
  return static_cast<int>(std::min({bytes / worth_a_thread + 1, static_cast<std::size_t>(available_cores()),
                                    static_cast<std::size_t>(ThreadPool::max_threads)}));
}

DIT_ONCE void load(void* model, const LoadedModel& type, const Checkpoint& checkpoint, const LoadOptions& options,
                   LoadReport* report) {
  const ParametersToLoad list = parameters_of(model, type);
  const Binding binding = Binder(checkpoint, list.wanted, type.layouts, options).bind();
  if (report != nullptr) *report = binding.report;
  throw_if_wrong(binding.report, checkpoint.name(), options.strict);
  check_dtypes(binding.sources);

  std::size_t bytes = 0;
  for (const auto& p : list.parameters) bytes += p.type->bytes;
  if (options.memory_limit && bytes > *options.memory_limit) {
    detail::fail(errc::out_of_memory,
                 {"the weights take ", bytes, " bytes, and the limit is ", *options.memory_limit},
                 checkpoint.name());
  }
  if (options.check_copies) {
    for (const auto& copies : binding.copies) check_copies(copies);
  }
  const auto absent = [](const auto& sources) { return sources.empty(); };
  if (type.fill_derived != nullptr && std::any_of(binding.sources.begin(), binding.sources.end(), absent)) {
    type.fill_derived(model);
  }
  std::optional<ThreadPool> own;
  Loader loader(options.executor != nullptr ? *options.executor : own.emplace(loading_threads(bytes)),
                options.check_finite);
  for (std::size_t i = 0; i < list.parameters.size(); ++i) {
    const auto& p = list.parameters[i];
    if (!binding.sources[i].empty()) loader.add(p.parameter, *p.type, binding.sources[i]);
  }
  loader.run();
  checkpoint.check_unchanged();
  if (type.set_layout != nullptr) type.set_layout(model, binding.report.layout);
}

}}}  // namespace dit::detail
