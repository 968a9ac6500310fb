/// Loads what make_autoencoders.py wrote and compares the images with diffusers'. Exit code 1 if one is too far
/// off. tests/full_size/run.sh builds and runs it.

#include "dit/models/autoencoder_kl.hpp"

#include "dit/models/autoencoder_tiny.hpp"
#include "full_size.hpp"

using namespace full_size;

template <class M>
bool check(const std::string& folder, const std::string& name) {
  const auto io = dit::Safetensors::open(folder + "/io.safetensors");
  const double start = seconds();
  const auto model = dit::load<M>(folder + "/" + name, {.strict = true});
  std::printf("%s loaded in %.2f s\n", name.c_str(), seconds() - start);

  const auto latents = tensor<4>(io, name + ".latents");
  const auto planned = dit::plan<M>(1, {latents.dimension(2), latents.dimension(3)}, 2).arena;
  dit::Workspace workspace(2, planned);
  bool good = close(name, model.decode(latents, workspace), tensor<4>(io, name + ".out"));
  std::printf("decoded in %.3f s, workspace %.0f MB of %.0f planned\n",
              seconds_of([&] { model.decode(latents, workspace); }), megabytes(workspace.high_water()),
              megabytes(planned));
  if (io.find(name + ".tiled.out")) {
    good &= close(name + " in tiles", model.decode_tiled(tensor<4>(io, name + ".tiled.latents"), workspace, 32),
                  tensor<4>(io, name + ".tiled.out"));
  }
  return good;
}

int main(int, char** argv) {
  const std::string folder = argv[1];
  bool good = check<dit::AutoencoderKL<dit::sd_vae>>(folder, "sd_vae");
  good &= check<dit::AutoencoderKL<dit::sd3_vae>>(folder, "sd3_vae");
  good &= check<dit::AutoencoderKL<dit::flux_vae>>(folder, "flux_vae");
  good &= check<dit::AutoencoderTiny<dit::taesd>>(folder, "taesd");
  good &= check<dit::AutoencoderTiny<dit::taef1>>(folder, "taef1");
  std::printf("peak %.0f MB\n", peak_megabytes());
  return good ? 0 : 1;
}
