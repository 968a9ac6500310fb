#pragma once
/// The tensors of a model whose sizes are known at run time only, for `inspect`.

#include <algorithm>
#include <array>
#include <concepts>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dit/io/load.hpp"
#include "doctor/config.hpp"

namespace doctor::detail {
using namespace dit;
using namespace dit::detail;

// What the compiler knows of a model are the shapes of one config. These configs have numbers of which no two are
// equal, nor their products that occur, so that every extent tells what it is made of.
inline constexpr DiTConfig any_dit{.width = 1012,
                                   .depth = 1,
                                   .heads = 1,
                                   .patch = 7,
                                   .input = 7 * 11,
                                   .in_channels = 5,
                                   .classes = 500,
                                   .mlp_ratio = 13};
inline constexpr PlainDiTConfig any_plain_dit{
    .in_channels = 5, .patch = 7, .width = 1009, .heads = 1, .mlp = 997, .depth = 1, .width_c = 503};
inline constexpr MMDiTConfig any_mmdit{.width = 2 * 509,
                                       .depth = 3,
                                       .heads = 2,
                                       .patch = 7,
                                       .in_channels = 5,
                                       .positions = 11,
                                       .context = 503,
                                       .pooled = 499,
                                       .qk_norm = true,
                                       .dual_blocks = 1,
                                       .mlp_ratio = 13};
inline constexpr FluxConfig any_flux{.width = 2 * 510,
                                     .heads = 2,
                                     .double_blocks = 1,
                                     .single_blocks = 1,
                                     .channels = 5,
                                     .control_channels = 3,
                                     .context = 503,
                                     .pooled = 499,
                                     .axes = {170, 170, 170},
                                     .mlp_ratio = 13};
inline constexpr AutoencoderKLConfig any_autoencoder_kl{
    .latent_channels = 5, .channels = {509, 1009}, .blocks = 2, .groups = 1, .image_channels = 7};
inline constexpr AutoencoderTinyConfig any_autoencoder_tiny{
    .latent_channels = 5, .width = 1009, .image_channels = 7};

/// What an extent becomes.
using Substitutions = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

/// Tensors whose names begin with `from` become tensors that begin with `to`.
struct Copied {
  std::string from, to;
  Substitutions extents;
};

/// A number of a config as part of an extent: what is untold takes no room.
inline std::uint64_t extent(int number) { return static_cast<std::uint64_t>(std::max(0, number)); }

/// The tensors of another size of M: those under `lists` as often as `copies` says, the others once.
template <class M>
std::vector<Wanted> wanted_tensors(const Substitutions& extents, std::initializer_list<std::string_view> lists,
                                   const std::vector<Copied>& copies) {
  const M known{};
  std::vector<Wanted> wanted;
  const auto add = [&wanted](const Wanted& tensor, std::string name, const Substitutions& substitutions) {
    std::vector<std::uint64_t> shape = tensor.shape;
    for (std::uint64_t& length : shape) {
      for (const auto& [from, to] : substitutions) {
        if (length != from) continue;
        length = to;
        break;
      }
    }
    const auto rows = static_cast<Index>(shape[0]);
    wanted.push_back({std::move(name), std::move(shape), rows, tensor.derived});
  };
  for (const Wanted& tensor : dit::detail::wanted_tensors(known)) {
    for (const Copied& copy : copies) {
      if (tensor.name.starts_with(copy.from))
        add(tensor, copy.to + tensor.name.substr(copy.from.size()), copy.extents);
    }
    const bool listed = std::any_of(lists.begin(), lists.end(),
                                    [&](std::string_view list) { return tensor.name.starts_with(list); });
    if (!listed) add(tensor, tensor.name, extents);
  }
  return wanted;
}

/// `count` blocks from `first` on, all like block `like`.
inline void add_blocks(std::vector<Copied>& copies, const std::string& list, int like, int first, int count,
                       const Substitutions& extents) {
  for (int i = first; i < first + count; ++i) {
    copies.push_back({list + std::to_string(like) + ".", list + std::to_string(i) + ".", extents});
  }
}

/// Multiples of a width: of itself, of what it is in `any`, and with `mlp` of the ratio that goes with it.
inline void add_multiples(Substitutions& extents, int any, int own, std::initializer_list<int> factors) {
  for (const int k : factors) extents.emplace_back(extent(k * any), extent(k) * extent(own));
}

// Templates, so that nobody pays for them who does not call `inspect`.

std::vector<Wanted> wanted_of(const std::same_as<DiTConfig> auto& c) {
  constexpr auto& any = any_dit;
  Substitutions extents;
  add_multiples(extents, any.width, c.width, {1, 2, 3, 6});
  const std::uint64_t pixels = extent(c.patch) * extent(c.patch),
                      side = extent(c.input) / std::max<std::uint64_t>(1, extent(c.patch));
  extents.insert(extents.end(), {{any.mlp_ratio * any.width, extent(c.mlp_ratio) * extent(c.width)},
                                 {any.patch, extent(c.patch)},
                                 {any.in_channels, extent(c.in_channels)},
                                 {any.patch * any.patch * any.out_channels(), pixels * extent(c.out_channels())},
                                 {11 * 11, side * side},
                                 {any.labels(), extent(c.labels())}});
  std::vector<Copied> copies;
  add_blocks(copies, "blocks.", 0, 0, c.depth, extents);
  return wanted_tensors<DiT<any>>(extents, {"blocks."}, copies);
}

std::vector<Wanted> wanted_of(const std::same_as<PlainDiTConfig> auto& c) {
  constexpr auto& any = any_plain_dit;
  Substitutions extents;
  add_multiples(extents, any.width, c.width, {1, 2, 3});
  const std::uint64_t pixels = extent(c.patch) * extent(c.patch);
  extents.insert(extents.end(), {{any.mlp, extent(c.mlp)},
                                 {any.width_c, extent(c.width_c)},
                                 {any.patch, extent(c.patch)},
                                 {any.in_channels, extent(c.in_channels)},
                                 {any.patch * any.patch * any.in_channels, pixels * extent(c.in_channels)}});
  std::vector<Copied> copies;
  add_blocks(copies, "blocks.", 0, 0, c.depth, extents);
  return wanted_tensors<PlainDiT<any>>(extents, {"blocks."}, copies);
}

std::vector<Wanted> wanted_of(const std::same_as<MMDiTConfig> auto& c) {
  constexpr auto& any = any_mmdit;
  Substitutions extents;
  add_multiples(extents, any.width, c.width, {1, 2, 3, 6, 9});
  const std::uint64_t pixels = extent(c.patch) * extent(c.patch);
  extents.insert(extents.end(),
                 {{any.mlp_ratio * any.width, extent(c.mlp_ratio) * extent(c.width)},
                  {any.width / any.heads, extent(c.width) / std::max<std::uint64_t>(1, extent(c.heads))},
                  {any.patch, extent(c.patch)},
                  {any.in_channels, extent(c.in_channels)},
                  {any.patch * any.patch * any.in_channels, pixels * extent(c.in_channels)},
                  {any.positions * any.positions, extent(c.positions) * extent(c.positions)},
                  {any.context, extent(c.context)},
                  {any.pooled, extent(c.pooled)}});
  std::vector<Copied> copies;
  const int last = std::max(1, c.depth) - 1, dual = std::clamp(c.dual_blocks, 0, last);
  add_blocks(copies, "joint_blocks.", 0, 0, dual, extents);
  add_blocks(copies, "joint_blocks.", 1, dual, last - dual, extents);
  add_blocks(copies, "joint_blocks.", 2, last, 1, extents);
  auto wanted = wanted_tensors<MMDiT<any>>(extents, {"joint_blocks."}, copies);
  if (!c.qk_norm) {
    std::erase_if(wanted, [](const Wanted& tensor) { return tensor.name.find(".ln_") != std::string::npos; });
  }
  return wanted;
}

std::vector<Wanted> wanted_of(const std::same_as<FluxConfig> auto& c) {
  constexpr auto& any = any_flux;
  Substitutions extents;
  add_multiples(extents, any.width, c.width, {1, 2, 3, 6});
  const std::uint64_t mlp = extent(c.mlp_ratio) * extent(c.width);
  constexpr int pixels = FluxConfig::patch * FluxConfig::patch;
  extents.insert(extents.end(),
                 {{any.mlp_ratio * any.width, mlp},
                  {(1 + any.mlp_ratio) * any.width, extent(c.width) + mlp},
                  {(3 + any.mlp_ratio) * any.width, 3 * extent(c.width) + mlp},
                  {any.width / any.heads, extent(c.width) / std::max<std::uint64_t>(1, extent(c.heads))},
                  {any.in_features(), pixels * (extent(c.channels) + extent(c.control_channels))},
                  {pixels * any.channels, pixels * extent(c.channels)},
                  {any.context, extent(c.context)},
                  {any.pooled, extent(c.pooled)}});
  std::vector<Copied> copies;
  add_blocks(copies, "double_blocks.", 0, 0, c.double_blocks, extents);
  add_blocks(copies, "single_blocks.", 0, 0, c.single_blocks, extents);
  auto wanted = wanted_tensors<Flux<any>>(extents, {"double_blocks.", "single_blocks."}, copies);
  if (!c.guidance) {
    std::erase_if(wanted, [](const Wanted& tensor) { return tensor.name.starts_with("guidance_in."); });
  }
  return wanted;
}

std::vector<Wanted> wanted_of(const std::same_as<AutoencoderKLConfig> auto& c) {
  constexpr auto& any = any_autoencoder_kl;
  constexpr int outer = any.channels[0], inner = any.channels[1];
  const auto with = [&](int for_inner, int for_outer) {
    return Substitutions{{inner, extent(for_inner)},
                         {outer, extent(for_outer)},
                         {any.latent_channels, extent(c.latent_channels)},
                         {any.image_channels, extent(c.image_channels)}};
  };
  const std::string list = "decoder.up_blocks.";
  std::vector<Copied> copies;
  std::vector<std::string> straight;  // ResNet blocks whose width stays: they have no shortcut
  for (int l = 0; l < c.levels(); ++l) {
    const int own = c.level(l), before = c.level(std::max(0, l - 1));
    const std::string level = list + std::to_string(l) + ".";
    copies.push_back({list + "1.resnets.0.", level + "resnets.0.", with(before, own)});
    if (before == own) straight.push_back(level + "resnets.0.conv_shortcut.");
    for (int i = 1; i < c.blocks; ++i) {
      copies.push_back({list + "1.resnets.1.", level + "resnets." + std::to_string(i) + ".", with(before, own)});
    }
    if (l + 1 < c.levels()) copies.push_back({list + "0.upsamplers.", level + "upsamplers.", with(own, own)});
  }
  const int first = c.levels() > 0 ? c.level(0) : untold, last = c.levels() > 0 ? c.channels[0] : untold;
  auto wanted = wanted_tensors<AutoencoderKL<any>>(with(first, last), {list}, copies);
  std::erase_if(wanted, [&](const Wanted& tensor) {
    return (!c.post_quant_conv && tensor.name.starts_with("post_quant_conv.")) ||
           std::any_of(straight.begin(), straight.end(),
                       [&](const std::string& shortcut) { return tensor.name.starts_with(shortcut); });
  });
  return wanted;
}

std::vector<Wanted> wanted_of(const std::same_as<AutoencoderTinyConfig> auto& c) {
  constexpr auto& any = any_autoencoder_tiny;
  return wanted_tensors<AutoencoderTiny<any>>({{any.width, extent(c.width)},
                                               {any.latent_channels, extent(c.latent_channels)},
                                               {any.image_channels, extent(c.image_channels)}},
                                              {}, {});
}

/// The layouts of a config's checkpoints, as `layouts_of` gives them for a type.
struct OwnLayouts {
  std::vector<NameRule> rules;
  std::vector<LayoutNames> layouts;

  explicit OwnLayouts(const ModelConfig& config) {
    std::visit([this](const auto& c) { set(c); }, config);
  }

 private:
  void set(const std::monostate&) {}
  void set(const PlainDiTConfig&) {}
  void set(const DiTConfig&) { layouts.assign(dit_layouts.begin(), dit_layouts.end()); }
  void set(const MMDiTConfig& c) {
    rules.assign(mmdit_diffusers_names<0>.begin(), mmdit_diffusers_names<0>.end());
    for (NameRule& rule : rules) {
      if (rule.only_block >= 0) rule.only_block = std::max(0, c.depth - 1);
    }
    layouts = {{Layout::diffusers, rules}};
  }
  void set(const FluxConfig& c) {
    rules.assign(flux_diffusers_names<1>.begin(), flux_diffusers_names<1>.end());
    for (NameRule& rule : rules) {
      if (!rule.theirs[3].empty()) rule.shares[3] = std::max(1, c.mlp_ratio);
    }
    layouts = {{Layout::diffusers, rules}};
  }
  void set(const AutoencoderKLConfig& c) {
    constexpr std::span<const LayoutNames> by_levels[] = {autoencoder_kl_layouts<1>, autoencoder_kl_layouts<2>,
                                                          autoencoder_kl_layouts<3>, autoencoder_kl_layouts<4>,
                                                          autoencoder_kl_layouts<5>, autoencoder_kl_layouts<6>};
    const auto known = by_levels[static_cast<std::size_t>(std::clamp(c.levels(), 1, 6) - 1)];
    layouts.assign(known.begin(), known.end());
  }
  void set(const AutoencoderTinyConfig&) {
    layouts.assign(autoencoder_tiny_layouts.begin(), autoencoder_tiny_layouts.end());
  }
};

}  // namespace doctor::detail
