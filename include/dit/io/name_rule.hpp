#pragma once
/// How one checkpoint's names become another's.

#include <array>
#include <span>
#include <string_view>

#include "dit/nn/layout.hpp"

namespace dit { inline namespace DIT_ABI {

/// How tensors of ours are spelled in another layout. `{}` stands for a block's number, `*` for the rest of a name.
/// Several names on the other side are row blocks, which stacked in this order are ours; a `{}` on the other side
/// only means that every block has a copy of it.
struct NameRule {
  std::string_view ours;
  std::array<std::string_view, 4> theirs;
  std::array<int, 4> shares = {1, 1, 1, 1};  ///< the row blocks' sizes, relative to one another
  bool swapped_halves = false;  ///< their first half of the rows is our second: (shift, scale) and (scale, shift)
  int only_block = -1;          ///< the rule is for the block of this number alone, before the one for all
  bool pointwise = false;       ///< their matrices are convolutions by 1 x 1, [out, in, 1, 1]
};

/// A layout and its rules. A model of one's own may bring some: `static constexpr std::array<LayoutNames, n>
/// layouts`.
struct LayoutNames {
  Layout layout;
  std::span<const NameRule> rules;
  /// Tensors that such a file has and the model no use for: an autoencoder's encoder, where one only decodes.
  std::span<const std::string_view> unneeded = {};
};

}}  // namespace dit
