#pragma once
/// The programs of examples/ on the small models of the goldens: run in this process, files in a folder of their
/// own.

#include <png.h>

#include <cmath>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dit/io/text.hpp"
#include "dit/io/writer.hpp"
#include "io/temporary.hpp"
#include "models/autoencoders.hpp"
#include "models/text_models.hpp"
#include "text_to_image.hpp"

namespace dit_test {

using namespace support;

/// A tensor of a golden file, or of ours, under a name.
template <class T, int rank>
dit::TensorToWrite entry(std::string name, Tensor<T, rank> tensor) {
  std::vector<std::uint64_t> shape(tensor.dimensions().begin(), tensor.dimensions().end());
  return {std::move(name), dit::dtype_of<T>, std::move(shape), [tensor = std::move(tensor)](dit::ByteSink& sink) {
            sink.write(tensor.data(), static_cast<std::size_t>(tensor.size()) * sizeof(T));
          }};
}

class Program : public testing::Test {
 protected:
  struct Ran {
    int code;
    std::string out, err;
  };

  /// The program's name and its main().
  virtual const char* name() const = 0;
  virtual int main(int argc, const char* const* argv) const = 0;

  /// In fp32 unless told otherwise.
  Ran run(const std::vector<std::string>& arguments) const {
    std::vector<const char*> argv{name(), "--type", "fp32"};
    if (std::find(arguments.begin(), arguments.end(), "--type") != arguments.end()) argv.resize(1);
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int code = main(static_cast<int>(argv.size()), argv.data());
    return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
  }

  /// Runs with these and what every run has, which must go well. The latents that it decoded.
  Tensor<float, 4> draw(std::vector<std::string> arguments) const {
    for (const auto& each : {"--threads", "2", "--output"}) arguments.emplace_back(each);
    arguments.push_back(path("out.png"));
    arguments.emplace_back("--latents");
    arguments.push_back(path("out.safetensors"));
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 0);
    EXPECT_EQ(ran.out, path("out.png") + "\n");
    EXPECT_EQ(ran.err, "");
    if (ran.code != 0) return {};
    return dit::read_tensor<float, 4>(dit::Safetensors::open(path("out.safetensors")), "latents");
  }

  /// Fails with exit code 1, nothing on stdout and one line that names the program and has `words` in it.
  void expect_refusal(const std::vector<std::string>& arguments, std::string_view words, int code = 1) const {
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, code) << words;
    EXPECT_EQ(ran.out, "");
    EXPECT_TRUE(ran.err.starts_with(std::string(name()) + ": ")) << ran.err;
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
    EXPECT_NE(ran.err.find(words), std::string::npos) << ran.err << "has no: " << words;
  }

  std::string path(const std::string& file) const { return (folder_ / file).string(); }
  static std::string golden(const std::string& file) { return golden_path(file).string(); }

  std::string write(const std::string& file, std::vector<dit::TensorToWrite> tensors) const {
    dit::FileSink sink(path(file));
    dit::write_safetensors(sink, std::move(tensors));
    sink.commit();
    return path(file);
  }

  /// A copy of a golden in the folder of diffusers' pipeline.
  void put(const std::string& from, const std::string& file) const {
    std::filesystem::create_directories((folder_ / file).parent_path());
    std::filesystem::copy_file(golden(from), folder_ / file);
  }

 private:
  TemporaryFolder folder_;
};

/// A picture as 8-bit RGB.
struct Picture {
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;
};
inline Picture read_picture(const std::string& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  EXPECT_NE(png_image_begin_read_from_file(&image, path.c_str()), 0) << path << image.message;
  image.format = PNG_FORMAT_RGB;
  Picture picture{static_cast<int>(image.width), static_cast<int>(image.height), {}};
  picture.pixels.resize(PNG_IMAGE_SIZE(image));
  EXPECT_NE(png_image_finish_read(&image, nullptr, picture.pixels.data(), 0, nullptr), 0) << image.message;
  return picture;
}

/// Images [2, 3, H, W] side by side, as a PNG has them.
inline std::vector<std::uint8_t> side_by_side(const Tensor<float, 4>& images) {
  std::vector<std::uint8_t> pixels;
  for (Index y = 0; y < images.dimension(2); ++y)
    for (Index i = 0; i < images.dimension(0); ++i)
      for (Index x = 0; x < images.dimension(3); ++x)
        for (Index c = 0; c < 3; ++c) {
          const double value = (static_cast<double>(images(i, c, y, x)) + 1) / 2;
          pixels.push_back(static_cast<std::uint8_t>(std::lround(255 * std::min(1.0, std::max(0.0, value)))));
        }
  return pixels;
}

/// Arguments --option value --option value ...
class Arguments : public std::vector<std::string> {
 public:
  using std::vector<std::string>::vector;

  Arguments without(const std::string& option) const {
    Arguments all = *this;
    all.erase(all.find(option), all.find(option) + 2);
    return all;
  }
  /// With an option, in place of its former value where it had one.
  Arguments with(const std::string& option, const std::string& value) const {
    Arguments all = *this;
    if (const auto at = all.find(option); at != all.end()) {
      at[1] = value;
    } else {
      all.insert(all.end(), {option, value});
    }
    return all;
  }
  Arguments with(const std::string& flag) const {
    Arguments all = *this;
    all.push_back(flag);
    return all;
  }

 private:
  iterator find(const std::string& option) { return std::find(begin(), end(), option); }
};

/// The last state [B, C, H, W] of a golden run [n + 1, B, C, H, W].
inline std::vector<double> last_state(const Golden& golden, const std::string& name) {
  const auto states = golden.tensor<double, 5>(name);
  const Index size = states.size() / states.dimension(0);
  return {states.data() + states.size() - size, states.data() + states.size()};
}

/// Of a whole run in float against one in double: guidance 5 and an extrapolation magnify a forward's rounding.
inline constexpr Bound whole_run{1e-3, 1e-9};

}  // namespace dit_test
