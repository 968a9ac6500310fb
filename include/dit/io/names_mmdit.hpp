#pragma once
/// Spellings of the checkpoints of Stable Diffusion 3 and FLUX.1. The models' own are those of their authors.

#include <array>

#include "dit/io/name_rule.hpp"

namespace dit { inline namespace DIT_ABI {

/// huggingface/diffusers, SD3Transformer2DModel (the mapping is that of scripts/convert_sd3_to_diffusers.py). Of
/// the adaLN projections only the text's in the last block and the final layer's have (scale, shift) there.
template <int last_block>
inline constexpr std::array<NameRule, 27> mmdit_diffusers_names{{
    {"pos_embed", {"pos_embed.pos_embed"}},
    {"x_embedder.proj.*", {"pos_embed.proj.*"}},
    {"t_embedder.mlp.0.*", {"time_text_embed.timestep_embedder.linear_1.*"}},
    {"t_embedder.mlp.2.*", {"time_text_embed.timestep_embedder.linear_2.*"}},
    {"y_embedder.mlp.0.*", {"time_text_embed.text_embedder.linear_1.*"}},
    {"y_embedder.mlp.2.*", {"time_text_embed.text_embedder.linear_2.*"}},
    {.ours = "joint_blocks.{}.context_block.adaLN_modulation.1.*",
     .theirs = {"transformer_blocks.{}.norm1_context.linear.*"},
     .swapped_halves = true,
     .only_block = last_block},
    {"joint_blocks.{}.context_block.adaLN_modulation.1.*", {"transformer_blocks.{}.norm1_context.linear.*"}},
    {"joint_blocks.{}.x_block.adaLN_modulation.1.*", {"transformer_blocks.{}.norm1.linear.*"}},
    {"joint_blocks.{}.x_block.attn.qkv.*",
     {"transformer_blocks.{}.attn.to_q.*", "transformer_blocks.{}.attn.to_k.*",
      "transformer_blocks.{}.attn.to_v.*"}},
    {"joint_blocks.{}.context_block.attn.qkv.*",
     {"transformer_blocks.{}.attn.add_q_proj.*", "transformer_blocks.{}.attn.add_k_proj.*",
      "transformer_blocks.{}.attn.add_v_proj.*"}},
    {"joint_blocks.{}.x_block.attn.ln_q.*", {"transformer_blocks.{}.attn.norm_q.*"}},
    {"joint_blocks.{}.x_block.attn.ln_k.*", {"transformer_blocks.{}.attn.norm_k.*"}},
    {"joint_blocks.{}.context_block.attn.ln_q.*", {"transformer_blocks.{}.attn.norm_added_q.*"}},
    {"joint_blocks.{}.context_block.attn.ln_k.*", {"transformer_blocks.{}.attn.norm_added_k.*"}},
    {"joint_blocks.{}.x_block.attn.proj.*", {"transformer_blocks.{}.attn.to_out.0.*"}},
    {"joint_blocks.{}.context_block.attn.proj.*", {"transformer_blocks.{}.attn.to_add_out.*"}},
    {"joint_blocks.{}.x_block.attn2.qkv.*",
     {"transformer_blocks.{}.attn2.to_q.*", "transformer_blocks.{}.attn2.to_k.*",
      "transformer_blocks.{}.attn2.to_v.*"}},
    {"joint_blocks.{}.x_block.attn2.ln_q.*", {"transformer_blocks.{}.attn2.norm_q.*"}},
    {"joint_blocks.{}.x_block.attn2.ln_k.*", {"transformer_blocks.{}.attn2.norm_k.*"}},
    {"joint_blocks.{}.x_block.attn2.proj.*", {"transformer_blocks.{}.attn2.to_out.0.*"}},
    {"joint_blocks.{}.x_block.mlp.fc1.*", {"transformer_blocks.{}.ff.net.0.proj.*"}},
    {"joint_blocks.{}.x_block.mlp.fc2.*", {"transformer_blocks.{}.ff.net.2.*"}},
    {"joint_blocks.{}.context_block.mlp.fc1.*", {"transformer_blocks.{}.ff_context.net.0.proj.*"}},
    {"joint_blocks.{}.context_block.mlp.fc2.*", {"transformer_blocks.{}.ff_context.net.2.*"}},
    {.ours = "final_layer.adaLN_modulation.1.*", .theirs = {"norm_out.linear.*"}, .swapped_halves = true},
    {"final_layer.linear.*", {"proj_out.*"}},
}};
template <int last_block>
inline constexpr std::array<LayoutNames, 1> mmdit_layouts{{{Layout::diffusers, mmdit_diffusers_names<last_block>}}};

/// huggingface/diffusers, FluxTransformer2DModel (scripts/convert_flux_to_diffusers.py). The first linear layer of
/// a single-stream block is four there, the last of them `mlp_ratio` times as high as the others.
template <int mlp_ratio>
inline constexpr std::array<NameRule, 29> flux_diffusers_names{{
    {"img_in.*", {"x_embedder.*"}},
    {"txt_in.*", {"context_embedder.*"}},
    {"time_in.in_layer.*", {"time_text_embed.timestep_embedder.linear_1.*"}},
    {"time_in.out_layer.*", {"time_text_embed.timestep_embedder.linear_2.*"}},
    {"guidance_in.in_layer.*", {"time_text_embed.guidance_embedder.linear_1.*"}},
    {"guidance_in.out_layer.*", {"time_text_embed.guidance_embedder.linear_2.*"}},
    {"vector_in.in_layer.*", {"time_text_embed.text_embedder.linear_1.*"}},
    {"vector_in.out_layer.*", {"time_text_embed.text_embedder.linear_2.*"}},
    {"double_blocks.{}.img_mod.lin.*", {"transformer_blocks.{}.norm1.linear.*"}},
    {"double_blocks.{}.txt_mod.lin.*", {"transformer_blocks.{}.norm1_context.linear.*"}},
    {"double_blocks.{}.img_attn.qkv.*",
     {"transformer_blocks.{}.attn.to_q.*", "transformer_blocks.{}.attn.to_k.*",
      "transformer_blocks.{}.attn.to_v.*"}},
    {"double_blocks.{}.txt_attn.qkv.*",
     {"transformer_blocks.{}.attn.add_q_proj.*", "transformer_blocks.{}.attn.add_k_proj.*",
      "transformer_blocks.{}.attn.add_v_proj.*"}},
    {"double_blocks.{}.img_attn.norm.query_norm.scale", {"transformer_blocks.{}.attn.norm_q.weight"}},
    {"double_blocks.{}.img_attn.norm.key_norm.scale", {"transformer_blocks.{}.attn.norm_k.weight"}},
    {"double_blocks.{}.txt_attn.norm.query_norm.scale", {"transformer_blocks.{}.attn.norm_added_q.weight"}},
    {"double_blocks.{}.txt_attn.norm.key_norm.scale", {"transformer_blocks.{}.attn.norm_added_k.weight"}},
    {"double_blocks.{}.img_attn.proj.*", {"transformer_blocks.{}.attn.to_out.0.*"}},
    {"double_blocks.{}.txt_attn.proj.*", {"transformer_blocks.{}.attn.to_add_out.*"}},
    {"double_blocks.{}.img_mlp.0.*", {"transformer_blocks.{}.ff.net.0.proj.*"}},
    {"double_blocks.{}.img_mlp.2.*", {"transformer_blocks.{}.ff.net.2.*"}},
    {"double_blocks.{}.txt_mlp.0.*", {"transformer_blocks.{}.ff_context.net.0.proj.*"}},
    {"double_blocks.{}.txt_mlp.2.*", {"transformer_blocks.{}.ff_context.net.2.*"}},
    {"single_blocks.{}.modulation.lin.*", {"single_transformer_blocks.{}.norm.linear.*"}},
    {.ours = "single_blocks.{}.linear1.*",
     .theirs = {"single_transformer_blocks.{}.attn.to_q.*", "single_transformer_blocks.{}.attn.to_k.*",
                "single_transformer_blocks.{}.attn.to_v.*", "single_transformer_blocks.{}.proj_mlp.*"},
     .shares = {1, 1, 1, mlp_ratio}},
    {"single_blocks.{}.linear2.*", {"single_transformer_blocks.{}.proj_out.*"}},
    {"single_blocks.{}.norm.query_norm.scale", {"single_transformer_blocks.{}.attn.norm_q.weight"}},
    {"single_blocks.{}.norm.key_norm.scale", {"single_transformer_blocks.{}.attn.norm_k.weight"}},
    {.ours = "final_layer.adaLN_modulation.1.*", .theirs = {"norm_out.linear.*"}, .swapped_halves = true},
    {"final_layer.linear.*", {"proj_out.*"}},
}};
template <int mlp_ratio>
inline constexpr std::array<LayoutNames, 1> flux_layouts{{{Layout::diffusers, flux_diffusers_names<mlp_ratio>}}};

}}  // namespace dit
