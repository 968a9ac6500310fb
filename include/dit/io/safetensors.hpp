#pragma once
/// One safetensors file: 8 bytes of header length, a JSON header, then the tensors' bytes without gap or overlap
/// (https://huggingface.co/docs/safetensors). Everything the header says is checked when the file is opened.

#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dit/core/tensor.hpp"
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
  static Safetensors open(const std::filesystem::path& path, const OpenOptions& options = {}) {
    return detail::with_typed_bad_alloc(
        path, [&] { return Safetensors(FileSource::open(path, options.mapped), options); });
  }
  /// Bytes that the caller keeps for as long as this lives.
  static Safetensors from_memory(std::span<const std::byte> bytes, const OpenOptions& options = {}) {
    return detail::with_typed_bad_alloc(
        "memory", [&] { return Safetensors(std::make_unique<MemorySource>(bytes), options); });
  }
  explicit Safetensors(std::unique_ptr<ByteSource> source, const OpenOptions& options = {})
      : source_(std::move(source)) {
    detail::with_typed_bad_alloc(file(), [&] { read_header(options); });
  }

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
  void read_rows(const TensorInfo& info, std::uint64_t first, std::uint64_t count, R* target) const {
    const std::uint64_t rows = info.shape.empty() ? 1 : info.shape[0];
    if (first > rows || count > rows - first) {
      throw Error(errc::bad_option, "rows beyond the end of the tensor", {file(), info.name, {}});
    }
    if (!is_real(info.dtype)) {
      throw Error(errc::unsupported_dtype,
                  "tensors of type " + std::string(dit::name(info.dtype)) + " cannot be read as numbers",
                  {file(), info.name, {}});
    }
    if (count == 0 || info.begin == info.end) return;
    const std::uint64_t row_size = (info.end - info.begin) / rows / (bits(info.dtype) / 8);
    read_values(info, first * row_size, count * row_size, target);
  }

  /// A whole tensor.
  template <class R>
  std::vector<R> read(const TensorInfo& info) const {
    std::vector<R> values((info.end - info.begin) / std::max(1U, bits(info.dtype) / 8));
    read_rows(info, 0, info.shape.empty() ? 1 : info.shape[0], values.data());
    return values;
  }

  /// Bytes [begin, begin + count) of a tensor of any dtype.
  void read_bytes(const TensorInfo& info, std::uint64_t begin, std::size_t count, std::byte* target) const {
    if (begin > info.end - info.begin || count > info.end - info.begin - begin) {
      throw Error(errc::bad_option, "bytes beyond the end of the tensor", {file(), info.name, {}});
    }
    source_->read(data_ + info.begin + begin, target, count);
  }

  /// errc::file_changed if the file was written to since it was opened. To be called after the last read.
  void check_unchanged() const { source_->check_unchanged(); }

 private:
  template <class R>
  void read_values(const TensorInfo& info, std::uint64_t first, std::uint64_t count, R* target) const {
    const std::size_t bytes = bits(info.dtype) / 8;
    const std::uint64_t at = data_ + info.begin + first * bytes;
    if (info.dtype == dtype_of<R>) {
      source_->read(at, target, static_cast<std::size_t>(count * bytes));
      return;
    }
    // Narrower numbers than ours are read to where they will end, wider ones have to go through a buffer.
    constexpr std::uint64_t block = std::uint64_t{1} << 14;
    const bool wider = bytes > sizeof(R);
    const std::unique_ptr<std::byte[]> buffer(
        wider ? new std::byte[static_cast<std::size_t>(std::min(block, count)) * bytes] : nullptr);
    for (std::uint64_t done = 0; done < count;) {
      const auto n = static_cast<std::size_t>(std::min(block, count - done));
      R* const to = target + done;
      std::byte* const from = wider ? buffer.get() : reinterpret_cast<std::byte*>(to + n) - n * bytes;
      source_->read(at + done * bytes, from, n * bytes);
      detail::decode(info.dtype, from, n, to);
      done += n;
    }
  }

  [[noreturn]] void fail(errc code, std::string_view sentence, std::uint64_t offset,
                         std::string tensor = "") const {
    throw Error(code, sentence, {file(), std::move(tensor), offset});
  }

  void read_header(const OpenOptions& options) {
    const std::uint64_t size = source_->size();
    if (size < 8)
      fail(errc::file_too_small, "the file has " + std::to_string(size) + " bytes and needs at least 8", size);
    std::uint64_t length = 0;
    source_->read(0, &length, 8);
    if (length > size - 8) {
      char start[4];
      std::memcpy(start, &length, 4);
      const bool zip = std::memcmp(start, "PK\3\4", 4) == 0;
      fail(errc::header_length_out_of_range,
           "the header would have " + std::to_string(length) + " bytes, and the file only " + std::to_string(size) +
               (zip ? "; this is a PyTorch .pt file: convert it to safetensors" : ""),
           0);
    }
    if (length > max_header) {
      fail(errc::header_too_large,
           "the header has " + std::to_string(length) + " bytes, more than " + std::to_string(max_header), 0);
    }
    data_ = 8 + length;
    char first = 0;
    if (length > 0) source_->read(8, &first, 1);
    if (first != '{') fail(errc::header_bad_start, "the header does not begin with {", 8);

    JsonParser parser(*source_, 8, data_, {errc::header_not_utf8, errc::header_json, errc::header_json_depth});
    detail::HeaderVisitor visitor(parser, file(), options.unknown_fields, table_, metadata_);
    parser.run(visitor);
    if (const auto twice = table_.sort()) {
      throw Error(errc::duplicate_name, "two tensors have the same name", {file(), *twice, {}});
    }
    check_coverage();
  }

  /// The tensors' bytes follow one another from the start of the data to the end of the file.
  void check_coverage() const {
    const std::uint64_t available = source_->size() - data_;
    std::uint64_t covered = 0;
    for (const std::uint32_t i : table_.in_file_order()) {
      const auto [begin, end] = table_.range(i);
      const auto where = [&] { return std::string(table_.name(i)); };
      if (begin < covered)
        fail(errc::offsets_overlap, "the tensor shares bytes with another", data_ + begin, where());
      if (end > available) {
        fail(errc::file_truncated,
             "the tensor ends at byte " + std::to_string(end) + " of the data, of which there are " +
                 std::to_string(available),
             source_->size(), where());
      }
      if (begin > covered)
        fail(errc::offsets_gap, "bytes before the tensor belong to none", data_ + covered, where());
      covered = end;
    }
    if (covered != available)
      fail(errc::trailing_bytes, "bytes after the last tensor belong to none", data_ + covered);
  }

  std::unique_ptr<ByteSource> source_;
  detail::TensorTable table_;
  Metadata metadata_;
  std::uint64_t data_ = 0;  // where the data section begins in the file
};

}}  // namespace dit
