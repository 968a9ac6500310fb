#pragma once
/// One exception type for everything that a file, an argument or a config can do wrong.

#include <cstdint>
#include <initializer_list>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "dit/version.hpp"

namespace dit { inline namespace DIT_ABI {

/// Codes of errors; `name(code)` is the spelling below.
// clang-format off
#define DIT_ERROR_CODES(X)                                                                                        \
  X(io_open) X(not_regular_file) X(io_read) X(io_write) X(file_too_small) X(file_truncated) X(file_changed)       \
  X(header_length_out_of_range) X(header_too_large) X(header_not_utf8) X(header_bad_start) X(header_json)         \
  X(header_json_depth) X(too_many_tensors) X(duplicate_name) X(duplicate_field) X(bad_metadata) X(bad_name)       \
  X(bad_entry) X(missing_field) X(unknown_field) X(unknown_dtype) X(unsupported_dtype) X(bad_shape)               \
  X(bad_integer) X(bad_rank) X(size_overflow) X(bad_offsets) X(size_mismatch) X(offsets_overlap) X(offsets_gap)   \
  X(trailing_bytes) X(bad_index) X(unsafe_path) X(shard_missing) X(tensor_missing) X(unexpected_tensor)           \
  X(shape_mismatch) X(bad_config) X(non_finite_weight) X(out_of_memory) X(bad_input_shape) X(bad_schedule)        \
  X(bad_guidance) X(bad_option) X(bad_condition) X(aliasing) X(busy) X(bad_state) X(unsupported_isa)
// clang-format on

enum class errc : std::uint8_t {
#define DIT_ENUMERATOR(name) name,
  DIT_ERROR_CODES(DIT_ENUMERATOR)
#undef DIT_ENUMERATOR
};

constexpr std::string_view name(errc code) noexcept {
  constexpr std::string_view names[] = {
#define DIT_NAME(name) #name,
      DIT_ERROR_CODES(DIT_NAME)
#undef DIT_NAME
  };
  return names[static_cast<std::size_t>(code)];
}

/// Where it went wrong, as far as it applies.
struct Where {
  std::string file = {};                     ///< path as the caller gave it
  std::string tensor = {};                   ///< tensor or argument
  std::optional<std::uint64_t> offset = {};  ///< byte in the file
};

/// Thrown for every malformed file, argument and config; derives from std::runtime_error, so it can be caught as
/// that in objects that were compiled with other flags. `what()` reads "shape_mismatch: <sentence> (file f, ...)".
class Error : public std::runtime_error {
 public:
  Error(errc code, std::string_view sentence, Where where = {});

  errc code() const noexcept { return code_; }
  const Where& where() const noexcept { return where_; }

 private:
  errc code_;
  Where where_;
};

namespace detail {

/// A part of a sentence: a text that lives until the sentence is put together, or a whole number.
class Word {
 public:
  template <class T>
  Word(const T& value) {  // NOLINT(google-explicit-constructor)
    if constexpr (std::is_integral_v<T>) {
      is_number_ = true;
      if constexpr (std::is_signed_v<T>) is_negative_ = value < 0;
      number_ = static_cast<std::uint64_t>(value);
    } else {
      text_ = value;
    }
  }
  void append_to(std::string& sentence) const;

 private:
  std::string_view text_;
  std::uint64_t number_ = 0;
  bool is_number_ = false, is_negative_ = false;
};

void append(std::string& sentence, std::initializer_list<Word> words);
std::string join(std::initializer_list<Word> words);

/// Throws an Error. Where sentences are put together by the caller, most of what is compiled is that.
[[noreturn]] void fail(errc code, std::initializer_list<Word> sentence, std::string_view file = {},
                       std::string_view tensor = {}, std::optional<std::uint64_t> offset = {});

}  // namespace detail

/// f(), where std::bad_alloc becomes errc::out_of_memory: no memory for `what`.
template <class F>
decltype(auto) or_out_of_memory(const char* what, F&& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    detail::fail(errc::out_of_memory, {"no memory for ", what});
  }
}

/// Throws `Error(code, sentence)` unless `condition` holds.
constexpr void require(bool condition, errc code, const char* sentence) {
  if (!condition) detail::fail(code, {sentence});
}

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/core/error.inl"
#endif
