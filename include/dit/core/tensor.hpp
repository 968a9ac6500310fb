#pragma once
/// Tensors at the border, views inside.

#include <algorithm>
#include <array>
#include <string>
#include <type_traits>

#include "dit/core/eigen.hpp"
#include "dit/core/error.hpp"
#include "dit/core/memory.hpp"

namespace dit { inline namespace DIT_ABI {

template <std::size_t rank>
using Shape = std::array<Index, rank>;

/// The number of elements, 1 for a scalar.
template <std::size_t rank>
constexpr Index size(const Shape<rank>& shape) {
  Index n = 1;
  for (const Index extent : shape) n *= extent;
  return n;
}

/// p + n; null, which a meter hands out, stays null.
template <class T>
constexpr T* advance(T* p, Index n) {
  return p == nullptr ? p : p + n;
}

/// "[2, 4, 32, 32]"
template <class Extents>
std::string to_string(const Extents& shape) {
  std::string text = "[";
  for (const auto extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

/// A contiguous row-major block of memory with a shape, made from an Eigen tensor or map, or by hand. Owns nothing.
template <class T, std::size_t rank>
struct View {
  T* data = nullptr;
  Shape<rank> shape{};

  constexpr View() = default;
  constexpr View(T* data_, const Shape<rank>& shape_) : data(data_), shape(shape_) {}

  /// From Eigen::Tensor or Eigen::TensorMap; a const tensor gives a view of const.
  template <class Dense>
  requires requires(Dense& t) {
    t.dimensions();
    t.data();
  }
  View(Dense&& tensor) : data(tensor.data()) {  // NOLINT(google-explicit-constructor)
    using Plain = std::remove_cvref_t<Dense>;
    static_assert(static_cast<int>(Plain::Layout) == static_cast<int>(Eigen::RowMajor),
                  "dit takes row-major tensors: use dit::Tensor, or Eigen::Tensor<T, rank, Eigen::RowMajor>");
    static_assert(Plain::NumDimensions == static_cast<int>(rank), "the tensor's rank is not the one asked for");
    for (std::size_t i = 0; i < rank; ++i) shape[i] = tensor.dimensions()[i];
  }

  /// A view may always be read.
  constexpr operator View<const T, rank>() const  // NOLINT(google-explicit-constructor)
      requires(!std::is_const_v<T>) {
    return {data, shape};
  }

  constexpr Index size() const { return dit::size(shape); }
  constexpr T* begin() const { return data; }
  constexpr T* end() const { return advance(data, size()); }

  /// The i-th slice along the first axis.
  constexpr View<T, rank - 1> operator[](Index i) const requires(rank > 1) {
    Shape<rank - 1> inner{};
    for (std::size_t axis = 1; axis < rank; ++axis) inner[axis - 1] = shape[axis];
    return {advance(data, i * dit::size(inner)), inner};
  }
};

/// `View(tensor)` knows its scalar and rank.
template <class Dense>
requires requires(Dense& t) {
  t.dimensions();
  t.data();
}
View(Dense&& tensor)
    ->View<std::remove_pointer_t<decltype(tensor.data())>,
           static_cast<std::size_t>(std::remove_cvref_t<Dense>::NumDimensions)>;

/// An owning row-major block with a shape, in pages of its own where it is large. A literal type: `planned` ones
/// have a shape and no numbers, see Memory.
template <class T, std::size_t rank>
class Buffer {
 public:
  constexpr Buffer() = default;
  /// Uninitialised but for what the system gives. Throws std::bad_alloc.
  explicit Buffer(const Shape<rank>& shape)
      : shape_(shape), memory_(Memory::zeroed(bytes_of(shape), bytes_of(shape))) {}
  /// A copy of what a view shows.
  explicit Buffer(View<const T, rank> from) : Buffer(from.shape) { std::copy(from.begin(), from.end(), data()); }
  static constexpr Buffer planned(const Shape<rank>& shape) {
    Buffer buffer;
    buffer.shape_ = shape;
    buffer.memory_ = Memory::planned(bytes_of(shape));
    return buffer;
  }
  constexpr Buffer(Buffer&&) = default;
  constexpr Buffer& operator=(Buffer&&) = default;
  Buffer(const Buffer& other) : Buffer(View<const T, rank>(other.data(), other.shape_)) {}
  Buffer& operator=(const Buffer& other) { return *this = Buffer(other); }
  constexpr ~Buffer() = default;

  constexpr const T* data() const { return data_of(memory_); }
  constexpr T* data() { return data_of(memory_); }
  constexpr const Shape<rank>& shape() const { return shape_; }
  constexpr Index size() const { return memory_.empty() ? 0 : dit::size(shape_); }
  constexpr View<const T, rank> view() const { return {data(), shape_}; }

 private:
  static constexpr std::size_t bytes_of(const Shape<rank>& shape) {
    return static_cast<std::size_t>(dit::size(shape)) * sizeof(T);
  }
  static constexpr T* data_of(const Memory& memory) {
    return memory.get() == nullptr ? nullptr : reinterpret_cast<T*>(memory.get());
  }

  Shape<rank> shape_{};
  Memory memory_;
};

/// Tokens of a width that the compiler knows: [batch, count, width], contiguous.
template <class T, int width_>
struct Tokens {
  static constexpr int width = width_;
  T* data = nullptr;
  Index batch = 0;
  Index count = 0;

  constexpr Index rows() const { return batch * count; }
  constexpr Index size() const { return rows() * width; }
  constexpr operator Tokens<const T, width_>() const  // NOLINT(google-explicit-constructor)
      requires(!std::is_const_v<T>) {
    return {data, batch, count};
  }
};

}}  // namespace dit
