#pragma once
/// The models whose modulation weights tests release.

#include "models/text_models.hpp"

namespace support {

template <class M>
class Released : public testing::Test {};
using ReleasedModels =
    testing::Types<dit::DiT<tiny>, dit::DiT<tiny, double>, dit::DiT<tiny, dit::bf16>, dit::DiT<tiny, dit::int8>,
                   MMDiT<mixed_mini>, MMDiT<mixed_mini, dit::int8>, Flux<flux_mini>, Flux<flux_mini, dit::bf16>>;
TYPED_TEST_SUITE(Released, ReleasedModels, ModelName);

}  // namespace support
