#pragma once
/// Configs as data: their fields by name, the published ones, and the type that a config makes.

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "dit/models/autoencoder_kl.hpp"
#include "dit/models/autoencoder_tiny.hpp"
#include "dit/models/dit.hpp"
#include "dit/models/flux.hpp"
#include "dit/models/mmdit.hpp"
#include "dit/models/plain_dit.hpp"

namespace doctor {
using namespace dit;

/// The config of any model of the library, or none.
using ModelConfig = std::variant<std::monostate, DiTConfig, PlainDiTConfig, MMDiTConfig, FluxConfig,
                                 AutoencoderKLConfig, AutoencoderTinyConfig>;

/// What stands in a config's field that is not known.
inline constexpr int untold = -1;

namespace detail {
using namespace dit::detail;

template <class Config, class T>
struct Field {
  std::string_view name;
  T Config::*member;
};
template <class Config, class T>
Field(const char*, T Config::*) -> Field<Config, T>;

template <class Config>
struct Described;
template <>
struct Described<DiTConfig> {
  using C = DiTConfig;
  static constexpr std::string_view type = "DiT";
  static constexpr std::tuple fields{Field{"width", &C::width},
                                     Field{"depth", &C::depth},
                                     Field{"heads", &C::heads},
                                     Field{"patch", &C::patch},
                                     Field{"input", &C::input},
                                     Field{"in_channels", &C::in_channels},
                                     Field{"learn_sigma", &C::learn_sigma},
                                     Field{"classes", &C::classes},
                                     Field{"null_class", &C::null_class},
                                     Field{"mlp_ratio", &C::mlp_ratio}};
};
template <>
struct Described<PlainDiTConfig> {
  using C = PlainDiTConfig;
  static constexpr std::string_view type = "PlainDiT";
  static constexpr std::tuple fields{Field{"in_channels", &C::in_channels},
                                     Field{"patch", &C::patch},
                                     Field{"width", &C::width},
                                     Field{"heads", &C::heads},
                                     Field{"mlp", &C::mlp},
                                     Field{"depth", &C::depth},
                                     Field{"width_c", &C::width_c}};
};
template <>
struct Described<MMDiTConfig> {
  using C = MMDiTConfig;
  static constexpr std::string_view type = "MMDiT";
  static constexpr std::tuple fields{Field{"width", &C::width},
                                     Field{"depth", &C::depth},
                                     Field{"heads", &C::heads},
                                     Field{"patch", &C::patch},
                                     Field{"in_channels", &C::in_channels},
                                     Field{"positions", &C::positions},
                                     Field{"context", &C::context},
                                     Field{"pooled", &C::pooled},
                                     Field{"qk_norm", &C::qk_norm},
                                     Field{"dual_blocks", &C::dual_blocks},
                                     Field{"mlp_ratio", &C::mlp_ratio}};
};
template <>
struct Described<FluxConfig> {
  using C = FluxConfig;
  static constexpr std::string_view type = "Flux";
  static constexpr std::tuple fields{Field{"width", &C::width},
                                     Field{"heads", &C::heads},
                                     Field{"double_blocks", &C::double_blocks},
                                     Field{"single_blocks", &C::single_blocks},
                                     Field{"channels", &C::channels},
                                     Field{"control_channels", &C::control_channels},
                                     Field{"context", &C::context},
                                     Field{"pooled", &C::pooled},
                                     Field{"guidance", &C::guidance},
                                     Field{"axes", &C::axes},
                                     Field{"theta", &C::theta},
                                     Field{"mlp_ratio", &C::mlp_ratio}};
};
template <>
struct Described<AutoencoderKLConfig> {
  using C = AutoencoderKLConfig;
  static constexpr std::string_view type = "AutoencoderKL";
  static constexpr std::tuple fields{Field{"latent_channels", &C::latent_channels},
                                     Field{"channels", &C::channels},
                                     Field{"blocks", &C::blocks},
                                     Field{"groups", &C::groups},
                                     Field{"post_quant_conv", &C::post_quant_conv},
                                     Field{"scaling_factor_e5", &C::scaling_factor_e5},
                                     Field{"shift_factor_e5", &C::shift_factor_e5},
                                     Field{"image_channels", &C::image_channels}};
};
template <>
struct Described<AutoencoderTinyConfig> {
  using C = AutoencoderTinyConfig;
  static constexpr std::string_view type = "AutoencoderTiny";
  static constexpr std::tuple fields{Field{"latent_channels", &C::latent_channels}, Field{"width", &C::width},
                                     Field{"image_channels", &C::image_channels}};
};

inline bool is_told(int value) { return value != untold; }
inline bool is_told(bool) { return true; }
template <std::size_t n>
bool is_told(const std::array<int, n>& values) {
  return values[0] != untold;
}

inline std::string value_text(int value) { return std::to_string(value); }
inline std::string value_text(bool value) { return value ? "true" : "false"; }
template <std::size_t n>
std::string value_text(const std::array<int, n>& values) {
  std::string text = "{";
  for (std::size_t i = 0; i < n && (i == 0 || values[i] != 0); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(values[i]);
  }
  return text + "}";
}

}  // namespace detail

/// f(name, value) for every field of a config; over two of one type in step, f(name, value, other).
template <class F, class Config>
void for_each_field(F&& f, Config& config) {
  std::apply([&](const auto&... field) { (f(field.name, config.*field.member), ...); },
             detail::Described<std::remove_const_t<Config>>::fields);
}
template <class F, class Config>
void for_each_field(F&& f, const Config& config, const Config& other) {
  std::apply([&](const auto&... field) { (f(field.name, config.*field.member, other.*field.member), ...); },
             detail::Described<Config>::fields);
}

/// A published config: its name in the library and what people call it.
struct Preset {
  std::string_view name, title;
  ModelConfig (*config)();
};

namespace detail {
template <auto config>
ModelConfig published() {
  return ModelConfig(std::in_place_type<std::remove_const_t<decltype(config)>>, config);
}
}  // namespace detail

/// Of equal ones, all; the first is the one to use where nothing else tells them apart.
inline constexpr Preset presets[] = {
    {"dit_s_2", "DiT-S/2", detail::published<dit_s_2>},
    {"dit_s_4", "DiT-S/4", detail::published<dit_s_4>},
    {"dit_s_8", "DiT-S/8", detail::published<dit_s_8>},
    {"dit_b_2", "DiT-B/2", detail::published<dit_b_2>},
    {"dit_b_4", "DiT-B/4", detail::published<dit_b_4>},
    {"dit_b_8", "DiT-B/8", detail::published<dit_b_8>},
    {"dit_l_2", "DiT-L/2", detail::published<dit_l_2>},
    {"dit_l_4", "DiT-L/4", detail::published<dit_l_4>},
    {"dit_l_8", "DiT-L/8", detail::published<dit_l_8>},
    {"dit_xl_2", "DiT-XL/2", detail::published<dit_xl_2>},
    {"dit_xl_4", "DiT-XL/4", detail::published<dit_xl_4>},
    {"dit_xl_8", "DiT-XL/8", detail::published<dit_xl_8>},
    {"dit_xl_2_512", "DiT-XL/2 at 512 x 512", detail::published<dit_xl_2_512>},
    {"sd3_medium", "Stable Diffusion 3 medium", detail::published<sd3_medium>},
    {"sd3_5_medium", "Stable Diffusion 3.5 medium", detail::published<sd3_5_medium>},
    {"sd3_5_large", "Stable Diffusion 3.5 large or large turbo", detail::published<sd3_5_large>},
    {"flux_dev", "FLUX.1 dev, Krea dev or Kontext dev", detail::published<flux_dev>},
    {"flux_schnell", "FLUX.1 schnell", detail::published<flux_schnell>},
    {"flux_fill", "FLUX.1 Fill dev", detail::published<flux_fill>},
    {"flux_canny", "FLUX.1 Canny dev or Depth dev", detail::published<flux_canny>},
    {"sd_vae", "Stable Diffusion 1.x's (DiT's)", detail::published<sd_vae>},
    {"sdxl_vae", "Stable Diffusion XL's", detail::published<sdxl_vae>},
    {"sd3_vae", "Stable Diffusion 3's", detail::published<sd3_vae>},
    {"flux_vae", "FLUX.1's", detail::published<flux_vae>},
    {"taesd", "TAESD or TAESDXL", detail::published<taesd>},
    {"taesd3", "TAESD3", detail::published<taesd3>},
    {"taef1", "TAEF1", detail::published<taef1>},
};

namespace detail {

/// The fields in which a config is known to differ from a preset.
template <class Config>
std::vector<std::string_view> differences(const Config& config, const Config& preset) {
  std::vector<std::string_view> names;
  for_each_field(
      [&names](std::string_view name, const auto& own, const auto& published) {
        if (is_told(own) && own != published) names.push_back(name);
      },
      config, preset);
  return names;
}

}  // namespace detail

/// "dit::MMDiT<dit::MMDiTConfig{.width = 144, .depth = 6, .heads = HEADS, ...}>": what differs from the defaults,
/// and in capitals what is untold. Empty for no config.
inline std::string type_text(const ModelConfig& config) {
  return std::visit(
      []<class C>(const C& own) -> std::string {
        if constexpr (std::is_same_v<C, std::monostate>) {
          return "";
        } else {
          using Described = detail::Described<C>;
          std::string text;
          for_each_field(
              [&text](std::string_view name, const auto& value, const auto& usual) {
                if (value == usual) return;
                std::string shown = detail::value_text(value);
                if (!detail::is_told(value)) {
                  shown = name;
                  for (char& c : shown) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
                }
                text += (text.empty() ? "." : ", .") + std::string(name) + " = " + shown;
              },
              own, C{});
          const std::string type = "dit::" + std::string(Described::type);
          return type + "<" + type + "Config{" + text + "}>";
        }
      },
      config);
}

/// "dit::MMDiT<dit::sd3_medium>"
inline std::string type_text(const Preset& preset) {
  const std::string text = type_text(preset.config());
  return text.substr(0, text.find('<')) + "<dit::" + std::string(preset.name) + ">";
}

}  // namespace doctor
