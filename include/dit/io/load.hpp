#pragma once
/// From a checkpoint to a model: `load<DiT<dit_xl_2>>("DiT-XL-2-256.safetensors")`.

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dit/core/thread_pool.hpp"
#include "dit/io/loader.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {

template <class M>
std::vector<Wanted> wanted_tensors(const M& model) {
  std::vector<Wanted> wanted;
  for_each_parameter(
      [&wanted]<class P>(const Path& path, const P&) {
        std::string name = path.str();
        const bool derived = is_derived<M>(name);
        wanted.push_back({std::move(name), {P::shape.begin(), P::shape.end()}, P::shape[0], derived});
      },
      model);
  return wanted;
}

/// The pool that loads so many bytes: a small model is read before a second thread has started.
inline int loading_threads(std::size_t bytes) {
  constexpr std::size_t worth_a_thread = std::size_t{1} << 23;
  return static_cast<int>(std::min({bytes / worth_a_thread + 1, static_cast<std::size_t>(available_cores()),
                                    static_cast<std::size_t>(ThreadPool::max_threads)}));
}

}  // namespace detail

/// Which of the model's tensors a checkpoint has. Throws only for bad options.
template <class M>
LoadReport inspect(const Checkpoint& checkpoint, const LoadOptions& options = {}) {
  const M model{};
  const auto wanted = detail::wanted_tensors(model);
  return detail::Binder(checkpoint, wanted, detail::layouts_of<M>(), options).bind().report;
}

/// A model with the weights of an open checkpoint; all of them, or an Error and no model.
/// Errors: tensor_missing, shape_mismatch, unexpected_tensor, unsupported_dtype, non_finite_weight, out_of_memory,
/// io_read, file_truncated, file_changed. `report` is filled in either case.
template <class M>
M bind(const Checkpoint& checkpoint, const LoadOptions& options = {}, LoadReport* report = nullptr) {
  return detail::with_typed_bad_alloc(checkpoint.name(), [&] {
    M model{};
    const auto wanted = detail::wanted_tensors(model);
    const detail::Binding binding = detail::Binder(checkpoint, wanted, detail::layouts_of<M>(), options).bind();
    if (report != nullptr) *report = binding.report;
    detail::throw_if_wrong(binding.report, checkpoint.name(), options.strict);
    detail::check_dtypes(binding.sources);

    std::size_t bytes = 0;
    for_each_parameter([&bytes]<class P>(const Path&, const P& p) { bytes += detail::bytes_once_loaded(p); },
                       model);
    if (options.memory_limit && bytes > *options.memory_limit) {
      throw Error(errc::out_of_memory,
                  "the weights take " + std::to_string(bytes) + " bytes, and the limit is " +
                      std::to_string(*options.memory_limit),
                  {checkpoint.name()});
    }
    if (options.check_copies) {
      for (const auto& copies : binding.copies) detail::check_copies(copies);
    }
    if constexpr (requires { model.fill_derived(); }) {
      const auto absent = [](const auto& sources) { return sources.empty(); };
      if (std::any_of(binding.sources.begin(), binding.sources.end(), absent)) model.fill_derived();
    }
    std::optional<ThreadPool> own;
    detail::Loader loader(
        options.executor != nullptr ? *options.executor : own.emplace(detail::loading_threads(bytes)),
        options.check_finite);
    std::size_t i = 0;
    for_each_parameter(
        [&](const Path&, auto& p) {
          const auto& sources = binding.sources[i++];
          if (!sources.empty()) loader.add(p, sources);
        },
        model);
    loader.run();
    checkpoint.check_unchanged();
    if constexpr (requires { model.set_layout(Layout::original); }) model.set_layout(binding.report.layout);
    return model;
  });
}

/// The model in a file, an index or a folder; see `Checkpoint::open` and `bind` for what it may throw.
template <class M>
M load(const std::filesystem::path& path, const LoadOptions& options = {}, LoadReport* report = nullptr) {
  return bind<M>(Checkpoint::open(path, options.open), options, report);
}

/// The model in a safetensors file that is in memory already.
template <class M>
M load_from_memory(std::span<const std::byte> bytes, const LoadOptions& options = {},
                   LoadReport* report = nullptr) {
  return bind<M>(Checkpoint::from_memory(bytes, options.open), options, report);
}

}}  // namespace dit
