#pragma once

#include <algorithm>
#include <cmath>
#include <string>

// Of nlohmann's library the lexer alone is used, which most packages have in a file of its own.
#if !defined(INCLUDE_NLOHMANN_JSON_HPP_) && __has_include(<nlohmann/detail/input/lexer.hpp>)
#include <nlohmann/detail/input/lexer.hpp>
#else
#include <nlohmann/json.hpp>
#endif

#include "dit/io/json.hpp"

namespace dit { inline namespace DIT_ABI {

DIT_ONCE std::string one_line(std::string_view text, std::size_t longest) {
  std::string line(text.substr(0, longest));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text.size() > longest ? line + "..." : line;
}

DIT_ONCE std::string printable(std::string_view text) { return detail::join({"\"", one_line(text, 96), "\""}); }

/// JSON's grammar, over the words that nlohmann's lexer finds. It calls itself for a value in a value, which
/// on_open bounds.
class JsonParser::Grammar {
 public:
  explicit Grammar(JsonParser& parser) : parser_(parser), lexer_(Bytes{&parser}) {}

  void document() {
    next();
    value();
    if (next() != Token::end_of_input) fail(Token::end_of_input, "value");
  }

 private:
  struct Types {
    using number_integer_t = std::int64_t;
    using number_unsigned_t = std::uint64_t;
    using number_float_t = double;
    using string_t = std::string;
  };
  struct Bytes {
    using char_type = char;
    JsonParser* parser;

    std::char_traits<char>::int_type get_character() { return parser->next_byte(); }
  };
  using Lexer = nlohmann::detail::lexer<Types, Bytes>;
  using Token = Lexer::token_type;

  Token next() { return token_ = lexer_.scan(); }
  void expect(Token token, const char* what) {
    if (token_ != token) fail(token, what);
  }

  void value() {
    switch (token_) {
      case Token::begin_object:
        return object();
      case Token::begin_array:
        return array();
      case Token::literal_null:
        return parser_.on_scalar(JsonKind::null, 0, none_);
      case Token::literal_true:
      case Token::literal_false:
        return parser_.on_scalar(JsonKind::boolean, 0, none_);
      case Token::value_unsigned:
        return parser_.on_scalar(JsonKind::whole, lexer_.get_number_unsigned(), none_);
      case Token::value_integer:
        return parser_.on_scalar(JsonKind::negative, 0, none_);
      case Token::value_float:
        if (!std::isfinite(lexer_.get_number_float())) fail_overflow();
        return parser_.on_scalar(JsonKind::other_number, 0, none_);
      case Token::value_string:
        return parser_.on_scalar(JsonKind::string, 0, lexer_.get_string());
      default:
        fail(token_ == Token::parse_error ? Token::uninitialized : Token::literal_or_value, "value");
    }
  }

  void object() {
    parser_.on_open(JsonKind::object);
    if (next() != Token::end_object) {
      for (;; next()) {
        expect(Token::value_string, "object key");
        parser_.on_key(lexer_.get_string());
        next();
        expect(Token::name_separator, "object separator");
        next();
        value();
        if (next() != Token::value_separator) break;
      }
      expect(Token::end_object, "object");
    }
    parser_.on_close();
  }

  void array() {
    parser_.on_open(JsonKind::array);
    if (next() != Token::end_array) {
      for (;; next()) {
        value();
        if (next() != Token::value_separator) break;
      }
      expect(Token::end_array, "array");
    }
    parser_.on_close();
  }

  /// In nlohmann's words.
  [[noreturn]] void fail(Token expected, const char* what) const {
    const auto position = lexer_.get_position();
    const bool is_read = token_ != Token::parse_error, is_expected = expected != Token::uninitialized;
    const std::string sentence = detail::join(
        {"parse error at line ", position.lines_read + 1, ", column ", position.chars_read_current_line,
         ": syntax error while parsing ", what, " - ", is_read ? "unexpected " : lexer_.get_error_message(),
         is_read ? Lexer::token_type_name(token_) : "; last read: '", is_read ? "" : lexer_.get_token_string(),
         is_read ? "" : "'", is_expected ? "; expected " : "",
         is_expected ? Lexer::token_type_name(expected) : ""});
    parser_.fail(parser_.codes_.malformed, {one_line(sentence, 240)});
  }

  [[noreturn]] void fail_overflow() const {
    const std::string number = lexer_.get_token_string();
    if (parser_.skipping_ == 0)
      parser_.fail(parser_.visitor_->bad_number(), {printable(number), " is out of range"});
    parser_.fail(parser_.codes_.malformed,
                 {one_line(detail::join({"number overflow parsing '", number, "'"}), 240)});
  }

  JsonParser& parser_;
  Lexer lexer_;
  Token token_ = Token::uninitialized;
  std::string none_;
};

DIT_ONCE JsonParser::JsonParser(const ByteSource& source, std::uint64_t begin, std::uint64_t end, JsonCodes codes)
    : source_(source), end_(end), codes_(codes), next_(begin), buffer_(std::min<std::size_t>(chunk, end - begin)) {}

DIT_ONCE void JsonParser::run(JsonVisitor& visitor) {
  visitor_ = &visitor;
  Grammar(*this).document();
}

DIT_ONCE void JsonParser::fail(errc code, std::initializer_list<detail::Word> sentence) const {
  detail::fail(code, sentence, source_.name(), "", position() == 0 ? 0 : position() - 1);
}

DIT_ONCE bool JsonParser::fill() {
  if (at_ < filled_) return true;
  if (next_ == end_) return false;
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), end_ - next_));
  source_.read(next_, buffer_.data(), count);
  next_ += count;
  at_ = 0;
  filled_ = count;
  return true;
}

DIT_ONCE int JsonParser::next_byte() {
  if (!fill()) return std::char_traits<char>::eof();
  const auto c = static_cast<unsigned char>(buffer_[at_++]);
  check_utf8(c);
  if (in_string_) {
    check_string(c);
  } else {
    check_outside(c);
  }
  return c;
}

DIT_ONCE void JsonParser::check_utf8(unsigned char c) {
  if (continuations_ > 0) {
    if (c < lowest_ || c > highest_) fail(codes_.not_utf8, {"not UTF-8"});
    --continuations_;
    lowest_ = 0x80;
    highest_ = 0xbf;
  } else if (c >= 0x80) {
    if (c < 0xc2 || c > 0xf4) fail(codes_.not_utf8, {"not UTF-8"});
    continuations_ = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    lowest_ = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    highest_ = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
  }
}

DIT_ONCE void JsonParser::check_string(unsigned char c) {
  if (++length_ > max_json_string) {
    fail(skipping_ > 0 ? codes_.malformed : visitor_->long_string(),
         {"a string is longer than ", max_json_string, " bytes"});
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
      fail(codes_.not_utf8, {"half a surrogate pair"});
    }
  } else if (c == '\\') {
    escaped_ = true;
  } else {
    if (half_pair_) fail(codes_.not_utf8, {"half a surrogate pair"});
    in_string_ = c != '"';
  }
}

DIT_ONCE void JsonParser::check_surrogate() {
  const bool first = unit_ >= 0xd800 && unit_ < 0xdc00, second = unit_ >= 0xdc00 && unit_ < 0xe000;
  if (half_pair_ != second) fail(codes_.not_utf8, {"half a surrogate pair"});
  half_pair_ = first;
}

DIT_ONCE void JsonParser::check_outside(unsigned char c) {
  const bool digit = c >= '0' && c <= '9';
  if (digit && number_ == Number::zero) {
    fail(skipping_ > 0 ? codes_.malformed : visitor_->bad_number(), {"a number begins with a needless zero"});
  }
  if (c == '"') {
    in_string_ = true;
    length_ = 0;
  } else if (c < 0x20 && c != '\t' && c != '\n' && c != '\r') {
    fail(codes_.malformed, {"a control character between the values"});
  }
  if (digit && number_ == Number::none) {
    number_ = c == '0' ? Number::zero : Number::some;
  } else if (digit || c == '.' || c == 'e' || c == 'E' || c == '+' || (c == '-' && number_ == Number::some)) {
    if (number_ != Number::none) number_ = Number::some;
  } else {
    number_ = Number::none;
  }
}

DIT_ONCE void JsonParser::on_scalar(JsonKind kind, std::uint64_t number, std::string& text) {
  if (skipping_ == 0) visitor_->scalar(kind, number, text);
}

DIT_ONCE void JsonParser::on_key(std::string& name) {
  if (skipping_ == 0) visitor_->key(name);
}

DIT_ONCE void JsonParser::on_open(JsonKind kind) {
  if (++depth_ > max_json_depth) {
    fail(codes_.too_deep, {"values are nested deeper than ", max_json_depth});
  }
  if (skipping_ > 0) {
    ++skipping_;
    return;
  }
  try {
    if (!visitor_->open(kind)) skipping_ = 1;
  } catch (const Error& error) {
    held_back_ = error;
    skipping_ = 1;
  }
}

DIT_ONCE void JsonParser::on_close() {
  --depth_;
  if (skipping_ == 0) {
    visitor_->close();
  } else if (--skipping_ == 0 && held_back_) {
    throw Error(*held_back_);
  }
}

}}  // namespace dit
