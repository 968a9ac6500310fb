#pragma once
/// dit: Diffusion Transformers on CPUs. This header includes all others, floor by floor; each also stands alone.
///
/// Shapes in comments: B batch, C channels, H x W latent, N tokens, D width, M rows of a GEMM (batch x tokens),
/// d features of a head, p patch. All row-major, slowest first.

#include "dit/version.hpp"

// Floor 0, core: numbers, memory, threads, errors.
#include "dit/core/cores.hpp"
#include "dit/core/eigen.hpp"
#include "dit/core/error.hpp"
#include "dit/core/executor.hpp"
#include "dit/core/memory.hpp"
#include "dit/core/random.hpp"
#include "dit/core/scalar.hpp"
#include "dit/core/tensor.hpp"
#include "dit/core/thread_pool.hpp"
#include "dit/core/workspace.hpp"

// Floor 1, kernels: what knows the machine.
#include "dit/kernels/attention.hpp"
#include "dit/kernels/gemm.hpp"
#include "dit/kernels/isa.hpp"
#include "dit/kernels/pack.hpp"
#include "dit/kernels/rowwise.hpp"

// Floor 2, ops: the equations.
#include "dit/ops/attention.hpp"
#include "dit/ops/conv.hpp"
#include "dit/ops/group_norm.hpp"
#include "dit/ops/linear.hpp"
#include "dit/ops/maps.hpp"
#include "dit/ops/modulate.hpp"
#include "dit/ops/norm.hpp"
#include "dit/ops/patch.hpp"
#include "dit/ops/position.hpp"
#include "dit/ops/rope.hpp"

// Floor 3, nn: things with parameters.
#include "dit/nn/adaln.hpp"
#include "dit/nn/attention.hpp"
#include "dit/nn/conv.hpp"
#include "dit/nn/depatchify.hpp"
#include "dit/nn/dit_block.hpp"
#include "dit/nn/embed.hpp"
#include "dit/nn/flux_block.hpp"
#include "dit/nn/group_norm.hpp"
#include "dit/nn/init.hpp"
#include "dit/nn/layout.hpp"
#include "dit/nn/linear.hpp"
#include "dit/nn/mlp.hpp"
#include "dit/nn/mmdit_block.hpp"
#include "dit/nn/module.hpp"
#include "dit/nn/norm.hpp"
#include "dit/nn/patchify.hpp"
#include "dit/nn/plan.hpp"
#include "dit/nn/resnet_block.hpp"
#include "dit/nn/sequence.hpp"
#include "dit/nn/stream.hpp"
#include "dit/nn/text.hpp"
#include "dit/nn/tiles.hpp"

// Floor 4, models: one paper per file.
#include "dit/models/autoencoder_kl.hpp"
#include "dit/models/autoencoder_tiny.hpp"
#include "dit/models/conditioned.hpp"
#include "dit/models/dit.hpp"
#include "dit/models/flux.hpp"
#include "dit/models/flux_condition.hpp"
#include "dit/models/mmdit.hpp"
#include "dit/models/plain_dit.hpp"
#include "dit/models/text_to_image.hpp"

// Annex, sampling: time. Knows core only.
#include "dit/sampling/ddim.hpp"
#include "dit/sampling/ddpm.hpp"
#include "dit/sampling/diffusion.hpp"
#include "dit/sampling/dpmpp_2m.hpp"
#include "dit/sampling/euler.hpp"
#include "dit/sampling/field.hpp"
#include "dit/sampling/guidance.hpp"
#include "dit/sampling/heun.hpp"
#include "dit/sampling/inpaint.hpp"
#include "dit/sampling/prediction.hpp"
#include "dit/sampling/sample.hpp"
#include "dit/sampling/sampler.hpp"
#include "dit/sampling/schedule.hpp"
#include "dit/sampling/skip_layer.hpp"

// Annex, io: files.
#include "dit/io/checkpoint.hpp"
#include "dit/io/load.hpp"
#include "dit/io/names.hpp"
#include "dit/io/safetensors.hpp"
#include "dit/io/save.hpp"
#include "dit/io/tensor.hpp"
#include "dit/io/text.hpp"
