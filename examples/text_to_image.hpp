#pragma once
/// What dit_sd3, dit_flux and dit_xl_2 share: which model a file holds, noise, the walk with its previews, the
/// picture. What does not depend on the model is in text_to_image.cpp.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "dit/dit.hpp"
#include "progress.hpp"

namespace text_to_image {

using Latents = dit::Tensor<float, 4>;

struct Options {
  std::string model, vae, preview_vae, noise, latents;
  std::string output = "image.png";
  int width = 0, height = 0;  ///< pixels; 0: the model's own
  int steps = 0;              ///< 0: the recipe's
  int preview = 0;
  int tile = 128;
  int threads = 0;
  std::string type = "bf16";
  std::uint64_t seed = 0;
};

void add_options(CLI::App& app, Options& o, int pixels_per_token);

/// A line on the terminal about what takes long.
inline void say(const std::string& line) {
  if (DIT_EXAMPLE_IS_TERMINAL) std::fprintf(stderr, "%s\n", line.c_str());
}

// ------------------------------------------------------------------------------------------------- checkpoints

/// Links are followed: Hugging Face's cache is made of them.
inline dit::Checkpoint open(const std::string& path) { return dit::Checkpoint::open(path, {.follow_links = true}); }
inline dit::Safetensors open_file(const std::string& path) { return dit::Safetensors::open(path); }

/// A part of diffusers' pipeline, if `path` is the folder of one.
inline std::optional<std::string> part_of_pipeline(const std::string& path, const char* part) {
  const auto folder = std::filesystem::path(path) / part;
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) return std::nullopt;
  return folder.string();
}
inline dit::Checkpoint open_transformer(const std::string& path) {
  return open(part_of_pipeline(path, "transformer").value_or(path));
}

/// What a checkpoint holds, and what that is for: a program, an option, or nothing here.
struct Contents {
  std::string text, use;
};
Contents contents(const dit::Checkpoint& checkpoint);
/// ... in a sentence for somebody who took it for something else.
inline std::string mistaken(const dit::Checkpoint& checkpoint) {
  const Contents found = contents(checkpoint);
  return "holds " + found.text + (found.use.empty() ? "" : ", which is for " + found.use);
}

inline std::size_t wrong_tensors(const dit::LoadReport& report) {
  return report.missing.size() + report.misshapen.size();
}

/// One thing of each kind that is wrong.
inline std::string complaint(const dit::LoadReport& report) {
  std::string text;
  if (!report.missing.empty()) {
    text += std::to_string(report.missing.size()) + " tensors are missing, " + report.missing[0].name + " first";
  }
  if (!report.misshapen.empty()) {
    const auto& first = report.misshapen[0];
    text += (text.empty() ? "" : "; ") + std::to_string(report.misshapen.size()) +
            " tensors have another shape, the first is " + first.name + ", " + dit::to_string(first.found) +
            " instead of " + dit::to_string(first.expected);
  }
  return text;
}

/// A model that a program draws with, and how it does unless told otherwise.
template <class M, class Recipe>
struct Candidate {
  using Model = M;
  const char* name;
  Recipe recipe;
};

/// f(candidate) with the first candidate all of whose tensors are there.
template <class F, class... Candidates>
void with_model(const dit::Checkpoint& checkpoint, const std::string& program, F&& f,
                const Candidates&... candidates) {
  std::string names, nearest;
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  const auto fits = [&](const auto& candidate) {
    using Model = typename std::remove_cvref_t<decltype(candidate)>::Model;
    const dit::LoadReport report = dit::inspect<Model>(checkpoint);
    if (report.complete()) return true;
    names += (names.empty() ? "" : ", ") + std::string(candidate.name);
    if (wrong_tensors(report) < fewest) {
      fewest = wrong_tensors(report);
      nearest = std::string("; for ") + candidate.name + ", " + complaint(report);
    }
    return false;
  };
  const bool done = (... || (fits(candidates) && (f(candidates), true)));
  if (done) return;
  std::string message = checkpoint.name();
  if (contents(checkpoint).use == program) {
    message += " has other sizes than what is known: ";
  } else {
    message += " " + mistaken(checkpoint) + "; ";
    nearest.clear();
  }
  throw std::runtime_error(message + program + " draws with " + names + nearest);
}

/// Bytes of memory that the machine has, where it can be asked.
inline std::optional<std::size_t> memory_of_machine() {
#if defined(_SC_PHYS_PAGES)
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
  if (pages > 0 && size > 0) return static_cast<std::size_t>(pages) * static_cast<std::size_t>(size);
#endif
  return std::nullopt;
}

/// The model, once it is known to be there. One that is larger than the machine's memory is refused before it fills
/// it.
template <class Model>
Model load_model(const dit::Checkpoint& checkpoint, const char* name) {
  say("loading " + std::string(name) + ", " + std::to_string(dit::weight_bytes<Model>() / 1'000'000) + " MB");
  return dit::bind<Model>(checkpoint, {.memory_limit = memory_of_machine()});
}

/// f(model) with weights of the type that --type names.
template <class Model, class F>
void with_loaded(const Options& o, const dit::Checkpoint& checkpoint, const char* name, F&& f) {
  if (o.type == "fp32") return f(load_model<Model>(checkpoint, name));
  if (o.type == "bf16") return f(load_model<dit::with_scalar<Model, dit::bf16>>(checkpoint, name));
  f(load_model<dit::with_scalar<Model, dit::int8>>(checkpoint, name));
}

/// What goes with the model.
template <class Model>
Model load(const dit::Checkpoint& checkpoint, const char* purpose) {
  const auto report = dit::inspect<Model>(checkpoint);
  if (!report.complete()) {
    throw std::runtime_error(checkpoint.name() + " is not " + purpose + ": it " + mistaken(checkpoint) + "; " +
                             complaint(report));
  }
  return dit::bind<Model>(checkpoint);
}

/// The autoencoder that --vae names; otherwise the pipeline's, or the one in the model's own file.
template <class Vae>
Vae load_vae(const Options& o, const dit::Checkpoint& model) {
  constexpr const char* purpose = "the model's autoencoder";
  if (!o.vae.empty()) return load<Vae>(open(part_of_pipeline(o.vae, "vae").value_or(o.vae)), purpose);
  if (const auto folder = part_of_pipeline(o.model, "vae")) return load<Vae>(open(*folder), purpose);
  if (dit::inspect<Vae>(model).complete()) return dit::bind<Vae>(model);
  throw std::runtime_error(model.name() + " has no autoencoder in it: name one with --vae");
}

/// An autoencoder of whatever type.
struct Decoder {
  std::function<Latents(dit::View<const float, 4>, dit::Workspace&)> decode;
  std::function<Latents(dit::View<const float, 4>, dit::Workspace&, dit::Index tile)> decode_tiled;

  template <class Vae>
  static Decoder of(Vae vae) {
    const auto shared = std::make_shared<const Vae>(std::move(vae));
    return {[shared](auto latents, auto& workspace) { return shared->decode(latents, workspace); },
            [shared](auto latents, auto& workspace, auto tile) {
              return shared->decode_tiled(latents, workspace, tile);
            }};
  }
};
template <class Vae>
Decoder load_decoder(const Options& o, const dit::Checkpoint& model) {
  if (o.type == "fp32") return Decoder::of(load_vae<Vae>(o, model));
  return Decoder::of(load_vae<dit::with_scalar<Vae, dit::bf16>>(o, model));
}
template <class Tiny>
Decoder load_tiny_decoder(const std::string& path) {
  return Decoder::of(load<Tiny>(open(path), "the model's tiny autoencoder"));
}

// ----------------------------------------------------------------------------------------------------- tensors

/// [tensor | tensor | ...] for all samples of a batch, if it is for one or for a part of them.
inline Latents for_batch(Latents tensor, dit::Index batch) {
  const dit::Index own = tensor.dimension(0);
  if (own == 0 || own == batch || batch % own != 0) return tensor;
  return tensor.broadcast(std::array<dit::Index, 4>{batch / own, 1, 1, 1});
}

Latents read_latents(const std::string& path, const char* name);

void write_latents(const Latents& latents, const std::string& path);

/// Images [B, 3, H, W] in [-1, 1] as one picture, several in rows.
void write_picture(const dit::Tensor<float, 4>& images, const std::string& path);

/// Means of squares of latents: as few as give an image of at most `side` latents a side.
Latents shrunk(dit::View<const float, 4> latents, dit::Index side);

// ------------------------------------------------------------------------------------------------------ studio

/// Everything but the model: noise at the beginning, previews on the way, the picture at the end.
template <class Vae, class Tiny>
class Studio {
 public:
  static constexpr int factor = static_cast<int>(Vae::factor);

  /// Loads the autoencoders, before the model takes its time.
  Studio(const Options& options, const dit::Checkpoint& model)
      : workspace(options.threads), options_(options), vae_(load_decoder<Vae>(options, model)) {
    if (!options.preview_vae.empty()) tiny_ = load_tiny_decoder<Tiny>(options.preview_vae);
  }

  dit::Workspace workspace;  ///< for the model as well

  /// [batch, channels, height/8, width/8] of pixels, as a torch generator draws them, or from --noise.
  Latents noise(dit::Index batch, dit::TorchGenerator& generator) const {
    const dit::Shape<4> shape{batch, Vae::channels, options_.height / factor, options_.width / factor};
    if (options_.noise.empty()) return dit::randn<4>(shape, generator);
    Latents noise = for_batch(read_latents(options_.noise, "noise"), batch);
    if (dit::View<const float, 4>(noise).shape != shape) {
      throw std::runtime_error(options_.noise + " has noise of " + dit::to_string(noise.dimensions()) + " where " +
                               dit::to_string(shape) + " is needed");
    }
    return noise;
  }

  /// Walks a sampler that has begun to its end, and writes the picture.
  template <class Sampler, class... Arguments>
  void draw(Sampler& sampler, Arguments&&... arguments) {
    const Progress progress("drawing", sampler.steps());
    progress.show(sampler.index());
    dit::run(
        sampler,
        [&](const Sampler& now) {
          progress.show(now.index());
          if (options_.preview > 0 && now.index() % options_.preview == 0 && !now.done()) preview(now.denoised());
        },
        arguments...);
    finish(sampler.take());
  }

 private:
  std::string preview_path() const {
    std::filesystem::path path(options_.output);
    path.replace_extension(".preview.png");
    return path.string();
  }

  /// Where the walk is heading, in one file that every preview overwrites: by the tiny autoencoder, or small.
  void preview(dit::View<const float, 4> denoised) {
    constexpr dit::Index side = 16;
    write_picture(tiny_ ? tiny_->decode_tiled(denoised, workspace, options_.tile)
                        : vae_.decode(shrunk(denoised, side), workspace),
                  preview_path());
  }

  void finish(const Latents& latents) {
    if (!std::all_of(latents.data(), latents.data() + latents.size(), [](float x) { return std::isfinite(x); })) {
      throw std::runtime_error(
          "the model gave numbers that are not finite: are its weights, or the text, damaged?");
    }
    if (!options_.latents.empty()) write_latents(latents, options_.latents);
    say("decoding");
    write_picture(vae_.decode_tiled(latents, workspace, options_.tile), options_.output);
    std::printf("%s\n", options_.output.c_str());
  }

  const Options& options_;
  Decoder vae_;
  std::optional<Decoder> tiny_;
};

// -------------------------------------------------------------------------------------------------------- text

/// What models that are told by text take beside.
struct TextOptions : Options {
  std::string text, init;
  double strength = 0.6;
};

void add_text_options(CLI::App& app, TextOptions& o);

/// The size of the picture: as asked for, or that of an image in latents, or square.
inline void settle_size(Options& o, const std::string& latents, int factor, int otherwise) {
  int height = otherwise, width = otherwise;
  if (!latents.empty() && (o.width == 0 || o.height == 0)) {
    const Latents image = read_latents(latents, "latents");
    height = static_cast<int>(image.dimension(2)) * factor;
    width = static_cast<int>(image.dimension(3)) * factor;
  }
  if (o.height == 0) o.height = height;
  if (o.width == 0) o.width = width;
}

/// A text of the widths that the model takes.
template <class Model>
dit::Text<float> load_prompt(const std::string& path, std::string_view prefix = {}) {
  constexpr auto& config = Model::config;
  const auto file = open_file(path);
  if (!dit::has_text(file)) {
    throw std::runtime_error(path + " has no text embeddings: it " + mistaken(dit::Checkpoint(open_file(path))));
  }
  if (!dit::has_text(file, prefix)) {
    throw std::runtime_error(path +
                             " has no negative prompt, which guidance goes away from: dump it with "
                             "--negative \"\", or draw without guidance, --cfg 1");
  }
  auto text = dit::load_text<float>(file, prefix);
  const dit::Index width = text.context.dimension(2), pooled = text.pooled.dimension(1);
  if (width != config.context || pooled != config.pooled) {
    const auto sizes = [](dit::Index a, dit::Index b) { return std::to_string(a) + " and " + std::to_string(b); };
    throw std::runtime_error(path + " was made for another model: its tokens and pooled text are " +
                             sizes(width, pooled) + " wide, this model's are " +
                             sizes(config.context, config.pooled));
  }
  return text;
}

/// The prompts, and after them as many negative ones.
template <class Model>
dit::Text<float> load_both_prompts(const std::string& path) {
  const auto said = load_prompt<Model>(path), unsaid = load_prompt<Model>(path, "negative_");
  if (said.samples() != unsaid.samples()) {
    throw std::runtime_error(path + " has " + std::to_string(unsaid.samples()) + " negative prompts for " +
                             std::to_string(said.samples()) + " prompts");
  }
  return dit::concat(said, unsaid);
}

/// Where a run begins: in noise, or with --init in an image under noise.
struct Start {
  dit::Schedule schedule;
  Latents state;
};
inline Start start(const TextOptions& o, dit::Schedule schedule, Latents noise) {
  if (o.init.empty()) return {std::move(schedule), std::move(noise)};
  schedule = schedule.with_strength(o.strength);
  const Latents image = for_batch(read_latents(o.init, "latents"), noise.dimension(0));
  Latents state = dit::add_noise(image, noise, schedule[0]);
  return {std::move(schedule), std::move(state)};
}

/// The velocity, whatever the model is and however it is guided.
using Velocity = std::function<void(dit::View<const float, 4>, float, dit::View<float, 4>)>;

}  // namespace text_to_image
