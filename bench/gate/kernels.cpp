/// Fixed kernels at fixed sizes, for their instructions to be counted.
///
///     kernels callgrind avx2 [part of a name]   runs each case once within `counted`, and prints its name
///     kernels step avx512bf16 [part of a name]  counts itself, an instruction at a time, and prints name and count
///
/// The first is for valgrind --tool=callgrind --toggle-collect=counted --dump-after=counted, whose k-th file
/// belongs to the k-th name, with LD_BIND_NOW=1, so that the linker has no part in it. The second is for what
/// valgrind does not know; it needs Linux on x86, and a machine that has the instructions. Cases of T are left out
/// where the instruction set adds nothing for it.

#include <cstdio>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "dit/kernels/attention.hpp"
#include "dit/kernels/gemm.hpp"

#if DIT_X86 && defined(__linux__)
#include <csignal>
#endif

namespace {

using namespace dit;

struct Case {
  std::string name;
  std::function<void()> run;
};

/// Numbers that are the same on every machine, for the life of the program.
template <class N>
N* numbers(Index n) {
  static std::vector<std::vector<N>> all;
  std::vector<N>& v = all.emplace_back(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) {
    v[static_cast<std::size_t>(i)] = static_cast<N>(static_cast<float>(i * 7919 % 257) / 128.f - 1.f);
  }
  return v.data();
}

template <class T>
constexpr const char* type = std::is_same_v<T, bf16>   ? "bf16"
                             : std::is_same_v<T, int8> ? "int8"
                                                       : "fp32";

constexpr Index width = 288;

/// The tallest panels, which are the most frequent, times two strips.
template <class T>
void add_micro_kernels(const Kernels<T>& k, std::vector<Case>& cases) {
  constexpr Index steps = 144;
  const T* const panel = numbers<T>(steps * k.panel_rows * word_size<T>);
  const T* const w = numbers<T>(steps * tile_width * word_size<T>);
  auto* const tile = numbers<accumulator<T>>(16 * tile_width);
  for (int rows = k.panel_rows; rows > 0 && rows > k.panel_rows - 3; --rows) {
    cases.push_back({std::string("multiply ") + type<T> + " " + std::to_string(rows) + "x2", [=, &k] {
                       k.multiply(rows, 2, steps, panel, w, strip_width, steps * strip_width, true, tile);
                     }});
  }
}

/// Panels of activations, and strips of weights.
template <class T>
void add_packing(const Kernels<T>& k, std::vector<Case>& cases) {
  using S = stored<T>;
  const Index rows = k.panel_rows;
  const float *const x = numbers<float>(16 * width), *const scale = numbers<float>(width);
  const S* const stored_x = numbers<S>(rows * width);
  T* const panel = numbers<T>(16 * width);
  float* const scales = numbers<float>(16);
  const std::string of = std::string(" ") + type<T>;
  cases.push_back({"pack rows as stored" + of, [=, &k] {
                     pack_panel(k, RowsSource<S>{stored_x, rows, width}, 0, rows, panel, scales);
                   }});
  cases.push_back({"pack norm, modulate" + of, [=, &k] {
                     const NormSource<float> source{x,       rows,  width, Norm::layer, 1e-6f, nullptr,
                                                    nullptr, scale, scale, 0,           rows};
                     pack_panel(k, source, 0, rows, panel, scales);
                   }});
  cases.push_back({"pack weights" + of, [=, &k] { k.pack(x, width, 16, width, scales, panel, strip_width); }});
}

/// What becomes of a panel's tiles, all `width` columns.
template <class T>
void add_epilogues(const Kernels<T>& k, std::vector<Case>& cases) {
  using S = stored<T>;
  const Index rows = k.panel_rows;
  auto* const tile = numbers<float>(16 * tile_width);
  const float* const bias = numbers<float>(width);
  S* const y = numbers<S>(rows * width);
  const std::string of = std::string(" ") + type<T>;
  const auto add = [&](const std::string& name, const auto& sink) {
    cases.push_back({name + of, [=, &k] {
                       for (Index c = 0; c < width; c += tile_width) sink.put(k, 0, rows, c, tile_width, tile);
                     }});
  };
  add("bias, store", StoreSink<float, S>{y, width, bias});
  add("bias, gelu, store", StoreSink<float, S>{y, width, bias, Activation::gelu_tanh});
  if constexpr (std::is_same_v<T, int8>) {
    auto* const sums = numbers<std::int32_t>(16 * tile_width);
    const std::int32_t* const correction = numbers<std::int32_t>(tile_width);
    cases.push_back({"dequantise" + of, [=, &k] { k.dequantise(sums, rows, tile_width, correction, bias, bias); }});
  } else {
    add("bias, gelu, panels", PanelsSink<T>{numbers<T>(rows * width), width, bias, Activation::gelu_tanh});
  }
  if constexpr (std::is_same_v<T, float>) {
    add("bias, gate, add", AddGatedSink<float>{y, width, bias, bias, 0, rows});
    cases.push_back({"rotate" + of, [=, &k] { k.rotate(bias, bias, bias, width, y); }});
  }
}

/// Everything together, smaller where an instruction takes microseconds.
template <class T>
void add_gemm(const Kernels<T>& k, bool small, Workspace& workspace, std::vector<Case>& cases) {
  using S = stored<T>;
  const Index tokens = small ? 28 : 64, n = small ? 96 : 1152;
  const S* const x = numbers<S>(tokens * n);
  const float* const bias = numbers<float>(n);
  S* const y = numbers<S>(tokens * n);
  auto* const w = new PackedMatrix<T>(n, n);  // for the life of the program
  w->set_rows(0, n, numbers<float>(n * n));
  const std::string shape = small ? "28x96x96" : "64x1152x1152";
  cases.push_back({std::string("gemm ") + type<T> + " " + shape, [=, &k, &workspace] {
                     gemm(RowsSource<S>{x, tokens, n}, *w, StoreSink<float, S>{y, n, bias}, workspace, k);
                   }});
}

template <class T>
void add_attention(const Kernels<T>& k, bool small, Workspace& workspace, std::vector<Case>& cases) {
  const Index keys = Blocking{}.keys, d = 72, n = small ? 32 : 256, heads = small ? 1 : 4, row = heads * d;
  auto* const scores = numbers<float>(keys * tile_width);
  auto* const highest = numbers<float>(3 * tile_width);
  cases.push_back({std::string("online softmax ") + type<T>, [=, &k] {
                     k.online_softmax(scores, keys, 0.1f, highest, highest + tile_width, highest + 2 * tile_width);
                   }});
  const T* const qkv = numbers<T>(n * 3 * row);
  T* const out = numbers<T>(n * row);
  const std::string shape = small ? "32x1x72" : "256x4x72";
  cases.push_back({std::string("attention ") + type<T> + " " + shape, [=, &k, &workspace] {
                     const AttentionStream<T> stream{qkv,     qkv + row,   qkv + 2 * row, out,    n,
                                                     3 * row, n * 3 * row, row,           n * row};
                     attention(stream, 1, heads, d, 0.12f, workspace, k);
                   }});
}

template <class T>
void add_all(Isa isa, bool small, Workspace& workspace, std::vector<Case>& cases) {
  const Kernels<T>& k = kernels<T>(isa);
  if (k.isa != isa) return;
  add_micro_kernels(k, cases);
  add_packing(k, cases);
  add_epilogues(k, cases);
  add_gemm(k, small, workspace, cases);
  if constexpr (!std::is_same_v<T, int8>) add_attention(k, small, workspace, cases);
}

}  // namespace

/// The one function that counts, whose name is looked for.
extern "C" __attribute__((noinline)) void counted(const std::function<void()>& run) { run(); }

#if DIT_X86 && defined(__linux__)
namespace {

volatile long steps = 0;
void step(int) { steps = steps + 1; }

/// Instructions of `run`: with its trap flag the processor reports each.
long count(const std::function<void()>& run) {
  steps = 0;
  __asm__ volatile(  // below the 128 bytes that belong to this function
      "lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp"
      :
      :
      : "memory", "cc");
  counted(run);
  __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp"
                   :
                   :
                   : "memory", "cc");
  return steps;
}

}  // namespace
#endif

int main(int count_of, char** words) {
  const std::string how = count_of > 1 ? words[1] : "", isa_name = count_of > 2 ? words[2] : "";
  const std::string part = count_of > 3 ? words[3] : "";
  bool can_step = false;
#if DIT_X86 && defined(__linux__)
  can_step = true;
#endif
  if ((how != "callgrind" && (how != "step" || !can_step)) || isa_name.empty()) {
    std::fprintf(stderr, "kernels callgrind|step <instruction set> [part of a name]\n");
    return 2;
  }
  try {
    const Isa isa = isa_named(isa_name);
    Workspace workspace(1, std::size_t{1} << 24);  // enough for all, so that nobody counts how it grows
    std::vector<Case> cases;
    add_all<float>(isa, how == "step", workspace, cases);
    add_all<bf16>(isa, how == "step", workspace, cases);
    add_all<int8>(isa, how == "step", workspace, cases);
#if DIT_X86 && defined(__linux__)
    if (how == "step") std::signal(SIGTRAP, step);
#endif
    for (const Case& c : cases) {
      if (c.name.find(part) == std::string::npos) continue;
      if (how == "callgrind") {
        counted(c.run);
        std::printf("%s\n", c.name.c_str());
      }
#if DIT_X86 && defined(__linux__)
      if (how == "step") std::printf("%s\t%ld\n", c.name.c_str(), count(c.run));
#endif
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.code() == errc::unsupported_isa ? 3 : 1;
  }
}
