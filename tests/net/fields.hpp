#pragma once
/// Cases of models with a condition, of any family.

#include <functional>
#include <initializer_list>

#include "net.hpp"

namespace net {

template <class Model>
inline constexpr Index channels_in = [] {
  if constexpr (requires { Model::config.in_channels; }) {
    return Model::config.in_channels;
  } else {
    return Model::config.channels;
  }
}();
template <class Model>
inline constexpr Index channels_out = [] {
  if constexpr (requires { Model::config.out_channels(); }) {
    return Model::config.out_channels();
  } else {
    return channels_in<Model>;
  }
}();

template <class Model, class R>
Tensor<R, 4> latents(Index batch, Shape<2> size) {
  return tensor<R, 4>("latents", {batch, channels_in<Model>, size[0], size[1]});
}
/// A time of its own for every sample; `unit` is the model's time at sigma 1.
template <class R>
std::vector<R> times(Index batch, double unit) {
  std::vector<R> all;
  for (const double sigma : {0.75, 1.0, 0.0625}) all.push_back(static_cast<R>(unit * sigma));
  all.resize(static_cast<std::size_t>(batch));
  return all;
}

/// What a field says at two times.
template <class Model, class R, class Field>
Results<R> two_steps(Field& field, Index batch, Shape<2> size) {
  const auto x = latents<Model, R>(batch, size);
  Tensor<R, 4> v(batch, channels_out<Model>, size[0], size[1]);
  Results<R> both;
  for (const R sigma : {R(1), R(0.375)}) {
    field(x, sigma, v);
    both.add(v);
  }
  return both;
}

/// A pass in one call.
template <class T, class Model, class Condition>
auto direct_pass(double unit, const Condition& condition, Shape<2> size) {
  return [=](const Model& model, Workspace& workspace, Index batch) {
    using R = Real<T>;
    return evaluate(model, latents<Model, R>(batch, size), times<R>(batch, unit), condition(batch, size),
                    workspace);
  };
}

/// The model called directly, as a field of two times, prepared or not, and along a schedule with guidance.
/// `condition(batch, size)` makes what the model is told.
template <class T, class Model, class Condition>
void field_cases(const std::string& name, const Model& model, double unit, const Condition& condition,
                 std::initializer_list<Shape<2>> sizes) {
  using R = Real<T>;
  for (const Shape<2> size : sizes) {
    compute<T>(sized(name + "/direct", size), [&](Workspace& workspace, Index batch) {
      return direct_pass<T, Model>(unit, condition, size)(model, workspace, batch);
    });
    compute<T>(sized(name + "/field", size), [&](Workspace& workspace, Index batch) {
      dit::Conditioned field(model, condition(batch, size), workspace);
      return two_steps<Model, R>(field, batch, size);
    });
    compute<T>(sized(name + "/prepared", size), [&](Workspace& workspace, Index batch) {
      dit::Conditioned field(model, condition(batch, size), workspace);
      field.prepare(std::vector<R>{1, R(0.375)});
      return two_steps<Model, R>(field, batch, size);
    });
    if constexpr (channels_out<Model> == channels_in<Model>) {
      compute<T>(sized(name + "/euler", size), [&](Workspace& workspace, Index batch) {
        dit::Conditioned both(model, condition(2 * batch, size), workspace);
        const auto noise = latents<Model, R>(batch, size);
        dit::BatchedGuidance guided(std::ref(both), dit::Guidance{.scale = 3, .lo = 0.3});
        return dit::sample(noise, dit::Schedule::uniform(4), guided).x;
      });
    }
  }
}

}  // namespace net
