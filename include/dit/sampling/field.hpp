#pragma once
/// What a sampler asks of a model: a function that reads a state and a time and writes a prediction.

#include <functional>
#include <limits>
#include <tuple>
#include <type_traits>
#include <vector>

#include "dit/core/error.hpp"
#include "dit/core/tensor.hpp"

namespace dit { inline namespace DIT_ABI {

/// Callable as `field(x, t, out)`: x [B, C, ...] is read, out [B, C, ...] is written, in full. It may keep state.
template <class F, class T, std::size_t rank, class Time>
concept Field = std::is_invocable_v<F&, View<const T, rank>, Time, View<T, rank>>;

/// (x, t) -> v along x_t = (1 - t) x0 + t noise: v = dx/dt = noise - x0, t from 1 to 0.
/// Source: arXiv:2209.03003 eq. 1; arXiv:2210.02747.
template <class F, class T, std::size_t rank>
concept VelocityField = Field<F, T, rank, T>;

/// (x, t) -> eps along x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps; t is the step of the training chain, an int.
/// With learned variance out is [B, 2C, ...]: eps, then the variance logits. Source: arXiv:2006.11239 eq. 4.
template <class F, class T, std::size_t rank>
concept NoisePredictor = Field<F, T, rank, int>;

/// Fills a view with fresh standard normal numbers.
template <class F, class T, std::size_t rank>
concept NoiseSource = std::is_invocable_v<F&, View<T, rank>>;

namespace detail {

/// Fields that take states of another rank.
template <class F, class T, std::size_t rank, class Time>
concept FieldOfAnotherRank = (rank != 3 && Field<F, T, 3, Time>) || (rank != 4 && Field<F, T, 4, Time>) ||
                             (rank != 5 && Field<F, T, 5, Time>);

/// Calls a field; one that cannot be called ends in a sentence.
template <class F, class T, std::size_t rank, class Time>
void evaluate(F& field, View<const T, rank> x, Time t, View<T, rank> out) {
  constexpr bool callable = Field<F, T, rank, Time>;
  if constexpr (callable) {
    std::invoke(field, x, t, out);
  } else if constexpr (FieldOfAnotherRank<F, T, rank, Time>) {
    static_assert(callable,
                  "this field takes states of another rank than the noise has: an image model takes [B, C, H, W]");
  } else if constexpr (Field<std::remove_cvref_t<F>, T, rank, Time>) {
    static_assert(callable, "this field keeps state, as guidance does: it must not be const");
  } else if constexpr (std::is_integral_v<Time>) {
    static_assert(
        callable,
        "a noise predictor is called as field(View<const T, rank> x, int t, View<T, rank> out): it reads the "
        "state x at step t of the training chain and writes its prediction into out");
  } else {
    static_assert(callable,
                  "a velocity field is called as field(View<const T, rank> x, T t, View<T, rank> v): it reads the "
                  "state x at time t and writes the velocity noise - x0 into v");
  }
}

template <class F, class T, std::size_t rank>
void draw(F& source, View<T, rank> noise) {
  constexpr bool callable = NoiseSource<F, T, rank>;
  static_assert(
      callable,
      "a noise source is called as draw(View<T, rank> noise): it fills noise with standard normal numbers");
  if constexpr (callable) std::invoke(source, noise);
}

template <class T>
bool overlap(const T* a, Index a_size, const T* b, Index b_size) {
  const std::less<const T*> before;
  return before(a, b + b_size) && before(b, a + a_size);
}

template <class T, std::size_t rank>
void require_filled(View<const T, rank> x) {
  Index room =
      std::numeric_limits<Index>::max() / static_cast<Index>(4 * sizeof(T));  // a doubled batch and channels
  for (const Index extent : x.shape) room = extent >= 1 ? room / extent : 0;
  if (x.data == nullptr || room < 1) {
    throw Error(errc::bad_input_shape, "the state is empty or its size overflows: " + to_string(x.shape));
  }
}

/// Errors: bad_input_shape unless out has x's shape (on axis 1 it may have more channels, where `more_channels`);
/// aliasing if they share memory.
template <class T, std::size_t rank>
void require_in_and_out(View<const T, rank> x, View<T, rank> out, bool more_channels = false) {
  require_filled<T, rank>(x);
  bool fits = out.data != nullptr;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    fits =
        fits && (axis == 1 && more_channels ? out.shape[axis] >= x.shape[axis] : out.shape[axis] == x.shape[axis]);
  }
  if (!fits) {
    throw Error(errc::bad_input_shape,
                "the state is " + to_string(x.shape) + ", so the prediction cannot be " + to_string(out.shape));
  }
  require(!overlap<T>(x.data, x.size(), out.data, out.size()), errc::aliasing,
          "a field may not write its prediction over its state");
}

/// [2B, C, ...] or [B, 2C, ...]
template <std::size_t rank>
Shape<rank> doubled(Shape<rank> shape, std::size_t axis) {
  shape[axis] *= 2;
  return shape;
}

/// Memory that a wrapper of fields keeps from call to call: it grows at the first call and never again at that
/// shape. A wrapper that needs it at some times only still asks for it at the first call, since later steps may not
/// allocate.
class Scratch {
 public:
  template <class T, std::size_t rank>
  View<T, rank> view(const Shape<rank>& shape) {
    auto& memory = std::get<std::vector<T>>(memory_);
    const auto n = static_cast<std::size_t>(dit::size(shape));
    if (memory.size() < n) or_out_of_memory("the scratch of a wrapped field", [&] { memory.resize(n); });
    return {memory.data(), shape};
  }

 private:
  std::tuple<std::vector<float>, std::vector<double>> memory_;
};

}  // namespace detail
}}  // namespace dit
