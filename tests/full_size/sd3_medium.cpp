/// Loads what make_sd3_medium.py wrote, in the scalar named float, bf16 or int8, and compares the outputs with
/// diffusers'; then times a step. Exit code 1 if one is too far off. tests/full_size/run.sh builds and runs it.

#include "text_to_image.hpp"

using namespace full_size;

template <class T>
bool run(const std::string& folder) {
  using Model = dit::MMDiT<dit::sd3_medium, T>;
  const auto io = dit::Safetensors::open(folder + "/io.safetensors");
  const dit::Text<float> text{tensor<3>(io, "context"), tensor<2>(io, "pooled")};
  const float sigma = tensor<1>(io, "t").data()[0] / 1000;
  bool good = check<Model>(folder + "/original.safetensors", io, text, sigma, {"512", "tall", "1024"});
  if (std::is_same_v<T, float>) good &= check<Model>(folder + "/diffusers", io, text, sigma, {"512"});
  return good;
}

int main(int, char** argv) {
  return with_scalar(argv[2], [&]<class T>() { return run<T>(argv[1]); }) ? 0 : 1;
}
