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
  if (name.size() > max_name) return "a tensor's name is longer than 4096 bytes: " + printable(name);
  if (std::any_of(name.begin(), name.end(), is_control)) {
    return "a tensor's name has a control character: " + printable(name);
  }
  return std::nullopt;
}

DIT_ONCE std::string_view TensorTable::name_of(const char* record) {
  std::uint16_t length = 0;
  std::memcpy(&length, record + 16, 2);
  return {record + 18, length};
}

DIT_ONCE std::string_view TensorTable::name(std::size_t i) const { return name_of(records_[i]); }

DIT_ONCE TensorInfo TensorTable::operator[](std::size_t i) const {
  const char* const record = records_[i];
  TensorInfo info;
  std::memcpy(&info.begin, record, 8);
  std::memcpy(&info.end, record + 8, 8);
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

DIT_ONCE std::optional<std::string> TensorTable::sort() {
  std::sort(records_.begin(), records_.end(), [](auto a, auto b) { return name_of(a) < name_of(b); });
  const auto twice = std::adjacent_find(records_.begin(), records_.end(),
                                        [](auto a, auto b) { return name_of(a) == name_of(b); });
  if (twice == records_.end()) return std::nullopt;
  return std::string(name_of(*twice));
}

DIT_ONCE std::optional<std::size_t> TensorTable::find(std::string_view name) const {
  const auto at = std::lower_bound(records_.begin(), records_.end(), name,
                                   [](auto a, std::string_view b) { return name_of(a) < b; });
  if (at == records_.end() || name_of(*at) != name) return std::nullopt;
  return static_cast<std::size_t>(at - records_.begin());
}

DIT_ONCE std::vector<std::uint32_t> TensorTable::in_file_order() const {
  std::vector<std::uint32_t> order(size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
  std::sort(order.begin(), order.end(), [this](auto a, auto b) { return range(a) < range(b); });
  return order;
}

DIT_ONCE std::pair<std::uint64_t, std::uint64_t> TensorTable::range(std::size_t i) const {
  std::pair<std::uint64_t, std::uint64_t> bytes;
  std::memcpy(&bytes.first, records_[i], 8);
  std::memcpy(&bytes.second, records_[i] + 8, 8);
  return bytes;
}

}}}  // namespace dit::detail
