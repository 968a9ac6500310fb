#pragma once
/// The header of a safetensors file: which tensors there are, and every check on what it claims.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dit/io/dtype.hpp"

namespace dit { inline namespace DIT_ABI {

inline constexpr std::uint64_t max_header = 100'000'000;
inline constexpr std::size_t max_tensors = std::size_t{1} << 20;
inline constexpr std::size_t max_rank = 8;
inline constexpr std::size_t max_name = 4096;
/// Of all keys and values of `__metadata__` together, and how many pairs.
inline constexpr std::size_t max_metadata = std::size_t{1} << 22;
inline constexpr std::size_t max_metadata_pairs = std::size_t{1} << 14;

/// One tensor as its file describes it. Bytes [begin, end) count from the start of the data section.
struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

using Metadata = std::map<std::string, std::string>;

namespace detail {

/// a * b, or nothing if that is no uint64.
constexpr std::optional<std::uint64_t> checked_product(std::uint64_t a, std::uint64_t b) {
  if (a != 0 && b > std::numeric_limits<std::uint64_t>::max() / a) return std::nullopt;
  return a * b;
}

/// Bytes of a dense tensor, or nothing on overflow. Types below a byte are padded up to one at the end.
std::optional<std::uint64_t> byte_size(const std::vector<std::uint64_t>& shape, DType dtype);

/// What is wrong with a tensor's name, if something is. A name that is right may stand in a message as it is.
std::optional<std::string> wrong_with_name(std::string_view name);

/// Tensors in few bytes, never more than their JSON took: a header with a million of them must not cost a gigabyte.
/// A record is begin (8), end (8), name length (2), name, dtype (1), rank (1), and the extents in groups of 7 bits.
class TensorTable {
 public:
  std::size_t size() const noexcept { return records_.size(); }
  TensorInfo operator[](std::size_t i) const;
  std::string_view name(std::size_t i) const;

  void add(const TensorInfo& info);

  /// Sorts by name; the first name that is there twice, if any.
  std::optional<std::string> sort();

  /// The number of the tensor with this name, after sort().
  std::optional<std::size_t> find(std::string_view name) const;

  /// One tensor after another in the order of their bytes: f(name, begin, end).
  template <class F>
  void for_each_in_file_order(F&& f) const {
    for (const char* const record : in_file_order()) f(name_of(record), begin_of(record), end_of(record));
  }

 private:
  std::vector<const char*> in_file_order() const;
  static std::string_view name_of(const char* record);
  static std::uint64_t begin_of(const char* record);
  static std::uint64_t end_of(const char* record);

  std::vector<const char*> records_;
  std::vector<std::unique_ptr<char[]>> chunks_;
  char* next_ = nullptr;
  std::size_t room_ = 0;
};

}  // namespace detail
}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/header.inl"
#endif
