/// A block of one's own, from the library's pieces: `visit` names its parameters, and with that it can be counted,
/// initialised, saved and loaded like any other.

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "dit/dit.hpp"

/// x <- x + gate * Linear(RMSNorm(x)), one learned gate per feature: not in any paper.
template <int width, class T = float>
struct GatedLinear {
  using R = dit::real<T>;

  dit::Linear<width, width, T> proj;
  dit::Parameter<R, width> gate;

  static constexpr void visit(auto&& f, auto&... self) {
    f("proj", self.proj...);
    f("gate", self.gate...);
  }

  constexpr void operator()(dit::Tokens<R, width> x, dit::Workspace& workspace) const {
    const dit::PerSample<R, width> same_for_all{gate.data(), 0};
    dit::add_gated(x, same_for_all, proj(dit::rms_norm(x, 1e-6)), workspace);
  }
};

static_assert(dit::parameter_count<GatedLinear<96>>() == 96 * 96 + 96 + 96);

// The call operator runs on a Workspace that only counts as well: bytes and arithmetic of a pass over 2 x 17
// tokens.
constexpr dit::Plan plan =
    dit::plan_of<GatedLinear<96>>(/*strands=*/1, [](const auto& block, dit::Workspace& meter) {
      block({nullptr, 2, 17}, meter);
    });
static_assert(plan.weights == (96 * 96 + 96 + 96) * 4 && plan.flops == 2 * 34 * 96 * 96);

int main() {
  GatedLinear<96> block;
  dit::init_adaln_zero(block, /*seed=*/3);

  const auto file = std::filesystem::temp_directory_path() / "own_block.safetensors";
  dit::save(block, file.string());
  const auto loaded = dit::load<GatedLinear<96>>(file.string());
  std::filesystem::remove(file);

  dit::Workspace workspace;
  dit::TorchGenerator generator(/*seed=*/4);
  dit::Tensor<float, 3> x = dit::randn<3>({2, 17, 96}, generator), y = x;
  block({x.data(), 2, 17}, workspace);
  loaded({y.data(), 2, 17}, workspace);
  const bool same = dit::max_difference(block, loaded) == 0 && std::equal(x.data(), x.data() + x.size(), y.data());
  std::printf("%d tensors, saved and loaded: %s\n", dit::tensor_count<GatedLinear<96>>(),
              same ? "the same" : "DIFFERENT");
  return same ? 0 : 1;
}
