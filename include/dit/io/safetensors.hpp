#pragma once
/// One safetensors file: 8 bytes of header length, a JSON header, then the tensors' bytes without gap or overlap
/// (https://huggingface.co/docs/safetensors). Everything the header says is checked when the file is opened.

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dit/io/byte_source.hpp"
#include "dit/io/dtype.hpp"
#include "dit/io/header.hpp"

namespace dit { inline namespace DIT_ABI {

struct OpenOptions {
  bool mapped = false;          ///< read through a mapping; see FileSource for what that risks
  bool unknown_fields = false;  ///< let entries have fields beside dtype, shape and data_offsets
  bool follow_links = false;    ///< let shards be symbolic links out of their folder, as in Hugging Face's cache
};

/// A file that is open and whose header holds. Const and shareable by threads.
class Safetensors {
 public:
  /// Errors: io_open, not_regular_file, file_too_small, header_*, and one code for each thing that
  /// can be wrong with an entry: duplicate_name ... trailing_bytes in core/error.hpp.
  static Safetensors open(const std::filesystem::path& path, const OpenOptions& options = {});
  /// Bytes that the caller keeps for as long as this lives.
  static Safetensors from_memory(std::span<const std::byte> bytes, const OpenOptions& options = {});
  explicit Safetensors(std::unique_ptr<ByteSource> source, const OpenOptions& options = {});

  const std::string& file() const noexcept { return source_->name(); }
  const Metadata& metadata() const noexcept { return metadata_; }

  /// Tensors are numbered in the order of their names.
  std::size_t size() const noexcept { return table_.size(); }
  TensorInfo operator[](std::size_t i) const { return table_[i]; }
  std::string_view name(std::size_t i) const { return table_.name(i); }
  /// The number of the tensor with this name.
  std::optional<std::size_t> find(std::string_view name) const { return table_.find(name); }

  /// Rows [first, first + count) of a tensor, a scalar being one row of one, converted from F32, F16, BF16 or F64
  /// to R = float, double, bf16 or f16, rounding once. Takes at most 128 KB of memory. Errors: unsupported_dtype,
  /// io_read, file_truncated.
  template <class R>
  void read_rows(const TensorInfo& info, std::uint64_t first, std::uint64_t count, R* target) const;

  /// A whole tensor.
  template <class R>
  std::vector<R> read(const TensorInfo& info) const {
    std::vector<R> values((info.end - info.begin) / std::max(1U, bits(info.dtype) / 8));
    read_rows(info, 0, info.shape.empty() ? 1 : info.shape[0], values.data());
    return values;
  }

  /// Bytes [begin, begin + count) of a tensor of any dtype.
  void read_bytes(const TensorInfo& info, std::uint64_t begin, std::size_t count, std::byte* target) const;

  /// errc::file_changed if the file was written to since it was opened. To be called after the last read.
  void check_unchanged() const { source_->check_unchanged(); }

 private:
  template <class R>
  void read_values(const TensorInfo& info, std::uint64_t first, std::uint64_t count, R* target) const;

  [[noreturn]] void fail(errc code, std::initializer_list<detail::Word> sentence, std::uint64_t offset,
                         std::string_view tensor = {}) const;

  void read_header(const OpenOptions& options);

  /// The tensors' bytes follow one another from the start of the data to the end of the file.
  void check_coverage() const;

  std::unique_ptr<ByteSource> source_;
  detail::TensorTable table_;
  Metadata metadata_;
  std::uint64_t data_ = 0;  // where the data section begins in the file
};

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/safetensors.inl"
#endif
