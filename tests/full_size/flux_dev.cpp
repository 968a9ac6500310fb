/// Loads what make_flux_dev.py wrote, in the scalar named float, bf16 or int8, and compares the output with
/// diffusers'; then times a step. Exit code 1 if it is too far off. tests/full_size/run.sh builds and runs it.

#include "text_to_image.hpp"

using namespace full_size;

#ifdef DEPTH  // of a small trial, as make_flux_dev.py's
constexpr dit::FluxConfig config{.double_blocks = DEPTH, .single_blocks = 2 * DEPTH};
#else
constexpr dit::FluxConfig config = dit::flux_dev;
#endif

int main(int, char** argv) {
  const std::string folder = argv[1];
  const auto io = dit::Safetensors::open(folder + "/io.safetensors");
  const dit::FluxCondition<float> condition{{tensor<3>(io, "context"), tensor<2>(io, "pooled")},
                                            {tensor<1>(io, "guidance").data()[0]}};
  const float sigma = tensor<1>(io, "sigma").data()[0];
  const bool good = with_scalar(argv[2], [&]<class T>() {
    return check<dit::Flux<config, T>>(folder + "/transformer", io, condition, sigma, {"512"});
  });
  return good ? 0 : 1;
}
