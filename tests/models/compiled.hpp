#pragma once
/// The small models of the tests, compiled once for all of them: every family in every scalar. This header, which
/// comes first in every test that runs models, says that they are compiled elsewhere; CMake makes a file of each
/// group at its end that compiles it.

#include "models/autoencoders.hpp"
#include "models/text_models.hpp"

// `how` is `template`, which compiles, or `extern template`, which leaves that to another file.

/// What any test asks of a model: its members, weights from a file, random ones.
#define DIT_TEST_MODEL(how, ...)                                                                             \
  how struct __VA_ARGS__;                                                                                    \
  how __VA_ARGS__ dit::bind<__VA_ARGS__>(const dit::Checkpoint&, const dit::LoadOptions&, dit::LoadReport*); \
  how void support::randomise<__VA_ARGS__>(__VA_ARGS__&, unsigned)

/// The same, and its velocity with the condition fixed.
#define DIT_TEST_FLOW(how, ...)                                                          \
  DIT_TEST_MODEL(how, __VA_ARGS__);                                                      \
  how class dit::Conditioned<__VA_ARGS__>;                                               \
  how void dit::Conditioned<__VA_ARGS__>::operator()<__VA_ARGS__::R>(                    \
      dit::View<const __VA_ARGS__::R, 4>, __VA_ARGS__::R, dit::View<__VA_ARGS__::R, 4>); \
  how void dit::Conditioned<__VA_ARGS__>::prepare<std::vector<__VA_ARGS__::R>>(const std::vector<__VA_ARGS__::R>&)

/// In every scalar.
#define DIT_TEST_FLOWS(how, Model, size)                    \
  DIT_TEST_FLOW(how, dit::Model<support::size>);            \
  DIT_TEST_FLOW(how, dit::Model<support::size, double>);    \
  DIT_TEST_FLOW(how, dit::Model<support::size, dit::bf16>); \
  DIT_TEST_FLOW(how, dit::Model<support::size, dit::int8>)

/// Random numbers, for any of them.
#define DIT_TEST_NUMBERS(how, T) how std::vector<T> support::normal<T>(dit::Index, unsigned)

// The groups. Each takes a compiler less than 45 s and 1.1 GB.

#define DIT_TEST_GROUP_tiny(how) DIT_TEST_FLOWS(how, DiT, tiny)
#define DIT_TEST_GROUP_mini(how) DIT_TEST_FLOWS(how, DiT, mini)
#define DIT_TEST_GROUP_mixed(how) DIT_TEST_FLOWS(how, MMDiT, mixed_mini)
#define DIT_TEST_GROUP_sd3(how) DIT_TEST_FLOWS(how, MMDiT, sd3_mini)
#define DIT_TEST_GROUP_flux(how) DIT_TEST_FLOWS(how, Flux, flux_mini)
#define DIT_TEST_GROUP_others(how)                      \
  DIT_TEST_FLOW(how, dit::MMDiT<support::sd35_mini>);   \
  DIT_TEST_FLOW(how, dit::Flux<support::schnell_mini>); \
  DIT_TEST_FLOW(how, dit::Flux<support::fill_mini>);    \
  DIT_TEST_NUMBERS(how, float);                         \
  DIT_TEST_NUMBERS(how, double);                        \
  DIT_TEST_MODEL(how, dit::PlainDiT<support::article>); \
  DIT_TEST_MODEL(how, dit::PlainDiT<support::article, double>)
#define DIT_TEST_GROUP_decoders(how)                                  \
  DIT_TEST_MODEL(how, dit::AutoencoderKL<support::mini_vae>);         \
  DIT_TEST_MODEL(how, dit::AutoencoderKL<support::mini_vae, double>); \
  DIT_TEST_MODEL(how, dit::AutoencoderTiny<support::mini_taesd>);     \
  DIT_TEST_MODEL(how, dit::AutoencoderTiny<support::mini_taesd, double>)
#define DIT_TEST_GROUP_decoders_rounded(how)                                 \
  DIT_TEST_MODEL(how, dit::AutoencoderKL<support::mini_vae, dit::bf16>);     \
  DIT_TEST_MODEL(how, dit::AutoencoderKL<support::mini_vae, dit::int8>);     \
  DIT_TEST_MODEL(how, dit::AutoencoderTiny<support::mini_taesd, dit::bf16>); \
  DIT_TEST_MODEL(how, dit::AutoencoderTiny<support::mini_taesd, dit::int8>)

DIT_TEST_GROUP_tiny(extern template);
DIT_TEST_GROUP_mini(extern template);
DIT_TEST_GROUP_mixed(extern template);
DIT_TEST_GROUP_sd3(extern template);
DIT_TEST_GROUP_flux(extern template);
DIT_TEST_GROUP_others(extern template);
DIT_TEST_GROUP_decoders(extern template);
DIT_TEST_GROUP_decoders_rounded(extern template);
