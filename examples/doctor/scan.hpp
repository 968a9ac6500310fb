#pragma once
/// NaN and infinities in a file, whatever its size.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "dit/io/safetensors.hpp"

namespace doctor {
using namespace dit;

/// How many of a tensor's numbers are none.
struct NonFinite {
  std::uint64_t nan = 0, infinite = 0;
  bool any() const noexcept { return nan > 0 || infinite > 0; }
};

namespace detail {
using namespace dit::detail;

/// Of n numbers with these exponent bits, those whose exponent is all ones: infinite where `infinities` has their
/// lower bits, otherwise NaN. Told by the bits, see `is_finite`.
template <class Bits>
void count_non_finite(const std::byte* from, std::size_t n, Bits exponent, Bits mantissa, NonFinite& count) {
  std::uint64_t special = 0, infinite = 0;
  for (std::size_t i = 0; i < n; ++i) {
    Bits x;
    std::memcpy(&x, from + i * sizeof x, sizeof x);
    const bool is_special = (x & exponent) == exponent;
    special += is_special;
    infinite += is_special && (x & mantissa) == 0;
  }
  count.nan += special - infinite;
  count.infinite += infinite;
}

}  // namespace detail

/// The NaN and infinities among the first `limit` bytes of a tensor, read in blocks of 1 MB. Tensors of integers
/// and of the eight-bit types with scales have none. Errors: io_read, file_truncated.
inline NonFinite non_finite(const Safetensors& file, const TensorInfo& info,
                            std::uint64_t limit = std::numeric_limits<std::uint64_t>::max()) {
  NonFinite count;
  const auto block = [&](const std::byte* from, std::size_t bytes) {
    switch (info.dtype) {
      case DType::F64:
        return detail::count_non_finite<std::uint64_t>(from, bytes / 8, 0x7ff0000000000000, 0x000fffffffffffff,
                                                       count);
      case DType::F32:
        return detail::count_non_finite<std::uint32_t>(from, bytes / 4, 0x7f800000, 0x007fffff, count);
      case DType::BF16:
        return detail::count_non_finite<std::uint16_t>(from, bytes / 2, 0x7f80, 0x007f, count);
      case DType::F16:
        return detail::count_non_finite<std::uint16_t>(from, bytes / 2, 0x7c00, 0x03ff, count);
      case DType::F8_E5M2:
        return detail::count_non_finite<std::uint8_t>(from, bytes, 0x7c, 0x03, count);
      case DType::F8_E4M3:  // has no infinity, and a single NaN of either sign
        for (std::size_t i = 0; i < bytes; ++i) count.nan += (from[i] & std::byte{0x7f}) == std::byte{0x7f};
        return;
      default:
        return;
    }
  };
  const bool has_some = is_real(info.dtype) || info.dtype == DType::F8_E5M2 || info.dtype == DType::F8_E4M3;
  const std::uint64_t size = has_some ? std::min(limit / 8 * 8, info.end - info.begin) : 0;
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(size, std::uint64_t{1} << 20)));
  for (std::uint64_t at = 0; at < size; at += buffer.size()) {
    const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size - at));
    file.read_bytes(info, at, bytes, buffer.data());
    block(buffer.data(), bytes);
  }
  return count;
}

}  // namespace doctor
