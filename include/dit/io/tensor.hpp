#pragma once
/// One tensor of a file, as a Tensor.

#include <cstddef>
#include <span>
#include <string_view>

#include "dit/core/tensor.hpp"
#include "dit/io/safetensors.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {
/// The tensor of this name, and its extents into `shape`, which has as many as it must have.
TensorInfo find_tensor(const Safetensors& file, std::string_view name, std::span<Index> shape);
}  // namespace detail

/// The tensor of this name, of F32, F16, BF16 or F64, converted to R = float or double:
///     const auto noise = read_tensor<float, 4>(Safetensors::open("noise.safetensors"), "noise");
/// Errors: tensor_missing; shape_mismatch for one of another rank; unsupported_dtype; out_of_memory, io_read,
/// file_truncated.
template <class R, int rank>
Tensor<R, rank> read_tensor(const Safetensors& file, std::string_view name) {
  static_assert(rank > 0, "read_tensor: a Tensor has at least one axis");
  Shape<rank> shape;
  const TensorInfo info = detail::find_tensor(file, name, shape);
  return detail::with_typed_bad_alloc(file.file(), [&] {
    Tensor<R, rank> values(shape);
    file.read_rows(info, 0, info.shape[0], values.data());
    return values;
  });
}

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/tensor.inl"
#endif
