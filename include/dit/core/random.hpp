#pragma once
/// Noise: PyTorch's CPU generator and its `randn`, number for number, so that pictures can be compared.

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <type_traits>

#include "dit/core/eigen.hpp"
#include "dit/core/tensor.hpp"

namespace dit { inline namespace DIT_ABI {

/// The generator of `torch.manual_seed(seed)`: a Mersenne Twister that goes on from one draw to the next. (It keeps
/// the low 32 bits of the seed, so theirs and ours agree for any.) Copy it to come back to a state.
class TorchGenerator {
 public:
  explicit TorchGenerator(std::uint64_t seed) : engine_(static_cast<std::uint32_t>(seed)) {}

  /// Uniform in [0, 1): the low 24 bits of one draw for float, the low 53 of two for double.
  template <class T>
  T uniform() {
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "uniform numbers are float or double");
    if constexpr (std::is_same_v<T, float>) {
      return static_cast<float>(engine_() & 0xffffffU) * 0x1p-24F;
    } else {
      const std::uint64_t high = engine_(), low = engine_();
      return static_cast<double>((high << 32 | low) & ((std::uint64_t{1} << 53) - 1)) * 0x1p-53;
    }
  }

  /// One normal number. They come in pairs (Box and Muller, 1958); the second waits for the next call.
  double normal();

 private:
  std::mt19937 engine_;
  std::optional<double> second_;
};

namespace detail {

float cephes_log(float x) noexcept;
struct SinCos {
  float sin, cos;
};
SinCos cephes_sincos(float x) noexcept;
void box_muller(float* x) noexcept;
void box_muller(double* x) noexcept;
void randn(float* x, Index n, TorchGenerator& generator);
void randn(double* x, Index n, TorchGenerator& generator);

}  // namespace detail

/// Standard normal noise, in memory order: the numbers that `torch.randn(shape, generator=g)` gives on a CPU.
/// For float and double; of a bfloat16 model torch's pipelines draw the noise in float as well.
///
/// Below 16 numbers each is drawn in double precision; from 16 on they are drawn 16 at a time, and where n is not a
/// multiple of 16 the last 16 are drawn again. So a chunk of a draw is not the draw of a chunk: draw whole tensors.
/// From 16 floats on they are bit for bit what PyTorch gives on x86 machines with AVX2; on others it differs from
/// itself as well, by up to 3e-6. The rest agrees as far as the C library's log, sin and cos do.
template <class T, std::size_t rank>
void randn(View<T, rank> out, TorchGenerator& generator) {
  detail::randn(out.data, out.size(), generator);
}
inline void randn(std::span<float> out, TorchGenerator& generator) {
  detail::randn(out.data(), static_cast<Index>(out.size()), generator);
}
inline void randn(std::span<double> out, TorchGenerator& generator) {
  detail::randn(out.data(), static_cast<Index>(out.size()), generator);
}
/// Into an Eigen tensor or map.
template <class Dense>
requires requires(Dense& t) {
  t.dimensions();
  t.data();
}
void randn(Dense&& out, TorchGenerator& generator) {
  using T = std::remove_pointer_t<decltype(out.data())>;
  constexpr auto rank = static_cast<std::size_t>(std::remove_cvref_t<Dense>::NumDimensions);
  randn(View<T, rank>(out), generator);
}

/// `torch.randn(shape, generator=g)`.
template <std::size_t rank>
Tensor<float, static_cast<int>(rank)> randn(const Shape<rank>& shape, TorchGenerator& generator) {
  Tensor<float, static_cast<int>(rank)> noise(shape);
  randn(noise, generator);
  return noise;
}

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/core/random.inl"
#endif
