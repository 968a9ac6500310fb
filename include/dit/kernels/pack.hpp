#pragma once
/// The two layouts that the micro-kernels read: weights in strips, activations in panels.

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#include "dit/core/eigen.hpp"
#include "dit/core/error.hpp"
#include "dit/core/memory.hpp"
#include "dit/core/scalar.hpp"

namespace dit::inline DIT_ABI {

/// Outputs in a strip: with floats one cache line per step of k, whatever the machine.
inline constexpr Index strip_width = 16;

/// A weight matrix W [rows, depth] as the GEMM reads it: [ceil(rows / 16)][depth][16], zero where rows run out.
/// One layout for all instruction sets, so a packed model moves between them and its size is known to the compiler.
template <class T>
class PackedMatrix {
 public:
  static constexpr std::size_t bytes(Index rows, Index depth) {
    return static_cast<std::size_t>((rows + strip_width - 1) / strip_width * strip_width * depth) * sizeof(T);
  }

  PackedMatrix() = default;
  PackedMatrix(Index rows, Index depth);  // zeroed

  bool empty() const noexcept { return !data_; }
  Index rows() const noexcept { return rows_; }
  Index depth() const noexcept { return depth_; }
  Index strips() const noexcept { return (rows_ + strip_width - 1) / strip_width; }
  const T* strip(Index s) const noexcept { return data_.get() + s * depth_ * strip_width; }

  /// Rows [first, first + count) from row-major [count, depth].
  void set_rows(Index first, Index count, const real<T>* source);
  /// The same back, exactly as they were set.
  void get_rows(Index first, Index count, real<T>* target) const;

 private:
  /// f(place in its strip, row - first, k, n) for runs of at most 16 k of every row, in an order that stays in L1.
  template <class F>
  void for_each_run(Index first, Index count, F&& f) const {
    for (Index row = first; row < first + count;) {
      const Index lane = row % strip_width, rows_here = std::min(strip_width - lane, first + count - row);
      T* const strip = data_.get() + (row / strip_width * depth_) * strip_width;
      for (Index k = 0; k < depth_; k += 16) {
        for (Index r = 0; r < rows_here; ++r) {
          f(strip + k * strip_width + lane + r, row - first + r, k, std::min<Index>(16, depth_ - k));
        }
      }
      row += rows_here;
    }
  }

  struct Free {
    void operator()(T* p) const noexcept { ::operator delete[](p, std::align_val_t(64)); }
  };
  std::unique_ptr<T[], Free> data_;
  Index rows_ = 0, depth_ = 0;
};

template <class T>
PackedMatrix<T>::PackedMatrix(Index rows, Index depth) : rows_(rows), depth_(depth) {
  try {
    data_.reset(static_cast<T*>(::operator new[](bytes(rows, depth), std::align_val_t(64))));
  } catch (const std::bad_alloc&) {
    throw Error(errc::out_of_memory,
                "no memory for a packed matrix of " + std::to_string(bytes(rows, depth)) + " bytes");
  }
  prefer_large_pages(data_.get(), bytes(rows, depth));
  for (Index i = 0; i < strips() * strip_width * depth; ++i) data_[static_cast<std::size_t>(i)] = T{};
}

template <class T>
void PackedMatrix<T>::set_rows(Index first, Index count, const real<T>* source) {
  for_each_run(first, count, [&](T* strip, Index row, Index begin, Index n) {
    for (Index k = 0; k < n; ++k) strip[k * strip_width] = static_cast<T>(source[row * depth_ + begin + k]);
  });
}

template <class T>
void PackedMatrix<T>::get_rows(Index first, Index count, real<T>* target) const {
  for_each_run(first, count, [&](const T* strip, Index row, Index begin, Index n) {
    for (Index k = 0; k < n; ++k) target[row * depth_ + begin + k] = static_cast<real<T>>(strip[k * strip_width]);
  });
}

}  // namespace dit::inline DIT_ABI
