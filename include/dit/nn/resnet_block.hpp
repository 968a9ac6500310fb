#pragma once
/// The blocks of convolutional autoencoders (diffusers: models/resnet.py, unets/unet_2d_blocks.py; CompVis:
/// model.py).

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "dit/nn/conv.hpp"
#include "dit/nn/group_norm.hpp"
#include "dit/nn/linear.hpp"
#include "dit/nn/sequence.hpp"
#include "dit/ops/attention.hpp"

namespace dit { inline namespace DIT_ABI {

/// ResNet block without time:
///   h <- conv1(SiLU(GN1(x)));  y = shortcut(x) + conv2(SiLU(GN2(h)))
/// where the shortcut is a 1 x 1 convolution if the number of channels changes.
template <int in, int out, int groups, class T = float>
struct ResnetBlock {
  using R = real<T>;

  GroupNorm<in, groups, T> norm1;
  Conv2d<in, out, 3, T> conv1;
  GroupNorm<out, groups, T> norm2;
  Conv2d<out, out, 3, T> conv2;
  std::conditional_t<in == out, Nothing, Conv2d<in, out, 1, T>> conv_shortcut;

  static constexpr void visit(auto&& f, auto&... self) {
    f("norm1", self.norm1...);
    f("conv1", self.conv1...);
    f("norm2", self.norm2...);
    f("conv2", self.conv2...);
    f("conv_shortcut", self.conv_shortcut...);
  }

  /// y = block(x); y is x if the number of channels stays the same.
  constexpr void operator()(Maps<const R, in> x, Maps<R, out> y, Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto h = take_maps<R, out>(x.height, x.width, workspace);
    store(h, conv1(silu(norm1(x, workspace))), workspace);
    if constexpr (in == out) {
      require(y.data == x.data, errc::aliasing, "a block that keeps the number of channels works in place");
    } else {
      store(y, conv_shortcut(x), workspace);
    }
    add(y, conv2(silu(norm2(h, workspace))), workspace);
  }
};

/// Attention of one head among the pixels: x <- x + to_out(Attention(q, k, v)), with q, k, v = to_*(GN(x)).
template <int channels, int groups, class T = float>
struct PixelAttention {
  using R = real<T>;

  GroupNorm<channels, groups, T> group_norm;
  Linear<channels, channels, T> to_q, to_k, to_v;
  std::array<Linear<channels, channels, T>, 1> to_out;

  static constexpr void visit(auto&& f, auto&... self) {
    f("group_norm", self.group_norm...);
    f("to_q", self.to_q...);
    f("to_k", self.to_k...);
    f("to_v", self.to_v...);
    f("to_out", self.to_out...);
  }

  constexpr void operator()(Maps<R, channels> x, Workspace& workspace) const {
    const auto scope = workspace.scope();
    const auto q = take_maps<R, channels>(x.height, x.width, workspace);
    const auto k = take_maps<R, channels>(x.height, x.width, workspace);
    const auto v = take_maps<R, channels>(x.height, x.width, workspace);
    {
      const auto h = group_norm(x, workspace);
      store(q, each_pixel(to_q, h), workspace);
      store(k, each_pixel(to_k, h), workspace);
      store(v, each_pixel(to_v, h), workspace);
    }
    joint_attention<1>(workspace,
                       Heads<R, channels>{q.data, k.data, v.data, q.data, 1, x.pixels(), channels, channels});
    add(x, each_pixel(to_out[0], lazy(q)), workspace);
  }
};

/// The middle of an autoencoder: ResNet block, attention, ResNet block.
template <int channels, int groups, class T = float>
struct MidBlock {
  using R = real<T>;

  std::array<ResnetBlock<channels, channels, groups, T>, 2> resnets;
  std::array<PixelAttention<channels, groups, T>, 1> attentions;

  static constexpr void visit(auto&& f, auto&... self) {
    f("attentions", self.attentions...);
    f("resnets", self.resnets...);
  }

  constexpr void operator()(Maps<R, channels> x, Workspace& workspace) const {
    resnets[0](x, x, workspace);
    attentions[0](x, workspace);
    resnets[1](x, x, workspace);
  }
};

/// Two memories that take turns: what a layer makes goes to the one that its input is not in.
template <class T>
struct Turns {
  T* here;
  T* there;

  template <int channels>
  constexpr Maps<T, channels> next(Index height, Index width) {
    std::swap(here, there);
    return {here, height, width};
  }
};

/// conv(upsample(x))
template <int channels, class T = float>
struct Upsample {
  Conv2d<channels, channels, 3, T> conv;

  static constexpr void visit(auto&& f, auto&... self) { f("conv", self.conv...); }
  constexpr auto operator()(Maps<const real<T>, channels> x) const { return conv(upsample(x)); }
};

namespace detail {
template <int in, int out, int groups, class T, class Rest>
struct ResnetSequence;
template <int in, int out, int groups, class T, int... rest>
struct ResnetSequence<in, out, groups, T, std::integer_sequence<int, rest...>> {
  using type = Sequence<ResnetBlock<in, out, groups, T>, ResnetBlock<out + 0 * rest, out, groups, T>...>;
};
}  // namespace detail

/// ResNet blocks, the first of which changes the number of channels, and an upsampling convolution.
template <int in, int out, int blocks, int groups, bool upsamples, class T = float>
struct UpBlock {
  static_assert(blocks > 0, "UpBlock: there is at least one block");
  static constexpr Index factor = upsamples ? 2 : 1;
  using R = real<T>;

  typename detail::ResnetSequence<in, out, groups, T, std::make_integer_sequence<int, blocks - 1>>::type resnets;
  std::array<Upsample<out, T>, upsamples ? 1 : 0> upsamplers;

  static constexpr void visit(auto&& f, auto&... self) {
    f("resnets", self.resnets...);
    f("upsamplers", self.upsamplers...);
  }

  /// The result, in one of the two memories of `turns`; the input is in the other or where the result is.
  constexpr Maps<R, out> operator()(Maps<R, in> x, Turns<R>& turns, Workspace& workspace) const {
    const Index height = x.height, width = x.width;
    Maps<R, out> y;
    if constexpr (in == out) {
      y = x;
    } else {
      y = turns.template next<out>(height, width);
    }
    resnets.template get<0>()(x, y, workspace);
    [&]<std::size_t... i>(std::index_sequence<i...>) { (resnets.template get<i + 1>()(y, y, workspace), ...); }
    (std::make_index_sequence<blocks - 1>{});
    if constexpr (upsamples) {
      const auto larger = turns.template next<out>(2 * height, 2 * width);
      store(larger, upsamplers[0](y), workspace);
      return larger;
    } else {
      return y;
    }
  }
};

}}  // namespace dit
