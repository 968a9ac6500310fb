#pragma once
/// The sizes of a model as its checkpoint's shapes tell them.

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "dit/io/checkpoint.hpp"
#include "dit/io/names.hpp"
#include "doctor/config.hpp"

namespace doctor::detail {
using namespace dit;
using namespace dit::detail;

/// The shapes of a checkpoint under the library's own names.
class Shapes {
 public:
  Shapes(const Checkpoint& checkpoint, std::string prefix, std::span<const NameRule> rules)
      : checkpoint_(checkpoint), prefix_(std::move(prefix)), rules_(rules) {}

  /// The extent that most tensors give, `names` being pairs of a tensor and an axis, with {} for any block's
  /// number.
  struct At {
    std::string_view tensor;
    std::size_t axis;
  };
  int most(std::initializer_list<At> places, int blocks = 1) const {
    std::map<int, int> votes;
    for (const At& place : places) {
      const bool many = place.tensor.find("{}") != std::string_view::npos;
      for (int i = 0; i < (many ? blocks : 1); ++i) {
        const int length = extent_of(fill_name(place.tensor, std::to_string(i), {}), place.axis);
        if (length != untold) ++votes[length];
      }
    }
    const auto best = std::max_element(votes.begin(), votes.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    return best == votes.end() ? untold : best->first;
  }

  /// One more than the largest number for which one of the tensors is there.
  int count(std::initializer_list<std::string_view> patterns) const {
    int count = 0;
    for (int i = 0; i <= 1000; ++i) {
      for (const std::string_view pattern : patterns) {
        if (count <= i && has(fill_name(pattern, std::to_string(i), {}))) count = i + 1;
      }
    }
    return count;
  }

  bool has(std::string_view ours) const {
    for (const Piece& piece : spell(ours, 0, rules_)) {
      if (checkpoint_.find(prefix_ + piece.name)) return true;
    }
    return false;
  }

 private:
  int extent_of(std::string_view ours, std::size_t axis) const {
    const auto pieces = spell(ours, 0, rules_);
    if (pieces.empty()) return untold;
    const auto place = checkpoint_.find(prefix_ + pieces[0].name);
    if (!place) return untold;
    const auto shape = checkpoint_.shards()[place->shard][place->tensor].shape;
    constexpr std::uint64_t most = 1 << 24;  // beyond, it is no model's, and products would overflow
    return axis < shape.size() && shape[axis] > 0 && shape[axis] <= most ? static_cast<int>(shape[axis]) : untold;
  }

  const Checkpoint& checkpoint_;
  std::string prefix_;
  std::span<const NameRule> rules_;
};

/// a / b, and sqrt(a), where that is told and exact.
inline int ratio(int a, int b) { return a > 0 && b > 0 && a % b == 0 ? a / b : untold; }
inline int root(int a) {
  const int r = a > 0 ? static_cast<int>(std::lround(std::sqrt(a))) : untold;
  return r > 0 && r * r == a ? r : untold;
}

inline int patch_of(std::string_view convolution, const Shapes& shapes) {
  const int patch = shapes.most({{convolution, 2}, {convolution, 3}});
  return patch <= 4096 ? patch : untold;
}

inline void read(DiTConfig& c, const Shapes& shapes) {
  c.depth = shapes.count({"blocks.{}.attn.proj.weight", "blocks.{}.mlp.fc1.weight", "blocks.{}.mlp.fc2.weight"});
  c.width = shapes.most(
      {{"x_embedder.proj.weight", 0}, {"t_embedder.mlp.2.weight", 0}, {"blocks.{}.attn.proj.weight", 0}}, c.depth);
  c.heads = untold;
  c.patch = patch_of("x_embedder.proj.weight", shapes);
  c.in_channels = shapes.most({{"x_embedder.proj.weight", 1}});
  const int side = root(shapes.most({{"pos_embed", 1}}));
  c.input = side > 0 && c.patch > 0 ? side * c.patch : untold;
  c.learn_sigma = ratio(shapes.most({{"final_layer.linear.weight", 0}}), c.patch * c.patch) != c.in_channels;
  const int labels = shapes.most({{"y_embedder.embedding_table.weight", 0}});
  c.classes = labels > 1 ? labels - 1 : untold;
  c.mlp_ratio = ratio(shapes.most({{"blocks.{}.mlp.fc1.weight", 0}}, c.depth), c.width);
}

inline void read(PlainDiTConfig& c, const Shapes& shapes) {
  c.depth = shapes.count({"blocks.{}.attn.out_proj.weight", "blocks.{}.ff.0.weight"});
  c.width =
      shapes.most({{"patchify.weight", 0}, {"norm_out.weight", 0}, {"blocks.{}.attn.out_proj.weight", 0}}, c.depth);
  c.heads = untold;
  c.patch = patch_of("patchify.weight", shapes);
  c.in_channels = shapes.most({{"patchify.weight", 1}});
  c.mlp = shapes.most({{"blocks.{}.ff.0.weight", 0}, {"blocks.{}.ff.2.weight", 1}}, c.depth);
  c.width_c = shapes.most({{"blocks.{}.adaln1.proj.weight", 1}, {"blocks.{}.adaln2.proj.weight", 1}}, c.depth);
}

inline void read(MMDiTConfig& c, const Shapes& shapes) {
  c.depth = shapes.count({"joint_blocks.{}.x_block.attn.proj.weight", "joint_blocks.{}.x_block.mlp.fc1.weight",
                          "joint_blocks.{}.x_block.mlp.fc2.weight"});
  c.width = shapes.most({{"x_embedder.proj.weight", 0},
                         {"context_embedder.weight", 0},
                         {"joint_blocks.{}.x_block.attn.proj.weight", 0}},
                        c.depth);
  const int head = shapes.most(
      {{"joint_blocks.{}.x_block.attn.ln_q.weight", 0}, {"joint_blocks.{}.x_block.attn.ln_k.weight", 0}}, c.depth);
  c.qk_norm = head != untold;
  c.heads = c.qk_norm ? ratio(c.width, head) : c.width == 64 * c.depth ? c.depth : untold;  // mmditx.py: 64 a head
  c.patch = patch_of("x_embedder.proj.weight", shapes);
  c.in_channels = shapes.most({{"x_embedder.proj.weight", 1}});
  c.positions = root(shapes.most({{"pos_embed", 1}}));
  c.context = shapes.most({{"context_embedder.weight", 1}});
  c.pooled = shapes.most({{"y_embedder.mlp.0.weight", 1}});
  c.dual_blocks =
      shapes.count({"joint_blocks.{}.x_block.attn2.proj.weight", "joint_blocks.{}.x_block.attn2.proj.bias"});
  c.mlp_ratio = ratio(shapes.most({{"joint_blocks.{}.x_block.mlp.fc1.weight", 0}}, c.depth), c.width);
}

inline void read(FluxConfig& c, const Shapes& shapes) {
  c.double_blocks = shapes.count({"double_blocks.{}.img_attn.proj.weight", "double_blocks.{}.img_mlp.0.weight"});
  c.single_blocks = shapes.count({"single_blocks.{}.linear2.weight", "single_blocks.{}.modulation.lin.weight"});
  c.width = shapes.most({{"img_in.weight", 0}, {"txt_in.weight", 0}, {"double_blocks.{}.img_attn.proj.weight", 0}},
                        c.double_blocks);
  const int head = shapes.most({{"double_blocks.{}.img_attn.norm.query_norm.scale", 0},
                                {"double_blocks.{}.img_attn.norm.key_norm.scale", 0}},
                               c.double_blocks);
  c.heads = ratio(c.width, head);
  if (head != 128) c.axes.fill(untold);
  constexpr int pixels = FluxConfig::patch * FluxConfig::patch;
  c.channels = ratio(shapes.most({{"final_layer.linear.weight", 0}}), pixels);
  const int in = ratio(shapes.most({{"img_in.weight", 1}}), pixels);
  c.control_channels = in > 0 && c.channels > 0 ? std::max(0, in - c.channels) : untold;
  c.guidance = shapes.has("guidance_in.in_layer.weight") || shapes.has("guidance_in.out_layer.weight");
  c.context = shapes.most({{"txt_in.weight", 1}});
  c.pooled = shapes.most({{"vector_in.in_layer.weight", 1}});
  c.mlp_ratio = ratio(shapes.most({{"double_blocks.{}.img_mlp.0.weight", 0}}, c.double_blocks), c.width);
}

inline void read(AutoencoderKLConfig& c, const Shapes& shapes) {
  c.latent_channels = shapes.most({{"decoder.conv_in.weight", 1}});
  c.image_channels = shapes.most({{"decoder.conv_out.weight", 0}});
  c.groups = c.scaling_factor_e5 = c.shift_factor_e5 = untold;
  c.post_quant_conv = shapes.has("post_quant_conv.weight") || shapes.has("post_quant_conv.bias");
  c.channels.fill(0);
  const auto levels =
      static_cast<std::size_t>(std::min(6, shapes.count({"decoder.up_blocks.{}.resnets.0.conv1.weight",
                                                         "decoder.up_blocks.{}.resnets.1.conv1.weight"})));
  c.blocks = untold;
  for (std::size_t l = 0; l < levels; ++l) {
    const std::string level = "decoder.up_blocks." + std::to_string(l) + ".resnets.{}.";
    const int blocks = shapes.count({level + "conv1.weight", level + "conv2.weight"});
    c.blocks = std::max(c.blocks, blocks);
    c.channels[levels - 1 - l] = shapes.most({{level + "conv1.weight", 0}, {level + "conv2.weight", 0}}, blocks);
  }
}

inline void read(AutoencoderTinyConfig& c, const Shapes& shapes) {
  c.latent_channels = shapes.most({{"decoder.layers.0.weight", 1}});
  c.width = shapes.most({{"decoder.layers.0.weight", 0}, {"decoder.layers.{}.conv.0.weight", 0}}, 18);
  c.image_channels = shapes.most({{"decoder.layers.18.weight", 0}});
}

}  // namespace doctor::detail
