#pragma once
/// Tensors to a safetensors file, byte for byte as the format's own writer does it.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "dit/io/header.hpp"

namespace dit { inline namespace DIT_ABI {

/// Takes bytes in order.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual void write(const void* bytes, std::size_t count) = 0;
};

class MemorySink final : public ByteSink {
 public:
  DIT_ONCE_VIRTUAL void write(const void* bytes, std::size_t count) override;
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// A file that appears under its name only when it is complete: written beside it, then renamed by `commit`.
class FileSink final : public ByteSink {
 public:
  explicit FileSink(std::filesystem::path path);
  DIT_ONCE_VIRTUAL ~FileSink() override;
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;

  DIT_ONCE_VIRTUAL void write(const void* bytes, std::size_t count) override;

  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_, temporary_;
  std::FILE* file_ = nullptr;
};

/// A tensor to be written: `write` gives the sink its bytes when its turn comes.
struct TensorToWrite {
  std::string name;
  DType dtype;
  std::vector<std::uint64_t> shape;
  std::function<void(ByteSink&)> write;
};

namespace detail {
/// The header for tensors in the order given, padded with spaces to a multiple of 8.
std::string make_header(const std::vector<TensorToWrite>& tensors, const Metadata& metadata);
}  // namespace detail

/// Writes a safetensors file, largest dtype first, then by name: the order, and all bytes, of the format's own
/// writer. Errors: io_write, and for what no reader would take bad_name, duplicate_name, header_not_utf8, ...
void write_safetensors(ByteSink& sink, std::vector<TensorToWrite> tensors, const Metadata& metadata = {});

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/writer.inl"
#endif
