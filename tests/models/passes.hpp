#pragma once
/// Passes of small models of every kind, and what is planned for them.

#include "dit/nn/plan.hpp"
#include "models/text_models.hpp"

namespace support {

struct Pass {
  Index batch, height, width, text;
  int threads;
};
/// Few tokens, where embeddings and modulations take most; many of the text; many of the image.
inline constexpr Pass passes[] = {{1, 8, 8, 7, 1},   {3, 8, 8, 7, 2},   {2, 6, 10, 5, 3}, {1, 2, 2, 1, 2},
                                  {4, 24, 20, 7, 2}, {1, 4, 4, 150, 2}, {2, 2, 2, 33, 5}, {1, 24, 24, 1, 7}};

inline std::string describe(const Pass& p) {
  return dit::to_string(std::array<Index, 5>{p.batch, p.height, p.width, p.text, p.threads});
}

/// `reference`: tokens of a FLUX's reference.
template <class M>
dit::Plan planned(const Pass& p, Index reference = 0) {
  if constexpr (dit::detail::TakesText<M>) {
    return dit::plan<M>(p.batch, {p.height, p.width}, p.text, p.threads, reference);
  } else {
    return dit::plan<M>(p.batch, {p.height, p.width}, p.threads);
  }
}

}  // namespace support
