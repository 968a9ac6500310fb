#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "dit/io/header_visitor.hpp"
#include "dit/io/safetensors.hpp"

namespace dit { inline namespace DIT_ABI {

DIT_ONCE Safetensors Safetensors::open(const std::filesystem::path& path, const OpenOptions& options) {
  return detail::with_typed_bad_alloc(path,
                                      [&] { return Safetensors(FileSource::open(path, options.mapped), options); });
}

DIT_ONCE Safetensors Safetensors::from_memory(std::span<const std::byte> bytes, const OpenOptions& options) {
  return detail::with_typed_bad_alloc("memory",
                                      [&] { return Safetensors(std::make_unique<MemorySource>(bytes), options); });
}

DIT_ONCE Safetensors::Safetensors(std::unique_ptr<ByteSource> source, const OpenOptions& options)
    : source_(std::move(source)) {
  detail::with_typed_bad_alloc(file(), [&] { read_header(options); });
}

template <class R>
void Safetensors::read_rows(const TensorInfo& info, std::uint64_t first, std::uint64_t count, R* target) const {
  const std::uint64_t rows = info.shape.empty() ? 1 : info.shape[0];
  if (first > rows || count > rows - first) {
    detail::fail(errc::bad_option, {"rows beyond the end of the tensor"}, file(), info.name);
  }
  if (!is_real(info.dtype)) {
    detail::fail(errc::unsupported_dtype, {"tensors of type ", dit::name(info.dtype), " cannot be read as numbers"},
                 file(), info.name);
  }
  if (count == 0 || info.begin == info.end) return;
  const std::uint64_t row_size = (info.end - info.begin) / rows / (bits(info.dtype) / 8);
  read_values(info, first * row_size, count * row_size, target);
}

template <class R>
void Safetensors::read_values(const TensorInfo& info, std::uint64_t first, std::uint64_t count, R* target) const {
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

DIT_ONCE void Safetensors::read_bytes(const TensorInfo& info, std::uint64_t begin, std::size_t count,
                                      std::byte* target) const {
  if (begin > info.end - info.begin || count > info.end - info.begin - begin) {
    detail::fail(errc::bad_option, {"bytes beyond the end of the tensor"}, file(), info.name);
  }
  source_->read(data_ + info.begin + begin, target, count);
}

DIT_ONCE void Safetensors::fail(errc code, std::initializer_list<detail::Word> sentence, std::uint64_t offset,
                                std::string_view tensor) const {
  detail::fail(code, sentence, file(), tensor, offset);
}

DIT_ONCE void Safetensors::read_header(const OpenOptions& options) {
  const std::uint64_t size = source_->size();
  if (size < 8) fail(errc::file_too_small, {"the file has ", size, " bytes and needs at least 8"}, size);
  std::uint64_t length = 0;
  source_->read(0, &length, 8);
  if (length > size - 8) {
    char start[4];
    std::memcpy(start, &length, 4);
    const bool zip = std::memcmp(start, "PK\3\4", 4) == 0;
    fail(errc::header_length_out_of_range,
         {"the header would have ", length, " bytes, and the file only ", size,
          zip ? "; this is a PyTorch .pt file: convert it to safetensors" : ""},
         0);
  }
  if (length > max_header) {
    fail(errc::header_too_large, {"the header has ", length, " bytes, more than ", max_header}, 0);
  }
  data_ = 8 + length;
  char first = 0;
  if (length > 0) source_->read(8, &first, 1);
  if (first != '{') fail(errc::header_bad_start, {"the header does not begin with {"}, 8);

  JsonParser parser(*source_, 8, data_, {errc::header_not_utf8, errc::header_json, errc::header_json_depth});
  detail::HeaderVisitor visitor(parser, file(), options.unknown_fields, table_, metadata_);
  parser.run(visitor);
  if (const auto twice = table_.sort()) {
    detail::fail(errc::duplicate_name, {"two tensors have the same name"}, file(), *twice);
  }
  check_coverage();
}

DIT_ONCE void Safetensors::check_coverage() const {
  const std::uint64_t available = source_->size() - data_;
  std::uint64_t covered = 0;
  table_.for_each_in_file_order([&](std::string_view name, std::uint64_t begin, std::uint64_t end) {
    if (begin < covered) fail(errc::offsets_overlap, {"the tensor shares bytes with another"}, data_ + begin, name);
    if (end > available) {
      fail(errc::file_truncated, {"the tensor ends at byte ", end, " of the data, of which there are ", available},
           source_->size(), name);
    }
    if (begin > covered) fail(errc::offsets_gap, {"bytes before the tensor belong to none"}, data_ + covered, name);
    covered = end;
  });
  if (covered != available)
    fail(errc::trailing_bytes, {"bytes after the last tensor belong to none"}, data_ + covered);
}

#ifdef DIT_EXTERN
template void Safetensors::read_rows(const TensorInfo&, std::uint64_t, std::uint64_t, float*) const;
template void Safetensors::read_rows(const TensorInfo&, std::uint64_t, std::uint64_t, double*) const;
template void Safetensors::read_rows(const TensorInfo&, std::uint64_t, std::uint64_t, bf16*) const;
template void Safetensors::read_rows(const TensorInfo&, std::uint64_t, std::uint64_t, f16*) const;
#endif

}}  // namespace dit
