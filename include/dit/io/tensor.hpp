#pragma once
/// One tensor of a file, as a Tensor.

#include <algorithm>
#include <string>
#include <string_view>

#include "dit/io/safetensors.hpp"

namespace dit { inline namespace DIT_ABI {

/// The tensor of this name, of F32, F16, BF16 or F64, converted to R = float or double:
///     const auto noise = read_tensor<float, 4>(Safetensors::open("noise.safetensors"), "noise");
/// Errors: tensor_missing; shape_mismatch for one of another rank; unsupported_dtype; out_of_memory, io_read,
/// file_truncated.
template <class R, int rank>
Tensor<R, rank> read_tensor(const Safetensors& file, std::string_view name) {
  static_assert(rank > 0, "read_tensor: a Tensor has at least one axis");
  const Where where{file.file(), std::string(name), {}};
  const auto found = file.find(name);
  if (!found) throw Error(errc::tensor_missing, "the file has no such tensor", where);
  const TensorInfo info = file[*found];
  if (info.shape.size() != rank) {
    throw Error(errc::shape_mismatch,
                "the tensor has " + std::to_string(info.shape.size()) + " axes where " + std::to_string(rank) +
                    " are expected",
                where);
  }
  Shape<rank> shape;
  std::transform(info.shape.begin(), info.shape.end(), shape.begin(),
                 [](auto extent) { return static_cast<Index>(extent); });
  return detail::with_typed_bad_alloc(file.file(), [&] {
    Tensor<R, rank> values(shape);
    file.read_rows(info, 0, info.shape[0], values.data());
    return values;
  });
}

}}  // namespace dit
