#pragma once
/// What the tests of the samplers share: fields, noise, and comparisons of views. Core only, so they compile
/// quickly.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "dit/core/tensor.hpp"

namespace sampling_test {

using dit::Index;
using dit::Shape;
using dit::View;

/// Normal numbers that depend on the seed alone.
template <class T, std::size_t rank>
dit::Tensor<T, static_cast<int>(rank)> random_tensor(const Shape<rank>& shape, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  dit::Tensor<T, static_cast<int>(rank)> tensor(shape);
  std::generate_n(tensor.data(), tensor.size(), [&] { return static_cast<T>(normal(generator)); });
  return tensor;
}

/// The name of the error that f throws, or "none".
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const dit::Error& error) {
    return std::string(name(error.code()));
  }
  return "none";
}

/// The same shape and the same bits.
template <class A, class B>
bool same_bits(const A& a, const B& b) {
  const View x(a);
  const View y(b);
  return x.shape == y.shape &&
         std::memcmp(x.data, y.data, sizeof(*x.data) * static_cast<std::size_t>(x.size())) == 0;
}

/// max |a - b|, infinite where one is not a number.
template <class A, class B>
double distance(const A& a, const B& b) {
  const View x(a);
  const View y(b);
  double most = x.shape == y.shape ? 0 : INFINITY;
  for (Index i = 0; i < std::min(x.size(), y.size()); ++i) {
    const double d = std::abs(static_cast<double>(x.data[i]) - static_cast<double>(y.data[i]));
    most = d <= most ? most : std::isnan(d) ? INFINITY : d;
  }
  return most;
}

/// max |a|
template <class A>
double magnitude(const A& a) {
  double most = 0;
  const View x(a);
  for (const auto value : x) most = std::max(most, std::abs(static_cast<double>(value)));
  return most;
}

/// A nonlinear field that depends on every number of an item, on time and on nothing else of the batch. Works at
/// any rank, for float and integer times, and for outputs with more channels than the state.
struct Mixer {
  double seed = 1;
  template <class T, std::size_t rank, class Time>
  void operator()(View<const T, rank> x, Time t, View<T, rank> out) const {
    const Index items = x.shape[0], size = x.size() / items, wide = out.size() / items;
    const T time =
        static_cast<T>(std::is_integral_v<Time> ? static_cast<double>(t) / 1000 : static_cast<double>(t));
    for (Index item = 0; item < items; ++item) {
      T sum = 0;
      for (Index i = 0; i < size; ++i) sum += x.data[item * size + i];
      for (Index i = 0; i < wide; ++i) {
        const T value = x.data[item * size + i % size];
        out.data[item * wide + i] = std::sin(static_cast<T>(seed) * value + sum * time + static_cast<T>(i));
      }
    }
  }
};

/// A generator of normal noise that can be copied, as any sampler's can.
struct Draw {
  std::mt19937_64 generator{1};
  int calls = 0;
  template <class T, std::size_t rank>
  void operator()(View<T, rank> noise) {
    ++calls;
    std::normal_distribution<double> normal;
    std::generate(noise.begin(), noise.end(), [&] { return static_cast<T>(normal(generator)); });
  }
};

}  // namespace sampling_test
