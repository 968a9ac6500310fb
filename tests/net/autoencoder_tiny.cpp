/// AutoencoderTiny.

#include "decoders.hpp"

namespace {

using namespace net;

constexpr dit::AutoencoderTinyConfig config{.width = 12};
template <class T>
using Model = dit::AutoencoderTiny<config, T>;

const Cases cases([] { decoder_cases<NET_TYPE, Model>("autoencoder_tiny"); });

}  // namespace
