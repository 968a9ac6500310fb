#pragma once
/// `kernels<T>()`: the table of functions for the instruction set that is active.

#include <type_traits>

#include "dit/kernels/isa.hpp"
#include "dit/kernels/simd_portable.hpp"
#include "dit/kernels/table.hpp"

#if DIT_X86
#include "dit/kernels/simd_avx2.hpp"
#include "dit/kernels/simd_avx512.hpp"
#endif

namespace dit::inline DIT_ABI {

/// The kernels of one instruction set; errc::unsupported_isa if it cannot run here. Double has only the portable
/// ones.
template <class T>
const Kernels<T>& kernels(Isa isa) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "arithmetic runs in float or double");
  if (!supports(isa)) throw Error(errc::unsupported_isa, "this machine has no " + std::string(name(isa)));
#if DIT_X86
  if constexpr (std::is_same_v<T, float>) {
    if (isa == Isa::avx512) return avx512::table<T>;
    if (isa == Isa::avx2) return avx2::table<T>;
  }
#endif
  return portable::table<T>;
}

/// The kernels that run unless others are asked for.
template <class T>
const Kernels<T>& kernels() {
  static const Kernels<T>& active = kernels<T>(active_isa());
  return active;
}

}  // namespace dit::inline DIT_ABI
