#pragma once
/// The numbers: what weights are stored as, what arithmetic runs in.

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "dit/core/eigen.hpp"

namespace dit { inline namespace DIT_ABI {

/// Storage only: arithmetic happens in float. (Eigen's own bf16 products round the accumulator at every step.)
using bf16 = Eigen::bfloat16;
using f16 = Eigen::half;
/// Weights of 8 bits, a scale for every output; activations are rounded likewise, token by token, as a GEMM reads
/// them.
using int8 = std::int8_t;

template <class T>
struct compute_type {
  using type = float;
};
template <>
struct compute_type<double> {
  using type = double;
};

/// Type of activations, biases and norms in a model whose weights are `T`: float, except in the double reference.
template <class T>
using real = typename compute_type<T>::type;

/// What lies in memory between two GEMMs of such a model, or a GEMM and an attention, and is read by nothing else:
/// queries, keys, values, the hidden layer. Rounded once: bf16 in models of bf16 and of int8.
template <class T>
using stored = std::conditional_t<std::is_same_v<T, int8>, bf16, T>;

namespace detail {

/// How a number of type T is kept: the bits of the 16-bit types, the others as they are.
template <class T>
using code = std::conditional_t<std::is_same_v<T, bf16> || std::is_same_v<T, f16>, std::uint16_t, T>;

/// From its code, exactly; a NaN keeps its payload.
template <class T>
inline auto decode(code<T> c) noexcept {
  if constexpr (std::is_same_v<T, bf16>) {
    return std::bit_cast<float>(std::uint32_t{c} << 16);
  } else if constexpr (std::is_same_v<T, f16>) {
    // Masks instead of conditions, so that compilers vectorise it: reading half-precision files depends on it.
    constexpr std::int32_t bias = (127 - 15) << 23, least = bias + (1 << 23);  // least: of 2^-14, the least normal
    const std::int32_t sign = (c & 0x8000) << 16, magnitude = (c & 0x7fff) << 13;
    const std::int32_t is_special = -(magnitude > 0x0f7fffff), is_subnormal = -(magnitude < 0x00800000);
    const std::int32_t normal = magnitude + bias + (is_special & bias);
    const auto subnormal =
        std::bit_cast<std::int32_t>(std::bit_cast<float>(magnitude + least) - std::bit_cast<float>(least));
    return std::bit_cast<float>(sign | (is_subnormal & subnormal) | (~is_subnormal & normal));
  } else {
    return c;
  }
}

/// The nearest float toward zero, its last bit set if that is not the value itself. Rounded once more, to fewer
/// bits, it gives what a single rounding would have given.
inline float round_to_odd(double value) noexcept {
  const auto nearest = static_cast<float>(value);
  auto bits = std::bit_cast<std::uint32_t>(nearest);
  const auto back = static_cast<double>(nearest);
  if ((bits & 0x7fffffffU) > 0x7f800000U || back == value) return nearest;
  if (std::abs(back) > std::abs(value)) --bits;
  return std::bit_cast<float>(bits | 1U);
}

/// To the nearest code, ties to even, above the largest to infinity. A NaN becomes the quiet NaN of its sign.
template <class T, class Real>
inline code<T> encode(Real value) noexcept {
  if constexpr (std::is_same_v<code<T>, T>) {
    return static_cast<T>(value);
  } else if constexpr (std::is_same_v<Real, double>) {
    return encode<T>(round_to_odd(value));
  } else {
    const auto bits = std::bit_cast<std::int32_t>(value);
    const std::int32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    std::int32_t rounded = 0;
    if constexpr (std::is_same_v<T, bf16>) {
      rounded = magnitude > 0x7f800000 ? 0x7fc0 : (magnitude + 0x7fff + (magnitude >> 16 & 1)) >> 16;
    } else {
      const std::int32_t top = magnitude < 0x47800000 ? magnitude : 0x47800000;  // 2^16, where infinity begins
      const std::int32_t normal = ((top + 0xfff + (top >> 13 & 1)) >> 13) - ((127 - 15) << 10);
      // Below 2^-14 the codes are 2^-24 apart, and so are the floats above one half.
      const std::int32_t subnormal =
          std::bit_cast<std::int32_t>(std::bit_cast<float>(magnitude) + 0.5F) - std::bit_cast<std::int32_t>(0.5F);
      rounded = magnitude < 0x38800000 ? subnormal : normal;
      rounded = magnitude > 0x7f800000 ? 0x7e00 : rounded;
    }
    return static_cast<std::uint16_t>(sign | rounded);
  }
}

}  // namespace detail

/// Copies n numbers of one storage type into another, rounding once, to nearest, ties to even.
/// NaN stays NaN with its sign; what is too large becomes infinite. The same bits on every machine.
/// `from` may be the last bytes of `to`.
template <class From, class To>
void convert(const From* from, To* to, Index n) {
  static_assert(sizeof(detail::code<From>) == sizeof(From) && sizeof(detail::code<To>) == sizeof(To));
  const auto step = [&from, &to](auto count) {
    constexpr std::size_t block = decltype(count)::value;
    detail::code<From> in[block];
    detail::code<To> out[block];
    std::memcpy(in, static_cast<const void*>(from), sizeof in);
    for (std::size_t i = 0; i < block; ++i) {
      if constexpr (std::is_same_v<From, To>) {
        out[i] = in[i];
      } else {
        out[i] = detail::encode<To>(detail::decode<From>(in[i]));
      }
    }
    std::memcpy(static_cast<void*>(to), out, sizeof out);
    from += block;
    to += block;
  };
  Index i = 0;
  for (; i + 16 <= n; i += 16) step(std::integral_constant<std::size_t, 16>{});  // a known count, so -O2 vectorises
  for (; i < n; ++i) step(std::integral_constant<std::size_t, 1>{});
}

}}  // namespace dit
