/// Loads what make_flux_blocks.py wrote, a double and a single block of FLUX.1-dev, and compares their outputs with
/// diffusers'; then times them. Exit code 1 if one is too far off. tests/full_size/run.sh builds and runs it.

#include "dit/dit.hpp"
#include "full_size.hpp"
#include "peak.hpp"

using namespace full_size;

constexpr dit::FluxConfig config = dit::flux_dev;
constexpr int width = config.width, head_dim = width / config.heads;

dit::Tokens<float, width> tokens(dit::Tensor<float, 3>& x) { return {x.data(), x.dimension(0), x.dimension(1)}; }

void report(const char* block, double time, std::uint64_t flops, dit::Workspace& workspace) {
  const double giga = static_cast<double>(flops) / 1e9;
  std::printf("%28s %s block in %.3f s, %.0f GFLOP, %.0f %% of the peak\n", "", block, time, giga,
              100 * giga / time / dit::bench::fma_peak(dit::active_isa(), workspace.executor()));
}

int main(int, char** argv) {
  const std::string folder = argv[1];
  const auto io = dit::Safetensors::open(folder + "/io.safetensors");
  const auto img = tensor<3>(io, "img"), txt = tensor<3>(io, "txt");
  auto c = tensor<2>(io, "c");
  const dit::Tokens<const float, width> condition{c.data(), 1, 1};
  const auto ids = tensor<2>(io, "ids");
  const Index text = txt.dimension(1), all = ids.dimension(0);
  dit::Workspace workspace(2);
  std::vector<float> cos(static_cast<std::size_t>(all * head_dim)), sin(cos.size());
  const auto rope = dit::rope_table(
      config.axes, config.theta, all, [&ids](Index token, int axis) { return ids(token, axis); }, cos.data(),
      sin.data(), workspace);

  bool good = true;
  {
    using Block = dit::DoubleStreamBlock<config.block()>;
    const auto block = dit::load<Block>(folder + "/double_block.safetensors");
    auto x = img, context = txt;
    const auto run = [&] {
      x = img, context = txt;
      block(tokens(x), tokens(context), condition, workspace, rope, rope.from(text, head_dim));
    };
    run();
    const auto pass = [&](const Block& one, dit::Workspace& meter) {
      one(dit::Tokens<float, width>{nullptr, 1, all - text}, dit::Tokens<float, width>{nullptr, 1, text},
          Block::Modulations{}, meter);
    };
    report("double", seconds_of(run), dit::plan_of<Block>(1, pass).flops, workspace);
    good &= close("double, image", x, tensor<3>(io, "double.img"));
    good &= close("double, text", context, tensor<3>(io, "double.txt"));
  }
  {
    using Block = dit::SingleStreamBlock<config.block()>;
    const auto block = dit::load<Block>(folder + "/single_block.safetensors");
    dit::Tensor<float, 3> in(1, all, width), z = in;
    std::copy_n(img.data(), img.size(), std::copy_n(txt.data(), txt.size(), in.data()));
    const auto run = [&] {
      z = in;
      block(tokens(z), condition, workspace, rope);
    };
    run();
    const auto pass = [&](const Block& one, dit::Workspace& meter) {
      one(dit::Tokens<float, width>{nullptr, 1, all}, Block::Modulations{}, meter);
    };
    report("single", seconds_of(run), dit::plan_of<Block>(1, pass).flops, workspace);
    good &= close("single", z, tensor<3>(io, "single.out"));
  }
  std::printf("peak %.0f MB\n", peak_megabytes());
  return good ? 0 : 1;
}
