#pragma once
/// Who wrote a checkpoint: the same weights come under different names, and at times with different conventions.

#include "dit/version.hpp"

namespace dit::inline DIT_ABI {

enum class Layout {
  original,   ///< the authors' code
  diffusers,  ///< huggingface/diffusers
};

}  // namespace dit::inline DIT_ABI
