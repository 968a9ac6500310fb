#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "dit/io/json.hpp"

namespace dit { inline namespace DIT_ABI {

DIT_BODY std::string one_line(std::string_view text, std::size_t longest) {
  std::string line(text.substr(0, longest));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text.size() > longest ? line + "..." : line;
}

DIT_BODY std::string printable(std::string_view text) { return "\"" + one_line(text, 96) + "\""; }

/// What nlohmann's lexer pulls on.
struct JsonParser::Bytes {
  using char_type = char;
  JsonParser* parser;

  std::char_traits<char>::int_type get_character() { return parser->next_byte(); }
};

struct JsonParser::Events {
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

DIT_BODY JsonParser::JsonParser(const ByteSource& source, std::uint64_t begin, std::uint64_t end, JsonCodes codes)
    : source_(source),
      end_(end),
      codes_(codes),
      next_(begin),
      buffer_(std::min<std::size_t>(chunk, end - begin)) {}

DIT_BODY void JsonParser::run(JsonVisitor& visitor) {
  visitor_ = &visitor;
  Events events{*this};
  nlohmann::detail::parser<nlohmann::json, Bytes>(Bytes{this}).sax_parse(&events);
}

DIT_BODY void JsonParser::fail(errc code, std::string_view sentence) const {
  throw Error(code, sentence, {source_.name(), "", position() == 0 ? 0 : position() - 1});
}

DIT_BODY bool JsonParser::fill() {
  if (at_ < filled_) return true;
  if (next_ == end_) return false;
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), end_ - next_));
  source_.read(next_, buffer_.data(), count);
  next_ += count;
  at_ = 0;
  filled_ = count;
  return true;
}

DIT_BODY int JsonParser::next_byte() {
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

DIT_BODY void JsonParser::check_utf8(unsigned char c) {
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

DIT_BODY void JsonParser::check_string(unsigned char c) {
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

DIT_BODY void JsonParser::check_surrogate() {
  const bool first = unit_ >= 0xd800 && unit_ < 0xdc00, second = unit_ >= 0xdc00 && unit_ < 0xe000;
  if (half_pair_ != second) fail(codes_.not_utf8, "half a surrogate pair");
  half_pair_ = first;
}

DIT_BODY void JsonParser::check_outside(unsigned char c) {
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

DIT_BODY bool JsonParser::on_scalar(JsonKind kind, std::uint64_t number, std::string& text) {
  if (skipping_ == 0) visitor_->scalar(kind, number, text);
  return true;
}

DIT_BODY bool JsonParser::on_open(JsonKind kind) {
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

DIT_BODY bool JsonParser::on_close() {
  --depth_;
  if (skipping_ == 0) {
    visitor_->close();
  } else if (--skipping_ == 0 && held_back_) {
    throw Error(*held_back_);
  }
  return true;
}

}}  // namespace dit
