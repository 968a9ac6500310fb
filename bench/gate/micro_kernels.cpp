// All micro-kernels and nothing else, for what is counted in their assembly.

#include "dit/kernels/kernels.hpp"

template <class T>
using Multiply = decltype(dit::Products<T>::multiply);

#if DIT_X86
extern const Multiply<float> fp32[];
const Multiply<float> fp32[] = {dit::avx2::multiply<float>, dit::avx512::multiply<float>};
extern const Multiply<dit::bf16> bf16[];
const Multiply<dit::bf16> bf16[] = {dit::avx2::multiply<dit::bf16>, dit::avx512::multiply<dit::bf16>,
                                    dit::avx512bf16::multiply<dit::bf16>};
extern const Multiply<dit::int8> int8[];
const Multiply<dit::int8> int8[] = {dit::avx2::multiply<dit::int8>, dit::avxvnni::multiply<dit::int8>,
                                    dit::avx512::multiply<dit::int8>, dit::avx512vnni::multiply<dit::int8>};
#elif DIT_ARM64
extern const Multiply<float> fp32[];
const Multiply<float> fp32[] = {dit::neon::multiply<float>};
extern const Multiply<dit::bf16> bf16[];
const Multiply<dit::bf16> bf16[] = {dit::neon::multiply<dit::bf16>, dit::neonmmla::multiply<dit::bf16>};
extern const Multiply<dit::int8> int8[];
const Multiply<dit::int8> int8[] = {dit::neon::multiply<dit::int8>, dit::neondot::multiply<dit::int8>,
                                    dit::neonmmla::multiply<dit::int8>};
#endif
