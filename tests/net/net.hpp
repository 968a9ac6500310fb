#pragma once
/// Cases of the net: what the library computes from numbers that do not depend on its revision. Every case prints a
/// line; run.sh compares the lines of two revisions.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "adapter.hpp"

namespace net {

/// 64-bit FNV-1a
class Hash {
 public:
  void add(const void* data, std::size_t bytes) {
    const auto* byte = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < bytes; ++i) value_ = (value_ ^ byte[i]) * 1099511628211ULL;
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 14695981039346656037ULL;
};

/// Uniform numbers in [-1, 1): each depends on the name and on its index, nothing else.
class Numbers {
 public:
  explicit Numbers(std::string_view name) {
    Hash hash;
    hash.add(name.data(), name.size());
    seed_ = hash.value();
  }
  double next() {  // splitmix64
    std::uint64_t bits = seed_ + ++index_ * 0x9e3779b97f4a7c15ULL;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9ULL;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebULL;
    bits ^= bits >> 31;
    return static_cast<double>(static_cast<std::int64_t>(bits) >> 11) * 0x1p-52;
  }

 private:
  std::uint64_t seed_, index_ = 0;
};

/// Numbers of one parameter: matrices keep the size of their input, norms are near 1, biases are small. Factors are
/// powers of two, so that no compiler rounds in another way.
class Weights {
 public:
  Weights(const std::string& name, std::size_t rank, Index row_size) : numbers_(name) {
    if (rank > 1) {
      factor_ = 1;
      while (factor_ * factor_ * static_cast<double>(row_size) > 3) factor_ /= 2;
    } else if (!name.ends_with("bias")) {
      centre_ = 1;
    }
  }
  double operator()() { return centre_ + factor_ * numbers_.next(); }

 private:
  Numbers numbers_;
  double centre_ = 0, factor_ = 0.25;
};

template <class Model>
Model filled() {
  Model model{};
  dit::fill(model, [](const dit::Path& path, const auto& parameter) {
    return Weights(path.str(), parameter.shape.size(), parameter.size / parameter.shape[0]);
  });
  return model;
}

template <class R, std::size_t rank>
Tensor<R, static_cast<int>(rank)> tensor(std::string_view name, const Shape<rank>& shape) {
  Tensor<R, static_cast<int>(rank)> numbers(shape);
  Numbers generator(name);
  for (Index i = 0; i < numbers.size(); ++i) numbers.data()[i] = static_cast<R>(2 * generator.next());
  return numbers;
}

/// The name of a case at a size.
inline std::string sized(const std::string& name, Shape<2> size) {
  return name + "/" + std::to_string(size[0]) + "x" + std::to_string(size[1]);
}

/// Results, one after the other.
template <class R>
class Results {
 public:
  template <class... Tensors>
  explicit Results(const Tensors&... tensors) {
    (add(tensors), ...);
  }
  template <class Dense>
  void add(const Dense& tensor) {
    values_.insert(values_.end(), tensor.data(), tensor.data() + tensor.size());
  }
  const std::vector<R>& values() const { return values_; }

 private:
  std::vector<R> values_;
};

/// "name threads batch count hash". A result that is not finite, or one number again and again, ends the program.
template <class R>
void print(const std::string& name, int threads, Index batch, const std::vector<R>& result);
extern template void print(const std::string&, int, Index, const std::vector<float>&);
extern template void print(const std::string&, int, Index, const std::vector<double>&);

template <class T>
inline constexpr std::string_view type_name = std::is_same_v<T, double>      ? "double"
                                              : std::is_same_v<T, float>     ? "float"
                                              : std::is_same_v<T, dit::bf16> ? "bf16"
                                                                             : "int8";

/// One case: what `result(workspace, batch)` gives, a Tensor or Results, for every number of threads and samples.
/// Numbers left in the workspace by others are NaN.
template <class T, class F>
void compute(const std::string& name, F&& result) {
  for (const int threads : {1, 2}) {
    for (const Index batch : {1, 3}) {
      Workspace workspace(threads);
      {
        constexpr Index bytes = Index{1} << 20;
        const auto scope = workspace.scope();
        std::memset(workspace.take<unsigned char>(bytes), 0xff, static_cast<std::size_t>(bytes));
      }
      const Results<Real<T>> results = [&] {
        auto made = result(workspace, batch);
        if constexpr (std::is_same_v<decltype(made), Results<Real<T>>>) {
          return made;
        } else {
          return Results<Real<T>>(made);
        }
      }();
      print(std::string(type_name<T>) + "/" + name, threads, batch, results.values());
    }
  }
}

/// Cases that main runs; every file has some.
void add_cases(void (*cases)());
struct Cases {
  explicit Cases(void (*cases)()) { add_cases(cases); }
};

}  // namespace net
