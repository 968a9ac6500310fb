/// Loads what make_dit_xl_2.py wrote, both layouts, and compares the outputs with the references'. Exit code 1 if
/// one is too far off. tests/full_size/run.sh builds and runs it.

#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "dit/dit.hpp"

namespace {

using Model = dit::DiT<dit::dit_xl_2>;
using Latents = dit::Tensor<float, 4>;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

Latents tensor(const dit::Safetensors& file, const std::string& name) {
  const auto info = file[*file.find(name)];
  dit::Shape<4> shape{};
  for (std::size_t i = 0; i < 4; ++i) shape[i] = static_cast<dit::Index>(info.shape[i]);
  Latents values(shape);
  file.read_rows(info, 0, info.shape[0], values.data());
  return values;
}

/// Max-abs and normalised squared error within the bounds for a whole model in float32; NaN is not.
bool close(const char* what, const Latents& out, const Latents& expected) {
  double largest = 0, error = 0, norm = 0;
  for (dit::Index i = 0; i < out.size(); ++i) {
    const double a = static_cast<double>(out.data()[i]), b = static_cast<double>(expected.data()[i]);
    if (!(std::abs(a - b) <= largest)) largest = std::abs(a - b);
    error += (a - b) * (a - b);
    norm += b * b;
  }
  std::printf("%-28s max |error| %.2e of rms %.2f, NMSE %.2e\n", what, largest,
              std::sqrt(norm / static_cast<double>(out.size())), error / norm);
  return largest <= 1e-3 && error / norm <= 1e-9;
}

}  // namespace

int main(int, char** argv) {
  const std::string folder = argv[1];
  const auto io = dit::Safetensors::open(folder + "/io.safetensors");
  const Latents x = tensor(io, "x"), wide = tensor(io, "wide.x");
  const std::vector<float> t{999, 250};
  const std::vector<int> y{207, 1000};
  constexpr dit::Plan plan = dit::plan<Model>(2, {32, 32}, 2);
  std::printf("planned: %.0f MB of weights, %.1f MB of workspace\n", static_cast<double>(plan.weights) / 1048576,
              static_cast<double>(plan.arena) / 1048576);

  bool good = true;
  for (const auto& [path, layout] : {std::pair{"/original.safetensors", "original"}, {"/diffusers", "diffusers"}}) {
    const double start = seconds();
    const auto model = dit::load<Model>(folder + path);
    std::printf("%s loaded in %.2f s, peak %.0f MB\n", layout, seconds() - start, peak_megabytes());

    dit::Workspace workspace(2, plan.arena);
    good &= close(layout, model(x, t, y, workspace), tensor(io, std::string(layout) + ".out"));
    const double warm = seconds();
    model(x, t, y, workspace);
    std::printf("forward, batch 2: %.3f s\n", seconds() - warm);
    if (model.layout() == dit::Layout::original) {
      good &= close("original, 24 x 40", model(wide, std::span(t).first(1), std::span(y).first(1), workspace),
                    tensor(io, "wide.out"));
    }
  }
  std::printf("peak %.0f MB\n", peak_megabytes());
  return good ? 0 : 1;
}
