#pragma once
/// A model of any numbers: no kernel looks at them.

#include "dit/nn/module.hpp"

namespace dit::bench {

/// Weights between -0.05 and 0.05, the same few over and over: billions of them are made.
template <class M>
M random_model() {
  M model;
  fill(model, [](const Path&, const auto&) {
    return [i = 0u]() mutable { return static_cast<double>(i++ * 2654435761u >> 16 & 1023u) * 1e-4 - 0.05; };
  });
  return model;
}

}  // namespace dit::bench
