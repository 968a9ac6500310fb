#pragma once
/// What the tests of the GEMM share: the double loop, and how far a product may be from it.

#include "kernels/support.hpp"

namespace dit::test {

/// A W^T, and sum |a w|, from which the error bound follows.
struct Reference {
  Numbers<double> y, size;
};
/// Of any numbers, in double or better.
template <class A>
Reference loop(const Numbers<A>& a, const Numbers<A>& w, Index rows, Index depth, Index outputs) {
  using Wide = std::conditional_t<std::is_same_v<A, double>, long double, double>;
  Reference r{Numbers<double>(count(rows * outputs)), Numbers<double>(count(rows * outputs))};
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < outputs; ++j) {
      Wide sum = 0, absolute = 0;
      for (Index k = 0; k < depth; ++k) {
        const Wide term = static_cast<Wide>(a[count(i * depth + k)]) * static_cast<Wide>(w[count(j * depth + k)]);
        sum += term;
        absolute += std::abs(term);
      }
      r.y[count(i * outputs + j)] = static_cast<double>(sum);
      r.size[count(i * outputs + j)] = static_cast<double>(absolute);
    }
  }
  return r;
}

/// Of the operands that a GEMM of T sees. Products of two floats are exact in double, which leaves its sums room to
/// spare; doubles take long ones.
template <class T>
Reference reference(const Numbers<real<T>>& a, const Numbers<real<T>>& w, Index rows, Index depth, Index outputs) {
  const auto floats = [](const auto& x) { return Numbers<float>(x.begin(), x.end()); };
  if constexpr (std::is_same_v<T, double>) {
    return loop(a, w, rows, depth, outputs);
  } else if constexpr (!is_int8<T>) {
    return loop(floats(seen<T>(a, depth)), floats(seen<T>(w, depth)), rows, depth, outputs);
  } else {  // integers first, exactly, and the scales once
    const Quantised qa(a, depth), qw(w, depth);
    Reference r = loop(floats(qa.q), floats(qw.q), rows, depth, outputs);
    for (std::size_t i = 0; i < r.y.size(); ++i) {
      const double scale =
          static_cast<double>(qa.scale[i / count(outputs)]) * static_cast<double>(qw.scale[i % count(outputs)]);
      r.y[i] *= scale;
      r.size[i] *= scale;
    }
    return r;
  }
}

/// depth roundings of partial sums, each below sum |a w|, and 8 more for good measure: (K + 8) eps sum |a w|. Sums
/// of int8 are exact: 2 units in the last place for the three roundings that make a float of one.
template <class T>
void expect_product(const Numbers<real<T>>& y, const Reference& exact, Index depth) {
  constexpr double unit = eps<real<T>>;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double error = std::abs(static_cast<double>(y[i]) - exact.y[i]);
    const double most =
        is_int8<T> ? 2 * unit * std::abs(exact.y[i])
                   : (static_cast<double>(depth) + 8) * unit * exact.size[i] + std::abs(exact.y[i]) * 1e-16;
    ASSERT_TRUE(error <= most) << "element " << i << ": " << y[i] << " instead of " << exact.y[i];
  }
}

template <class T>
Numbers<real<T>> product(const Numbers<real<T>>& a, const PackedMatrix<T>& w, Workspace& workspace,
                         const Kernels<T>& k) {
  using R = real<T>;
  const Index rows = static_cast<Index>(a.size()) / w.depth();
  Numbers<R> y(count(rows * w.rows()), nan_of<R>);
  gemm(RowsSource<R>{a.data(), rows, w.depth()}, w, StoreSink<R>{y.data(), w.rows()}, workspace, k);
  return y;
}

/// Integers that every T holds exactly, also as int8, whose scale is 1 if every row has a 127.
template <class T>
Numbers<real<T>> whole_numbers(Index rows, Index width, unsigned seed) {
  auto x = random_integers<real<T>>(rows * width, seed, 100);
  for (Index r = 0; r < rows && width > 0; ++r) x[count(r * width)] = 127;
  return x;
}

}  // namespace dit::test
