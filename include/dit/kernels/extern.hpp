#pragma once
/// Kernels that are compiled once for a program of many files. A file that includes this header does not compile
/// them, which saves it seconds. One file defines DIT_KERNELS before, and has them for all files of the same
/// machine flags; without it the program does not link.

#include "dit/kernels/kernels.hpp"

#ifdef DIT_KERNELS
#define DIT_EXTERN
#else
#define DIT_EXTERN extern
#endif

namespace dit { inline namespace DIT_ABI {

DIT_EXTERN template const Kernels<float>& kernels<float>(Isa);
DIT_EXTERN template const Kernels<double>& kernels<double>(Isa);
DIT_EXTERN template const Kernels<bf16>& kernels<bf16>(Isa);
DIT_EXTERN template const Kernels<int8>& kernels<int8>(Isa);

}}  // namespace dit

#undef DIT_EXTERN
