#pragma once

#include <string>
#include <type_traits>

#include "dit/core/error.hpp"
#include "dit/kernels/kernels.hpp"
#include "dit/kernels/simd_portable.hpp"

#if DIT_X86
#include "dit/kernels/simd_amx.hpp"
#include "dit/kernels/simd_avx2.hpp"
#include "dit/kernels/simd_avx512.hpp"
#include "dit/kernels/simd_avx512_bf16.hpp"
#include "dit/kernels/simd_avx512_vnni.hpp"
#include "dit/kernels/simd_avx_vnni.hpp"
#elif DIT_ARM64
#include "dit/kernels/simd_neon.hpp"
#include "dit/kernels/simd_neon_dot.hpp"
#include "dit/kernels/simd_neon_mmla.hpp"
#endif

namespace dit { inline namespace DIT_ABI {

namespace detail {

template <class T>
inline constexpr Kernels<T> portable_table{{portable::verbs<real<T>>}, {portable::products<T>}, Isa::portable};
#if DIT_X86
template <class T>
inline constexpr Kernels<T> avx2_table{{avx2::verbs<float>}, {avx2::products<T>}, Isa::avx2};
template <class T>
inline constexpr Kernels<T> avx512_table{{avx512::verbs<float>}, {avx512::products<T>}, Isa::avx512};
template <class T>
inline constexpr Kernels<T> avxvnni_table{{avx2::verbs<float>}, {avxvnni::products<T>}, Isa::avxvnni};
template <class T>
inline constexpr Kernels<T> avx512vnni_table{{avx512::verbs<float>}, {avx512vnni::products<T>}, Isa::avx512vnni};
template <class T>
inline constexpr Kernels<T> avx512bf16_table{{avx512::verbs<float>}, {avx512bf16::products<T>}, Isa::avx512bf16};
#if DIT_AMX
template <class T>
inline constexpr Kernels<T> amx_table{{avx512::verbs<float>}, {amx::products<T>}, Isa::amx};
#endif
#elif DIT_ARM64
template <class T>
inline constexpr Kernels<T> neon_table{{neon::verbs<float>}, {neon::products<T>}, Isa::neon};
template <class T>
inline constexpr Kernels<T> neondot_table{{neon::verbs<float>}, {neondot::products<T>}, Isa::neondot};
template <class T>
inline constexpr Kernels<T> neonmmla_table{{neon::verbs<float>}, {neonmmla::products<T>}, Isa::neonmmla};
#endif

}  // namespace detail

template <class T>
const Kernels<T>& kernels(Isa isa) {
  if (!supports(isa)) detail::fail(errc::unsupported_isa, {"this machine has no ", name(isa)});
#if DIT_X86
  if constexpr (WeightType<T>::known && std::is_same_v<real<T>, float>) {
#if DIT_AMX
    if constexpr (!std::is_same_v<T, float>) {
      if (isa == Isa::amx) return detail::amx_table<T>;
    }
#endif
    if constexpr (std::is_same_v<T, bf16>) {
      if (isa >= Isa::avx512bf16) return detail::avx512bf16_table<T>;
    }
    if constexpr (std::is_same_v<T, int8>) {
      if (isa >= Isa::avx512vnni) return detail::avx512vnni_table<T>;
      if (isa == Isa::avxvnni) return detail::avxvnni_table<T>;
    }
    if (isa >= Isa::avx512) return detail::avx512_table<T>;
    if (isa >= Isa::avx2) return detail::avx2_table<T>;
  }
#elif DIT_ARM64
  if constexpr (WeightType<T>::known && std::is_same_v<real<T>, float>) {
    if constexpr (!std::is_same_v<T, float>) {
      if (isa >= Isa::neonmmla) return detail::neonmmla_table<T>;
    }
    if constexpr (std::is_same_v<T, int8>) {
      if (isa >= Isa::neondot) return detail::neondot_table<T>;
    }
    if (isa >= Isa::neon) return detail::neon_table<T>;
  }
#endif
  if constexpr (WeightType<T>::known) {
    return detail::portable_table<T>;
  } else {  // which said so
    static const Kernels<T> none{};
    return none;
  }
}

}}  // namespace dit
