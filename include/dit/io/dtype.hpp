#pragma once
/// The number types of safetensors, and their conversion to those of a model.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "dit/core/error.hpp"
#include "dit/core/scalar.hpp"

namespace dit { inline namespace DIT_ABI {

static_assert(std::endian::native == std::endian::little,
              "dit reads and writes files on little-endian machines only");

/// Name and bits, in the order of the format's own writer, which sorts tensors by it.
// clang-format off
#define DIT_DTYPES(X)                                                                              \
  X(BOOL, 8) X(F4, 4) X(F6_E2M3, 6) X(F6_E3M2, 6) X(U8, 8) X(I8, 8) X(F8_E5M2, 8) X(F8_E4M3, 8)    \
  X(F8_E8M0, 8) X(F8_E4M3FNUZ, 8) X(F8_E5M2FNUZ, 8) X(I16, 16) X(U16, 16) X(F16, 16) X(BF16, 16)   \
  X(I32, 32) X(U32, 32) X(F32, 32) X(C64, 64) X(F64, 64) X(I64, 64) X(U64, 64)
// clang-format on

enum class DType : std::uint8_t {
#define DIT_ENUMERATOR(name, bits) name,
  DIT_DTYPES(DIT_ENUMERATOR)
#undef DIT_ENUMERATOR
};

namespace detail {
struct DTypeFacts {
  std::string_view name;
  unsigned bits;
};
#define DIT_FACTS(name, bits) {#name, bits},
inline constexpr DTypeFacts dtype_facts[] = {DIT_DTYPES(DIT_FACTS)};
#undef DIT_FACTS
}  // namespace detail
#undef DIT_DTYPES

constexpr std::string_view name(DType dtype) { return detail::dtype_facts[static_cast<std::size_t>(dtype)].name; }
constexpr unsigned bits(DType dtype) { return detail::dtype_facts[static_cast<std::size_t>(dtype)].bits; }

constexpr std::optional<DType> dtype_from_name(std::string_view text) {
  for (std::size_t i = 0; i < std::size(detail::dtype_facts); ++i) {
    if (detail::dtype_facts[i].name == text) return static_cast<DType>(i);
  }
  return std::nullopt;
}

/// The dtypes that weights are read from and written as.
constexpr bool is_real(DType dtype) {
  return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16 || dtype == DType::F64;
}

/// float -> F32, double -> F64, bf16 -> BF16, f16 -> F16
template <class R>
inline constexpr DType dtype_of = std::is_same_v<R, double> ? DType::F64
                                  : std::is_same_v<R, bf16> ? DType::BF16
                                  : std::is_same_v<R, f16>  ? DType::F16
                                                            : DType::F32;

namespace detail {

/// Calls `f(Stored{})` with the C++ type that a real dtype is stored as.
template <class F>
void with_stored_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::F32:
      return f(float{});
    case DType::F64:
      return f(double{});
    case DType::F16:
      return f(f16{});
    case DType::BF16:
      return f(bf16{});
    default:
      fail(errc::unsupported_dtype, {"weights cannot be of type ", name(dtype), "; F32, F16, BF16 and F64 can"});
  }
}

/// n values out of a file's bytes, which are aligned to nothing: `convert` copies them bytewise.
template <class R>
void decode(DType dtype, const std::byte* from, std::size_t n, R* to) {
  with_stored_type(dtype, [&]<class Stored>(Stored) {
    convert(reinterpret_cast<const Stored*>(from), to, static_cast<Index>(n));
  });
}

template <class R>
void encode(DType dtype, const R* from, std::size_t n, std::byte* to) {
  with_stored_type(
      dtype, [&]<class Stored>(Stored) { convert(from, reinterpret_cast<Stored*>(to), static_cast<Index>(n)); });
}

/// Is there neither a NaN nor an infinity? Told by the bits, because -ffast-math lets the compiler believe that
/// there are none.
template <class R>
bool all_finite(const R* values, std::size_t n) {
  using Bits = std::conditional_t<sizeof(R) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(R) == 4, std::uint32_t, std::uint64_t>>;
  constexpr auto infinity = static_cast<Bits>(std::is_same_v<R, bf16>    ? 0x7f80
                                              : std::is_same_v<R, f16>   ? 0x7c00
                                              : std::is_same_v<R, float> ? 0x7f800000
                                                                         : 0x7ff0000000000000);
  const auto is_any_special = [&values](auto count) {
    Bits bits[decltype(count)::value];
    std::memcpy(bits, static_cast<const void*>(values), sizeof bits);
    values += count;
    unsigned special = 0;
    for (const Bits b : bits) special |= (b & infinity) == infinity ? 1U : 0U;
    return special != 0;
  };
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {  // a known count, so -O2 vectorises
    if (is_any_special(std::integral_constant<std::size_t, 16>{})) return false;
  }
  for (; i < n; ++i) {
    if (is_any_special(std::integral_constant<std::size_t, 1>{})) return false;
  }
  return true;
}

}  // namespace detail
}}  // namespace dit
