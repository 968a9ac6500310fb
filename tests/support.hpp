#pragma once
/// What the tests of the floors share: goldens, seeded numbers, and comparisons that a NaN fails.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "dit/core/error.hpp"
#include "dit/core/scalar.hpp"
#include "dit/core/tensor.hpp"
#include "dit/core/workspace.hpp"
#include "dit/io/load.hpp"

namespace support {

using dit::errc;
using dit::Index;
using dit::Shape;
using dit::Tensor;
using dit::Tokens;
using dit::View;
using dit::Workspace;

inline std::filesystem::path golden_path(const std::string& name) {
  return std::filesystem::path(DIT_GOLDEN_DIR) / name;
}

/// One golden file (tests/golden/README.md says what is in each); a name that is not there ends the test.
class Golden {
 public:
  explicit Golden(const std::string& name) : file_(dit::Safetensors::open(golden_path(name + ".safetensors"))) {}

  template <class R>
  std::vector<R> values(const std::string& name) const {
    return file_.read<R>(info(name));
  }
  template <class R, int rank>
  Tensor<R, rank> tensor(const std::string& name) const {
    const dit::TensorInfo found = info(name);
    EXPECT_EQ(found.shape.size(), std::size_t{rank}) << name;
    std::array<Index, rank> shape{};
    std::copy(found.shape.begin(), found.shape.end(), shape.begin());
    Tensor<R, rank> tensor(shape);
    file_.read_rows(found, 0, found.shape[0], tensor.data());
    return tensor;
  }
  /// u8 in the file
  template <class R, int rank>
  Tensor<R, rank> bytes(const std::string& name) const {
    const dit::TensorInfo found = info(name);
    std::vector<std::byte> raw(static_cast<std::size_t>(found.end - found.begin));
    file_.read_bytes(found, 0, raw.size(), raw.data());
    std::array<Index, rank> shape{};
    std::copy(found.shape.begin(), found.shape.end(), shape.begin());
    Tensor<R, rank> tensor(shape);
    std::transform(raw.begin(), raw.end(), tensor.data(), [](std::byte b) { return static_cast<R>(b); });
    return tensor;
  }
  /// int64 in the file
  std::vector<int> integers(const std::string& name) const {
    const dit::TensorInfo found = info(name);
    std::vector<std::int64_t> wide((found.end - found.begin) / sizeof(std::int64_t));
    file_.read_bytes(found, 0, found.end - found.begin, reinterpret_cast<std::byte*>(wide.data()));
    return {wide.begin(), wide.end()};
  }

 private:
  dit::TensorInfo info(const std::string& name) const {
    const auto i = file_.find(name);
    if (!i) throw std::runtime_error("no golden tensor " + name + " in " + file_.file());
    return file_[*i];
  }
  dit::Safetensors file_;
};

/// The golden weights of a model, or of a layer alone.
template <class M>
M golden_model(const std::string& name) {
  return dit::load<M>(golden_path(name + ".safetensors"));
}

/// Numbers that depend on the seed alone: normal, or in [-1, 1).
template <class T>
std::vector<T> normal(Index n, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> draw;
  std::vector<T> x(static_cast<std::size_t>(n));
  for (T& value : x) value = static_cast<T>(draw(generator));
  return x;
}
template <class T, std::size_t rank>
Tensor<T, static_cast<int>(rank)> normal(const Shape<rank>& shape, unsigned seed) {
  Tensor<T, static_cast<int>(rank)> tensor(shape);
  const auto x = normal<T>(dit::size(shape), seed);
  std::copy(x.begin(), x.end(), tensor.data());
  return tensor;
}

/// Random weights for any module: matrices keep their input's size, biases are small, nothing is zero.
template <class M>
void randomise(M& model, unsigned seed) {
  std::mt19937_64 generator(seed);
  dit::fill(model, [&generator]<class P>(const dit::Path&, const P&) {
    const double scale = P::shape.size() > 1 ? 1 / std::sqrt(static_cast<double>(P::row_size)) : 0.2;
    return [&generator, scale] { return scale * std::normal_distribution<double>()(generator); };
  });
}
template <class M>
M random_model(unsigned seed) {
  M model;
  randomise(model, seed);
  return model;
}

/// A module as tokens see it: [B, N, width] or [B, width].
template <int width, class T>
Tokens<T, width> tokens(Tensor<T, 3>& x) {
  EXPECT_EQ(x.dimension(2), width);
  return {x.data(), x.dimension(0), x.dimension(1)};
}
template <int width, class T>
Tokens<T, width> tokens(Tensor<T, 2>& x) {
  EXPECT_EQ(x.dimension(1), width);
  return {x.data(), x.dimension(0), 1};
}

/// The largest difference, and the squared error over the squared size.
struct Distance {
  double max = 0, nmse = 0;
};
/// Of anything with data() and size(). NaN anywhere gives NaN; infinities must match.
template <class A, class B>
Distance distance(const A& got, const B& reference) {
  EXPECT_EQ(static_cast<Index>(got.size()), static_cast<Index>(reference.size()));
  Distance d;
  double error = 0, size = 0;
  for (Index i = 0; i < static_cast<Index>(reference.size()); ++i) {
    const double a = static_cast<double>(got.data()[i]), b = static_cast<double>(reference.data()[i]);
    const double difference = a == b ? 0 : std::abs(a - b);
    if (!std::isnan(d.max) && !(difference <= d.max)) d.max = difference;
    error += difference * difference;
    size += b * b;
  }
  d.nmse = error == 0 ? 0 : error / size;
  return d;
}

/// Both must hold.
struct Bound {
  double max, nmse;
};
/// The tolerances of the numerics table for float; in double the same with the other's rounding, 2^-29 of float's.
template <class T>
constexpr Bound rounded(Bound in_float) {
  constexpr double ratio = sizeof(T) == 8 ? 0x1p-29 : 1;
  return {in_float.max * ratio, in_float.nmse * ratio * ratio};
}
template <class T>
inline constexpr Bound one_layer = rounded<T>({2e-5, 1e-10});
template <class T>
inline constexpr Bound whole_model = rounded<T>({1e-4, 1e-9});

/// DIT_MEASURE=1 in the environment prints what was measured.
inline testing::AssertionResult within(const Distance& d, Bound bound) {
  char text[160];
  std::snprintf(text, sizeof text, "max %.2e of %.2e, NMSE %.2e of %.2e", d.max, bound.max, d.nmse, bound.nmse);
  if (std::getenv("DIT_MEASURE") != nullptr) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    std::printf("%s.%s: %s\n", test->test_suite_name(), test->name(), text);
  }
  if (d.max <= bound.max && d.nmse <= bound.nmse) return testing::AssertionSuccess();
  return testing::AssertionFailure() << text;
}
/// EXPECT_TRUE(close(got, reference, bound))
template <class A, class B>
testing::AssertionResult close(const A& got, const B& reference, Bound bound) {
  return within(distance(got, reference), bound);
}

/// What weights of bf16 and int8 may cost: the squared error over the squared size. A product of rounded operands
/// errs by 1.3e-6 (bf16: 2 of 2^-9 / sqrt(3) at most, squared) or 9e-5 (int8: 2 of 3 / 127 / sqrt(12), squared,
/// where the largest number is three times the usual one); a block has four in a row, the small models ten to
/// twenty, a decoder thirty. That is a tenth of what the numerics table allows to whole models, and a fifth of what
/// it allows to a block of int8, so a bit that is lost shows: it makes the error four times as large.
template <class T>
inline constexpr double one_rounded_layer = std::is_same_v<T, dit::bf16> ? 5e-5 : 1e-3;
template <class T>
inline constexpr double whole_rounded_model = std::is_same_v<T, dit::bf16> ? 2e-4 : 2e-3;

/// EXPECT_TRUE(close_after_rounding(got, reference, whole_rounded_model<T>)): of every sample, and no number is
/// further off than eight times what that leaves to each, as errors of many roundings are not. Nothing may be as
/// near as float is, or nothing was rounded.
template <class T, class U, int rank>
testing::AssertionResult close_after_rounding(const Tensor<T, rank>& got, const Tensor<U, rank>& reference,
                                              double nmse) {
  if (got.size() != reference.size()) return testing::AssertionFailure() << "not as many numbers";
  const std::size_t samples = static_cast<std::size_t>(reference.dimension(0)),
                    size = static_cast<std::size_t>(reference.size()) / samples;
  for (std::size_t sample = 0; sample < samples; ++sample) {
    const std::span a(got.data() + sample * size, size);
    const std::span b(reference.data() + sample * size, size);
    double squares = 0;
    for (const U x : b) squares += static_cast<double>(x) * static_cast<double>(x);
    const Distance d = distance(a, b);
    const auto result = within(d, {8 * std::sqrt(nmse * squares / static_cast<double>(size)), nmse});
    if (!result) return testing::AssertionFailure() << "sample " << sample << ": " << result.message();
    if (d.nmse < 1e-9) return testing::AssertionFailure() << "sample " << sample << " was not rounded";
  }
  return testing::AssertionSuccess();
}

/// EXPECT_TRUE(same_bits(a, b)): the same number of numbers, and every bit of them.
template <class A, class B>
testing::AssertionResult same_bits(const A& a, const B& b) {
  using T = std::remove_cvref_t<decltype(*a.data())>;
  using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
  static_assert(std::is_same_v<T, std::remove_cvref_t<decltype(*b.data())>>);
  if (static_cast<Index>(a.size()) != static_cast<Index>(b.size())) {
    return testing::AssertionFailure() << a.size() << " numbers against " << b.size();
  }
  Index different = 0, first = 0;
  for (Index i = static_cast<Index>(a.size()); i-- > 0;) {
    if (std::bit_cast<Bits>(a.data()[i]) == std::bit_cast<Bits>(b.data()[i])) continue;
    ++different;
    first = i;
  }
  if (different == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << different << " of " << a.size() << " numbers differ, first at " << first
                                     << ": " << a.data()[first] << " against " << b.data()[first];
}

/// The code of the Error that f throws, if it does.
template <class F>
std::optional<errc> error_of(F&& f) {
  try {
    f();
  } catch (const dit::Error& error) {
    return error.code();
  }
  return std::nullopt;
}
#define EXPECT_ERROR(expected_code, ...)                                                                      \
  do {                                                                                                        \
    const auto thrown_code = support::error_of([&] { __VA_ARGS__; });                                         \
    EXPECT_TRUE(thrown_code == expected_code)                                                                 \
        << "expected " << name(expected_code) << ", got " << (thrown_code ? name(*thrown_code) : "no error"); \
  } while (false)

/// Typed tests that run in float and double; with weights that are rounded.
using Scalars = testing::Types<float, double>;
using RoundedScalars = testing::Types<dit::bf16, dit::int8>;
struct ScalarName {
  template <class T>
  static std::string GetName(int) {
    return sizeof(T) == 8 ? "double" : sizeof(T) == 4 ? "float" : sizeof(T) == 2 ? "bf16" : "int8";
  }
};
/// Of models, by their family.
struct ModelName {
  template <class M>
  static std::string GetName(int) {
    std::string name(M::family);
    name += "_";
    name += ScalarName::GetName<dit::scalar_of<M>>(0);  // g++ 12 takes a sum of strings for an overflow
    return name;
  }
};

}  // namespace support
