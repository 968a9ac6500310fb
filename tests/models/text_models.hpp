#pragma once
/// The small models of the goldens that are told a text, and random texts for them.

#include <type_traits>

#include "dit/models/flux.hpp"
#include "dit/models/mmdit.hpp"
#include "models/models.hpp"

namespace support {

using dit::Flux;
using dit::FluxCondition;
using dit::MMDiT;
using dit::Text;

inline constexpr dit::MMDiTConfig sd3_mini{
    .width = 24, .depth = 3, .heads = 3, .in_channels = 4, .positions = 12, .context = 20, .pooled = 12};
/// All of its blocks but the last have a second attention.
inline constexpr dit::MMDiTConfig sd35_mini{.width = 24,
                                            .depth = 3,
                                            .heads = 3,
                                            .in_channels = 4,
                                            .positions = 12,
                                            .context = 20,
                                            .pooled = 12,
                                            .qk_norm = true,
                                            .dual_blocks = 2};
/// One block of every kind; of no golden.
inline constexpr dit::MMDiTConfig mixed_mini = [] {
  auto config = sd35_mini;
  config.dual_blocks = 1;
  return config;
}();

inline constexpr dit::FluxConfig flux_mini{.width = 48,
                                           .heads = 3,
                                           .double_blocks = 2,
                                           .single_blocks = 3,
                                           .channels = 4,
                                           .context = 20,
                                           .pooled = 12,
                                           .axes = {4, 6, 6}};
inline constexpr dit::FluxConfig schnell_mini{.width = 48,
                                              .heads = 3,
                                              .double_blocks = 1,
                                              .single_blocks = 1,
                                              .channels = 4,
                                              .context = 20,
                                              .pooled = 12,
                                              .guidance = false,
                                              .axes = {4, 6, 6}};
inline constexpr dit::FluxConfig fill_mini{.width = 48,
                                           .heads = 3,
                                           .double_blocks = 1,
                                           .single_blocks = 1,
                                           .channels = 4,
                                           .control_channels = 4 + 16,
                                           .context = 20,
                                           .pooled = 12,
                                           .axes = {4, 6, 6}};

/// What holds for models that are told a text is tested on these.
using TextModels =
    testing::Types<MMDiT<mixed_mini>, MMDiT<mixed_mini, double>, Flux<flux_mini>, Flux<flux_mini, double>>;
template <class M>
inline constexpr bool is_flux = M::family == "flux";

template <class M>
Text<typename M::R> random_text(Index batch, unsigned seed, Index tokens = 7) {
  return {normal<typename M::R, 3>({batch, tokens, M::config.context}, seed),
          normal<typename M::R, 2>({batch, M::config.pooled}, seed + 1000)};
}
/// A class; or a text, and what else the model needs to be told; for every sample.
template <class M>
typename M::Condition random_condition(Index batch, unsigned seed, Index tokens = 7) {
  if constexpr (M::family == "dit") {
    std::vector<int> classes;
    for (Index b = 0; b < batch; ++b) classes.push_back(static_cast<int>((b + seed) % M::config.labels()));
    return classes;
  } else if constexpr (is_flux<M>) {
    typename M::Condition condition{random_text<M>(batch, seed, tokens)};
    if (M::config.guidance)
      for (Index b = 0; b < batch; ++b) condition.guidance.push_back(typename M::R(b + 1));
    return condition;
  } else {
    return random_text<M>(batch, seed, tokens);
  }
}
/// The text in a condition, or that is one.
template <class Condition>
auto& text_of(Condition& condition) {
  if constexpr (requires { condition.text; }) {
    return condition.text;
  } else {
    return condition;
  }
}

template <class M>
Tensor<typename M::R, 4> random_latents(Index batch, Index height, Index width, unsigned seed) {
  Index channels = 0;
  if constexpr (is_flux<M>) {
    channels = M::config.channels;
  } else {
    channels = M::config.in_channels;
  }
  return normal<typename M::R, 4>({batch, channels, height, width}, seed);
}

/// The place for what a model makes of latents, full of a number that it does not make.
template <class M>
Tensor<typename M::R, 4> output_for(const Tensor<typename M::R, 4>& x) {
  Index channels = x.dimension(1);
  if constexpr (M::family == "dit") channels = M::config.out_channels();
  Tensor<typename M::R, 4> out(x.dimension(0), channels, x.dimension(2), x.dimension(3));
  out.setConstant(-7);
  return out;
}

/// Those samples of a batch, in that order.
using Picks = std::vector<Index>;
template <class T, int rank>
Tensor<T, rank> pick_samples(const Tensor<T, rank>& all, const Picks& picks) {
  auto dimensions = all.dimensions();
  if (all.size() == 0) return all;
  const Index one = all.size() / dimensions[0];
  dimensions[0] = static_cast<Index>(picks.size());
  Tensor<T, rank> picked(dimensions);
  T* to = picked.data();
  for (const Index b : picks) to = std::copy_n(all.data() + b * one, one, to);
  return picked;
}
template <class T>
Tensor<T, 4> pick(const Tensor<T, 4>& all, const Picks& picks) {
  return pick_samples<T, 4>(all, picks);
}
template <class T>
std::vector<T> pick(const std::vector<T>& all, const Picks& picks) {
  std::vector<T> picked;
  for (const Index b : picks) picked.push_back(all[static_cast<std::size_t>(b)]);
  return picked;
}
template <class T>
Text<T> pick(const Text<T>& all, const Picks& picks) {
  return {pick_samples<T, 3>(all.context, picks), pick_samples<T, 2>(all.pooled, picks)};
}
template <class T>
FluxCondition<T> pick(const FluxCondition<T>& all, const Picks& picks) {
  return {pick(all.text, picks), all.guidance.empty() ? all.guidance : pick(all.guidance, picks),
          pick(all.control, picks), pick(all.reference, picks)};
}

/// The same text with its tokens in that order; fewer, if there are fewer numbers.
template <class T>
Text<T> pick_tokens(const Text<T>& text, const Picks& picks) {
  const Index batch = text.context.dimension(0), count = text.context.dimension(1),
              width = text.context.dimension(2);
  Text<T> picked{Tensor<T, 3>(batch, static_cast<Index>(picks.size()), width), text.pooled};
  T* to = picked.context.data();
  for (Index b = 0; b < batch; ++b)
    for (const Index m : picks) to = std::copy_n(text.context.data() + (b * count + m) * width, width, to);
  return picked;
}

/// What the samples of a are told, then those of b.
template <class M>
typename M::Condition joined(typename M::Condition a, const typename M::Condition& b) {
  if constexpr (M::family == "dit") {
    a.insert(a.end(), b.begin(), b.end());
  } else {
    text_of(a) = concat(text_of(a), text_of(b));
    if constexpr (is_flux<M>) a.guidance.insert(a.guidance.end(), b.guidance.begin(), b.guidance.end());
  }
  return a;
}

/// model(x, t, condition), at times that differ from sample to sample unless given: of sigma 0.75, 0.3, 1, 0.01.
template <class M>
Tensor<typename M::R, 4> run_text(const M& model, const Tensor<typename M::R, 4>& x,
                                  const typename M::Condition& condition, Workspace& workspace,
                                  std::vector<typename M::R> t = {}) {
  if (t.empty()) {
    for (const double sigma : {0.75, 0.3, 1.0, 0.01}) t.push_back(M::model_time(sigma));
    t.resize(static_cast<std::size_t>(x.dimension(0)));
  }
  return model(x, t, condition, workspace);
}

/// What a golden tells its model: a text, and FLUX's guidance.
template <class M>
typename M::Condition golden_condition(const Golden& io) {
  using R = typename M::R;
  if constexpr (is_flux<M>) {
    FluxCondition<R> condition{{io.tensor<R, 3>("txt"), io.tensor<R, 2>("pooled")}};
    if (M::config.guidance) condition.guidance = io.values<R>("guidance");
    return condition;
  } else {
    return {io.tensor<R, 3>("context"), io.tensor<R, 2>("pooled")};
  }
}
/// The masked image and the mask, which is of bytes.
template <class R>
Tensor<R, 4> golden_control(const Golden& io) {
  const auto masked = io.tensor<R, 4>("masked"), mask = io.bytes<R, 4>("mask");
  return dit::fill_control<R>(View<const R, 4>(masked), View<const R, 4>(mask), 4);
}
/// What the model makes of a golden's latents.
template <class M>
auto run_golden(const M& model, const Golden& io, const typename M::Condition& condition) {
  using R = typename M::R;
  Workspace workspace(2);
  return model(io.tensor<R, 4>(is_flux<M> ? "latents" : "x"), io.values<R>("t"), condition, workspace);
}
template <class M>
auto run_golden(const M& model, const Golden& io) {
  return run_golden(model, io, golden_condition<M>(io));
}

/// An adaLN projection whose first half of the rows is the other's second.
template <class Linear>
void swap_halves(Linear& linear) {
  const auto swap = []<class P>(P& p) {
    std::vector<typename P::scalar> all(static_cast<std::size_t>(P::size));
    p.get_rows(0, P::rows, all.data());
    std::rotate(all.begin(), all.begin() + P::size / 2, all.end());
    p.set_rows(0, P::rows, all.data());
  };
  swap(linear.weight);
  swap(linear.bias);
}

/// A linear layer that gives 0.
template <class Linear>
void silence(Linear& linear) {
  linear.weight.allocate();
  linear.bias.allocate();
}

}  // namespace support
