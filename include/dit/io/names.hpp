#pragma once
/// Other spellings of the same checkpoint, as tables.

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dit/core/eigen.hpp"
#include "dit/io/name_rule.hpp"
#include "dit/io/names_autoencoder.hpp"
#include "dit/io/names_mmdit.hpp"

namespace dit { inline namespace DIT_ABI {

/// huggingface/diffusers, DiTTransformer2DModel (models/transformers/dit_transformer_2d.py; the mapping is that of
/// scripts/convert_dit_to_diffusers.py). The position table is not stored, the time and class embedders are stored
/// once per block.
inline constexpr std::array<NameRule, 12> dit_diffusers_names{{
    {"x_embedder.proj.*", {"pos_embed.proj.*"}},
    {"t_embedder.mlp.0.*", {"transformer_blocks.{}.norm1.emb.timestep_embedder.linear_1.*"}},
    {"t_embedder.mlp.2.*", {"transformer_blocks.{}.norm1.emb.timestep_embedder.linear_2.*"}},
    {"y_embedder.embedding_table.*", {"transformer_blocks.{}.norm1.emb.class_embedder.embedding_table.*"}},
    {"blocks.{}.adaLN_modulation.1.*", {"transformer_blocks.{}.norm1.linear.*"}},
    {"blocks.{}.attn.qkv.*",
     {"transformer_blocks.{}.attn1.to_q.*", "transformer_blocks.{}.attn1.to_k.*",
      "transformer_blocks.{}.attn1.to_v.*"}},
    {"blocks.{}.attn.proj.*", {"transformer_blocks.{}.attn1.to_out.0.*"}},
    {"blocks.{}.mlp.fc1.*", {"transformer_blocks.{}.ff.net.0.proj.*"}},
    {"blocks.{}.mlp.fc2.*", {"transformer_blocks.{}.ff.net.2.*"}},
    {"final_layer.adaLN_modulation.1.*", {"proj_out_1.*"}},
    {"final_layer.linear.*", {"proj_out_2.*"}},
    {"pos_embed", {}},
}};

inline constexpr std::array<LayoutNames, 1> dit_layouts{{{Layout::diffusers, dit_diffusers_names}}};

/// The prefixes that training scripts and bundles put before every name.
inline constexpr std::array<std::string_view, 8> known_prefixes{
    "ema.",         "module.", "model.diffusion_model.", "model.", "diffusion_model.",
    "transformer.", "vae.",    "first_stage_model.",
};

namespace detail {

/// What `{}` and `*` stood for.
struct NameMatch {
  std::string_view number, rest;
};

std::optional<NameMatch> match_name(std::string_view pattern, std::string_view text);

std::string fill_name(std::string_view pattern, std::string_view number, std::string_view rest);

/// Rows [first, first + count) of a tensor in a file. The pieces of one of our tensors are stacked in their order.
struct Piece {
  std::string name;
  Index rows = 0, first = 0, count = 0;
  std::string copies =
      {};                  ///< if every block has one: the name with {} for the block's number; `name` is block 0's
  bool pointwise = false;  ///< a matrix is [out, in, 1, 1] there
};

/// Where the rows of our tensor `ours` lie in a layout. No pieces: that layout does not store it.
std::vector<Piece> spell(std::string_view ours, Index rows, std::span<const NameRule> rules);

/// The layouts that a model's checkpoints come in, besides its own.
template <class M>
constexpr std::span<const LayoutNames> layouts_of() {
  if constexpr (requires { M::layouts; }) {
    return M::layouts;
  } else if constexpr (requires { M::family; }) {
    if (M::family == "dit") return dit_layouts;
    if constexpr (M::family == "mmdit") return mmdit_layouts<M::config.depth - 1>;
    if constexpr (M::family == "flux") return flux_layouts<M::config.mlp_ratio>;
    if constexpr (M::family == "autoencoder_kl") return autoencoder_kl_layouts<M::config.levels()>;
    if (M::family == "autoencoder_tiny") return autoencoder_tiny_layouts;
  }
  return {};
}

/// The rules of a layout; bad_option if there is no such layout.
std::span<const NameRule> rules_of(std::span<const LayoutNames> layouts, Layout layout);

/// All of them, or those of one layout, in the order in which they are tried; bad_option if there is no such
/// layout.
std::vector<LayoutNames> spellings(std::span<const LayoutNames> layouts, std::optional<Layout> asked);

/// The names of a model's derived parameters, which a file need not have.
template <class M>
constexpr std::span<const std::string_view> derived_of() {
  if constexpr (requires { M::derived; }) return M::derived;
  return {};
}

}  // namespace detail
}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/names.inl"
#endif
