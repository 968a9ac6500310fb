/// Draws handwritten digits with the DiT that ships in examples/models: noise, 50 Euler steps, guidance, a PNG.
///
///     dit_digits                          every digit, twelve times, and how one of them came to be
///     dit_digits --class 3 --seed 7       one digit only

#include <CLI/CLI.hpp>
#include <array>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "dit/dit.hpp"
#include "models/digits.hpp"
#include "picture.hpp"
#include "progress.hpp"

namespace {

struct Options {
  int digit = -1;  ///< all
  int columns = 12;
  int steps = 50;
  double guidance = 1.25;
  std::uint64_t seed = 0;
  int threads = 0;
  std::string model = DIT_MODELS_DIR "/digits.safetensors";
  std::string out = "digits.png";
  std::string samples;
};

/// One frame for every image of the sheet: all samples, and the states that one of them went through.
struct Drawn {
  dit::Tensor<float, 4> images;               ///< [rows * columns, 1, 8, 8] in [-1, 1]
  std::vector<int> classes;                   ///< of each
  std::vector<dit::Tensor<float, 4>> states;  ///< of the strip, first noise, last image
};

Drawn draw(const Options& options) {
  const auto model = dit::load<dit::DiT<digits>>(options.model);
  dit::Workspace workspace(options.threads);

  const int rows = options.digit < 0 ? digits.classes : 4;
  Drawn drawn;
  for (int i = 0; i < rows * options.columns; ++i) {
    drawn.classes.push_back(options.digit < 0 ? i / options.columns : options.digit);
  }
  const dit::Index batch = rows * options.columns;
  std::vector<int> classes = drawn.classes;
  classes.resize(2 * classes.size(), model.null_class);  // [classes | no class], for guidance

  const auto schedule = dit::Schedule::uniform(options.steps);
  dit::Conditioned conditioned(model, classes, workspace);
  conditioned.prepare(schedule.times<float>());
  dit::BatchedGuidance field(std::ref(conditioned), dit::Guidance{.scale = options.guidance});

  dit::TorchGenerator generator(options.seed);
  dit::EulerSampler<float, 4> sampler;
  sampler.begin(dit::randn<4>({batch, 1, digits.input, digits.input}, generator), schedule);

  const Progress progress("drawing", options.steps);
  const auto keep_state = [&] {  // of the middle sample: as many as the sheet is wide, evenly over the steps
    const int taken = static_cast<int>(drawn.states.size());
    if (sampler.index() * (options.columns - 1) < taken * options.steps) return;
    dit::Tensor<float, 4> state(1, 1, digits.input, digits.input);
    const auto from = sampler.state()[batch / 2 + options.columns / 2];
    std::copy(from.begin(), from.end(), state.data());
    drawn.states.push_back(state);
  };
  keep_state();
  while (!sampler.done()) {
    sampler.step(field);
    keep_state();
    progress.show(sampler.index());
  }
  drawn.images = sampler.take();
  return drawn;
}

void write_sheet(const Drawn& drawn, const Options& options) {
  constexpr int zoom = 8, side = (digits.input + 2) * zoom, gap = 2, margin = 24, strip_gap = 20;
  constexpr Colour paper{0.98, 0.965, 0.93}, ink{0.09, 0.11, 0.22}, strip_ink{0.62, 0.16, 0.11};
  const int rows = static_cast<int>(drawn.classes.size()) / options.columns;
  const auto at = [](int i) { return margin + i * (side + gap); };
  const int strip_top = at(rows) - gap + strip_gap;

  Canvas canvas(at(options.columns) - gap + margin, strip_top + side + margin, paper);
  const auto cell = [&](int left, int top, const float* image, const Colour& colour) {
    std::array<float, digits.input * digits.input> darkness;
    for (std::size_t i = 0; i < darkness.size(); ++i) darkness[i] = (image[i] + 1) / 2;
    draw_enlarged(canvas, left, top, darkness.data(), digits.input, digits.input, zoom, paper, colour);
  };
  for (int i = 0; i < static_cast<int>(drawn.classes.size()); ++i) {
    cell(at(i % options.columns), at(i / options.columns), drawn.images.data() + i * digits.input * digits.input,
         ink);
  }
  for (int i = 0; i < static_cast<int>(drawn.states.size()); ++i) {
    cell(at(i), strip_top, drawn.states[static_cast<std::size_t>(i)].data(), strip_ink);
  }
  canvas.write(options.out);
}

/// "samples" [n, 1, 8, 8] in [-1, 1] and "labels" [n], what examples/evaluate_digits.py judges.
void write_samples(const Drawn& drawn, const std::string& path) {
  const std::uint64_t n = drawn.classes.size();
  const std::vector<std::int64_t> labels(drawn.classes.begin(), drawn.classes.end());
  const auto bytes_of = [](const auto* values, std::size_t count) {
    return [=](dit::ByteSink& sink) { sink.write(values, count * sizeof *values); };
  };
  dit::FileSink file(path);
  dit::write_safetensors(file, {{"labels", dit::DType::I64, {n}, bytes_of(labels.data(), labels.size())},
                                {"samples",
                                 dit::DType::F32,
                                 {n, 1, digits.input, digits.input},
                                 bytes_of(drawn.images.data(), static_cast<std::size_t>(drawn.images.size()))}});
  file.commit();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const auto not_nan = CLI::Validator(
      [](std::string& text) { return text.find("nan") == std::string::npos ? "" : text + " is not a number"; }, "");
  const auto whole = CLI::Validator(
      [](std::string& text) {
        return text.find_first_not_of("0123456789") == std::string::npos ? "" : text + " is not a whole number";
      },
      "");
  const auto in_a_folder = CLI::Validator(
      [](std::string& path) {
        const auto folder = std::filesystem::path(path).parent_path();
        return folder.empty() || std::filesystem::is_directory(folder) ? "" : folder.string() + " is not a folder";
      },
      "FILE");
  CLI::App app("Draws handwritten digits with a small Diffusion Transformer.", "dit_digits");
  app.add_option("--class", options.digit, "the digit to draw, 0 to 9; all of them unless given")
      ->check(CLI::Range(0, 9));
  app.add_option("--columns", options.columns, "images in a row")
      ->check(CLI::Range(2, 1000))
      ->capture_default_str();
  app.add_option("--steps", options.steps, "Euler steps")->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--guidance", options.guidance, "scale of classifier-free guidance, 1 is none")
      ->check(CLI::Range(0.0, 100.0) & not_nan)
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of the noise: another seed, other digits")
      ->check(whole)
      ->capture_default_str();
  app.add_option("--threads", options.threads, "0 is one for every core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--model", options.model, "a checkpoint of examples/train_digits.py")->check(CLI::ExistingFile);
  app.add_option("--out", options.out, "the picture to write")->check(in_a_folder)->capture_default_str();
  app.add_option("--samples", options.samples, "also write the images and their classes to this safetensors file")
      ->check(in_a_folder);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return 0;
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "dit_digits: %s\n", error.what());
    return 2;
  }

  try {
    const Drawn drawn = draw(options);
    write_sheet(drawn, options);
    if (!options.samples.empty()) write_samples(drawn, options.samples);
    std::printf("%s\n", options.out.c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dit_digits: %s\n", error.what());
    return 1;
  }
}
