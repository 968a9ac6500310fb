#pragma once
/// `kernels<T>()`: the table of functions for the instruction set that is active.

#include "dit/kernels/isa.hpp"
#include "dit/kernels/table.hpp"

namespace dit { inline namespace DIT_ABI {

/// The kernels of one instruction set; where it adds nothing for T, those of the best one that it includes, as
/// their `isa` says. errc::unsupported_isa if it cannot run here. Double has only the portable ones.
template <class T>
const Kernels<T>& kernels(Isa isa);

/// The kernels that run unless others are asked for.
template <class T>
const Kernels<T>& kernels() {
  static const Kernels<T>& active = kernels<T>(active_isa());
  return active;
}

}}  // namespace dit

#if !defined(DIT_EXTERN) && !defined(DIT_EXTERN_KERNELS)
#include "dit/kernels/kernels.inl"
#endif
