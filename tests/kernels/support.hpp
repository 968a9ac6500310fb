#pragma once
/// What the kernels' tests share: every instruction set that runs here, random operands, arrays between forbidden
/// pages.

#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "dit/core/tensor.hpp"
#include "dit/kernels/gemm.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#define DIT_TEST_PAGES 1
#else
#define DIT_TEST_PAGES 0
#endif

namespace dit::test {

inline std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (const Isa isa : all_isas) {
    if (supports(isa)) all.push_back(isa);
  }
  return all;
}
/// Those that have kernels of their own for T.
template <class T>
std::vector<Isa> isas() {
  std::vector<Isa> own;
  for (const Isa isa : isas()) {
    if (kernels<T>(isa).isa == isa) own.push_back(isa);
  }
  return own;
}
inline std::string text(Isa isa) { return std::string(name(isa)); }

/// Typed tests that run for every type of weights.
using Weights = ::testing::Types<float, double, bf16, int8>;
struct WeightName {
  template <class T>
  static std::string GetName(int) {
    return sizeof(T) == 8 ? "double" : sizeof(T) == 4 ? "float" : sizeof(T) == 2 ? "bf16" : "int8";
  }
};
template <class T>
inline constexpr bool is_int8 = std::is_same_v<T, int8>;

/// With blocks so small that tiny operands have many.
template <class T>
Kernels<T> with_small_blocks(Isa isa) {
  Kernels<T> k = kernels<T>(isa);
  k.blocking = {.depth = 5, .words = 10 * k.panel_rows, .pairs = 2, .keys = 24, .queries = 32, .packed = 1};
  return k;
}

inline std::size_t count(Index n) { return static_cast<std::size_t>(n); }

template <class T>
using Numbers = std::vector<T>;

template <class T>
Numbers<T> random_numbers(Index n, unsigned seed, double scale = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(0, scale);
  Numbers<T> x(count(n));
  for (T& value : x) value = static_cast<T>(normal(engine));
  return x;
}
template <class T>
Numbers<T> random_integers(Index n, unsigned seed, int most) {
  std::mt19937 engine(seed);
  std::uniform_int_distribution<int> uniform(-most, most);
  Numbers<T> x(count(n));
  for (T& value : x) value = static_cast<T>(uniform(engine));
  return x;
}

template <class T>
PackedMatrix<T> packed(const Numbers<real<T>>& w, Index rows, Index depth) {
  PackedMatrix<T> p(rows, depth);
  p.set_rows(0, rows, w.data());
  return p;
}

template <class T>
::testing::AssertionResult same_bits(const T* a, const T* b, Index n) {
  for (Index i = 0; i < n; ++i) {
    if (std::memcmp(a + i, b + i, sizeof(T)) != 0) {
      return ::testing::AssertionFailure() << "number " << i << " is " << a[i] << " and " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}
template <class T>
::testing::AssertionResult same_bits(const Numbers<T>& a, const Numbers<T>& b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << a.size() << " numbers and " << b.size();
  return same_bits(a.data(), b.data(), static_cast<Index>(a.size()));
}

/// Rows of `width` numbers as int8: q = round(x * (127 / max |x|)), to nearest, ties to even, in steps of scale =
/// max |x| / 127, all in float; 0 where 1 / scale would be infinite.
struct Quantised {
  Numbers<std::int32_t> q;
  Numbers<float> scale;

  Quantised(const Numbers<float>& x, Index width) : q(x.size()), scale(width == 0 ? 0 : x.size() / count(width)) {
    for (std::size_t r = 0; r < scale.size(); ++r) {
      const float* const row = x.data() + r * count(width);
      float most = 0;
      for (Index c = 0; c < width; ++c) most = std::max(most, std::abs(row[c]));
      scale[r] = most / 127;
      const float inverse = most > 127 / std::numeric_limits<float>::max() ? 127 / most : 0;
      for (Index c = 0; c < width; ++c) {
        const float scaled = row[c] * inverse;  // rounded to float, whatever the compiler would contract
        q[r * count(width) + count(c)] = static_cast<std::int32_t>(std::nearbyint(scaled));
      }
    }
  }
};

/// What is left of rows of `width` numbers when they are operands of T, exactly: the numbers themselves, or those
/// that they are rounded to.
template <class T>
Numbers<double> seen(const Numbers<real<T>>& x, Index width) {
  Numbers<double> y(x.size());
  if constexpr (is_int8<T>) {
    const Quantised rounded(x, width);
    for (std::size_t i = 0; i < x.size(); ++i) {
      y[i] = static_cast<double>(rounded.q[i]) * static_cast<double>(rounded.scale[i / count(width)]);
    }
  } else {
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = static_cast<double>(static_cast<T>(x[i]));
  }
  return y;
}

/// The same numbers in memory as a model of T stores them.
template <class T>
Numbers<stored<T>> as_stored(const Numbers<real<T>>& x) {
  Numbers<stored<T>> y(x.size());
  convert(x.data(), y.data(), static_cast<Index>(x.size()));
  return y;
}
template <class R, class S>
Numbers<R> widened(const Numbers<S>& x) {
  Numbers<R> y(x.size());
  convert(x.data(), y.data(), static_cast<Index>(x.size()));
  return y;
}

/// Rows of `depth` numbers with `gap` NaN after each.
template <class T>
Numbers<T> with_gaps(const Numbers<T>& x, Index depth, Index gap) {
  const Index rows = static_cast<Index>(x.size()) / depth;
  Numbers<T> wide(count(rows * (depth + gap)), std::numeric_limits<T>::quiet_NaN());
  for (Index r = 0; r < rows; ++r) std::copy_n(&x[count(r * depth)], depth, &wide[count(r * (depth + gap))]);
  return wide;
}

/// sum (a - b)^2 / sum b^2; NaN if anything is.
template <class A, class B>
double nmse(const Numbers<A>& a, const Numbers<B>& b) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    error += d * d;
    size += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return error / size;
}

template <class T>
inline constexpr double eps = static_cast<double>(std::numeric_limits<T>::epsilon());
template <class T>
inline const T nan_of = std::numeric_limits<T>::quiet_NaN();
/// What fills memory that nothing may read: NaN, or bytes that would show.
template <class T>
T poison() {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(0x55555555);
  } else {
    return nan_of<T>;
  }
}

/// n numbers with a page before them or after them that must not be touched. Where there are no pages to forbid,
/// plain memory, which the address sanitizer watches.
enum class Edge { before, after };
template <class T>
class Guarded {
 public:
  Guarded(Index n, Edge edge) : size_(n) {
#if DIT_TEST_PAGES
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = count(n) * sizeof(T), inner = (bytes + page - 1) / page * page;
    mapped_ = inner + 2 * page;
    memory_ = static_cast<char*>(mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory_ == MAP_FAILED || (inner > 0 && mprotect(memory_ + page, inner, PROT_READ | PROT_WRITE) != 0)) {
      throw std::bad_alloc();
    }
    data_ = reinterpret_cast<T*>(memory_ + page + (edge == Edge::before ? 0 : inner - bytes));
#else
    static_cast<void>(edge);
    numbers_.resize(count(n));
    data_ = numbers_.data();
#endif
    std::fill(data_, data_ + n, poison<T>());
  }
  Guarded(const Numbers<T>& values, Edge edge) : Guarded(static_cast<Index>(values.size()), edge) {
    std::copy(values.begin(), values.end(), data_);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
#if DIT_TEST_PAGES
  ~Guarded() { munmap(memory_, mapped_); }
#endif
  T* data() { return data_; }
  Numbers<T> numbers() const { return {data_, data_ + size_}; }

 private:
  T* data_ = nullptr;
  Index size_;
#if DIT_TEST_PAGES
  char* memory_ = nullptr;
  std::size_t mapped_ = 0;
#else
  Numbers<T> numbers_;
#endif
};

/// Runs f on a thread with a stack of 64 KB, or the smallest there is.
template <class F>
void on_a_small_stack(F f) {
#if DIT_TEST_PAGES
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  const std::size_t smallest = static_cast<std::size_t>(PTHREAD_STACK_MIN);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, std::max<std::size_t>(64 * 1024, smallest)), 0);
  pthread_t thread;
  const auto start = [](void* p) -> void* {
    (*static_cast<F*>(p))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, start, &f), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
#else
  f();
#endif
}

}  // namespace dit::test
