#pragma once

#include <algorithm>
#include <cstring>

#include "dit/core/tensor.hpp"
#include "dit/io/header.hpp"
#include "dit/io/json.hpp"

namespace dit { inline namespace DIT_ABI { namespace detail {

DIT_ONCE std::optional<std::uint64_t> byte_size(const std::vector<std::uint64_t>& shape, DType dtype) {
  std::optional<std::uint64_t> n = 1;
  for (const std::uint64_t extent : shape) {
    if (n) n = checked_product(*n, extent);
  }
  if (n) n = checked_product(*n, bits(dtype));
  if (n) n = *n / 8 + (*n % 8 != 0 ? 1 : 0);
  return n;
}

DIT_ONCE std::optional<std::string> wrong_with_name(std::string_view name) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (name.empty()) return "a tensor's name is empty";
  if (name.size() > max_name) return join({"a tensor's name is longer than 4096 bytes: ", printable(name)});
  if (std::any_of(name.begin(), name.end(), is_control)) {
    return join({"a tensor's name has a control character: ", printable(name)});
  }
  return std::nullopt;
}

DIT_ONCE std::string_view TensorTable::name_of(const char* record) {
  std::uint16_t length = 0;
  std::memcpy(&length, record + 16, 2);
  return {record + 18, length};
}

DIT_ONCE std::uint64_t TensorTable::begin_of(const char* record) {
  std::uint64_t byte = 0;
  std::memcpy(&byte, record, 8);
  return byte;
}

DIT_ONCE std::uint64_t TensorTable::end_of(const char* record) { return begin_of(record + 8); }

DIT_ONCE std::string_view TensorTable::name(std::size_t i) const { return name_of(records_[i]); }

DIT_ONCE TensorInfo TensorTable::operator[](std::size_t i) const {
  const char* const record = records_[i];
  TensorInfo info;
  info.begin = begin_of(record);
  info.end = end_of(record);
  info.name = name_of(record);
  const char* from = record + 18 + info.name.size();
  info.dtype = static_cast<DType>(*from++);
  info.shape.resize(static_cast<std::size_t>(*from++));
  for (std::uint64_t& extent : info.shape) {
    unsigned char group = 0;
    for (unsigned shift = 0; shift == 0 || group >= 128; shift += 7) {
      group = static_cast<unsigned char>(*from++);
      extent |= static_cast<std::uint64_t>(group & 127U) << shift;
    }
  }
  return info;
}

DIT_ONCE void TensorTable::add(const TensorInfo& info) {
  char record[18 + max_name + 2 + max_rank * 10];
  char* to = record;
  const auto put = [&to](const auto& value, std::size_t bytes) {
    std::memcpy(to, value, bytes);
    to += bytes;
  };
  const auto length = static_cast<std::uint16_t>(info.name.size());
  put(&info.begin, 8);
  put(&info.end, 8);
  put(&length, 2);
  put(info.name.data(), length);
  *to++ = static_cast<char>(info.dtype);
  *to++ = static_cast<char>(info.shape.size());
  for (std::uint64_t extent : info.shape) {
    for (; extent >= 128; extent >>= 7) *to++ = static_cast<char>(128 | (extent & 127));
    *to++ = static_cast<char>(extent);
  }
  const auto bytes = static_cast<std::size_t>(to - record);
  if (bytes > room_) {
    constexpr std::size_t chunk = std::size_t{1} << 16;
    chunks_.push_back(std::make_unique<char[]>(chunk));
    next_ = chunks_.back().get();
    room_ = chunk;
  }
  std::memcpy(next_, record, bytes);
  records_.push_back(next_);
  next_ += bytes;
  room_ -= bytes;
}

/// Sorts records, one comparison for all reasons.
DIT_ONCE void sort_records(std::vector<const char*>& records, bool (*less)(const char* a, const char* b)) {
  std::sort(records.begin(), records.end(), less);
}

DIT_ONCE std::optional<std::string> TensorTable::sort() {
  sort_records(records_, [](const char* a, const char* b) { return name_of(a) < name_of(b); });
  for (std::size_t i = 1; i < records_.size(); ++i) {
    if (name(i - 1) == name(i)) return std::string(name(i));
  }
  return std::nullopt;
}

DIT_ONCE std::optional<std::size_t> TensorTable::find(std::string_view name) const {
  std::size_t first = 0, end = records_.size();
  while (first < end) {
    const std::size_t middle = first + (end - first) / 2;
    if (name_of(records_[middle]) < name) {
      first = middle + 1;
    } else {
      end = middle;
    }
  }
  if (first == records_.size() || name_of(records_[first]) != name) return std::nullopt;
  return first;
}

DIT_ONCE std::vector<const char*> TensorTable::in_file_order() const {
  std::vector<const char*> order = records_;
  sort_records(order, [](const char* a, const char* b) {
    return begin_of(a) != begin_of(b) ? begin_of(a) < begin_of(b) : end_of(a) < end_of(b);
  });
  return order;
}

}}}  // namespace dit::detail
