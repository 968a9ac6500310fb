#pragma once
/// Which instruction sets this machine has, and which one runs.

#include <cstdint>
#include <string_view>

#include "dit/version.hpp"

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DIT_PORTABLE_ONLY)
#define DIT_X86 1
#else
#define DIT_X86 0
#endif
#if DIT_X86 && defined(__linux__) && defined(__GNUC__)
#define DIT_AMX 1
#else
#define DIT_AMX 0
#endif
#if defined(__aarch64__) && defined(__GNUC__) && !defined(__AARCH64EB__) && !defined(DIT_PORTABLE_ONLY)
#define DIT_ARM64 1
#else
#define DIT_ARM64 0
#endif

namespace dit { inline namespace DIT_ABI {

/// From the slowest to the fastest. `portable` is plain C++ and runs everywhere; avx2 has FMA; avx512 is F, BW, DQ
/// and VL; amx has products of bf16 and of int8. Every one includes those before it on its machine, but for
/// avxvnni, which the next two may lack. Of ARM, neondot has FEAT_DotProd, neonmmla FEAT_BF16 and FEAT_I8MM as
/// well.
enum class Isa : std::uint8_t {
  portable,
  avx2,
  avxvnni,
  avx512,
  avx512vnni,
  avx512bf16,
  amx,
  neon,
  neondot,
  neonmmla
};

inline constexpr Isa all_isas[] = {Isa::portable,   Isa::avx2, Isa::avxvnni, Isa::avx512,  Isa::avx512vnni,
                                   Isa::avx512bf16, Isa::amx,  Isa::neon,    Isa::neondot, Isa::neonmmla};

constexpr std::string_view name(Isa isa) noexcept {
  switch (isa) {
    case Isa::avx2:
      return "avx2";
    case Isa::avxvnni:
      return "avxvnni";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512vnni:
      return "avx512vnni";
    case Isa::avx512bf16:
      return "avx512bf16";
    case Isa::amx:
      return "amx";
    case Isa::neon:
      return "neon";
    case Isa::neondot:
      return "neondot";
    case Isa::neonmmla:
      return "neonmmla";
    default:
      return "portable";
  }
}

/// The fastest instruction set that both the CPU and the operating system support.
Isa best_isa() noexcept;

bool supports(Isa isa) noexcept;

/// The instruction set called `text`; errc::bad_option if there is none, errc::unsupported_isa if it cannot run
/// here.
Isa isa_named(std::string_view text);

/// What the kernels run on: the best, or what the environment variable DIT_ISA asks for. It is read once.
Isa active_isa();

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/kernels/isa.inl"
#endif
