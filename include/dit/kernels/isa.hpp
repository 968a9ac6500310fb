#pragma once
/// Which instruction sets this machine has, and which one runs.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "dit/core/error.hpp"

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DIT_PORTABLE_ONLY)
#define DIT_X86 1
#if defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#else
#define DIT_X86 0
#endif

namespace dit::inline DIT_ABI {

/// From the slowest to the fastest. `portable` is plain C++ and runs everywhere.
enum class Isa : std::uint8_t { portable, avx2, avx512 };

constexpr std::string_view name(Isa isa) noexcept {
  switch (isa) {
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    default:
      return "portable";
  }
}

namespace detail {

#if DIT_X86
struct CpuId {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
};

inline CpuId cpuid(std::uint32_t leaf) noexcept {
  CpuId r;
#if defined(_MSC_VER) && !defined(__clang__)
  int regs[4];
  __cpuid(regs, 0);
  if (static_cast<std::uint32_t>(regs[0]) < leaf) return r;
  __cpuidex(regs, static_cast<int>(leaf), 0);
  r = {static_cast<std::uint32_t>(regs[0]), static_cast<std::uint32_t>(regs[1]),
       static_cast<std::uint32_t>(regs[2]), static_cast<std::uint32_t>(regs[3])};
#else
  if (!__get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d)) r = {};
#endif
  return r;
}

/// The register states that the operating system saves; only to be asked where CPUID says OSXSAVE.
inline std::uint64_t saved_states() noexcept {
#if defined(_MSC_VER) && !defined(__clang__)
  return _xgetbv(0);
#else
  std::uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
#endif
}
#endif

inline Isa detect_isa() noexcept {
#if DIT_X86
  const auto has = [](std::uint64_t word, std::uint64_t bits) { return (word & bits) == bits; };
  constexpr std::uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28;                  // leaf 1, ecx
  constexpr std::uint32_t avx2 = 1u << 5, avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // leaf 7, ebx:
  constexpr std::uint64_t ymm_state = 0x6, zmm_state = 0xe6;                                   // F, DQ, BW, VL
  if (!has(cpuid(1).c, fma | osxsave | avx) || !has(saved_states(), ymm_state)) return Isa::portable;
  const std::uint32_t extended = cpuid(7).b;
  if (!has(extended, avx2)) return Isa::portable;
  return has(extended, avx512) && has(saved_states(), zmm_state) ? Isa::avx512 : Isa::avx2;
#else
  return Isa::portable;
#endif
}

}  // namespace detail

/// The fastest instruction set that both the CPU and the operating system support.
inline Isa best_isa() noexcept {
  static const Isa isa = detail::detect_isa();
  return isa;
}

/// Every instruction set includes those before it.
inline bool supports(Isa isa) noexcept { return isa <= best_isa(); }

/// The instruction set called `text`; errc::bad_option if there is none, errc::unsupported_isa if it cannot run
/// here.
inline Isa isa_named(std::string_view text) {
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (text != name(isa)) continue;
    if (supports(isa)) return isa;
    throw Error(errc::unsupported_isa,
                "this machine has no " + std::string(text) + "; its best is " + std::string(name(best_isa())));
  }
  throw Error(errc::bad_option,
              "no instruction set is called '" + std::string(text) + "'; DIT_ISA takes portable, avx2 or avx512");
}

/// What the kernels run on: the best, or what the environment variable DIT_ISA asks for. It is read once.
inline Isa active_isa() {
  static const Isa isa = [] {
    const char* asked = std::getenv("DIT_ISA");  // NOLINT(concurrency-mt-unsafe)
    return asked && *asked ? isa_named(asked) : best_isa();
  }();
  return isa;
}

}  // namespace dit::inline DIT_ABI
