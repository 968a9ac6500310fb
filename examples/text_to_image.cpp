#include "text_to_image.hpp"

#include "doctor/detect.hpp"
#include "picture.hpp"

namespace text_to_image {

void add_options(CLI::App& app, Options& o, int pixels_per_token) {
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

Contents contents(const dit::Checkpoint& checkpoint) {
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

Latents read_latents(const std::string& path, const char* name) {
  return dit::read_tensor<float, 4>(open_file(path), name);
}

void write_latents(const Latents& latents, const std::string& path) {
  dit::FileSink file(path);
  std::vector<std::uint64_t> shape(latents.dimensions().begin(), latents.dimensions().end());
  dit::write_safetensors(file, {{"latents", dit::DType::F32, std::move(shape), [&](dit::ByteSink& sink) {
                                   sink.write(latents.data(),
                                              static_cast<std::size_t>(latents.size()) * sizeof(float));
                                 }}});
  file.commit();
}

void write_picture(const dit::Tensor<float, 4>& images, const std::string& path) {
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

Latents shrunk(dit::View<const float, 4> latents, dit::Index side) {
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

void add_text_options(CLI::App& app, TextOptions& o) {
  app.add_option("--text", o.text, "the prompts' embeddings, a file of examples/dump_prompts.py")->required();
  auto* init = app.add_option("--init", o.init, "image to image: a file of examples/dump_latents.py");
  app.add_option("--strength", o.strength, "of image to image: 1 leaves nothing of it")
      ->check(CLI::Range(0.01, 1.0) & arguments::not_nan())
      ->needs(init)
      ->capture_default_str();
}

}  // namespace text_to_image
