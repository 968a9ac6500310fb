#pragma once
/// Kernels that are compiled once for a program of many files: each file that includes this header is compiled in
/// seconds less. One file of the program, with the same machine flags, defines DIT_KERNELS before it includes it.

#include "dit/kernels/kernels.hpp"

#ifdef DIT_KERNELS
#define DIT_EXTERN
#else
#define DIT_EXTERN extern
#endif

namespace dit::inline DIT_ABI {

DIT_EXTERN template const Kernels<float>& kernels<float>(Isa);
DIT_EXTERN template const Kernels<double>& kernels<double>(Isa);
DIT_EXTERN template const Kernels<bf16>& kernels<bf16>(Isa);
DIT_EXTERN template const Kernels<int8>& kernels<int8>(Isa);

}  // namespace dit::inline DIT_ABI

#undef DIT_EXTERN
