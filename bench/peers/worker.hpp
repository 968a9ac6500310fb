#pragma once
/// What every C++ contender shares: the numbers that it works on, and the conversation with compare.py.
///
/// One request a line, one answer a line (README.md, "Workers"):
///     prepare FILE CASE    -> ok SECONDS, the output as float32 in FILE
///     run CASE             -> ok SECONDS
///     clear                -> ok 0
/// CASE is `kind dtype variant size...`. What cannot be done is answered with `absent REASON`.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace peers {

/// The numbers of weights and inputs: every tensor is this table over and over, in [-0.05, 0.05).
constexpr std::size_t period = 1048573;
inline const std::vector<float>& table() {
  static const std::vector<float> numbers = [] {
    std::vector<float> t(period);
    for (std::uint32_t i = 0; i < period; ++i) {
      std::uint32_t h = i * 0x9E3779B1u;
      h = (h ^ (h >> 15)) * 0x85EBCA77u;
      h = (h ^ (h >> 13)) * 0xC2B2AE3Du;
      h ^= h >> 16;
      t[i] = (static_cast<float>(h >> 8) * 0x1p-24f - 0.5f) * 0.1f;
    }
    return t;
  }();
  return numbers;
}

inline std::vector<float> numbers(long count, float scale = 1) {
  std::vector<float> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = scale * table()[i % period];
  return x;
}

/// Where a model's tensor starts in the table: FNV-1a of its name.
inline std::size_t start(const std::string& name) {
  std::uint32_t h = 2166136261u;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
  return h % period;
}

/// Activations are spread over [-1, 1).
constexpr float activations = 20;

struct Case {
  std::string kind, dtype, variant;
  std::vector<long> sizes;
  long size(std::size_t i) const {
    if (i >= sizes.size()) throw std::runtime_error("a size is missing");
    return sizes[i];
  }
};

/// A case that is ready to run.
struct Job {
  std::function<void()> reset = [] {};  ///< puts back the input where `run` overwrites it, outside the timing
  std::function<void()> run;
  std::function<std::vector<float>()> output = [] { return std::vector<float>(); };
  std::function<double()> measure;  ///< in place of `run` and the clock
};

[[noreturn]] inline void absent(const std::string& reason) { throw std::runtime_error(reason); }

inline double timed(Job& job) {
  job.reset();
  const auto start = std::chrono::steady_clock::now();
  job.run();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  return time.count();
}

/// The median of as many runs as fit a tenth of a second; one at least, a thousand at most.
inline double median_time(Job& job) {
  if (job.measure) return job.measure();
  std::vector<double> times;
  double total = 0;
  do {
    times.push_back(timed(job));
    total += times.back();
  } while (total < 0.1 && times.size() < 1000);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

inline void write(const std::string& path, const std::vector<float>& values) {
  if (path == "-") return;
  if (std::FILE* file = std::fopen(path.c_str(), "wb")) {
    std::fwrite(values.data(), sizeof(float), values.size(), file);
    std::fclose(file);
  }
}

/// Says `versions` and then answers until the input ends.
inline int serve(const std::string& versions, const std::function<Job(const Case&)>& make) {
  std::map<std::string, Job> jobs;
  std::cout << versions << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb, file, key;
    words >> verb;
    try {
      double seconds = 0;
      if (verb == "clear") {
        jobs.clear();
      } else {
        if (verb == "prepare") words >> file;
        std::getline(words >> std::ws, key);
        std::istringstream rest(key);
        Case c;
        rest >> c.kind >> c.dtype >> c.variant;
        for (long n; rest >> n;) c.sizes.push_back(n);
        if (verb == "prepare") {
          Job& job = jobs[key] = make(c);
          if (job.run) {  // the first run makes threads and memory
            timed(job);
            write(file, job.output());
          }
          seconds = median_time(job);
        } else {
          seconds = median_time(jobs.at(key));
        }
      }
      std::cout << "ok " << seconds << std::endl;
    } catch (const std::exception& error) {
      jobs.erase(key);
      std::cout << "absent " << error.what() << std::endl;
    }
  }
  return 0;
}

/// y [m, n] = x [m, k] W^T, W [n, k]: the product that every contender computes.
struct Gemm {
  long m, k, n;
  explicit Gemm(const Case& c) : m(c.size(0)), k(c.size(1)), n(c.size(2)) {}
  std::vector<float> x() const { return numbers(m * k, activations); }
  std::vector<float> w() const { return numbers(n * k); }
};

}  // namespace peers
