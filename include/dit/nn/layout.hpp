#pragma once
/// Who wrote a checkpoint: the same weights come under different names, and at times with different conventions.

#include "dit/version.hpp"

namespace dit { inline namespace DIT_ABI {

enum class Layout {
  original,   ///< the authors' code
  diffusers,  ///< huggingface/diffusers
};

/// A model that remembers where its weights came from, to be saved as they were. Its own names are those of `own`.
template <Layout own = Layout::original>
class HasLayout {
 public:
  constexpr void set_layout(Layout layout) { layout_ = layout; }
  constexpr Layout layout() const { return layout_; }

 private:
  Layout layout_ = own;
};

}}  // namespace dit
