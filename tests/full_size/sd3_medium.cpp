/// Loads what make_sd3_medium.py wrote, the single file and diffusers' folder, and compares the outputs with
/// diffusers'; then times a step. Exit code 1 if one is too far off. tests/full_size/run.sh builds and runs it.

#include <cstring>

#include "dit/dit.hpp"
#include "flop.hpp"
#include "full_size.hpp"
#include "peak.hpp"

using namespace full_size;

int main(int, char** argv) {
  using Model = dit::MMDiT<dit::sd3_medium>;
  const std::string folder = argv[1];
  const auto io = dit::Safetensors::open(folder + "/io.safetensors");
  const dit::Text<float> text{tensor<3>(io, "context"), tensor<2>(io, "pooled")};
  const float sigma = tensor<1>(io, "t").data()[0] / 1000;
  const auto tokens = text.context.dimension(1);
  constexpr dit::Plan plan = dit::plan<Model>(1, {128, 128}, 154, 2);
  std::printf("planned: %.0f MB of weights, %.0f MB of workspace\n", megabytes(plan.weights),
              megabytes(plan.arena));

  bool good = true;
  for (const auto& [path, layout] : {std::pair{"/original.safetensors", "original"}, {"/diffusers", "diffusers"}}) {
    const double start = seconds();
    const auto model = dit::load<Model>(folder + path);
    std::printf("%s loaded in %.2f s, peak %.0f MB\n", layout, seconds() - start, peak_megabytes());

    dit::Workspace workspace(2);
    dit::Conditioned field(model, text, workspace);
    for (const std::string size : {"512", "tall", "1024"}) {
      const auto x = tensor<4>(io, size + ".x");
      auto v = x;
      const auto step = [&] { field(x, sigma, v); };
      step();
      good &= close(std::string(layout) + ", " + size, v, tensor<4>(io, size + ".out"));
      if (model.layout() == dit::Layout::diffusers) continue;  // the same weights take as long
      const double time = seconds_of(step),
                   tera = dit::bench::mmdit_flop(Model::config,
                                                 static_cast<double>(x.dimension(2) * x.dimension(3) / 4),
                                                 static_cast<double>(tokens)) /
                          1e12;
      std::printf("%28s a step in %.2f s, %.3f TFLOP, %.0f %% of the peak\n", "", time, tera,
                  100 * tera * 1000 / time / dit::bench::fma_peak(dit::active_isa(), workspace.executor()));
    }
  }
  std::printf("peak %.0f MB\n", peak_megabytes());
  return good ? 0 : 1;
}
