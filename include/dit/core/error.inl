#pragma once

#include "dit/core/error.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {
/// What `what()` says.
DIT_ONCE std::string compose(errc code, std::string_view sentence, const Where& where) {
  std::string text = std::string(name(code)) + ": " + std::string(sentence);
  std::string place;
  const auto add = [&place](std::string_view what, const std::string& value) {
    place += (place.empty() ? "" : ", ") + std::string(what) + " " + value;
  };
  if (!where.file.empty()) add("file", where.file);
  if (!where.tensor.empty()) add("tensor", where.tensor);
  if (where.offset) add("byte", std::to_string(*where.offset));
  return place.empty() ? text : text + " (" + place + ")";
}

DIT_ONCE void throw_error(errc code, std::string_view sentence) { throw Error(code, sentence); }

DIT_ONCE void throw_out_of_memory_for(const char* what) {
  throw Error(errc::out_of_memory, std::string("no memory for ") + what);
}
}  // namespace detail

DIT_ONCE Error::Error(errc code, std::string_view sentence, Where where)
    : std::runtime_error(detail::compose(code, sentence, where)), code_(code), where_(std::move(where)) {}

}}  // namespace dit
