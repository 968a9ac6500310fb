#pragma once
/// Group normalisation: one pass for the statistics; the rest happens while a convolution reads the maps.

#include <cmath>

#include "dit/ops/linear.hpp"
#include "dit/ops/maps.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {

/// Pixels whose moments are taken in one go. What a float loses there is at most the share of the first pixel in
/// the squares, pixels * epsilon of the variance: everything beyond is double.
constexpr Panels moment_chunks(Index pixels) { return Panels(pixels, 256); }

/// How many numbers, their mean, and the sum of the squares around it.
struct Moments {
  double count = 0, mean = 0, squares = 0;

  /// As if they had been taken together (Chan, Golub, LeVeque 1979).
  void merge(const Moments& other) {
    const double all = count + other.count, apart = other.mean - mean;
    mean += apart * (other.count / all);
    squares += other.squares + apart * apart * (count * other.count / all);
    count = all;
  }
};

/// scale = weight / sqrt(var + eps), shift = bias - mean * scale, [channels] each, by way of the `moments`
/// [chunks][groups] and the `sums` of every strand [2][channels].
template <int groups, class T, int channels>
void take_moments(Maps<const T, channels> x, double eps, const T* weight, const T* bias, Moments* moments, T* sums,
                  T* scale, T* shift, Workspace& workspace) {
  constexpr Index each = channels / groups;
  const Kernels<T>& k = kernels<T>();
  const Panels chunks = moment_chunks(x.pixels());
  workspace.parallel_for(chunks.count, [&](Index chunk, int strand) {
    T* const sum = sums + 2 * channels * strand;
    T* const squares = sum + channels;
    const T* const first = x.data + chunks.first(chunk) * channels;
    const Index pixels = chunks.height(chunk);
    k.moments(first, pixels, channels, channels, sum, squares);
    const double n = static_cast<double>(pixels);
    for (Index g = 0; g < groups; ++g) {
      Moments all;
      for (Index c = g * each; c < (g + 1) * each; ++c) {
        const double s = static_cast<double>(sum[c]), q = static_cast<double>(squares[c]) - s * s / n;
        const Moments one{n, static_cast<double>(first[c]) + s / n, q < 0 ? 0 : q};
        if (c == g * each)
          all = one;
        else
          all.merge(one);
      }
      moments[chunk * groups + g] = all;
    }
  });
  for (Index g = 0; g < groups; ++g) {
    Moments all = moments[g];
    for (Index chunk = 1; chunk < chunks.count; ++chunk) all.merge(moments[chunk * groups + g]);
    const double rstd = 1 / std::sqrt(all.squares / all.count + eps);
    for (Index c = g * each; c < (g + 1) * each; ++c) {
      const double factor = rstd * static_cast<double>(weight[c]);
      scale[c] = static_cast<T>(factor);
      shift[c] = static_cast<T>(static_cast<double>(bias[c]) - all.mean * factor);
    }
  }
}

}  // namespace detail

/// GN(x) = (x - mean) / sqrt(var + eps) * weight + bias, lazy. Mean and biased variance are those of a group of
/// neighbouring channels, over all pixels (arXiv:1803.08494; torch.nn.GroupNorm). They are summed in an order that
/// depends on the shape alone. Errors: bad_config for a negative or NaN eps.
template <int groups, class T, int channels>
constexpr Held<LazyMaps<T, channels>> group_norm(Maps<const T, channels> x, double eps, const T* weight,
                                                 const T* bias, Workspace& workspace) {
  static_assert(groups > 0 && channels % groups == 0,
                "group_norm: the number of groups does not divide the channels");
  require(eps >= 0, errc::bad_config, "the eps of a norm must not be negative");
  auto held = workspace.scope();
  T* const scale = workspace.take<T>(channels);
  T* const shift = workspace.take<T>(channels);

  const auto scope = workspace.scope();
  auto* const moments = workspace.take<detail::Moments>(detail::moment_chunks(x.pixels()).count * groups);
  T* const sums = workspace.take<T>(2 * channels * workspace.strands());
  if (!workspace.counts())
    detail::take_moments<groups>(x, eps, weight, bias, moments, sums, scale, shift, workspace);
  return Held(std::move(held), LazyMaps<T, channels>{x, scale, shift});
}

}}  // namespace dit
