// The kernels, written once over Vec<T>. Every simd_*.hpp includes this inside its own namespace, with DIT_TARGET
// saying what the compiler may use. So: no lambdas, no Eigen and no algorithms of the standard library in here,
// since they would be compiled for another machine.

#include "dit/kernels/body_exp2.inl"
#include "dit/kernels/body_math.inl"
#include "dit/kernels/body_products.inl"
#include "dit/kernels/body_rows.inl"
#include "dit/kernels/body_tiles.inl"

template <class R>
inline constexpr Verbs<R> verbs{add_bias<R>,  store_tile<R>, add_gated<R>, activate<R>, statistics<R>, moments<R>,
                                normalise<R>, rotate<R>,     softmax<R>,   scale<R>,    divide<R>};
