#pragma once

#include <algorithm>
#include <string>

#include "dit/io/tensor.hpp"

namespace dit { inline namespace DIT_ABI {

DIT_ONCE TensorInfo detail::find_tensor(const Safetensors& file, std::string_view name, std::span<Index> shape) {
  const Where where{file.file(), std::string(name), {}};
  const auto found = file.find(name);
  if (!found) throw Error(errc::tensor_missing, "the file has no such tensor", where);
  TensorInfo info = file[*found];
  if (info.shape.size() != shape.size()) {
    throw Error(errc::shape_mismatch,
                "the tensor has " + std::to_string(info.shape.size()) + " axes where " +
                    std::to_string(shape.size()) + " are expected",
                where);
  }
  std::transform(info.shape.begin(), info.shape.end(), shape.begin(),
                 [](auto extent) { return static_cast<Index>(extent); });
  return info;
}

}}  // namespace dit
