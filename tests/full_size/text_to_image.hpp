#pragma once
/// What is asked of every model from text to image: load, prepare, compare, time, and no more memory than planned.

#include <filesystem>
#include <memory>

#include "dit/dit.hpp"
#include "full_size.hpp"
#include "peak.hpp"

namespace full_size {

inline std::uintmax_t bytes_in(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return std::filesystem::file_size(path);
  std::uintmax_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path)) bytes += entry.file_size();
  return bytes;
}

inline const dit::Text<float>& text_of(const dit::Text<float>& condition) { return condition; }
inline const dit::Text<float>& text_of(const dit::FluxCondition<float>& condition) { return condition.text; }

/// Of physical memory, against the plan: no more than a fiftieth and 64 MB above it, for all that no plan counts.
inline bool memory(const char* when, std::uint64_t planned, double found) {
  const bool good = found <= 1.02 * megabytes(planned) + 64;
  std::printf("  %s: %.0f MB of %.0f planned%s\n", when, found, megabytes(planned), good ? "" : ": TOO MUCH");
  std::fflush(stdout);  // the next step may take minutes
  return good;
}

/// The checkpoint in `path` against "<size>.out" in `io`, for "<size>.x" and the condition at time `sigma`.
template <class M>
bool check(const std::string& path, const dit::Safetensors& io, const typename M::Condition& condition, float sigma,
           std::initializer_list<const char*> sizes) {
  using T = dit::scalar_of<M>;
  std::printf("%s in %s, %s\n", path.c_str(), dit::bench::type_name<T>(), name(dit::active_isa()).data());
  double start = seconds();
  const auto model = std::make_unique<M>(dit::load<M>(path));
  const double took = seconds() - start;
  std::printf("  loaded in %.1f s, %.0f MB/s\n", took, megabytes(bytes_in(path)) / took);
  const auto text = text_of(condition).context.dimension(1);
  dit::Workspace workspace(2);
  const auto plan = [&](const dit::Tensor<float, 4>& x) {
    return dit::plan<M>(1, {x.dimension(2), x.dimension(3)}, text, workspace.strands());
  };
  bool good = memory("peak of loading", dit::weight_bytes<M>(), peak_megabytes());

  dit::Conditioned field(*model, condition, workspace);
  std::vector<float> times(28);  // sigma is one of them
  for (std::size_t i = 0; i < times.size(); ++i) times[i] = 1 - static_cast<float>(i) / 28;
  times[10] = sigma;
  start = seconds();
  field.prepare(times);
  std::printf("  prepared %zu steps in %.2f s\n", times.size(), seconds() - start);
  release_modulation(*model);

  for (const std::string size : sizes) {
    const auto x = tensor<4>(io, size + ".x");
    auto v = x;
    const auto step = [&] { field(x, sigma, v); };
    step();
    good &= close<T>("  " + size, v, tensor<4>(io, size + ".out"));
    const double giga = static_cast<double>(plan(x).flops) / 1e9;
    const double peak = dit::bench::peak_of<T>(dit::active_isa(), workspace.executor(), /*tries=*/200);
    const double before = processor_seconds(), time = seconds_of(step);
    const double busy = (processor_seconds() - before) / 3 / workspace.strands();
    std::printf("  a step in %.2f s: %.3f TFLOP, %.0f GFLOP/s, %.0f %% of the peak %.0f", time, giga / 1000,
                giga / time, 100 * giga / time / peak, peak);
    std::printf("; %.2f s of each processor, %.0f %%\n", busy, 100 * giga / busy / peak);
    good &= memory("resident, modulation weights released", plan(x).released(28), resident_megabytes());
    good &= memory("workspace", plan(x).arena, megabytes(workspace.high_water()));
    good &= memory("peak", plan(x).prepared(28), peak_megabytes());
  }
  return good;
}

}  // namespace full_size
