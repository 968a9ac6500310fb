#pragma once

#include <algorithm>

#include "dit/io/tensor.hpp"

namespace dit { inline namespace DIT_ABI {

DIT_ONCE TensorInfo detail::find_tensor(const Safetensors& file, std::string_view name, std::span<Index> shape) {
  const auto found = file.find(name);
  if (!found) fail(errc::tensor_missing, {"the file has no such tensor"}, file.file(), name);
  TensorInfo info = file[*found];
  if (info.shape.size() != shape.size()) {
    fail(errc::shape_mismatch,
         {"the tensor has ", info.shape.size(), " axes where ", shape.size(), " are expected"}, file.file(), name);
  }
  std::transform(info.shape.begin(), info.shape.end(), shape.begin(),
                 [](auto extent) { return static_cast<Index>(extent); });
  return info;
}

}}  // namespace dit
