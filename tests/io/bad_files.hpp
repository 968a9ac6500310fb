#pragma once
/// Files with one thing wrong each, and the code that each must be refused with.

#include <cerrno>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "dit/io/safetensors.hpp"

namespace dit_test {

using dit::errc;

/// Bytes that it owns.
class OwningSource final : public dit::ByteSource {
 public:
  explicit OwningSource(std::string bytes) : ByteSource("in memory", bytes.size()), bytes_(std::move(bytes)) {}

 protected:
  std::ptrdiff_t read_some(std::uint64_t offset, std::byte* target, std::size_t count) const override {
    std::memcpy(target, bytes_.data() + offset, count);
    return static_cast<std::ptrdiff_t>(count);
  }

 private:
  std::string bytes_;
};

/// A large file that takes no memory: a prefix, a middle that is computed, a suffix.
class GeneratedSource final : public dit::ByteSource {
 public:
  GeneratedSource(std::string prefix, std::uint64_t middle, std::function<char(std::uint64_t)> at,
                  std::string suffix)
      : ByteSource("generated", prefix.size() + middle + suffix.size()),
        prefix_(std::move(prefix)),
        suffix_(std::move(suffix)),
        at_(std::move(at)) {}

 protected:
  std::ptrdiff_t read_some(std::uint64_t offset, std::byte* target, std::size_t count) const override {
    for (std::size_t i = 0; i < count; ++i, ++offset) {
      const std::uint64_t from_end = size() - offset;
      const char c = offset < prefix_.size()      ? prefix_[offset]
                     : from_end <= suffix_.size() ? suffix_[suffix_.size() - from_end]
                                                  : at_(offset - prefix_.size());
      target[i] = static_cast<std::byte>(c);
    }
    return static_cast<std::ptrdiff_t>(count);
  }

 private:
  std::string prefix_, suffix_;
  std::function<char(std::uint64_t)> at_;
};

inline std::string length_bytes(std::uint64_t n) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &n, 8);
  return bytes;
}

/// A file with this header and so many bytes of data.
inline std::string file(const std::string& header, std::size_t data = 0) {
  return length_bytes(header.size()) + header + std::string(data, '\0');
}

inline std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

/// A file of one tensor "a".
inline std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets,
                       std::size_t data) {
  return file(R"({"a":)" + entry(dtype, shape, offsets) + "}", data);
}

/// A header with `count` tensors of no bytes, generated: "00000000", "00000001", ...
inline std::unique_ptr<dit::ByteSource> many_tensors(std::uint64_t count, const std::string& last = "") {
  const std::string tail = R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)";
  const std::uint64_t stride = 9 + tail.size();
  const std::string suffix = last.empty() ? R"("z":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})" : last + "}";
  const std::string prefix = length_bytes(1 + count * stride + suffix.size()) + "{";
  return std::make_unique<GeneratedSource>(
      prefix, count * stride,
      [tail, stride](std::uint64_t i) -> char {
        std::uint64_t number = i / stride, column = i % stride;
        if (column == 0) return '"';
        if (column >= 9) return tail[column - 9];
        for (; column < 8; ++column) number /= 10;
        return static_cast<char>('0' + number % 10);
      },
      suffix);
}

struct BadFile {
  int row;  ///< of the table of bad inputs
  std::string what;
  errc code;
  std::function<std::unique_ptr<dit::ByteSource>()> open;
};

inline std::vector<BadFile> bad_files() {
  std::vector<BadFile> files;
  const auto source = [&files](int row, std::string what, errc code, auto open) {
    files.push_back({row, std::move(what), code, std::move(open)});
  };
  const auto bytes = [&source](int row, std::string what, errc code, std::string content) {
    source(row, std::move(what), code, [content] { return std::make_unique<OwningSource>(content); });
  };
  const auto header = [&bytes](int row, errc code, const std::string& text, std::size_t data = 0) {
    bytes(row, text.substr(0, 120), code, file(text, data));
  };
  const std::string good = entry("F32", "[2]", "[0,8]");
  const auto with_name = [&good](const std::string& name) { return R"({")" + name + R"(":)" + good + "}"; };

  bytes(2, "no bytes", errc::file_too_small, "");
  bytes(2, "7 bytes", errc::file_too_small, std::string(7, '\0'));

  const std::string body = R"({}      )";
  for (const std::uint64_t n : {std::uint64_t{9}, std::uint64_t{16}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    bytes(3, "length " + std::to_string(n), errc::header_length_out_of_range, length_bytes(n) + body);
  }
  source(4, "100,000,001 bytes of header", errc::header_too_large, [] {
    return std::make_unique<GeneratedSource>(
        length_bytes(100'000'001) + "{}", 100'000'000, [](std::uint64_t) { return ' '; }, "");
  });

  header(5, errc::header_not_utf8, with_name("\xff"), 8);
  header(5, errc::header_not_utf8, with_name("\xc0\xaf"), 8);          // overlong /
  header(5, errc::header_not_utf8, with_name("\xe0\x80\xaf"), 8);      // overlong /
  header(5, errc::header_not_utf8, with_name("\xed\xa0\x80"), 8);      // a surrogate
  header(5, errc::header_not_utf8, with_name("\xf4\x90\x80\x80"), 8);  // beyond the last code point
  header(5, errc::header_not_utf8, with_name("\x80"), 8);
  header(5, errc::header_not_utf8, with_name("\xe2\x82"), 8);  // cut by the quote
  header(5, errc::header_not_utf8, with_name(R"(\ud800)"), 8);
  header(5, errc::header_not_utf8, with_name(R"(\ud800x)"), 8);
  header(5, errc::header_not_utf8, with_name(R"(\ud800\n)"), 8);
  header(5, errc::header_not_utf8, with_name(R"(\ud800\ud800)"), 8);
  header(5, errc::header_not_utf8, with_name(R"(\uDC00)"), 8);
  header(5, errc::header_not_utf8, R"({"a":)" + good + "}\xff", 8);

  header(6, errc::header_bad_start, " " + with_name("a"), 8);
  header(6, errc::header_bad_start, "\xef\xbb\xbf" + with_name("a"), 8);
  header(6, errc::header_bad_start, "[" + with_name("a") + "]", 8);
  header(6, errc::header_bad_start, std::string(64, ' '));
  header(6, errc::header_bad_start, "");

  header(8, errc::header_json, with_name("a").substr(0, 20), 8);
  for (std::size_t cut = 1; cut < with_name("a").size(); ++cut)
    header(8, errc::header_json, with_name("a").substr(0, cut), 8);
  header(8, errc::header_json, with_name("a") + "}", 8);
  header(8, errc::header_json, with_name("a") + "x", 8);
  header(8, errc::header_json, with_name("a") + "{}", 8);
  header(8, errc::header_json, with_name("a") + std::string("\0", 1) + with_name("b"), 8);
  header(8, errc::header_json, with_name("a") + std::string("\0", 1), 8);
  header(8, errc::header_json, with_name("a") + "\v", 8);
  header(8, errc::header_json, with_name("a\nb"), 8);
  header(8, errc::header_json, with_name(R"(\x41)"), 8);
  header(8, errc::header_json, with_name(R"(\u12g4)"), 8);
  header(8, errc::header_json, "{'a':" + good + "}", 8);
  header(8, errc::header_json, R"({"a":)" + good + ",}", 8);
  header(8, errc::header_json, R"({/**/"a":)" + good + "}", 8);

  const std::string bomb(100'000, '[');
  header(9, errc::header_json_depth, R"({"a":)" + bomb);
  header(9, errc::header_json_depth, R"({"__metadata__":)" + bomb);
  header(9, errc::header_json_depth, R"({"a":{"shape":)" + bomb);
  header(9, errc::header_json_depth, R"({"a":{"dtype":)" + bomb);
  header(9, errc::header_json_depth, R"({"__metadata__":[[[[[[[[1]]]]]]]]})");  // 9 levels
  header(13, errc::bad_metadata, R"({"__metadata__":[[[[[[[1]]]]]]]})");        // 8 levels

  source(10, "1.6 million tensors", errc::too_many_tensors, [] { return many_tensors(1'600'000); });

  header(11, errc::duplicate_name, R"({"a":)" + good + R"(,"a":)" + good + "}", 8);
  header(11, errc::duplicate_name, R"({"a":)" + good + R"(,"\u0061":)" + good + "}", 8);
  header(11, errc::duplicate_name, R"({"a":)" + good + R"(,"a":)" + entry("F32", "[1]", "[8,12]") + "}", 12);
  header(11, errc::duplicate_name, R"({"__metadata__":{},"__metadata__":{}})");

  header(12, errc::duplicate_field, R"({"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})", 8);
  header(12, errc::duplicate_field, R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  header(12, errc::duplicate_field,
         R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"data_offset\u0073":[0,8]}})", 8);
  header(12, errc::duplicate_field, R"({"__metadata__":{"a":"b","a":"c"}})");

  header(13, errc::bad_metadata, R"({"__metadata__":1})");
  header(13, errc::bad_metadata, R"({"__metadata__":null})");
  header(13, errc::bad_metadata, R"({"__metadata__":["a"]})");
  header(13, errc::bad_metadata, R"({"__metadata__":{"a":1}})");
  header(13, errc::bad_metadata, R"({"__metadata__":{"a":{"b":"c"}}})");
  header(13, errc::bad_metadata, R"({"__metadata__":{"a":["b"]}})");
  const auto fifty_mb = [](const std::string& prefix, const std::string& suffix) {
    return [prefix, suffix] {
      const std::uint64_t middle = 50'000'000;
      return std::make_unique<GeneratedSource>(
          length_bytes(prefix.size() + middle + suffix.size()) + prefix, middle, [](std::uint64_t) { return 'x'; },
          suffix);
    };
  };
  source(13, "a value of 50 MB", errc::bad_metadata, fifty_mb(R"({"__metadata__":{"a":")", R"("}})"));
  source(13, "a key of 50 MB", errc::bad_metadata, fifty_mb(R"({"__metadata__":{")", R"(":"a"}})"));
  source(13, "300,000 pairs of few bytes", errc::bad_metadata, [] {
    const std::string pair = R"("00000000":"",)", prefix = R"({"__metadata__":{)", suffix = R"("z":""}})";
    const std::uint64_t middle = 300'000 * pair.size();
    return std::make_unique<GeneratedSource>(
        length_bytes(prefix.size() + middle + suffix.size()) + prefix, middle,
        [pair](std::uint64_t i) -> char {
          std::uint64_t number = i / pair.size(), column = i % pair.size();
          if (column == 0 || column > 8) return pair[column];
          for (; column < 8; ++column) number /= 10;
          return static_cast<char>('0' + number % 10);
        },
        suffix);
  });

  header(14, errc::bad_name, with_name(""), 8);
  header(14, errc::bad_name, with_name(std::string(4097, 'n')), 8);
  header(14, errc::bad_name, with_name(R"(a\u0000b)"), 8);
  header(14, errc::bad_name, with_name(R"(a\n)"), 8);
  header(14, errc::bad_name, with_name("a\x7f"), 8);
  source(14, "a name of 50 MB", errc::bad_name, fifty_mb(R"({")", R"(":{}})"));

  for (const char* value : {"1", "1.5", "-1", "\"F32\"", "null", "true", "[]", "[{}]"}) {
    header(15, errc::bad_entry, std::string(R"({"a":)") + value + "}");
  }

  header(16, errc::missing_field, R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8);
  header(16, errc::missing_field, R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8);
  header(16, errc::missing_field, R"({"a":{"dtype":"F32","shape":[2]}})", 8);
  header(16, errc::missing_field, R"({"a":{}})");

  header(17, errc::unknown_field, R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"strides":[1]}})", 8);
  header(17, errc::unknown_field, R"({"a":{"dtype":"F32","Shape":[2],"data_offsets":[0,8]}})", 8);
  source(17, "a field name of 50 MB", errc::unknown_field, fifty_mb(R"({"a":{")", R"(":1}})"));

  for (const char* dtype : {"F12", "f32", "F32 ", "", "float32"}) {
    bytes(18, std::string("dtype ") + dtype, errc::unknown_dtype, one(dtype, "[2]", "[0,8]", 8));
  }
  for (const char* dtype : {"32", "null", "[\"F32\"]", "{}"}) {
    header(18, errc::unknown_dtype,
           std::string(R"({"a":{"dtype":)") + dtype + R"(,"shape":[2],"data_offsets":[0,8]}})", 8);
  }

  const auto shape = [&bytes](int row, errc code, const std::string& text) {
    bytes(row, "shape " + text, code, one("F32", text, "[0,8]", 8));
  };
  for (const char* text : {"[-2]", "[-2,-2]", "[-1,2]", "[-0]", "2", "null", "\"2\"", "{}", "[[2]]", "[{}]"}) {
    shape(20, errc::bad_shape, text);
  }
  for (const char* text : {"[2.0]", "[1e3]", "[2e0]", "[\"2\"]", "[01]", "[00]", "[18446744073709551616]",
                           "[123456789012345678901234567890]", "[null]", "[true]", "[1e999]", "[-2.0]"}) {
    shape(21, errc::bad_integer, text);
  }
  for (const char* text : {"[0.0,8]", "[0,8e0]", "[\"0\",8]", "[00,8]", "[0,18446744073709551616]"}) {
    bytes(21, std::string("offsets ") + text, errc::bad_integer, one("F32", "[2]", text, 8));
  }
  shape(22, errc::bad_rank, "[1,1,1,1,1,1,1,1,2]");
  std::string ones = "[1";
  for (int i = 1; i < 20'000; ++i) ones += ",1";
  shape(22, errc::bad_rank, ones + "]");
  for (const char* text : {"[2,18446744073709551614]", "[4294967296,4294967296]", "[4611686018427387904]",
                           "[4294967296,4294967296,0]"}) {
    shape(23, errc::size_overflow, text);
  }
  for (const char* text : {"[]", "[0]", "[0,8,8]", "0", "null", "\"0\"", "{}", "[[0,8]]", "[-8,0]", "[0,-8]"}) {
    bytes(24, std::string("offsets ") + text, errc::bad_offsets, one("F32", "[2]", text, 8));
  }
  bytes(25, "offsets [8,0]", errc::bad_offsets, one("F32", "[2]", "[8,0]", 8));
  bytes(25, "offsets that wrap", errc::bad_offsets, one("F32", "[2]", "[18446744073709551608,0]", 8));

  bytes(26, "no data", errc::file_truncated, one("F32", "[2]", "[0,8]", 0));
  bytes(26, "one byte short", errc::file_truncated, one("F32", "[2]", "[0,8]", 7));
  bytes(26, "far out", errc::file_truncated, one("U8", "[1152921504606846976]", "[0,1152921504606846976]", 8));

  bytes(27, "too few bytes", errc::size_mismatch, one("F32", "[2]", "[0,4]", 4));
  bytes(27, "too many bytes", errc::size_mismatch, one("F32", "[2]", "[0,12]", 12));
  bytes(27, "bytes for nothing", errc::size_mismatch, one("F32", "[2,0]", "[0,8]", 8));
  bytes(27, "no bytes for a scalar", errc::size_mismatch, one("F32", "[]", "[0,0]", 0));

  header(28, errc::offsets_overlap, R"({"a":)" + good + R"(,"b":)" + entry("F32", "[2]", "[4,12]") + "}", 12);
  header(28, errc::offsets_overlap, R"({"a":)" + good + R"(,"b":)" + good + "}", 8);
  header(28, errc::offsets_overlap,
         R"({"a":)" + entry("U8", "[16]", "[0,16]") + R"(,"b":)" + entry("U8", "[0]", "[8,8]") + "}", 16);
  std::string ten = "{";
  for (char c = 'a'; c < 'k'; ++c) ten += (c == 'a' ? "\"" : ",\"") + std::string(1, c) + "\":" + good;
  header(28, errc::offsets_overlap, ten + "}", 8);

  header(29, errc::offsets_gap, R"({"a":)" + good + R"(,"b":)" + entry("F32", "[2]", "[12,20]") + "}", 20);
  header(29, errc::offsets_gap, R"({"a":)" + entry("F32", "[2]", "[8,16]") + "}", 16);
  header(29, errc::offsets_gap, R"({"a":)" + entry("F32", "[0]", "[8,8]") + "}", 8);

  bytes(30, "one byte more", errc::trailing_bytes, one("F32", "[2]", "[0,8]", 9));
  bytes(30, "a zip after the last tensor", errc::trailing_bytes,
        one("F32", "[2]", "[0,8]", 8) + std::string("PK\5\6") + std::string(18, '\0'));
  bytes(30, "data without a tensor", errc::trailing_bytes, file("{}", 8));
  return files;
}

/// Files that must load.
inline std::vector<BadFile> good_files() {
  std::vector<BadFile> files;
  const auto add = [&files](int row, std::string what, std::string content) {
    files.push_back(
        {row, std::move(what), errc::io_open, [content] { return std::make_unique<OwningSource>(content); }});
  };
  add(7, "{} and nothing else", file("{}"));
  add(7, "{} and spaces", file("{}      "));
  add(7, "{} and all blanks", file("{} \t\r\n "));
  add(7, "blanks between the values", file("{ \"a\" : " + entry("F32", "[ 2 ]", "[0 ,\t8]") + "\n}", 8));
  add(31, "a scalar", one("F32", "[]", "[0,4]", 4));
  add(31, "[2,0] alone", one("F32", "[2,0]", "[0,0]", 0));
  add(31, "[2,0] at either end",
      file(R"({"z":)" + entry("F32", "[2,0]", "[8,8]") + R"(,"a":)" + entry("F32", "[2]", "[0,8]") + R"(,"b":)" +
               entry("F32", "[0,7]", "[0,0]") + "}",
           8));
  add(31, "[0, 2^63]", one("F32", "[0,9223372036854775808]", "[0,0]", 0));
  add(31, "8 dimensions", one("F32", "[1,1,1,1,1,1,1,2]", "[0,8]", 8));
  add(19, "C64", one("C64", "[1]", "[0,8]", 8));
  add(19, "an odd count of F4", one("F4", "[3]", "[0,2]", 2));
  add(19, "6 bits", one("F6_E2M3", "[4]", "[0,3]", 3));
  add(14, "a name of 4096 bytes",
      file("{\"" + std::string(4096, 'n') + "\":" + entry("F32", "[2]", "[0,8]") + "}", 8));
  add(14, "a name in another script", file(R"({"\ud83d\ude00 и \"\\":)" + entry("F32", "[2]", "[0,8]") + "}", 8));
  add(13, "metadata",
      file(R"({"__metadata__":{"format":"pt","":"\u0000"},"a":)" + entry("F32", "[2]", "[0,8]") + "}", 8));
  return files;
}

}  // namespace dit_test
