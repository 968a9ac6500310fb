#pragma once
/// From a checkpoint to a model: `load<DiT<dit_xl_2>>("DiT-XL-2-256.safetensors")`.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "dit/core/thread_pool.hpp"
#include "dit/io/loader.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {

/// A model's parameters by name, and where they are.
struct ParametersToLoad {
  struct Parameter {
    void* parameter;
    const LoadedType* type;
  };
  std::vector<Wanted> wanted;
  std::vector<Parameter> parameters;

  void add(const Path& path, void* parameter, const LoadedType& type);
};

/// A type of models as loading sees it: facts, and functions for one of them behind a pointer.
struct LoadedModel {
  std::span<const LayoutNames> layouts;
  std::span<const std::string_view> derived;
  void (*list)(void* model, ParametersToLoad& list);
  void (*fill_derived)(void* model) = nullptr;
  void (*set_layout)(void* model, Layout layout) = nullptr;
};

template <class M>
constexpr LoadedModel make_loaded_model() {
  LoadedModel type{layouts_of<M>(), derived_of<M>(), [](void* model, ParametersToLoad& list) {
                     for_each_parameter(
                         [&list]<class P>(const Path& path, P& p) { list.add(path, &p, loaded_type<P>); },
                         *static_cast<M*>(model));
                   }};
  if constexpr (requires(M & model) { model.fill_derived(); }) {
    type.fill_derived = [](void* model) { static_cast<M*>(model)->fill_derived(); };
  }
  if constexpr (requires(M & model) { model.set_layout(Layout::original); }) {
    type.set_layout = [](void* model, Layout layout) { static_cast<M*>(model)->set_layout(layout); };
  }
  return type;
}
template <class M>
inline constexpr LoadedModel loaded_model = make_loaded_model<M>();

LoadReport inspect(void* model, const LoadedModel& type, const Checkpoint& checkpoint, const LoadOptions& options);
void load(void* model, const LoadedModel& type, const Checkpoint& checkpoint, const LoadOptions& options,
          LoadReport* report);

void add_wanted(std::vector<Wanted>& wanted, const Path& path, std::span<const Index> shape);
void mark_derived(std::vector<Wanted>& wanted, std::span<const std::string_view> derived);

/// Tensors of a model's checkpoint; of a model without numbers as well.
template <class M>
std::vector<Wanted> wanted_tensors(const M& model) {
  std::vector<Wanted> wanted;
  for_each_parameter([&wanted]<class P>(const Path& path, const P&) { add_wanted(wanted, path, P::shape); }, model);
  mark_derived(wanted, derived_of<M>());
  return wanted;
}

}  // namespace detail

/// Which of the model's tensors a checkpoint has. Throws only for bad options.
template <class M>
LoadReport inspect(const Checkpoint& checkpoint, const LoadOptions& options = {}) {
  M model{};
  return detail::inspect(&model, detail::loaded_model<M>, checkpoint, options);
}

/// A model with the weights of an open checkpoint; all of them, or an Error and no model.
/// Errors: tensor_missing, shape_mismatch, unexpected_tensor, unsupported_dtype, non_finite_weight, out_of_memory,
/// io_read, file_truncated, file_changed. `report` is filled in either case.
template <class M>
M bind(const Checkpoint& checkpoint, const LoadOptions& options = {}, LoadReport* report = nullptr) {
  return detail::with_typed_bad_alloc(checkpoint.name(), [&] {
    M model{};
    detail::load(&model, detail::loaded_model<M>, checkpoint, options, report);
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

#ifndef DIT_EXTERN
#include "dit/io/load.inl"
#endif
