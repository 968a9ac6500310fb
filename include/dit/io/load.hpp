#pragma once
/// From a checkpoint to a model: `load<DiT<dit_xl_2>>("DiT-XL-2-256.safetensors")`.

#include <algorithm>
#include <filesystem>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "dit/io/binding.hpp"
#include "dit/nn/module.hpp"

namespace dit::inline DIT_ABI {

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

template <class P>
std::size_t bytes_once_loaded(const P& p) {
  if constexpr (requires { p.packed(); }) {
    return std::remove_cvref_t<decltype(p.packed())>::bytes(P::rows, P::row_size);
  } else {
    return static_cast<std::size_t>(P::size) * sizeof(typename P::scalar);
  }
}

/// Memory that a parameter's rows pass through on their way.
inline constexpr std::size_t row_block_bytes = std::size_t{1} << 20;

template <class P>
void read_parameter(P& p, const std::vector<Source>& sources, bool check_finite) {
  using Scalar = typename P::scalar;
  using R = real<Scalar>;
  const Index block =
      std::max<Index>(1, static_cast<Index>(row_block_bytes / sizeof(R)) / std::max<Index>(1, P::row_size));
  std::vector<R> values(static_cast<std::size_t>(std::min(block, P::rows) * P::row_size));
  p.allocate();
  Index row = 0;
  for (const Source& source : sources) {
    for (Index done = 0; done < source.count; done += block) {
      const Index count = std::min(block, source.count - done);
      source.file->read_rows(source.info, static_cast<std::uint64_t>(source.first + done),
                             static_cast<std::uint64_t>(count), values.data());
      const auto end = values.begin() + static_cast<std::ptrdiff_t>(count * P::row_size);
      if (check_finite && !std::all_of(values.begin(), end, [](R x) { return is_finite(x); })) {
        throw Error(errc::non_finite_weight, "the tensor has a NaN or an infinity",
                    {source.file->file(), source.info.name, {}});
      }
      if constexpr (std::is_same_v<Scalar, R>) {
        p.set_rows(row, count, values.data());
      } else {
        const std::vector<Scalar> rounded(values.begin(), end);
        p.set_rows(row, count, rounded.data());
      }
      row += count;
    }
  }
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
    std::size_t i = 0;
    for_each_parameter(
        [&](const Path&, auto& p) {
          const auto& sources = binding.sources[i++];
          if (!sources.empty()) detail::read_parameter(p, sources, options.check_finite);
        },
        model);
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

}  // namespace dit::inline DIT_ABI
