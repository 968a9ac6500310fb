#pragma once

#include <algorithm>
#include <cerrno>
#include <span>
#include <string_view>
#include <system_error>

#if !defined(_WIN32)
#include <unistd.h>
#endif

#include "dit/io/header_visitor.hpp"
#include "dit/io/writer.hpp"

namespace dit { inline namespace DIT_ABI {

DIT_ONCE_VIRTUAL void MemorySink::write(const void* bytes, std::size_t count) {
  const auto* from = static_cast<const std::byte*>(bytes);
  bytes_.insert(bytes_.end(), from, from + count);
}

DIT_ONCE FileSink::FileSink(std::filesystem::path path) : path_(std::move(path)) {
  for (int attempt = 0; file_ == nullptr; ++attempt) {
    temporary_ = path_;
    temporary_ += ".part" + std::to_string(attempt);
    file_ = std::fopen(temporary_.string().c_str(), "wbx");  // x: fails if it is there
    if (file_ == nullptr && (errno != EEXIST || attempt == 1000)) fail("the file cannot be created");
  }
}

DIT_ONCE_VIRTUAL FileSink::~FileSink() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

DIT_ONCE_VIRTUAL void FileSink::write(const void* bytes, std::size_t count) {
  if (count > 0 && std::fwrite(bytes, 1, count, file_) != count) fail("writing failed");
}

DIT_ONCE void FileSink::commit() {
  bool good = std::fflush(file_) == 0;
#if !defined(_WIN32)
  good = good && ::fsync(::fileno(file_)) == 0;
#endif
  if (!good) fail("writing failed");
  const bool closed = std::fclose(std::exchange(file_, nullptr)) == 0;
  std::error_code failed;
  if (closed) std::filesystem::rename(temporary_, path_, failed);
  if (!closed || failed) {
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
    if (!closed) detail::fail(errc::io_write, {"writing failed"}, path_.string());
    detail::fail(errc::io_write, {"the file cannot be put in place: ", failed.message()}, path_.string());
  }
}

DIT_ONCE void FileSink::fail(const char* what) const {
  detail::fail(errc::io_write, {what, ": ", std::generic_category().message(errno)}, path_.string());
}

namespace detail {

/// As Rust's serde_json: only what must be escaped is.
DIT_ONCE std::string json_string(std::string_view text) {
  constexpr char hex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += std::string("\\u00") + hex[c >> 4] + hex[c & 15];
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

DIT_ONCE std::string make_header(const std::vector<TensorToWrite>& tensors, const Metadata& metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      text += (text.back() == '{' ? "" : ",") + json_string(key) + ":" + json_string(value);
    }
    text += "}";
  }
  std::uint64_t begin = 0;
  for (const TensorToWrite& tensor : tensors) {
    const auto bytes = byte_size(tensor.shape, tensor.dtype);
    if (!bytes)
      detail::fail(errc::size_overflow, {"the shape has more than 2^64 bits"}, "", printable(tensor.name));
    if (text.size() > 1) text += ",";
    text += json_string(tensor.name) + ":{\"dtype\":\"" + std::string(name(tensor.dtype)) + "\",\"shape\":[";
    for (const std::uint64_t extent : tensor.shape) {
      if (text.back() != '[') text += ',';
      text += std::to_string(extent);
    }
    text += "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(begin + *bytes) + "]}";
    begin += *bytes;
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

/// The check that a header is readable: names, sizes and UTF-8 are judged by the reader itself.
DIT_ONCE void check_header(const std::string& text) {
  if (text.size() > max_header) detail::fail(errc::header_too_large, {"the header is larger than 100 MB"});
  const MemorySource source(std::as_bytes(std::span(text)), "to be written");
  JsonParser parser(source, 0, text.size(), {errc::header_not_utf8, errc::header_json, errc::header_json_depth});
  TensorTable table;
  Metadata metadata;
  HeaderVisitor visitor(parser, source.name(), false, table, metadata);
  parser.run(visitor);
  if (const auto twice = table.sort()) {
    detail::fail(errc::duplicate_name, {"two tensors have the same name"}, "", *twice);
  }
}

}  // namespace detail

DIT_ONCE void write_safetensors(ByteSink& sink, std::vector<TensorToWrite> tensors, const Metadata& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  const std::string header = detail::make_header(tensors, metadata);
  detail::check_header(header);
  const std::uint64_t length = header.size();
  sink.write(&length, 8);
  sink.write(header.data(), header.size());
  for (const TensorToWrite& tensor : tensors) tensor.write(sink);
}

}}  // namespace dit
