#pragma once
/// Kernels that are compiled once for a program of many files. A file that includes this header does not compile
/// them, which saves it seconds. One file defines DIT_KERNELS before, and has them for all files of the same
/// machine flags; without it the program does not link. dit/extern.hpp does the same for all that can be compiled
/// once.

#ifndef DIT_KERNELS
#define DIT_EXTERN_KERNELS
#endif

#include "dit/kernels/kernels.hpp"

#ifdef DIT_KERNELS
#include "dit/kernels/kernels.inl"
#define DIT_KERNELS_HERE
#else
#define DIT_KERNELS_HERE extern
#endif

namespace dit { inline namespace DIT_ABI {

DIT_KERNELS_HERE template const Kernels<float>& kernels<float>(Isa);
DIT_KERNELS_HERE template const Kernels<double>& kernels<double>(Isa);
DIT_KERNELS_HERE template const Kernels<bf16>& kernels<bf16>(Isa);
DIT_KERNELS_HERE template const Kernels<int8>& kernels<int8>(Isa);

}}  // namespace dit

#undef DIT_KERNELS_HERE
