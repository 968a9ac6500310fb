/// Loads what make_dit_xl_2.py wrote, both layouts, and compares the outputs with the references'. Exit code 1 if
/// one is too far off. tests/full_size/run.sh builds and runs it.

#include "dit/dit.hpp"
#include "full_size.hpp"

using namespace full_size;
using Model = dit::DiT<dit::dit_xl_2>;

int main(int, char** argv) {
  const std::string folder = argv[1];
  const auto io = dit::Safetensors::open(folder + "/io.safetensors");
  const auto x = tensor<4>(io, "x"), wide = tensor<4>(io, "wide.x");
  const std::vector<float> t{999, 250};
  const std::vector<int> y{207, 1000};
  constexpr dit::Plan plan = dit::plan<Model>(2, {32, 32}, 2);
  std::printf("planned: %.0f MB of weights, %.1f MB of workspace\n", megabytes(plan.weights),
              megabytes(plan.arena));

  bool good = true;
  for (const auto& [path, layout] : {std::pair{"/original.safetensors", "original"}, {"/diffusers", "diffusers"}}) {
    const double start = seconds();
    const auto model = dit::load<Model>(folder + path);
    std::printf("%s loaded in %.2f s, peak %.0f MB\n", layout, seconds() - start, peak_megabytes());

    dit::Workspace workspace(2, plan.arena);
    good &= close(layout, model(x, t, y, workspace), tensor<4>(io, std::string(layout) + ".out"));
    std::printf("forward, batch 2: %.3f s\n", seconds_of([&] { model(x, t, y, workspace); }));
    if (model.layout() == dit::Layout::original) {
      good &= close("original, 24 x 40", model(wide, std::span(t).first(1), std::span(y).first(1), workspace),
                    tensor<4>(io, "wide.out"));
    }
  }
  std::printf("peak %.0f MB\n", peak_megabytes());
  return good ? 0 : 1;
}
