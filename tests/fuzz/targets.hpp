#pragma once
/// What must hold for any bytes whatever: a typed error, or a file that can be listed, read, written again and
/// read.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "dit/io/load.hpp"
#include "dit/io/save.hpp"
#include "io/modules.hpp"

namespace dit_test {

/// Ends the program as a sanitizer would, so that every fuzzer sees it.
inline void insist(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

/// Bytes -> open -> list, read everything -> write -> open: the same tensors. True if the bytes were a file.
inline bool fuzz_file(std::span<const std::byte> bytes) {
  try {
    const auto file = dit::Safetensors::from_memory(bytes, {.unknown_fields = bytes.size() % 2 == 0});
    std::vector<dit::TensorToWrite> tensors;
    std::uint64_t covered = 0;
    for (std::size_t i = 0; i < file.size(); ++i) {
      const dit::TensorInfo info = file[i];
      insist(file.find(info.name) == i, "a listed tensor is found");
      insist(info.end - info.begin == dit::detail::byte_size(info.shape, info.dtype), "the size is the shape's");
      covered += info.end - info.begin;
      insist(covered <= bytes.size(), "no tensor is larger than the file");
      if (dit::is_real(info.dtype)) file.read<float>(info);
      tensors.push_back({info.name, info.dtype, info.shape, [&file, info](dit::ByteSink& sink) {
                           std::vector<std::byte> data(info.end - info.begin);
                           file.read_bytes(info, 0, data.size(), data.data());
                           sink.write(data.data(), data.size());
                         }});
    }
    dit::MemorySink sink;
    dit::write_safetensors(sink, std::move(tensors), file.metadata());
    const auto written = sink.take();
    const auto again = dit::Safetensors::from_memory(written);
    insist(again.size() == file.size() && again.metadata() == file.metadata(), "what is written is what was read");
    for (std::size_t i = 0; i < file.size(); ++i) {
      const dit::TensorInfo a = file[i], b = again[i];
      insist(a.name == b.name && a.dtype == b.dtype && a.shape == b.shape, "and every tensor of it");
      std::vector<std::byte> before(a.end - a.begin), after(before.size());
      file.read_bytes(a, 0, before.size(), before.data());
      again.read_bytes(b, 0, after.size(), after.data());
      insist(before == after, "and every byte");
    }
    return true;
  } catch (const dit::Error& error) {
    insist(error.code() <= dit::errc::out_of_memory && error.code() != dit::errc::out_of_memory,
           "a code of the file layer");
    return false;
  }
}

/// Bytes -> a model. True if they were one.
inline bool fuzz_model(std::span<const std::byte> bytes) {
  try {
    dit::LoadReport report;
    const auto model =
        dit::load_from_memory<Net<float>>(bytes, {.check_finite = true, .check_copies = true}, &report);
    insist(report.complete(), "a model was complete");
    dit::save_to_memory(model);
    return true;
  } catch (const dit::Error&) {
    return false;
  }
}

/// An index whose files are not there: always an error, unless it names none.
inline void fuzz_index(const std::filesystem::path& path) {
  try {
    const auto checkpoint = dit::Checkpoint::open(path);
    insist(checkpoint.shards().empty(), "an index opened a file that is not there");
  } catch (const dit::Error&) {
  }
}

}  // namespace dit_test
