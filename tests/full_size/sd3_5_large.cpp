/// Loads what make_sd3_5_large.py wrote, in the scalar named float, bf16 or int8, and compares the output with
/// diffusers'; then times a step. Exit code 1 if it is too far off. tests/full_size/run.sh builds and runs it.

#include "text_to_image.hpp"

using namespace full_size;

#ifdef DEPTH  // of a small trial, as make_sd3_5_large.py's
constexpr dit::MMDiTConfig config{.width = 64 * DEPTH, .depth = DEPTH, .heads = DEPTH, .qk_norm = true};
#else
constexpr dit::MMDiTConfig config = dit::sd3_5_large;
#endif

int main(int, char** argv) {
  const std::string folder = argv[1];
  const auto io = dit::Safetensors::open(folder + "/io.safetensors");
  const dit::Text<float> text{tensor<3>(io, "context"), tensor<2>(io, "pooled")};
  const float sigma = tensor<1>(io, "t").data()[0] / 1000;
  const bool good = with_scalar(argv[2], [&]<class T>() {
    return check<dit::MMDiT<config, T>>(folder + "/transformer", io, text, sigma, {"512"});
  });
  return good ? 0 : 1;
}
