#pragma once
/// What the full-size checks share.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "dit/io/load.hpp"

namespace full_size {

using dit::Index;

inline double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The least of three runs, after one that warms up.
template <class F>
double seconds_of(F&& f) {
  double least = INFINITY;
  f();
  for (int i = 0; i < 3; ++i) {
    const double start = seconds();
    f();
    least = std::min(least, seconds() - start);
  }
  return least;
}

inline double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}
constexpr double megabytes(std::size_t bytes) { return static_cast<double>(bytes) / 1048576; }

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

/// Max-abs and normalised squared error within the bounds for a whole model in float32; NaN is not.
template <class Out, class Expected>
bool close(const std::string& what, const Out& out, const Expected& expected) {
  double largest = 0, error = 0, norm = 0;
  for (Index i = 0; i < expected.size(); ++i) {
    const double a = static_cast<double>(out.data()[i]), b = static_cast<double>(expected.data()[i]);
    if (!(std::abs(a - b) <= largest)) largest = std::abs(a - b);
    error += (a - b) * (a - b);
    norm += b * b;
  }
  std::printf("%-28s max |error| %.2e of rms %.2f, NMSE %.2e\n", what.c_str(), largest,
              std::sqrt(norm / static_cast<double>(expected.size())), error / norm);
  return out.size() == expected.size() && largest <= 1e-3 && error / norm <= 1e-9;
}

}  // namespace full_size
