#pragma once
/// Strict JSON, event by event, straight from a byte source: memory is bounded whatever the text is.

#include <cstdint>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
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
inline std::string one_line(std::string_view text, std::size_t longest) {
  std::string line(text.substr(0, longest));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text.size() > longest ? line + "..." : line;
}
inline std::string printable(std::string_view text) { return "\"" + one_line(text, 96) + "\""; }

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
  JsonParser(const ByteSource& source, std::uint64_t begin, std::uint64_t end, JsonCodes codes)
      : source_(source),
        end_(end),
        codes_(codes),
        next_(begin),
        buffer_(std::min<std::size_t>(chunk, end - begin)) {}

  /// The byte in the file up to which the text has been read.
  std::uint64_t position() const noexcept { return next_ - (filled_ - at_); }

  void run(JsonVisitor& visitor) {
    visitor_ = &visitor;
    Events events{*this};
    nlohmann::json::sax_parse(Cursor{this}, Cursor{}, &events);
  }

  [[noreturn]] void fail(errc code, std::string_view sentence) const {
    throw Error(code, sentence, {source_.name(), "", position() == 0 ? 0 : position() - 1});
  }

 private:
  static constexpr std::size_t chunk = std::size_t{1} << 16;

  /// The input iterator that nlohmann pulls on; the default one is the end.
  struct Cursor {
    using iterator_category = std::input_iterator_tag;
    using value_type = char;
    using difference_type = std::ptrdiff_t;
    using pointer = const char*;
    using reference = char;
    JsonParser* parser = nullptr;

    char operator*() const { return parser->buffer_[parser->at_]; }
    Cursor& operator++() {
      parser->advance();
      return *this;
    }
    friend bool operator==(const Cursor& a, const Cursor& b) { return a.at_end() == b.at_end(); }
    friend bool operator!=(const Cursor& a, const Cursor& b) { return !(a == b); }

   private:
    bool at_end() const { return parser == nullptr || !parser->fill(); }
  };

  struct Events {
    JsonParser& parser;
    std::string none{};

    bool null() { return parser.on_scalar(JsonKind::null, 0, none); }
    bool boolean(bool) { return parser.on_scalar(JsonKind::boolean, 0, none); }
    bool number_integer(std::int64_t) { return parser.on_scalar(JsonKind::negative, 0, none); }
    bool number_unsigned(std::uint64_t n) { return parser.on_scalar(JsonKind::whole, n, none); }
    bool number_float(double, const std::string&) { return parser.on_scalar(JsonKind::other_number, 0, none); }
    bool string(std::string& text) { return parser.on_scalar(JsonKind::string, 0, text); }
    bool binary(nlohmann::json::binary_t&) { return false; }
    bool start_object(std::size_t) { return parser.on_open(JsonKind::object); }
    bool end_object() { return parser.on_close(); }
    bool start_array(std::size_t) { return parser.on_open(JsonKind::array); }
    bool end_array() { return parser.on_close(); }
    bool key(std::string& name) {
      if (parser.skipping_ == 0) parser.visitor_->key(name);
      return true;
    }
    bool parse_error(std::size_t, const std::string& token, const nlohmann::detail::exception& reason) {
      constexpr int number_overflow = 406;
      if (reason.id == number_overflow && parser.skipping_ == 0) {
        parser.fail(parser.visitor_->bad_number(), printable(token) + " is out of range");
      }
      std::string_view sentence = reason.what();
      const std::size_t prefix = sentence.find("] ");
      if (prefix != std::string_view::npos) sentence.remove_prefix(prefix + 2);
      parser.fail(parser.codes_.malformed, one_line(sentence, 240));
    }
  };

  bool fill() {
    if (at_ < filled_) return true;
    if (next_ == end_) return false;
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), end_ - next_));
    source_.read(next_, buffer_.data(), count);
    next_ += count;
    at_ = 0;
    filled_ = count;
    return true;
  }

  void advance() {
    const auto c = static_cast<unsigned char>(buffer_[at_++]);
    check_utf8(c);
    if (in_string_) {
      check_string(c);
    } else {
      check_outside(c);
    }
  }

  /// The well-formed sequences of the Unicode standard, table 3-7.
  void check_utf8(unsigned char c) {
    if (continuations_ > 0) {
      if (c < lowest_ || c > highest_) fail(codes_.not_utf8, "not UTF-8");
      --continuations_;
      lowest_ = 0x80;
      highest_ = 0xbf;
    } else if (c >= 0x80) {
      if (c < 0xc2 || c > 0xf4) fail(codes_.not_utf8, "not UTF-8");
      continuations_ = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
      lowest_ = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
      highest_ = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    }
  }

  void check_string(unsigned char c) {
    if (++length_ > max_json_string) {
      fail(skipping_ > 0 ? codes_.malformed : visitor_->long_string(),
           "a string is longer than " + std::to_string(max_json_string) + " bytes");
    }
    if (hex_digits_ > 0) {
      const unsigned digit = c <= '9' ? c - '0' : (c | 0x20U) - 'a' + 10;  // the lexer refuses what is no digit
      unit_ = unit_ * 16 + (digit & 15U);
      if (--hex_digits_ == 0) check_surrogate();
    } else if (escaped_) {
      escaped_ = false;
      if (c == 'u') {
        hex_digits_ = 4;
        unit_ = 0;
      } else if (half_pair_) {
        fail(codes_.not_utf8, "half a surrogate pair");
      }
    } else if (c == '\\') {
      escaped_ = true;
    } else {
      if (half_pair_) fail(codes_.not_utf8, "half a surrogate pair");
      in_string_ = c != '"';
    }
  }

  void check_surrogate() {
    const bool first = unit_ >= 0xd800 && unit_ < 0xdc00, second = unit_ >= 0xdc00 && unit_ < 0xe000;
    if (half_pair_ != second) fail(codes_.not_utf8, "half a surrogate pair");
    half_pair_ = first;
  }

  void check_outside(unsigned char c) {
    const bool digit = c >= '0' && c <= '9';
    if (digit && number_ == Number::zero) {
      fail(skipping_ > 0 ? codes_.malformed : visitor_->bad_number(), "a number begins with a needless zero");
    }
    if (c == '"') {
      in_string_ = true;
      length_ = 0;
    } else if (c < 0x20 && c != '\t' && c != '\n' && c != '\r') {
      fail(codes_.malformed, "a control character between the values");
    }
    if (digit && number_ == Number::none) {
      number_ = c == '0' ? Number::zero : Number::some;
    } else if (digit || c == '.' || c == 'e' || c == 'E' || c == '+' || (c == '-' && number_ == Number::some)) {
      if (number_ != Number::none) number_ = Number::some;
    } else {
      number_ = Number::none;
    }
  }

  bool on_scalar(JsonKind kind, std::uint64_t number, std::string& text) {
    if (skipping_ == 0) visitor_->scalar(kind, number, text);
    return true;
  }
  bool on_open(JsonKind kind) {
    if (++depth_ > max_json_depth) {
      fail(codes_.too_deep, "values are nested deeper than " + std::to_string(max_json_depth));
    }
    if (skipping_ > 0) {
      ++skipping_;
      return true;
    }
    try {
      if (!visitor_->open(kind)) skipping_ = 1;
    } catch (const Error& error) {
      held_back_ = error;
      skipping_ = 1;
    }
    return true;
  }
  bool on_close() {
    --depth_;
    if (skipping_ == 0) {
      visitor_->close();
    } else if (--skipping_ == 0 && held_back_) {
      throw Error(*held_back_);
    }
    return true;
  }

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
