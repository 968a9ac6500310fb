#pragma once
/// Weights as the micro-kernels read them: in strips.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "dit/core/error.hpp"
#include "dit/core/memory.hpp"
#include "dit/kernels/kernels.hpp"

namespace dit { inline namespace DIT_ABI {

/// A weight matrix W [rows, depth] as the GEMM reads it: [ceil(rows / 16)][words(depth)][16] words, zero where rows
/// or numbers run out. One layout for all instruction sets, so a packed model moves between them and its size is
/// known to the compiler.
///
/// With T = int8 row n is kept as q = round(W / scale[n]) with scale[n] = max |W[n]| / 127, and beside the numbers
/// lie scale[n] and correction[n] = -128 sum_k q[n, k], which takes back what kernels add that know only unsigned
/// bytes. A row with a NaN or an infinity has no finite scale and gives no finite product.
template <class T>
class PackedMatrix {
  static constexpr bool quantised = std::is_same_v<T, int8>;

 public:
  using R = real<T>;
  /// What rows consist of on their way in and out when nothing is to be rounded, but to int8.
  using Unpacked = std::conditional_t<quantised, R, T>;
  template <class S>
  static constexpr bool is_source = std::is_same_v<S, R> || std::is_same_v<S, Unpacked>;
  /// The deepest int8 matrix whose sums of 255 * 127 are certain to fit 32 bits.
  static constexpr Index max_depth = quantised ? 65536 : std::numeric_limits<Index>::max();

  static constexpr std::size_t bytes(Index rows, Index depth) {
    return numbers_bytes(rows, depth) + (quantised ? 2 * sizeof(float) * padded_rows(rows) : 0);
  }

  constexpr PackedMatrix() = default;
  /// Zeros. Errors: out_of_memory; bad_config beyond max_depth.
  PackedMatrix(Index rows, Index depth) : PackedMatrix(rows, depth, 0) {}
  /// The same for rows that will all be set: only what lies around them is zero. The threads that set them are the
  /// first to touch the memory, so it is theirs to wait for, and on their part of the machine.
  static PackedMatrix with_rows_to_set(Index rows, Index depth) {
    return PackedMatrix(rows, depth, numbers_bytes(rows / strip_width * strip_width, depth));
  }

  /// Extents without numbers, for a plan: see Memory.
  static constexpr PackedMatrix planned(Index rows, Index depth) {
    PackedMatrix matrix;
    matrix.rows_ = rows;
    matrix.depth_ = depth;
    matrix.data_ = Memory::planned(bytes(rows, depth));
    return matrix;
  }

  constexpr bool empty() const noexcept { return data_.empty(); }
  constexpr bool is_planned() const noexcept { return data_.get() == nullptr && !data_.empty(); }
  constexpr Index rows() const noexcept { return rows_; }
  constexpr Index depth() const noexcept { return depth_; }
  constexpr Index strips() const noexcept { return (rows_ + strip_width - 1) / strip_width; }
  const T* strip(Index s) const noexcept { return numbers() + s * strip_size(); }
  /// Of every row, and of those that fill the last strip; null unless T is int8.
  const float* scale() const noexcept {
    return quantised ? reinterpret_cast<const float*>(data_.get() + numbers_bytes(rows_, depth_)) : nullptr;
  }
  const std::int32_t* correction() const noexcept {
    return quantised ? reinterpret_cast<const std::int32_t*>(scale() + padded_rows(rows_)) : nullptr;
  }

  /// Rows [first, first + count) from row-major [count, depth], rounded once; from Unpacked numbers bit by bit, but
  /// for int8. At the same time in several threads if no two of them set rows of the same strip.
  template <class S>
  void set_rows(Index first, Index count, const S* source) requires(is_source<S>) {
    for (Index row = first; row < first + count;) {
      const Index s = row / strip_width, lane = row % strip_width;
      const Index rows_here = std::min(strip_width - lane, first + count - row);
      const S* const from = source + (row - first) * depth_;
      T* const to = numbers() + s * strip_size() + lane * word_size<T>;
      if constexpr (quantised) {
        quantise(from, s, lane, rows_here, to);
      } else if constexpr (std::is_same_v<S, R>) {
        rounding_kernels().pack(from, depth_, rows_here, depth_, nullptr, to, strip_width);
      } else {
        place(from, rows_here, to);
      }
      row += rows_here;
    }
  }
  /// The same back: exactly as they were set, or as they were rounded.
  template <class S>
  void get_rows(Index first, Index count, S* target) const requires(is_source<S>) {
    for (Index row = first; row < first + count; ++row) {
      const T* const from = strip(row / strip_width) + row % strip_width * word_size<T>;
      for (Index k = 0; k < depth_; ++k) {
        const T x = from[place_of(k)];
        if constexpr (quantised) {
          *target++ = static_cast<R>(x) * scale()[row];
        } else {
          *target++ = static_cast<S>(x);
        }
      }
    }
  }
  /// The other's numbers, bit by bit; it has the same extents.
  void copy(const PackedMatrix& other) { std::memcpy(data_.get(), other.data_.get(), bytes(rows_, depth_)); }

 private:
  /// Zero from byte `zeros` on.
  PackedMatrix(Index rows, Index depth, std::size_t zeros) : rows_(rows), depth_(depth) {
    require(depth <= max_depth, errc::bad_config, "a matrix of int8 has at most 65536 columns");
    const std::size_t size = bytes(rows, depth);
    try {
      data_ = Memory::zeroed(size, zeros);
    } catch (const std::bad_alloc&) {
      throw Error(errc::out_of_memory, "no memory for a packed matrix of " + std::to_string(size) + " bytes");
    }
  }

  static constexpr std::size_t padded_rows(Index rows) {
    return static_cast<std::size_t>((rows + strip_width - 1) / strip_width * strip_width);
  }
  static constexpr std::size_t numbers_bytes(Index rows, Index depth) {
    return padded_rows(rows) * static_cast<std::size_t>(padded<T>(depth)) * sizeof(T);
  }
  Index strip_size() const noexcept { return padded<T>(depth_) * strip_width; }
  T* numbers() const noexcept { return reinterpret_cast<T*>(data_.get()); }
  /// Where in its strip number k of the first row is.
  static constexpr Index place_of(Index k) {
    return k / word_size<T> * strip_width * word_size<T> + k % word_size<T>;
  }

  /// Products may take numbers below 2^-126 for 0, but a model keeps them.
  static const Kernels<T>& rounding_kernels() {
    return kernels<T>().flushes ? kernels<T>(Isa::avx512) : kernels<T>();
  }

  /// Rows that are as they will be, bit by bit.
  void place(const T* from, Index rows, T* to) {
    const Index whole = depth_ / tile_width * tile_width;  // what the kernels move without a look at it
    kernels<T>().pack_stored(from, depth_, rows, 0, 0, whole, nullptr, strip_width, to);
    for (Index r = 0; r < rows; ++r) {
      for (Index k = whole; k < padded<T>(depth_); ++k) {
        to[r * word_size<T> + place_of(k)] = k < depth_ ? from[r * depth_ + k] : T(0);
      }
    }
  }

  /// Rows lane, ... of strip s.
  void quantise(const R* from, Index s, Index lane, Index rows, T* to) {
    const Kernels<T>& k = kernels<T>();
    R highest[strip_width] = {}, inverse[strip_width] = {};
    k.find_highest(from, depth_, rows, depth_, highest);
    auto* const scale = const_cast<float*>(this->scale()) + s * strip_width + lane;
    for (Index r = 0; r < rows; ++r) {
      constexpr R none = 127 / std::numeric_limits<R>::max();  // so little that 1 / scale would be infinite
      inverse[r] = highest[r] > none ? 127 / highest[r] : 0;
      scale[r] = highest[r] / 127;
    }
    k.pack(from, depth_, rows, depth_, inverse, to, strip_width);

    constexpr Index block = 64;  // the sums are products with ones
    T ones[block * word_size<T>];
    std::fill_n(ones, block * word_size<T>, T(1));
    std::int32_t sum[tile_width] = {};
    for (Index word = 0; word < words<T>(depth_); word += block) {
      k.multiply(1, 1, std::min(block, words<T>(depth_) - word), ones, strip(s) + word * strip_width * word_size<T>,
                 strip_width, 0, true, sum);
    }
    auto* const correction = const_cast<std::int32_t*>(this->correction()) + s * strip_width + lane;
    for (Index r = 0; r < rows; ++r) correction[r] = -128 * sum[lane + r];
  }

  Memory data_;
  Index rows_ = 0, depth_ = 0;
};

}}  // namespace dit
