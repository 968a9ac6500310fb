#pragma once
/// Cases of models that come from files.

#include <initializer_list>

#include "net.hpp"

namespace net {

inline constexpr std::string_view spelt(dit::DType dtype) {
  using dit::DType;
  return dtype == DType::F64 ? "f64" : dtype == DType::F32 ? "f32" : dtype == DType::F16 ? "f16" : "bf16";
}

/// What `pass(model, workspace, batch)` makes of numbers that were written and read: `Source`, a model of float, is
/// written in every type and layout and read as `Model`, which is written and read once more.
template <class T, class Model, class Source, class Pass>
void file_cases(const std::string& name, std::initializer_list<dit::Layout> layouts, const Pass& pass) {
  using dit::DType;
  const auto source = filled<Source>();
  const auto compute_pass = [&](const std::string& file, const Model& model) {
    compute<T>(file, [&](Workspace& workspace, Index batch) { return pass(model, workspace, batch); });
  };
  for (const dit::Layout layout : layouts) {
    const std::string file = "file/" + name + (layout == dit::Layout::original ? "/original/" : "/diffusers/");
    for (const DType dtype : {DType::F64, DType::F32, DType::F16, DType::BF16}) {
      const auto bytes = dit::save_to_memory(source, {.dtype = dtype, .layout = layout});
      const auto model = dit::load_from_memory<Model>(bytes, {.strict = true});
      compute_pass(file + std::string(spelt(dtype)), model);
      if (dtype != DType::F32) continue;
      compute_pass(file + "again", dit::load_from_memory<Model>(dit::save_to_memory(model), {.strict = true}));
    }
  }
}
inline constexpr std::initializer_list<dit::Layout> both_layouts = {dit::Layout::original, dit::Layout::diffusers};

}  // namespace net
