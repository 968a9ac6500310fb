#pragma once
/// Spellings of the autoencoders' checkpoints. The models' own are those of diffusers.

#include <array>
#include <string_view>

#include "dit/io/name_rule.hpp"

namespace dit { inline namespace DIT_ABI {

/// CompVis/latent-diffusion and black-forest-labs/flux (modules/diffusionmodules/model.py; modules/autoencoder.py):
/// the levels are counted from the image, attention is made of convolutions (the mapping is that of diffusers'
/// convert_ldm_vae_checkpoint).
template <int levels>
inline constexpr auto autoencoder_kl_original_names = [] {
  static_assert(levels <= 6, "autoencoder_kl_original_names: there are names for six levels");
  struct Level {
    std::string_view shortcut, resnets, upsampler;
  };
  constexpr Level ours[] = {
      // clang-format off
      {"decoder.up_blocks.0.resnets.{}.conv_shortcut.*", "decoder.up_blocks.0.resnets.{}.*", "decoder.up_blocks.0.upsamplers.0.*"},
      {"decoder.up_blocks.1.resnets.{}.conv_shortcut.*", "decoder.up_blocks.1.resnets.{}.*", "decoder.up_blocks.1.upsamplers.0.*"},
      {"decoder.up_blocks.2.resnets.{}.conv_shortcut.*", "decoder.up_blocks.2.resnets.{}.*", "decoder.up_blocks.2.upsamplers.0.*"},
      {"decoder.up_blocks.3.resnets.{}.conv_shortcut.*", "decoder.up_blocks.3.resnets.{}.*", "decoder.up_blocks.3.upsamplers.0.*"},
      {"decoder.up_blocks.4.resnets.{}.conv_shortcut.*", "decoder.up_blocks.4.resnets.{}.*", "decoder.up_blocks.4.upsamplers.0.*"},
      {"decoder.up_blocks.5.resnets.{}.conv_shortcut.*", "decoder.up_blocks.5.resnets.{}.*", "decoder.up_blocks.5.upsamplers.0.*"},
      // clang-format on
  };
  constexpr Level theirs[] = {
      {"decoder.up.0.block.{}.nin_shortcut.*", "decoder.up.0.block.{}.*", "decoder.up.0.upsample.*"},
      {"decoder.up.1.block.{}.nin_shortcut.*", "decoder.up.1.block.{}.*", "decoder.up.1.upsample.*"},
      {"decoder.up.2.block.{}.nin_shortcut.*", "decoder.up.2.block.{}.*", "decoder.up.2.upsample.*"},
      {"decoder.up.3.block.{}.nin_shortcut.*", "decoder.up.3.block.{}.*", "decoder.up.3.upsample.*"},
      {"decoder.up.4.block.{}.nin_shortcut.*", "decoder.up.4.block.{}.*", "decoder.up.4.upsample.*"},
      {"decoder.up.5.block.{}.nin_shortcut.*", "decoder.up.5.block.{}.*", "decoder.up.5.upsample.*"},
  };
  constexpr auto pointwise = [](std::string_view us, std::string_view them) {
    NameRule rule{us, {them}};
    rule.pointwise = true;
    return rule;
  };
  std::array<NameRule, 8 + 3 * levels> rules{{
      {"decoder.mid_block.resnets.0.*", {"decoder.mid.block_1.*"}},
      {"decoder.mid_block.resnets.1.*", {"decoder.mid.block_2.*"}},
      {"decoder.mid_block.attentions.0.group_norm.*", {"decoder.mid.attn_1.norm.*"}},
      pointwise("decoder.mid_block.attentions.0.to_q.*", "decoder.mid.attn_1.q.*"),
      pointwise("decoder.mid_block.attentions.0.to_k.*", "decoder.mid.attn_1.k.*"),
      pointwise("decoder.mid_block.attentions.0.to_v.*", "decoder.mid.attn_1.v.*"),
      pointwise("decoder.mid_block.attentions.0.to_out.0.*", "decoder.mid.attn_1.proj_out.*"),
      {"decoder.conv_norm_out.*", {"decoder.norm_out.*"}},
  }};
  for (std::size_t l = 0; l < levels; ++l) {
    const Level& us = ours[l];
    const Level& them = theirs[levels - 1 - l];
    rules[8 + 3 * l] = {us.shortcut, {them.shortcut}};
    rules[9 + 3 * l] = {us.resnets, {them.resnets}};
    rules[10 + 3 * l] = {us.upsampler, {them.upsampler}};
  }
  return rules;
}();

/// diffusers before 0.15: attention as AttentionBlock (models/attention.py there).
inline constexpr std::array<NameRule, 4> autoencoder_kl_old_names{{
    {"decoder.mid_block.attentions.0.to_q.*", {"decoder.mid_block.attentions.0.query.*"}},
    {"decoder.mid_block.attentions.0.to_k.*", {"decoder.mid_block.attentions.0.key.*"}},
    {"decoder.mid_block.attentions.0.to_v.*", {"decoder.mid_block.attentions.0.value.*"}},
    {"decoder.mid_block.attentions.0.to_out.0.*", {"decoder.mid_block.attentions.0.proj_attn.*"}},
}};

inline constexpr std::array<std::string_view, 3> autoencoder_unneeded{"encoder.*", "quant_conv.*", "loss.*"};

template <int levels>
inline constexpr std::array<LayoutNames, 3> autoencoder_kl_layouts{{
    {Layout::diffusers, {}, autoencoder_unneeded},
    {Layout::diffusers, autoencoder_kl_old_names, autoencoder_unneeded},
    {Layout::original, autoencoder_kl_original_names<levels>, autoencoder_unneeded},
}};

/// madebyollin/taesd, taesd_decoder.safetensors: one list that begins with the clamp.
inline constexpr std::array<NameRule, 15> autoencoder_tiny_original_names{{
    {"decoder.layers.0.*", {"1.*"}},
    {"decoder.layers.2.*", {"3.*"}},
    {"decoder.layers.3.*", {"4.*"}},
    {"decoder.layers.4.*", {"5.*"}},
    {"decoder.layers.6.*", {"7.*"}},
    {"decoder.layers.7.*", {"8.*"}},
    {"decoder.layers.8.*", {"9.*"}},
    {"decoder.layers.9.*", {"10.*"}},
    {"decoder.layers.11.*", {"12.*"}},
    {"decoder.layers.12.*", {"13.*"}},
    {"decoder.layers.13.*", {"14.*"}},
    {"decoder.layers.14.*", {"15.*"}},
    {"decoder.layers.16.*", {"17.*"}},
    {"decoder.layers.17.*", {"18.*"}},
    {"decoder.layers.18.*", {"19.*"}},
}};
inline constexpr std::array<LayoutNames, 2> autoencoder_tiny_layouts{{
    {Layout::diffusers, {}, autoencoder_unneeded},
    {Layout::original, autoencoder_tiny_original_names},
}};

}}  // namespace dit
