/// Decoders of latents against diffusers, whole and in tiles, and what must hold for any weights.

#include "core/allocations.hpp"
#include "dit/io/save.hpp"
#include "dit/models/autoencoder_kl.hpp"
#include "dit/models/autoencoder_tiny.hpp"
#include "support.hpp"

namespace {

using namespace dit;
using namespace support;

constexpr AutoencoderKLConfig mini{.channels = {8, 8, 16, 16}, .blocks = 2, .groups = 4};
constexpr AutoencoderKLConfig shifted{.latent_channels = 16,
                                      .channels = {16, 24},
                                      .blocks = 3,
                                      .groups = 8,
                                      .post_quant_conv = false,
                                      .scaling_factor_e5 = 153050,
                                      .shift_factor_e5 = 6090};
constexpr AutoencoderTinyConfig tiny{.width = 12};

template <class T>
class Autoencoders : public testing::Test {};
TYPED_TEST_SUITE(Autoencoders, Scalars, ScalarName);

template <class M>
void expect_golden(const M& model, const Golden& io) {
  Workspace workspace(2);
  EXPECT_TRUE(close(model.decode(io.tensor<typename M::R, 4>("latents"), workspace), io.tensor<double, 4>("out64"),
                    whole_model<typename M::R>));
}
template <class M>
void expect_golden_tiles(const M& model, const Golden& io, Index tile) {
  Workspace workspace(2);
  EXPECT_TRUE(close(model.decode_tiled(io.tensor<typename M::R, 4>("tiled.latents"), workspace, tile),
                    io.tensor<double, 4>("tiled.out64"), whole_model<typename M::R>));
}

TYPED_TEST(Autoencoders, AreThoseOfDiffusers) {
  expect_golden(golden_model<AutoencoderKL<mini, TypeParam>>("vae_mini"), Golden("vae_mini_io"));
  expect_golden(golden_model<AutoencoderKL<shifted, TypeParam>>("vae_shifted"), Golden("vae_shifted_io"));
  expect_golden(golden_model<AutoencoderTiny<tiny, TypeParam>>("taesd_mini"), Golden("taesd_mini_io"));
}

TYPED_TEST(Autoencoders, DecodeTilesAsDiffusersDoes) {
  expect_golden_tiles(golden_model<AutoencoderKL<mini, TypeParam>>("vae_mini"), Golden("vae_mini_io"), 4);
  expect_golden_tiles(golden_model<AutoencoderTiny<tiny, TypeParam>>("taesd_mini"), Golden("taesd_mini_io"), 8);
}

}  // namespace
