/// Draws scenes from captions with the MMDiT of Stable Diffusion 3's architecture that ships in examples/models.
///
///     dit_scenes                                                          a sheet of captions and what they became
///     dit_scenes --prompt "a red circle above a large blue square" --prompt "a green ring top left" --seed 7

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "arguments.hpp"
#include "dit/dit.hpp"
#include "lettering.hpp"
#include "models/scenes.hpp"
#include "picture.hpp"
#include "progress.hpp"

namespace {

constexpr int side = 32, channels = scenes.in_channels, pixels = side * side;

struct Options {
  std::vector<std::string> prompts;
  std::string captions;
  int columns = 8;
  int steps = 25;
  double guidance = 3;
  double shift = 3;
  std::uint64_t seed = 0;
  int threads = 0;
  std::string model = DIT_MODELS_DIR "/scenes.safetensors";
  std::string output = "scenes.png";
  std::string samples;
};

/// Every one has objects that never stood together in a training picture.
const std::vector<std::string> default_prompts{
    "a large red circle above a small green ring",
    "a yellow triangle left of a purple ring and below a green cross",
    "a cyan cross top left, a white circle top right and a blue ring bottom left",
    "a small orange square right of a large yellow triangle",
    "a large white diamond bottom right and a small orange ring top left",
    "a blue square above a red triangle and right of a large blue cross",
};

/// The encoder that the checkpoint brings: a table of words and one of positions. A caption is its words without
/// the fillers, padded with word 0; context_i = words[token_i] + positions[i], pooled = their mean.
class Words {
 public:
  explicit Words(const dit::Safetensors& file)
      : vocabulary_(split(entry(file, "vocabulary"))),
        fillers_(split(entry(file, "fillers"))),
        words_(dit::read_tensor<float, 2>(file, "text.words")),
        positions_(dit::read_tensor<float, 2>(file, "text.positions")) {
    if (vocabulary_.empty() || words_.dimension(0) != static_cast<dit::Index>(vocabulary_.size()) ||
        words_.dimension(1) != scenes.context || positions_.dimension(1) != scenes.context) {
      throw std::runtime_error(file.file() + ": the tables of words and positions do not fit the vocabulary");
    }
  }

  /// Context [n, M, 128] and pooled [n, 128]. Throws std::runtime_error for a word that it does not know.
  dit::Text<float> operator()(const std::vector<std::string>& captions) const {
    const auto count = static_cast<dit::Index>(captions.size());
    const dit::Index length = positions_.dimension(0), width = scenes.context;
    dit::Text<float> text{dit::Tensor<float, 3>(count, length, width), dit::Tensor<float, 2>(count, width)};
    text.pooled.setZero();
    for (dit::Index b = 0; b < count; ++b) {
      const std::vector<dit::Index> tokens = tokenize(captions[static_cast<std::size_t>(b)]);
      for (dit::Index i = 0; i < length; ++i)
        for (dit::Index d = 0; d < width; ++d) {
          text.context(b, i, d) = words_(tokens[static_cast<std::size_t>(i)], d) + positions_(i, d);
          text.pooled(b, d) += text.context(b, i, d) / static_cast<float>(length);
        }
    }
    return text;
  }

 private:
  static const std::string& entry(const dit::Safetensors& file, const std::string& key) {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end()) {
      throw std::runtime_error(file.file() + " has no " + key + ": it is not a checkpoint of train_scenes.py");
    }
    return found->second;
  }

  /// In lower case, without punctuation.
  static std::vector<std::string> split(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](char c) {
      if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
      return std::string_view(",.;:!?").find(c) == std::string_view::npos ? c : ' ';
    });
    std::istringstream words(text);
    return {std::istream_iterator<std::string>(words), {}};
  }

  std::vector<dit::Index> tokenize(const std::string& caption) const {
    std::vector<dit::Index> tokens;
    for (const std::string& word : split(caption)) {
      if (std::find(fillers_.begin(), fillers_.end(), word) != fillers_.end()) continue;
      const auto known = std::find(vocabulary_.begin() + 1, vocabulary_.end(), word);
      if (known == vocabulary_.end()) {
        std::string message = "unknown word '" + word + "' in '" + caption + "'; the words are:";
        for (std::size_t i = 1; i < vocabulary_.size(); ++i) message += " " + vocabulary_[i];
        throw std::runtime_error(message);
      }
      tokens.push_back(known - vocabulary_.begin());
    }
    const auto length = static_cast<std::size_t>(positions_.dimension(0));
    if (tokens.size() > length) {
      throw std::runtime_error("'" + caption + "' has " + std::to_string(tokens.size()) +
                               " words beside fillers, at most " + std::to_string(length) + " fit");
    }
    tokens.resize(length, 0);
    return tokens;
  }

  std::vector<std::string> vocabulary_, fillers_;
  dit::Tensor<float, 2> words_, positions_;
};

/// Every prompt `columns` times, and the states that the first picture went through.
struct Drawn {
  dit::Tensor<float, 4> images;            ///< [prompts * columns, 3, 32, 32] in [-1, 1]
  std::vector<std::vector<float>> states;  ///< first noise, last image
};

Drawn draw(const Options& options) {
  const auto checkpoint = dit::Checkpoint::open(options.model);
  const Words words(checkpoint.shards().front());
  std::vector<std::string> captions;
  for (const std::string& prompt : options.prompts)
    captions.insert(captions.end(), static_cast<std::size_t>(options.columns), prompt);
  const auto text =
      dit::concat(words(captions), words(std::vector<std::string>(captions.size())));  // [said | unsaid]

  const auto model = dit::bind<dit::MMDiT<scenes>>(checkpoint);
  dit::Workspace workspace(options.threads);
  const auto schedule = dit::Schedule::uniform(options.steps).shifted(options.shift);
  dit::Conditioned conditioned(model, text, workspace);
  conditioned.prepare(schedule.times<float>());
  dit::BatchedGuidance field(std::ref(conditioned), dit::Guidance{.scale = options.guidance});

  dit::TorchGenerator generator(options.seed);
  dit::EulerSampler<float, 4> sampler;
  sampler.begin(dit::randn<4>({static_cast<dit::Index>(captions.size()), channels, side, side}, generator),
                schedule);

  Drawn drawn;
  const Progress progress("drawing", options.steps);
  const auto keep_state = [&] {  // as many as the sheet is wide, evenly from noise to image
    if ((1 - schedule[sampler.index()]) * (options.columns - 1) < static_cast<double>(drawn.states.size())) return;
    const float* first = sampler.state().data;
    drawn.states.emplace_back(first, first + channels * pixels);
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
  constexpr int zoom = 4, cell = side * zoom, gap = 4, margin = 24, line = 30, letter = 2;
  constexpr Colour paper{0.98, 0.965, 0.93}, ink{0.09, 0.11, 0.22};
  const int rows = static_cast<int>(options.prompts.size());
  int width = options.columns * (cell + gap) - gap;
  for (const std::string& prompt : options.prompts)
    width = std::max(width, static_cast<int>(prompt.size()) * letter_pitch * letter);
  const auto top_of = [](int row) { return margin + row * (line + cell + gap); };

  Canvas canvas(width + 2 * margin, top_of(rows + 1) - gap + margin, paper);
  const auto show = [&](int row, int column, const float* image) {
    const int left = margin + column * (cell + gap), top = top_of(row) + line;
    for (int y = 0; y < cell; ++y)
      for (int x = 0; x < cell; ++x) {
        const auto channel = [&](int c) {
          return (static_cast<double>(image[c * pixels + y / zoom * side + x / zoom]) + 1) / 2;
        };
        canvas.set(left + x, top + y, {channel(0), channel(1), channel(2)});
      }
  };
  for (int row = 0; row < rows; ++row) {
    write_line(canvas, margin, top_of(row) + 8, options.prompts[static_cast<std::size_t>(row)], letter, ink);
    for (int i = 0; i < options.columns; ++i)
      show(row, i, drawn.images.data() + (row * options.columns + i) * channels * pixels);
  }
  write_line(canvas, margin, top_of(rows) + 8, "from noise to the first picture", letter, ink);
  for (int i = 0; i < static_cast<int>(drawn.states.size()); ++i)
    show(rows, i, drawn.states[static_cast<std::size_t>(i)].data());
  canvas.write(options.output);
}

/// "samples" [n, 3, 32, 32] in [-1, 1], what examples/evaluate_scenes.py judges.
void write_samples(const Drawn& drawn, const std::string& path) {
  const auto& images = drawn.images;
  dit::FileSink file(path);
  dit::write_safetensors(file, {{"samples",
                                 dit::DType::F32,
                                 {static_cast<std::uint64_t>(images.dimension(0)), channels, side, side},
                                 [&](dit::ByteSink& sink) {
                                   sink.write(images.data(),
                                              static_cast<std::size_t>(images.size()) * sizeof(float));
                                 }}});
  file.commit();
}

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);)
    if (!line.empty()) lines.push_back(line);
  if (lines.empty()) throw std::runtime_error(path + " has no captions");
  return lines;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace arguments;
  Options options;
  CLI::App app("Draws scenes from captions with a small MMDiT.", "dit_scenes");
  auto* prompt = app.add_option("--prompt", options.prompts, "a caption; may be given several times");
  prompt->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--captions", options.captions, "a file of captions, one a line")
      ->check(CLI::ExistingFile)
      ->excludes(prompt);
  app.add_option("--columns", options.columns, "pictures of each caption")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--steps", options.steps, "Euler steps")->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--guidance", options.guidance, "scale of classifier-free guidance, 1 is none")
      ->check(CLI::Range(0.0, 100.0) & not_nan())
      ->capture_default_str();
  app.add_option("--shift", options.shift, "of the schedule: more spends more steps on noise")
      ->check(CLI::Range(0.01, 100.0) & not_nan())
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of the noise: another seed, other pictures")
      ->check(whole())
      ->capture_default_str();
  app.add_option("--threads", options.threads, "0 is one for every core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--model", options.model, "a checkpoint of examples/train_scenes.py")->check(CLI::ExistingFile);
  app.add_option("--output,--out", options.output, "the picture to write")
      ->check(in_a_folder())
      ->capture_default_str();
  app.add_option("--samples", options.samples, "also write the pictures to this safetensors file")
      ->check(in_a_folder());
  return run_program(app, argc, argv, [&] {
    if (!options.captions.empty()) options.prompts = lines_of(options.captions);
    if (options.prompts.empty()) options.prompts = default_prompts;
    const Drawn drawn = draw(options);
    write_sheet(drawn, options);
    if (!options.samples.empty()) write_samples(drawn, options.samples);
    std::printf("%s\n", options.output.c_str());
  });
}
