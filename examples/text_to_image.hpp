#pragma once
/// What dit_sd3, dit_flux and dit_xl_2 share: which model a file holds, noise, the walk with its previews, the
/// picture.

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
#include "doctor/detect.hpp"
#include "picture.hpp"
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

inline void add_options(CLI::App& app, Options& o, int pixels_per_token) {
  using namespace arguments;
  app.add_option("--model", o.model,
                 "the transformer: a file, an index, a folder, or a folder of diffusers' pipeline")
      ->required();
  app.add_option("--vae", o.vae, "the autoencoder, unless it is in the model's file or in the pipeline's folder");
  for (const auto& [name, value] : {std::pair{"--width", &o.width}, {"--height", &o.height}}) {
    app.add_option(name, *value, "pixels")->check(CLI::Range(16, 16384) & multiple_of(pixels_per_token));
  }
  app.add_option("--steps", o.steps)->check(CLI::Range(1, 10000));
  app.add_option("--seed", o.seed, "of the noise, as torch.Generator(\"cpu\") draws it")
      ->check(whole())
      ->capture_default_str();
  app.add_option("--noise", o.noise, "a file with the tensor `noise`, in place of a seed");
  app.add_option("--type", o.type,
                 "what the weights become: fp32; bf16, half the memory and twice as fast; int8, half of that again")
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}))
      ->capture_default_str();
  app.add_option("--threads", o.threads, "0 is one for every core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--output,--out", o.output, "the picture to write")->check(in_a_folder())->capture_default_str();
  app.add_option("--latents", o.latents, "also write what is decoded, the tensor `latents`, to this file")
      ->check(in_a_folder());
  app.add_option("--preview", o.preview, "write a preview beside the picture every so many steps")
      ->check(CLI::Range(1, 10000));
  app.add_option("--preview-vae", o.preview_vae, "a tiny autoencoder for previews: TAESD, TAESD3, TAEF1");
  app.add_option("--tile", o.tile, "decode in tiles of this side, in latents; larger ones take more memory")
      ->check(CLI::Range(8, 4096) & multiple_of(8))
      ->capture_default_str();
}

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
inline Contents contents(const dit::Checkpoint& checkpoint) {
  const auto has = [&](const char* name) { return checkpoint.find(name).has_value(); };
  if (has("context") && has("pooled")) return {"text embeddings", "--text"};
  if (has("latents")) return {"latents", "--init"};
  Contents found;
  for (const doctor::Detected& each : doctor::detect_all(checkpoint)) {
    found.text += (found.text.empty() ? "" : " and ") + std::string(name(each.architecture));
    if (!found.use.empty()) continue;
    using enum doctor::Architecture;
    if (each.architecture == mmdit) found.use = "dit_sd3";
    if (each.architecture == flux) found.use = "dit_flux";
    if (each.architecture == doctor::Architecture::dit) found.use = "dit_xl_2";
    if (each.architecture == autoencoder_kl) found.use = "--vae";
    if (each.architecture == autoencoder_tiny) found.use = "--preview-vae";
  }
  if (found.text.empty()) found.text = "no model that is known";
  return found;
}
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

inline Latents read_latents(const std::string& path, const char* name) {
  return dit::read_tensor<float, 4>(open_file(path), name);
}

inline void write_latents(const Latents& latents, const std::string& path) {
  dit::FileSink file(path);
  std::vector<std::uint64_t> shape(latents.dimensions().begin(), latents.dimensions().end());
  dit::write_safetensors(file, {{"latents", dit::DType::F32, std::move(shape), [&](dit::ByteSink& sink) {
                                   sink.write(latents.data(),
                                              static_cast<std::size_t>(latents.size()) * sizeof(float));
                                 }}});
  file.commit();
}

/// Images [B, 3, H, W] in [-1, 1] as one picture, several in rows.
inline void write_picture(const dit::Tensor<float, 4>& images, const std::string& path) {
  const int count = static_cast<int>(images.dimension(0)), height = static_cast<int>(images.dimension(2)),
            width = static_cast<int>(images.dimension(3));
  const int columns = static_cast<int>(std::ceil(std::sqrt(count))), rows = (count + columns - 1) / columns;
  Canvas canvas(columns * width, rows * height, {1, 1, 1});
  for (int i = 0; i < count; ++i)
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const auto channel = [&](int c) { return (static_cast<double>(images(i, c, y, x)) + 1) / 2; };
        canvas.set(i % columns * width + x, i / columns * height + y, {channel(0), channel(1), channel(2)});
      }
  canvas.write(path);
}

/// Means of squares of latents: as few as give an image of at most `side` latents a side.
inline Latents shrunk(dit::View<const float, 4> latents, dit::Index side) {
  const auto [batch, channels, height, width] = latents.shape;
  const dit::Index by = (std::max(height, width) + side - 1) / side;
  const dit::Index h = std::max<dit::Index>(1, height / by), w = std::max<dit::Index>(1, width / by);
  Latents small(batch, channels, h, w);
  for (dit::Index plane = 0; plane < batch * channels; ++plane)
    for (dit::Index y = 0; y < h; ++y)
      for (dit::Index x = 0; x < w; ++x) {
        float sum = 0;
        const dit::Index bottom = std::min(height, (y + 1) * by), right = std::min(width, (x + 1) * by);
        for (dit::Index i = y * by; i < bottom; ++i)
          for (dit::Index j = x * by; j < right; ++j) sum += latents.data[(plane * height + i) * width + j];
        small.data()[(plane * h + y) * w + x] = sum / static_cast<float>((bottom - y * by) * (right - x * by));
      }
  return small;
}

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

inline void add_text_options(CLI::App& app, TextOptions& o) {
  app.add_option("--text", o.text, "the prompts' embeddings, a file of examples/dump_prompts.py")->required();
  auto* init = app.add_option("--init", o.init, "image to image: a file of examples/dump_latents.py");
  app.add_option("--strength", o.strength, "of image to image: 1 leaves nothing of it")
      ->check(CLI::Range(0.01, 1.0) & arguments::not_nan())
      ->needs(init)
      ->capture_default_str();
}

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
