#pragma once
/// The only place that includes Eigen.

#include <Eigen/Core>
#include <unsupported/Eigen/CXX11/Tensor>

#include "dit/version.hpp"

#if !EIGEN_VERSION_AT_LEAST(3, 4, 0)
#error "dit needs Eigen 3.4 or newer"
#endif

namespace dit { inline namespace DIT_ABI {

/// Extents and indices, signed as Eigen's.
using Index = Eigen::Index;

/// An owning row-major tensor, NumPy's and the checkpoints' order: latents are [B, C, H, W], tokens [B, N, D].
template <class T, int rank>
using Tensor = Eigen::Tensor<T, rank, Eigen::RowMajor, Index>;

/// The same over memory that belongs to someone else.
template <class T, int rank>
using TensorMap = Eigen::TensorMap<Tensor<T, rank>>;

}}  // namespace dit
