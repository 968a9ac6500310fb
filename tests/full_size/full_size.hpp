#pragma once
/// What the full-size checks share.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "dit/io/load.hpp"

namespace full_size {

using dit::Index;

inline double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Of all threads of this process: what a step takes while others use the machine, too.
inline double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

/// The median of three runs. The caller has run it once already, for its result.
template <class F>
double seconds_of(F&& f) {
  double times[3];
  for (double& time : times) {
    const double start = seconds();
    f();
    time = seconds() - start;
  }
  std::sort(times, times + 3);
  return times[1];
}

inline double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}
/// Of physical memory, now.
inline double resident_megabytes() {
  long pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1048576;
}
constexpr double megabytes(std::uint64_t bytes) { return static_cast<double>(bytes) / 1048576; }

template <std::size_t rank>
dit::Tensor<float, static_cast<int>(rank)> tensor(const dit::Safetensors& file, const std::string& name) {
  const auto found = file.find(name);
  if (!found) throw std::runtime_error("no tensor " + name + " in " + file.file());
  const auto info = file[*found];
  dit::Shape<rank> shape{};
  for (std::size_t i = 0; i < rank; ++i) shape[i] = static_cast<Index>(info.shape[i]);
  dit::Tensor<float, static_cast<int>(rank)> values(shape);
  file.read_rows(info, 0, info.shape[0], values.data());
  return values;
}

/// What a whole model may be off by: at its worst place, and in squared error over squared size.
struct Bounds {
  double largest, nmse;
};

/// Those of a model whose weights are T. Rounding errors spread evenly: of ten million, none is six times their
/// root mean square, while a token gone wrong is; `rms` is the size of what is expected.
template <class T>
Bounds bounds(double rms) {
  if (std::is_same_v<T, float>) return {1e-3, 1e-9};
  const double nmse = std::is_same_v<T, dit::bf16> ? 2e-3 : 2e-2;
  return {6 * std::sqrt(nmse) * rms, nmse};
}

/// Whether they agree as well as a model with weights T can; NaN does not.
template <class T = float, class Out, class Expected>
bool close(const std::string& what, const Out& out, const Expected& expected) {
  double largest = 0, error = 0, norm = 0;
  for (Index i = 0; i < expected.size(); ++i) {
    const double a = static_cast<double>(out.data()[i]), b = static_cast<double>(expected.data()[i]);
    if (!(std::abs(a - b) <= largest)) largest = std::abs(a - b);
    error += (a - b) * (a - b);
    norm += b * b;
  }
  const double rms = std::sqrt(norm / static_cast<double>(expected.size()));
  const Bounds allowed = bounds<T>(rms);
  const bool good = out.size() == expected.size() && largest <= allowed.largest && error / norm <= allowed.nmse;
  std::printf("%-28s max |error| %.2e of rms %.2f, NMSE %.2e%s\n", what.c_str(), largest, rms, error / norm,
              good ? "" : ": TOO FAR OFF");
  return good;
}

/// f.operator()<T>() for the scalar of that name.
template <class F>
bool with_scalar(const std::string& name, F&& f) {
  if (name == "float") return f.template operator()<float>();
  if (name == "bf16") return f.template operator()<dit::bf16>();
  if (name == "int8") return f.template operator()<dit::int8>();
  throw std::runtime_error("float, bf16 or int8, not " + name);
}

}  // namespace full_size
