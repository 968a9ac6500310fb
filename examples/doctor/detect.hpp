#pragma once
/// Which model a checkpoint holds, told from names and shapes: no weight is read, and no type has to be known.
///
///     const auto checkpoint = Checkpoint::open("sd3_medium.safetensors");
///     const Detected found = detect(checkpoint);               // MMDiT, original layout, model.diffusion_model.
///     const LoadReport report = inspect(checkpoint, found);    // what is missing, unexpected, misshapen
///     found.type();                                            // "dit::MMDiT<dit::sd3_medium>"

#include <algorithm>
#include <array>
#include <concepts>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "doctor/expected.hpp"
#include "doctor/sizes.hpp"

namespace doctor {
using namespace dit;

enum class Architecture : std::uint8_t {
  unknown,
  // Those that the library loads.
  dit,
  plain_dit,
  mmdit,
  flux,
  autoencoder_kl,
  autoencoder_tiny,
  // Those that it only knows by name.
  flux_2,
  qwen_image,
  z_image,
  lumina_2,
  pixart,
  aura_flow,
  sana,
  clip_text,
  t5_encoder,
  language_model,
};

constexpr std::string_view name(Architecture architecture) {
  constexpr std::string_view names[] = {"unknown",
                                        "DiT",
                                        "the simplified DiT",
                                        "MMDiT (Stable Diffusion 3)",
                                        "FLUX.1",
                                        "AutoencoderKL",
                                        "tiny autoencoder",
                                        "FLUX.2",
                                        "Qwen-Image",
                                        "Z-Image",
                                        "Lumina-Image 2",
                                        "PixArt",
                                        "AuraFlow",
                                        "SANA",
                                        "CLIP text encoder",
                                        "T5 encoder",
                                        "language model (text encoder)"};
  return names[static_cast<std::size_t>(architecture)];
}

/// A model that was found in a checkpoint.
struct Detected {
  Architecture architecture = Architecture::unknown;
  Layout layout = Layout::original;
  std::string prefix;  ///< what stands before every name
  /// Its sizes: those of the first preset that fits, otherwise as read from the shapes, `untold` where none tells.
  /// No config (std::monostate) for an architecture that the library does not load.
  ModelConfig config;
  std::vector<const Preset*> presets;  ///< the published configs of these sizes
  const Preset* nearest = nullptr;     ///< where none fits: one of the same width that differs in one size or two
  std::vector<std::string_view> differs;  ///< those sizes
  std::vector<std::string_view> unread;   ///< the config's fields that no shape of this file tells

  bool loadable() const noexcept { return config.index() != 0; }

  /// The type that loads it, as C++: "dit::MMDiT<dit::sd3_medium>", or with a config that is written out, in which
  /// fields that are untold have their names in capitals for values. Empty for what the library does not load.
  std::string type() const { return presets.empty() ? type_text(config) : type_text(*presets[0]); }
};

namespace detail {
using namespace dit::detail;

/// Tensors that tell an architecture: `also`, and any of the others. `{}` is a number, `*` the rest.
struct Sign {
  Architecture architecture;
  Layout layout;
  std::array<std::string_view, 2> any;
  std::string_view also = {};
};

/// The first that is there, under some prefix, is what stands under that prefix. The order matters: some have
/// tensors of others (diffusers: loaders/single_file_utils.py).
inline constexpr Sign signs[] = {
    {Architecture::flux_2,
     Layout::original,
     {"single_stream_modulation.lin.weight", "double_stream_modulation_img.lin.weight"}},
    {Architecture::flux_2,
     Layout::diffusers,
     {"single_stream_modulation.linear.weight", "single_transformer_blocks.{}.attn.to_qkv_mlp_proj.weight"}},
    {Architecture::flux,
     Layout::original,
     {"double_blocks.{}.img_attn.norm.key_norm.scale", "double_blocks.{}.img_mod.lin.weight"}},
    {Architecture::z_image, Layout::diffusers, {"all_x_embedder.2-1.weight"}},
    {Architecture::z_image, Layout::original, {"layers.{}.adaLN_modulation.0.weight"}},
    {Architecture::lumina_2, Layout::diffusers, {"time_caption_embed.*"}},
    {Architecture::lumina_2, Layout::original, {"cap_embedder.0.weight"}},
    {Architecture::mmdit,
     Layout::original,
     {"joint_blocks.{}.x_block.attn.qkv.weight", "joint_blocks.{}.context_block.attn.qkv.weight"}},
    {Architecture::aura_flow, Layout::original, {"double_layers.{}.attn.w2q.weight"}},
    {Architecture::aura_flow, Layout::diffusers, {"joint_transformer_blocks.{}.*"}},
    {Architecture::sana, Layout::original, {"blocks.{}.cross_attn.q_linear.weight"}, "attention_y_norm.weight"},
    {Architecture::sana, Layout::diffusers, {"patch_embed.proj.weight"}, "caption_norm.weight"},
    {Architecture::pixart, Layout::original, {"blocks.{}.cross_attn.q_linear.weight"}, "y_embedder.y_embedding"},
    {Architecture::pixart, Layout::diffusers, {"adaln_single.linear.weight"}, "caption_projection.linear_1.weight"},
    {Architecture::dit,
     Layout::original,
     {"y_embedder.embedding_table.weight", "blocks.{}.adaLN_modulation.1.weight"}},
    {Architecture::dit,
     Layout::diffusers,
     {"transformer_blocks.{}.norm1.emb.class_embedder.embedding_table.weight"}},
    {Architecture::mmdit, Layout::diffusers, {"transformer_blocks.{}.attn.add_q_proj.weight"}, "pos_embed.*"},
    {Architecture::flux,
     Layout::diffusers,
     {"single_transformer_blocks.{}.proj_mlp.weight", "single_transformer_blocks.{}.attn.norm_q.weight"}},
    {Architecture::qwen_image, Layout::diffusers, {"txt_norm.weight", "transformer_blocks.{}.txt_mod.1.weight"}},
    {Architecture::plain_dit, Layout::original, {"blocks.{}.adaln1.proj.weight"}},
    {Architecture::autoencoder_kl,
     Layout::diffusers,
     {"decoder.mid_block.resnets.{}.conv1.weight", "decoder.up_blocks.{}.resnets.{}.conv1.weight"}},
    {Architecture::autoencoder_kl,
     Layout::original,
     {"decoder.mid.block_1.conv1.weight", "decoder.up.{}.block.{}.conv1.weight"}},
    {Architecture::autoencoder_tiny, Layout::diffusers, {"decoder.layers.{}.conv.0.weight"}},
    {Architecture::autoencoder_tiny, Layout::original, {"{}.conv.0.weight"}, "19.weight"},
    {Architecture::clip_text, Layout::original, {"text_model.encoder.layers.{}.self_attn.q_proj.weight"}},
    {Architecture::t5_encoder, Layout::original, {"encoder.block.{}.layer.0.SelfAttention.q.weight"}},
    {Architecture::language_model, Layout::original, {"model.layers.{}.self_attn.q_proj.weight"}},
};

/// Where a tensor of the pattern's name may begin in `text`: what stands before is empty or ends with a dot.
template <class F>
void for_each_prefix(std::string_view pattern, std::string_view text, F&& f) {
  for (std::size_t at = 0; at < text.size(); at = text.find('.', at) + 1) {
    if (match_name(pattern, text.substr(at))) f(text.substr(0, at));
    if (text.find('.', at) == std::string_view::npos) return;
  }
}

template <class F>
void for_each_name(const Checkpoint& checkpoint, F&& f) {
  for (const Safetensors& shard : checkpoint.shards()) {
    for (std::size_t i = 0; i < shard.size(); ++i) f(shard.name(i));
  }
}

inline ModelConfig empty_config(Architecture architecture) {
  switch (architecture) {
    case Architecture::dit:
      return DiTConfig{};
    case Architecture::plain_dit:
      return PlainDiTConfig{};
    case Architecture::mmdit:
      return MMDiTConfig{};
    case Architecture::flux:
      return FluxConfig{};
    case Architecture::autoencoder_kl:
      return AutoencoderKLConfig{};
    case Architecture::autoencoder_tiny:
      return AutoencoderTinyConfig{};
    default:
      return {};
  }
}

template <class Config>
bool same_width(const Config& a, const Config& b) {
  if constexpr (requires { a.width; }) {
    return a.width == b.width;
  } else {
    return a.channels == b.channels;
  }
}

/// Takes the first preset that has the sizes read, if one has, and notes the nearest otherwise.
template <class Config>
void compare_with_presets(Config& own, Detected& found) {
  for_each_field(
      [&found](std::string_view name, const auto& value) {
        if (!is_told(value)) found.unread.push_back(name);
      },
      own);
  std::size_t fewest = 3;
  for (const Preset& preset : presets) {
    const ModelConfig published = preset.config();
    if (!std::holds_alternative<Config>(published)) continue;
    auto differing = differences(own, std::get<Config>(published));
    if (differing.empty()) found.presets.push_back(&preset);
    if (differing.size() >= fewest || !same_width(own, std::get<Config>(published))) continue;
    fewest = differing.size();
    found.nearest = &preset;
    found.differs = std::move(differing);
  }
  if (found.presets.empty()) return;
  own = std::get<Config>(found.presets[0]->config());
  found.nearest = nullptr;
}

Detected read_model(const std::same_as<Checkpoint> auto& checkpoint, const Sign& sign, std::string prefix) {
  Detected found;
  found.architecture = sign.architecture;
  found.layout = sign.layout;
  found.prefix = std::move(prefix);
  found.config = empty_config(sign.architecture);
  if (auto* const c = std::get_if<AutoencoderKLConfig>(&found.config)) {  // its names depend on how many levels
    const std::string numbered =
        found.prefix + (sign.layout == Layout::original ? "decoder.up." : "decoder.up_blocks.");
    for (std::size_t l = 0; l < c->channels.size(); ++l) {
      bool there = false;
      for_each_name(checkpoint, [&](std::string_view name) {
        there = there || name.starts_with(numbered + std::to_string(l) + ".");
      });
      c->channels[l] = there ? 1 : 0;
    }
  }
  const OwnLayouts own(found.config);
  std::span<const NameRule> rules;
  for (const LayoutNames& known : own.layouts) {
    if (known.layout == sign.layout) {
      rules = known.rules;
      break;
    }
  }
  const Shapes shapes(checkpoint, found.prefix, rules);
  std::visit(
      [&]<class C>(C& config) {
        if constexpr (!std::is_same_v<C, std::monostate>) {
          read(config, shapes);
          compare_with_presets(config, found);
        }
      },
      found.config);
  return found;
}

}  // namespace detail

/// Which of the tensors of a model of these sizes a checkpoint has: what `inspect<M>` says for the type that
/// `found.type()` names, except that tensors outside of `found.prefix` count as other models' and not as
/// unexpected. Errors: bad_option where the library has no model for it; out_of_memory.
LoadReport inspect(const std::same_as<Checkpoint> auto& checkpoint, const Detected& found) {
  require(found.loadable(), errc::bad_option, "there is no model of the library for this checkpoint");
  return detail::with_typed_bad_alloc(checkpoint.name(), [&] {
    const auto wanted = std::visit(
        []<class C>(const C& config) {
          if constexpr (std::is_same_v<C, std::monostate>) {
            return std::vector<detail::Wanted>{};
          } else {
            return detail::wanted_of(config);
          }
        },
        found.config);
    const detail::OwnLayouts own(found.config);
    LoadOptions options;
    options.layout = found.layout;
    options.prefix = found.prefix;
    LoadReport report = detail::Binder(checkpoint, wanted, own.layouts, options).bind().report;
    const auto elsewhere = [&](std::string_view name) { return !name.starts_with(found.prefix); };
    detail::for_each_name(checkpoint, [&](std::string_view name) { report.unexpected_count -= elsewhere(name); });
    std::erase_if(report.unexpected, elsewhere);
    return report;
  });
}

namespace detail {

/// Where the sizes read do not even fit the checkpoint itself, a few tensors have misled: if more of what is there
/// fits the nearest preset, it is meant to be that.
void prefer_nearest(const std::same_as<Checkpoint> auto& checkpoint, Detected& found) {
  if (found.nearest == nullptr) return;
  const auto strange = [](const LoadReport& report) { return report.misshapen.size() + report.unexpected_count; };
  const LoadReport own = inspect(checkpoint, found);
  if (own.complete()) return;
  Detected other = found;
  other.config = found.nearest->config();
  other.presets = {found.nearest};
  if (strange(inspect(checkpoint, other)) < strange(own)) found = std::move(other);
}

}  // namespace detail

/// All models in a checkpoint, each under its prefix: bundles have a transformer, text encoders and an autoencoder
/// in one file. Those that are loadable come first. Errors: out_of_memory.
std::vector<Detected> detect_all(const std::same_as<Checkpoint> auto& checkpoint) {
  return detail::with_typed_bad_alloc(checkpoint.name(), [&] {
    constexpr std::size_t most = 16;  // a file cannot buy more
    std::map<std::string, std::set<std::size_t>, std::less<>> seen;
    detail::for_each_name(checkpoint, [&](std::string_view name) {
      for (std::size_t i = 0; i < std::size(detail::signs); ++i) {
        for (const std::string_view pattern : detail::signs[i].any) {
          if (pattern.empty()) continue;
          detail::for_each_prefix(pattern, name, [&](std::string_view prefix) {
            if (const auto known = seen.find(prefix); known != seen.end()) {
              known->second.insert(i);
            } else if (seen.size() < most) {
              seen[std::string(prefix)].insert(i);
            }
          });
        }
      }
    });
    const auto is_there = [&](const std::string& prefix, std::string_view pattern) {
      bool there = pattern.empty();
      detail::for_each_name(checkpoint, [&](std::string_view name) {
        there = there || (name.starts_with(prefix) && detail::match_name(pattern, name.substr(prefix.size())));
      });
      return there;
    };
    std::vector<Detected> all;
    for (const auto& [prefix, candidates] : seen) {
      for (const std::size_t i : candidates) {
        if (!is_there(prefix, detail::signs[i].also)) continue;
        all.push_back(detail::read_model(checkpoint, detail::signs[i], prefix));
        detail::prefer_nearest(checkpoint, all.back());
        break;
      }
    }
    std::stable_sort(all.begin(), all.end(), [](const Detected& a, const Detected& b) {
      return a.loadable() != b.loadable() ? a.loadable() : a.architecture < b.architecture;
    });
    return all;
  });
}

/// The first of them, or one that is unknown.
Detected detect(const std::same_as<Checkpoint> auto& checkpoint) {
  auto all = detect_all(checkpoint);
  return all.empty() ? Detected{} : std::move(all[0]);
}

}  // namespace doctor
