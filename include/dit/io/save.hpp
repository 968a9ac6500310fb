#pragma once
/// From a model to a safetensors file: `save(model, "model.safetensors")`.

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dit/io/byte_source.hpp"
#include "dit/io/names.hpp"
#include "dit/io/writer.hpp"
#include "dit/nn/module.hpp"

namespace dit { inline namespace DIT_ABI {

struct SaveOptions {
  std::optional<DType> dtype = {};    ///< F32 unless given, in double models F64; or F16, BF16. Of int8: q * scale
  std::optional<Layout> layout = {};  ///< the model's own unless given
  Metadata metadata = {};
};

namespace detail {

/// A type of parameters as saving sees it: facts, and functions for one of them behind a pointer.
struct SavedType {
  std::span<const Index> shape;
  Index row_size;
  DType ordinary;  ///< what rows are written as unless asked for otherwise
  bool (*empty)(const void* parameter);
  void (*get_rows)(const void* parameter, Index first, Index count, void* values);
  void (*write)(const void* parameter, const SavedType& type, Index first, Index count, DType dtype,
                ByteSink& sink);
};

/// Gives rows [first, first + count), got as numbers, to a sink as `dtype`, a block at a time.
template <class Number>
void write_rows(const void* parameter, const SavedType& type, Index first, Index count, DType dtype,
                ByteSink& sink);

template <class P>
inline constexpr SavedType saved_type{
    P::shape,
    P::row_size,
    dtype_of<real<typename P::scalar>>,
    [](const void* parameter) { return static_cast<const P*>(parameter)->empty(); },
    [](const void* parameter, Index first, Index count, void* values) {
      static_cast<const P*>(parameter)->get_rows(first, count, static_cast<typename P::Unpacked*>(values));
    },
    write_rows<typename P::Unpacked>};

struct ParametersToSave {
  struct Parameter {
    std::string name;
    const void* parameter;
    const SavedType* type;
  };
  std::vector<Parameter> parameters;

  void add(const Path& path, const void* parameter, const SavedType& type);
};

/// Where those parameters lie in a layout, as tensors that are still to be written.
std::vector<TensorToWrite> tensors_of(const ParametersToSave& list, std::span<const LayoutNames> layouts,
                                      Layout layout, const SaveOptions& options);

template <class M>
std::vector<TensorToWrite> tensors_of(const M& model, const SaveOptions& options) {
  Layout layout = options.layout.value_or(Layout::original);
  if constexpr (requires { model.layout(); }) layout = options.layout.value_or(model.layout());
  ParametersToSave list;
  for_each_parameter([&list]<class P>(const Path& path, const P& p) { list.add(path, &p, saved_type<P>); }, model);
  return tensors_of(list, layouts_of<M>(), layout, options);
}

void save(const std::filesystem::path& path, std::vector<TensorToWrite> tensors, const Metadata& metadata);

}  // namespace detail

/// Saves a model under its checkpoint's names. The file appears when it is complete, or not at all.
/// Errors: io_write, bad_state for a model without weights, bad_option for a layout that the model does not have.
template <class M>
void save(const M& model, const std::filesystem::path& path, const SaveOptions& options = {}) {
  detail::with_typed_bad_alloc(path,
                               [&] { detail::save(path, detail::tensors_of(model, options), options.metadata); });
}

/// The same into memory.
template <class M>
std::vector<std::byte> save_to_memory(const M& model, const SaveOptions& options = {}) {
  return detail::with_typed_bad_alloc("memory", [&] {
    MemorySink sink;
    write_safetensors(sink, detail::tensors_of(model, options), options.metadata);
    return sink.take();
  });
}

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/save.inl"
#endif
