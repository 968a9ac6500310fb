/// Loading against reading: how long `load` takes for a file that the system has in memory, in units of what the
/// same threads take to read it twice, which is what converting and packing in a second pass would come to.
///
///     bench_load                      DiT-B/2, half a gigabyte
///     DIT_BENCH_XL_2=1 bench_load     DiT-XL/2 too, 4 GB of disk and 9 GB of memory
///
/// Counters: `twice` and `twice_new`, the ratio of medians to two reads into a buffer that stays in the cache, and
/// to two reads into memory that the system has not handed out before, as a model's is; `GB/s` of the file; and
/// `above_MB`, the resident memory at the peak beyond what was there before and the packed weights.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "dit/dit.hpp"

namespace {

using dit::Index;

double seconds(auto&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> v) {
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

/// Files of the same random weights in several types, gone at the end of the program.
template <class M>
class Files {
 public:
  static std::filesystem::path of(dit::DType dtype) {
    static const Files files;
    return files.folder_ / dit::name(dtype);
  }
  ~Files() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

 private:
  Files()
      : folder_(std::filesystem::temp_directory_path() / ("dit_bench_" + std::to_string(std::random_device()()))) {
    std::filesystem::create_directory(folder_);
    std::uint32_t bits = 1;
    const auto model = std::make_unique<M>();
    dit::fill(*model, [&bits](const dit::Path&, const auto&) {
      return [&bits] { return 1e-11 * static_cast<std::int32_t>(bits = bits * 1664525U + 1013904223U); };
    });
    for (const auto dtype : {dit::DType::F32, dit::DType::F16, dit::DType::BF16}) {
      dit::save(*model, folder_ / dit::name(dtype), {.dtype = dtype});
    }
  }
  std::filesystem::path folder_;
};

/// Reads a file in blocks, with all threads, to where `target(offset)` says.
template <class F>
void read_all(const dit::ByteSource& file, dit::Executor& executor, F&& target) {
  constexpr std::uint64_t block = std::uint64_t{1} << 22, part = std::uint64_t{1} << 18;
  executor.parallel_for(static_cast<Index>((file.size() + block - 1) / block), [&](Index task, int strand) {
    const std::uint64_t first = static_cast<std::uint64_t>(task) * block,
                        end = std::min(first + block, file.size());
    for (std::uint64_t at = first; at < end; at += part) {
      file.read(at, target(at, strand), static_cast<std::size_t>(std::min(part, end - at)));
    }
  });
}

#if defined(__linux__)
/// Bytes from /proc/self/status.
double resident(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == what + ":") {
      double kilobytes = 0;
      status >> kilobytes;
      return kilobytes * 1024;
    }
  }
  return 0;
}
void forget_peak() { std::ofstream("/proc/self/clear_refs") << 5; }
#else
double resident(const std::string&) { return 0; }
void forget_peak() {}
#endif

template <class M>
void Load(benchmark::State& state, dit::DType stored) {
  const std::filesystem::path path = Files<dit::with_scalar<M, float>>::of(stored);
  dit::ThreadPool pool(static_cast<int>(state.range(0)));
  const auto file = dit::FileSource::open(path);
  const auto size = static_cast<std::size_t>(file->size());
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(pool.strands()));
  for (auto& buffer : buffers) buffer.resize(std::size_t{1} << 18);
  const auto read = [&] {
    read_all(*file, pool, [&](auto, int strand) { return buffers[static_cast<std::size_t>(strand)].data(); });
  };
  read();  // from the disk

  std::vector<double> reads, new_reads, loads, peaks;
  for (auto _ : state) {
    reads.push_back(seconds(read));
    new_reads.push_back(seconds([&] {
      const std::unique_ptr<std::byte[]> memory(new std::byte[size]);
      dit::prefer_large_pages(memory.get(), size);
      read_all(*file, pool, [&](auto at, int) { return memory.get() + at; });
    }));
    forget_peak();
    const double before = resident("VmRSS");
    const auto model = std::make_unique<M>();
    loads.push_back(seconds([&] { *model = dit::load<M>(path, {.executor = &pool}); }));
    peaks.push_back(resident("VmHWM") - before - static_cast<double>(dit::weight_bytes<M>()));
    state.SetIterationTime(loads.back());
  }
  state.counters["twice"] = median(loads) / (2 * median(reads));
  state.counters["twice_new"] = median(loads) / (2 * median(new_reads));
  state.counters["GB/s"] = static_cast<double>(size) / 1e9 / median(loads);
  state.counters["above_MB"] = median(peaks) / (1 << 20);
}

template <class T>
const char* name_of() {
  return std::is_same_v<T, dit::int8> ? "int8" : std::is_same_v<T, dit::bf16> ? "bf16" : "fp32";
}

template <dit::DiTConfig config, class T>
void add(const std::string& name, dit::DType stored) {
  const std::string title = name + " " + std::string(dit::name(stored)) + " to " + name_of<T>();
  benchmark::RegisterBenchmark(title.c_str(), Load<dit::DiT<config, T>>, stored)
      ->ArgName("threads")
      ->Arg(2)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

template <dit::DiTConfig config>
void add_all(const std::string& name) {
  using dit::DType;
  add<config, float>(name, DType::F32);
  add<config, dit::bf16>(name, DType::F32);
  add<config, dit::int8>(name, DType::F32);
  add<config, float>(name, DType::F16);
  add<config, dit::bf16>(name, DType::F16);
  add<config, float>(name, DType::BF16);
  add<config, dit::bf16>(name, DType::BF16);
  add<config, dit::int8>(name, DType::BF16);
}

[[maybe_unused]] const bool added = [] {
  add_all<dit::dit_b_2>("DiT-B/2");
  if (std::getenv("DIT_BENCH_XL_2") != nullptr) add_all<dit::dit_xl_2>("DiT-XL/2");
  return true;
}();

}  // namespace
