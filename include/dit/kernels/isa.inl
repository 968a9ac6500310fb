#pragma once

#include <cstdlib>
#include <string>

#include "dit/core/error.hpp"
#include "dit/kernels/isa.hpp"

#if DIT_X86
#if defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif
#if DIT_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if DIT_ARM64
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#endif

namespace dit { inline namespace DIT_ABI {

namespace detail {

#if DIT_X86
struct CpuId {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
};

DIT_ONCE CpuId cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) noexcept {
  CpuId r;
#if defined(_MSC_VER) && !defined(__clang__)
  int regs[4];
  __cpuid(regs, 0);
  if (static_cast<std::uint32_t>(regs[0]) < leaf) return r;
  __cpuidex(regs, static_cast<int>(leaf), static_cast<int>(subleaf));
  r = {static_cast<std::uint32_t>(regs[0]), static_cast<std::uint32_t>(regs[1]),
       static_cast<std::uint32_t>(regs[2]), static_cast<std::uint32_t>(regs[3])};
#else
  if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) r = {};
#endif
  return r;
}

/// The register states that the operating system saves; only to be asked where CPUID says OSXSAVE.
DIT_ONCE std::uint64_t saved_states() noexcept {
#if defined(_MSC_VER) && !defined(__clang__)
  return _xgetbv(0);
#else
  std::uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
#endif
}
#endif

#if DIT_AMX
/// Asks Linux to keep the tiles for this process's threads; before, an instruction of AMX ends the program.
DIT_ONCE bool may_use_tiles() noexcept {
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, the state's number
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
}
#endif

#if DIT_ARM64
#if defined(__APPLE__)
DIT_ONCE bool has_feature(const char* key) noexcept {
  int value = 0;
  std::size_t size = sizeof value;
  return sysctlbyname(key, &value, &size, nullptr, 0) == 0 && value != 0;
}
#endif
/// FEAT_DotProd, FEAT_BF16 and FEAT_I8MM; where the system does not tell, none.
struct ArmFeatures {
  bool dot = false, bf16 = false, i8mm = false;
};
DIT_ONCE ArmFeatures arm_features() noexcept {
#if defined(__linux__)
  constexpr unsigned long dot = 1UL << 20;                     // AT_HWCAP
  constexpr unsigned long i8mm = 1UL << 13, bf16 = 1UL << 14;  // AT_HWCAP2
  const unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
  return {(first & dot) != 0, (second & bf16) != 0, (second & i8mm) != 0};
#elif defined(__APPLE__)
  return {has_feature("hw.optional.arm.FEAT_DotProd"), has_feature("hw.optional.arm.FEAT_BF16"),
          has_feature("hw.optional.arm.FEAT_I8MM")};
#else
  return {};
#endif
}
#endif

/// The machine's instruction sets, bit i for Isa i.
DIT_ONCE std::uint32_t detect_isas() noexcept {
  const auto bit = [](Isa isa) { return 1u << static_cast<unsigned>(isa); };
  std::uint32_t found = bit(Isa::portable);
#if DIT_X86
  const auto has = [](std::uint64_t word, std::uint64_t bits) { return (word & bits) == bits; };
  constexpr std::uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28;                  // leaf 1, ecx
  constexpr std::uint32_t avx2 = 1u << 5, avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // leaf 7, ebx:
  constexpr std::uint32_t vnni512 = 1u << 11;                                                  // F, DQ, BW, VL; ecx
  constexpr std::uint32_t vnni = 1u << 4, bf16 = 1u << 5;                                      // leaf 7.1, eax
  constexpr std::uint64_t ymm_state = 0x6, zmm_state = 0xe6;
  if (!has(cpuid(1).c, fma | osxsave | avx) || !has(saved_states(), ymm_state)) return found;
  const CpuId extended = cpuid(7), more = extended.a >= 1 ? cpuid(7, 1) : CpuId{};
  if (!has(extended.b, avx2)) return found;
  found |= bit(Isa::avx2);
  if (has(more.a, vnni)) found |= bit(Isa::avxvnni);
  if (!has(extended.b, avx512) || !has(saved_states(), zmm_state)) return found;
  found |= bit(Isa::avx512);
  if (!has(extended.c, vnni512)) return found;
  found |= bit(Isa::avx512vnni);
  if (!has(more.a, bf16)) return found;
  found |= bit(Isa::avx512bf16);
#if DIT_AMX
  constexpr std::uint32_t amx = 1u << 22 | 1u << 24 | 1u << 25;  // leaf 7, edx: BF16, TILE, INT8
  constexpr std::uint64_t tile_states = 0x60000;
  if (has(extended.d, amx) && has(saved_states(), tile_states) && may_use_tiles()) found |= bit(Isa::amx);
#endif
#elif DIT_ARM64
  const ArmFeatures has = arm_features();
  found |= bit(Isa::neon);
  if (!has.dot) return found;
  found |= bit(Isa::neondot);
  if (has.bf16 && has.i8mm) found |= bit(Isa::neonmmla);
#endif
  return found;
}
DIT_ONCE std::uint32_t isas() noexcept {
  static const std::uint32_t found = detect_isas();
  return found;
}

}  // namespace detail

DIT_ONCE Isa best_isa() noexcept {
  Isa best = Isa::portable;
  for (const Isa isa : all_isas) {
    if (detail::isas() >> static_cast<unsigned>(isa) & 1u) best = isa;
  }
  return best;
}

DIT_ONCE bool supports(Isa isa) noexcept { return detail::isas() >> static_cast<unsigned>(isa) & 1u; }

DIT_ONCE Isa isa_named(std::string_view text) {
  std::string known;
  for (const Isa isa : all_isas) {
    known += known.empty() ? "" : ", ";
    known += name(isa);
    if (text != name(isa)) continue;
    if (supports(isa)) return isa;
    detail::fail(errc::unsupported_isa, {"this machine has no ", text, "; its best is ", name(best_isa())});
  }
  detail::fail(errc::bad_option, {"no instruction set is called '", text, "'; DIT_ISA takes one of ", known});
}

DIT_ONCE Isa active_isa() {
  static const Isa isa = [] {
    const char* asked = std::getenv("DIT_ISA");  // NOLINT(concurrency-mt-unsafe)
    return asked && *asked ? isa_named(asked) : best_isa();
  }();
  return isa;
}

}}  // namespace dit
