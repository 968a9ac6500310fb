#pragma once
/// What the kernels' tests share: every instruction set that runs here, random operands, arrays between forbidden
/// pages.

#include <gtest/gtest.h>

#include <algorithm>
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

// Sanitizers end the program where an allocation is too large for them.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DIT_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define DIT_TEST_SANITIZED 1
#endif
#endif

namespace dit::test {

inline std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (supports(isa)) all.push_back(isa);
  }
  return all;
}
inline std::string text(Isa isa) { return std::string(name(isa)); }

/// With blocks so small that tiny operands have many.
template <class T>
Kernels<T> with_small_blocks(Isa isa) {
  Kernels<T> k = kernels<T>(isa);
  k.blocking = {.depth = 5, .numbers = 10 * k.panel_rows, .pairs = 2, .keys = 24, .queries = 32, .packed = 1};
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
PackedMatrix<T> packed(const Numbers<T>& w, Index rows, Index depth) {
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
inline constexpr T nan_of = std::numeric_limits<T>::quiet_NaN();

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
    std::fill(data_, data_ + n, nan_of<T>);
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

/// Runs f on a thread with a stack of 64 KB.
template <class F>
void on_a_small_stack(F f) {
#if DIT_TEST_PAGES
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, 64 * 1024), 0);
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
