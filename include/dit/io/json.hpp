#pragma once
/// Strict JSON, event by event, straight from a byte source: memory is bounded whatever the text is.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dit/io/byte_source.hpp"

namespace dit { inline namespace DIT_ABI {

inline constexpr std::size_t max_json_depth = 8;
/// Of one string, as spelled in the file.
inline constexpr std::size_t max_json_string = std::size_t{1} << 21;

/// Text from a file, made fit for a message: one line, not long.
std::string one_line(std::string_view text, std::size_t longest);
std::string printable(std::string_view text);

/// What kind of value a document has at a place. Only `whole` carries a number: nothing else can be a size.
enum class JsonKind { null, boolean, whole, negative, other_number, string, object, array };

/// What a document means. Errors are thrown, with `JsonParser::position()` as the place.
class JsonVisitor {
 public:
  virtual ~JsonVisitor() = default;
  virtual void key(std::string& name) = 0;
  /// `number` for whole, `text` for strings.
  virtual void scalar(JsonKind kind, std::uint64_t number, std::string& text) = 0;
  /// An object or array begins; false skips it. An error thrown here is held back until the value has been seen to
  /// be well-formed.
  virtual bool open(JsonKind kind) = 0;
  virtual void close() = 0;
  /// What it means that the string that begins here is longer than max_json_string.
  virtual errc long_string() const = 0;
  /// What it means that the number here is no canonical decimal: 01, 1e999.
  virtual errc bad_number() const = 0;
};

/// The codes of a malformed text, which differ between a header and an index.
struct JsonCodes {
  errc not_utf8, malformed, too_deep;
};

/// Runs over bytes [begin, end) of `source`, once. UTF-8, surrogates, string lengths and control characters are
/// checked byte by byte before nlohmann's lexer sees them: it would take a NUL for the end, for one.
class JsonParser {
 public:
  JsonParser(const ByteSource& source, std::uint64_t begin, std::uint64_t end, JsonCodes codes);

  /// The byte in the file up to which the text has been read.
  std::uint64_t position() const noexcept { return next_ - (filled_ - at_); }

  void run(JsonVisitor& visitor);

  [[noreturn]] void fail(errc code, std::initializer_list<detail::Word> sentence) const;

 private:
  static constexpr std::size_t chunk = std::size_t{1} << 16;
  class Grammar;

  bool fill();
  int next_byte();
  /// The well-formed sequences of the Unicode standard, table 3-7.
  void check_utf8(unsigned char c);
  void check_string(unsigned char c);
  void check_surrogate();
  void check_outside(unsigned char c);

  void on_scalar(JsonKind kind, std::uint64_t number, std::string& text);
  void on_key(std::string& name);
  void on_open(JsonKind kind);
  void on_close();

  const ByteSource& source_;
  const std::uint64_t end_;
  const JsonCodes codes_;
  JsonVisitor* visitor_ = nullptr;

  std::uint64_t next_;  // byte in the file that follows the buffer
  std::vector<char> buffer_;
  std::size_t at_ = 0, filled_ = 0;

  int continuations_ = 0;
  unsigned char lowest_ = 0x80, highest_ = 0xbf;

  bool in_string_ = false, escaped_ = false, half_pair_ = false;
  std::size_t length_ = 0;
  int hex_digits_ = 0;
  unsigned unit_ = 0;
  enum class Number { none, zero, some } number_ = Number::none;

  std::size_t depth_ = 0, skipping_ = 0;
  std::optional<Error> held_back_;
};

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/json.inl"
#endif
