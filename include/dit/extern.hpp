#pragma once
/// dit, compiled once for a program of many files: its kernels, files, threads and errors. A file that includes
/// this header, before any other of dit, or defines DIT_EXTERN, reads declarations in place of bodies, which saves
/// it two thirds of its time. One file has the bodies, for all files of the same machine flags; without it the
/// program does not link:
///
///     #define DIT_SOURCE
///     #include <dit/extern.hpp>
///
/// dit/dit.cpp is that file, and CMake's target dit::compiled is a library of it. Files with and without this
/// header may be linked together.

#if defined(DIT_ABI) && !defined(DIT_EXTERN)
#error "dit/extern.hpp comes before all other headers of dit"
#endif
#ifndef DIT_EXTERN
#define DIT_EXTERN
#endif

#include "dit/version.hpp"

#ifdef DIT_SOURCE
#define DIT_KERNELS
#include "dit/core/cores.inl"
#include "dit/core/error.inl"
#include "dit/core/executor.inl"
#include "dit/core/random.inl"
#include "dit/core/thread_pool.inl"
#include "dit/io/binding.inl"
#include "dit/io/byte_source.inl"
#include "dit/io/checkpoint.inl"
#include "dit/io/header.inl"
#include "dit/io/json.inl"
#include "dit/io/load.inl"
#include "dit/io/loader.inl"
#include "dit/io/names.inl"
#include "dit/io/report.inl"
#include "dit/io/safetensors.inl"
#include "dit/io/save.inl"
#include "dit/io/tensor.inl"
#include "dit/io/writer.inl"
#include "dit/kernels/extern.hpp"
#include "dit/kernels/isa.inl"
#endif
