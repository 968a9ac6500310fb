// The kernels, written once over Vec<T>. Every simd_*.hpp includes this inside its own namespace, with DIT_TARGET
// saying what the compiler may use. So: no lambdas, no Eigen and no algorithms of the standard library in here,
// since they would be compiled for another machine.

#include "dit/kernels/body_math.inl"
#include "dit/kernels/body_rows.inl"
#include "dit/kernels/body_tiles.inl"

/// The table of this instruction set.
template <class T>
inline constexpr Kernels<T> table{isa,         panel_rows<T>, Blocking{},   multiply<T>, transpose<T>,
                                  add_bias<T>, store_tile<T>, add_gated<T>, activate<T>, statistics<T>,
                                  moments<T>,  normalise<T>,  rotate<T>,    softmax<T>,  online_softmax<T>,
                                  scale<T>,    divide<T>};
