/// What an error says, and that its codes and their names belong together.

#include "dit/core/error.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace {

using dit::errc;
using dit::Error;

TEST(Error, EveryCodeHasItsOwnName) {
  EXPECT_EQ(name(errc::io_open), "io_open");
  EXPECT_EQ(name(errc::header_length_out_of_range), "header_length_out_of_range");
  EXPECT_EQ(name(errc::shape_mismatch), "shape_mismatch");
  EXPECT_EQ(name(errc::bad_option), "bad_option");
  EXPECT_EQ(name(errc::busy), "busy");
  EXPECT_EQ(name(errc::unsupported_isa), "unsupported_isa");
  std::set<std::string_view> names;
  const int last = static_cast<int>(errc::unsupported_isa);
  for (int code = 0; code <= last; ++code) {
    const std::string_view spelling = name(static_cast<errc>(code));
    EXPECT_EQ(spelling.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789"), std::string_view::npos)
        << spelling;
    EXPECT_FALSE(spelling.empty());
    names.insert(spelling);
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(last) + 1);
}

TEST(Error, ReadsAsACodeASentenceAndAPlace) {
  EXPECT_STREQ(Error(errc::busy, "in use").what(), "busy: in use");
  EXPECT_STREQ(Error(errc::io_open, "no such file", {.file = "a b.safetensors"}).what(),
               "io_open: no such file (file a b.safetensors)");
  EXPECT_STREQ(Error(errc::shape_mismatch, "expected [2, 3], found [3, 2]", {.tensor = "x.weight"}).what(),
               "shape_mismatch: expected [2, 3], found [3, 2] (tensor x.weight)");
  EXPECT_STREQ(Error(errc::header_json, "a comma", {.file = "f", .tensor = "t", .offset = 0}).what(),
               "header_json: a comma (file f, tensor t, byte 0)");
}

TEST(Error, CarriesItsPartsForTheProgram) {
  const Error error(errc::header_json, "a comma", {.file = "f", .tensor = "t", .offset = 1ULL << 40});
  EXPECT_EQ(error.code(), errc::header_json);
  EXPECT_EQ(error.where().file, "f");
  EXPECT_EQ(error.where().tensor, "t");
  EXPECT_EQ(error.where().offset, 1ULL << 40);
  EXPECT_FALSE(Error(errc::busy, "in use").where().offset.has_value());
}

TEST(Error, CanBeCaughtAsARuntimeErrorAndCopied) {
  std::string what;
  try {
    const Error error(errc::bad_index, "negative", {.file = "f"});
    throw Error(error);
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  EXPECT_EQ(what, "bad_index: negative (file f)");
}

TEST(Error, RequireThrowsOnlyWhereTheConditionFails) {
  EXPECT_NO_THROW(dit::require(true, errc::busy, "in use"));
  try {
    dit::require(false, errc::aliasing, "they overlap");
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), errc::aliasing);
    EXPECT_STREQ(error.what(), "aliasing: they overlap");
  }
}

}  // namespace
