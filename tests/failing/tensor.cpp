// error 1: dit takes row-major tensors: use dit::Tensor, or Eigen::Tensor<T, rank, Eigen::RowMajor>
// error 2: the tensor's rank is not the one asked for
// error 3: dit takes row-major tensors: use dit::Tensor, or Eigen::Tensor<T, rank, Eigen::RowMajor>
// error 4: dit takes row-major tensors: use dit::Tensor, or Eigen::Tensor<T, rank, Eigen::RowMajor>
// error 5: a Workspace holds plain numbers
// error 6: uniform numbers are float or double

#include "dit/core/random.hpp"
#include "dit/core/workspace.hpp"

using namespace dit;

void look_at(View<const float, 4>) {}

void f(TorchGenerator& generator, Workspace& workspace) {
  Tensor<float, 4> latent(1, 4, 8, 8);
  TensorMap<float, 4> map(latent.data(), 1, 4, 8, 8);
  Tensor<float, 3> image(4, 8, 8);
  Eigen::Tensor<float, 4> column_major(1, 4, 8, 8);
  Eigen::TensorMap<Eigen::Tensor<float, 4>> column_major_map(latent.data(), 1, 4, 8, 8);
#if DIT_BREAK == 1
  look_at(column_major);
#elif DIT_BREAK == 2
  look_at(image);
#elif DIT_BREAK == 3
  look_at(column_major_map);
#elif DIT_BREAK == 4
  randn(column_major, generator);
#elif DIT_BREAK == 5
  workspace.take<std::vector<float>>(1);
#elif DIT_BREAK == 6
  generator.uniform<long double>();
#else
  look_at(latent);
  look_at(map);
  randn(latent, generator);
  randn(image, generator);
  workspace.take<double>(1);
  generator.uniform<double>();
#endif
}
