#pragma once

#include <utility>

#include "dit/core/error.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {

DIT_ONCE void Word::append_to(std::string& sentence) const {
  if (!is_number_) {
    sentence += text_;
    return;
  }
  char digits[20];
  char* first = digits + sizeof digits;
  std::uint64_t rest = is_negative_ ? 0 - number_ : number_;
  do {
    *--first = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest > 0);
  if (is_negative_) sentence += '-';
  sentence.append(first, static_cast<std::size_t>(digits + sizeof digits - first));
}

DIT_ONCE void append(std::string& sentence, std::initializer_list<Word> words) {
  for (const Word& word : words) word.append_to(sentence);
}

DIT_ONCE std::string join(std::initializer_list<Word> words) {
  std::string sentence;
  append(sentence, words);
  return sentence;
}

/// The text of `what()`: "code: sentence (file f, tensor t, byte b)".
DIT_ONCE std::string compose(errc code, std::string_view sentence, const Where& where) {
  std::string text = join({name(code), ": ", sentence});
  const std::size_t bare = text.size();
  const auto between = [&] { return text.size() == bare ? " (" : ", "; };
  if (!where.file.empty()) append(text, {between(), "file ", where.file});
  if (!where.tensor.empty()) append(text, {between(), "tensor ", where.tensor});
  if (where.offset) append(text, {between(), "byte ", *where.offset});
  if (text.size() > bare) append(text, {")"});
  return text;
}

DIT_ONCE void fail(errc code, std::initializer_list<Word> sentence, std::string_view file, std::string_view tensor,
                   std::optional<std::uint64_t> offset) {
  throw Error(code, join(sentence), {std::string(file), std::string(tensor), offset});
}

}  // namespace detail

DIT_ONCE Error::Error(errc code, std::string_view sentence, Where where)
    : std::runtime_error(detail::compose(code, sentence, where)), code_(code), where_(std::move(where)) {}

}}  // namespace dit
