#pragma once
/// The meaning of a safetensors header's JSON. Included by bodies only.

#include <string>
#include <string_view>
#include <utility>

#include "dit/core/tensor.hpp"
#include "dit/io/header.hpp"
#include "dit/io/json.hpp"

namespace dit { inline namespace DIT_ABI { namespace detail {

/// Reads a header into a table: everything that can be said about one tensor without its neighbours.
class HeaderVisitor final : public JsonVisitor {
 public:
  HeaderVisitor(const JsonParser& parser, const std::string& file, bool unknown_fields, TensorTable& table,
                Metadata& metadata)
      : parser_(parser), file_(file), unknown_fields_(unknown_fields), table_(table), metadata_(metadata) {}

  void key(std::string& text) override {
    switch (place_) {
      case Place::top:
        return begin_value(text);
      case Place::metadata:
        return begin_pair(text);
      case Place::entry:
        return begin_field(text);
      default:
        return;
    }
  }

  void scalar(JsonKind kind, std::uint64_t number, std::string& text) override {
    switch (place_) {
      case Place::value:
        fail(errc::bad_entry, {"a tensor's entry is not an object"});
      case Place::metadata_value:
        fail(errc::bad_metadata, {"__metadata__ is not an object"});
      case Place::pair:
        if (kind != JsonKind::string) fail(errc::bad_metadata, {"a value in __metadata__ is not a string"});
        count_metadata(text);
        metadata_[std::move(key_)] = text;
        place_ = Place::metadata;
        return;
      case Place::field:
        return field_scalar(kind, text);
      case Place::shape:
      case Place::offsets:
        return array_scalar(kind, number);
      default:
        return;
    }
  }

  bool open(JsonKind kind) override {
    const bool object = kind == JsonKind::object;
    switch (place_) {
      case Place::document:
        place_ = Place::top;
        return true;
      case Place::value:
        if (!object) fail(errc::bad_entry, {"a tensor's entry is not an object"});
        place_ = Place::entry;
        return true;
      case Place::metadata_value:
        if (!object) fail(errc::bad_metadata, {"__metadata__ is not an object"});
        place_ = Place::metadata;
        return true;
      case Place::pair:
        fail(errc::bad_metadata, {"a value in __metadata__ is not a string"});
      case Place::field:
        if (field_ == Field::unknown) {
          place_ = Place::entry;
          return false;
        }
        if (field_ == Field::dtype) fail(errc::unknown_dtype, {"dtype is not a string"});
        if (object) fail(field_code(), {field_name(), " is not an array"});
        place_ = field_ == Field::shape ? Place::shape : Place::offsets;
        return true;
      default:
        fail(field_code(), {field_name(), " is nested"});
    }
  }

  void close() override {
    switch (place_) {
      case Place::shape:
        place_ = Place::entry;
        return;
      case Place::offsets:
        if (offsets_ != 2) {
          fail(errc::bad_offsets, {"data_offsets has ", offsets_, " numbers where 2 are expected"});
        }
        place_ = Place::entry;
        return;
      case Place::entry:
        return end_entry();
      case Place::metadata:
        place_ = Place::top;
        return;
      default:
        return;
    }
  }

  errc long_string() const override {
    switch (place_) {
      case Place::top:
        return errc::bad_name;
      case Place::value:
        return errc::bad_entry;
      case Place::entry:
        return errc::unknown_field;
      case Place::field:
        return field_ == Field::unknown ? errc::unknown_field
               : field_ == Field::dtype ? errc::unknown_dtype
                                        : field_code();
      case Place::shape:
      case Place::offsets:
        return errc::bad_integer;
      default:
        return errc::bad_metadata;
    }
  }

  errc bad_number() const override {
    return place_ == Place::shape || place_ == Place::offsets ? errc::bad_integer : errc::header_json;
  }

 private:
  /// The value that the parser is about to meet.
  enum class Place { document, top, value, entry, field, shape, offsets, metadata_value, metadata, pair };
  enum class Field { dtype, shape, offsets, unknown };

  [[noreturn]] void fail(errc code, std::initializer_list<Word> sentence) const {
    detail::fail(code, sentence, file_, info_.name, parser_.position() - 1);
  }
  errc field_code() const { return field_ == Field::shape ? errc::bad_shape : errc::bad_offsets; }
  std::string_view field_name() const { return field_ == Field::shape ? "shape" : "data_offsets"; }

  void begin_value(std::string& text) {
    info_ = {};
    if (text == "__metadata__") {
      if (std::exchange(metadata_seen_, true)) fail(errc::duplicate_name, {"__metadata__ is there twice"});
      place_ = Place::metadata_value;
      return;
    }
    if (const auto wrong = wrong_with_name(text)) fail(errc::bad_name, {*wrong});
    if (table_.size() == max_tensors) {
      fail(errc::too_many_tensors, {"more than ", max_tensors, " tensors"});
    }
    info_.name = std::move(text);
    seen_[0] = seen_[1] = seen_[2] = false;
    place_ = Place::value;
  }

  void begin_pair(std::string& text) {
    count_metadata(text);
    if (metadata_.size() == max_metadata_pairs) fail(errc::bad_metadata, {"__metadata__ has too many pairs"});
    if (metadata_.count(text) != 0)
      fail(errc::duplicate_field, {"__metadata__ has the key ", printable(text), " twice"});
    key_ = std::move(text);
    place_ = Place::pair;
  }
  void count_metadata(const std::string& text) {
    metadata_bytes_ += text.size();
    if (metadata_bytes_ > max_metadata) {
      fail(errc::bad_metadata, {"__metadata__ is larger than ", max_metadata, " bytes"});
    }
  }

  void begin_field(const std::string& text) {
    field_ = text == "dtype"          ? Field::dtype
             : text == "shape"        ? Field::shape
             : text == "data_offsets" ? Field::offsets
                                      : Field::unknown;
    if (field_ != Field::unknown) {
      if (std::exchange(seen_[static_cast<int>(field_)], true))
        fail(errc::duplicate_field, {text, " is there twice"});
    } else if (!unknown_fields_) {
      fail(errc::unknown_field, {"the entry has an unknown field ", printable(text)});
    }
    offsets_ = field_ == Field::offsets ? 0 : offsets_;
    place_ = Place::field;
  }

  void field_scalar(JsonKind kind, const std::string& text) {
    if (field_ == Field::dtype) {
      if (kind != JsonKind::string) fail(errc::unknown_dtype, {"dtype is not a string"});
      const auto dtype = dtype_from_name(text);
      if (!dtype) fail(errc::unknown_dtype, {"the dtype ", printable(text), " is not one of safetensors'"});
      info_.dtype = *dtype;
    } else if (field_ != Field::unknown) {
      fail(field_code(), {field_name(), " is not an array"});
    }
    place_ = Place::entry;
  }

  void array_scalar(JsonKind kind, std::uint64_t number) {
    if (kind == JsonKind::negative) fail(field_code(), {field_name(), " has a negative number"});
    if (kind != JsonKind::whole) {
      fail(errc::bad_integer, {field_name(), " has an element that is no decimal number of 64 bits"});
    }
    if (place_ == Place::shape) {
      if (info_.shape.size() == max_rank) fail(errc::bad_rank, {"the rank is above ", max_rank});
      info_.shape.push_back(number);
    } else {
      if (offsets_ < 2) (offsets_ == 0 ? info_.begin : info_.end) = number;
      if (++offsets_ > 2) fail(errc::bad_offsets, {"data_offsets has more than 2 numbers"});
    }
  }

  void end_entry() {
    for (const Field field : {Field::dtype, Field::shape, Field::offsets}) {
      if (seen_[static_cast<int>(field)]) continue;
      field_ = field;
      fail(errc::missing_field, {"the entry has no ", field == Field::dtype ? "dtype" : field_name()});
    }
    const auto bytes = byte_size(info_.shape, info_.dtype);
    if (!bytes) fail(errc::size_overflow, {"the shape ", to_string(info_.shape), " has more than 2^64 bits"});
    if (info_.begin > info_.end) {
      fail(errc::bad_offsets, {"data_offsets [", info_.begin, ", ", info_.end, "] end before they begin"});
    }
    if (info_.end - info_.begin != *bytes) {
      fail(errc::size_mismatch, {"the shape ", to_string(info_.shape), " of ", name(info_.dtype), " takes ", *bytes,
                                 " bytes, data_offsets give ", info_.end - info_.begin});
    }
    table_.add(info_);
    place_ = Place::top;
  }

  const JsonParser& parser_;
  const std::string& file_;
  const bool unknown_fields_;
  TensorTable& table_;
  Metadata& metadata_;

  Place place_ = Place::document;
  Field field_ = Field::unknown;
  TensorInfo info_;
  bool seen_[3] = {};
  int offsets_ = 0;
  std::string key_;
  bool metadata_seen_ = false;
  std::size_t metadata_bytes_ = 0;
};

}}}  // namespace dit::detail
