/// The fuzz targets without a fuzzer: every seed file, and mutations of them that are the same on every machine.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "fuzz/safetensors_fuzz.cpp"
#include "io/bad_files.hpp"
#include "io/temporary.hpp"

namespace {

using namespace dit_test;

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::string> seeds() {
  std::vector<std::string> files;
  auto all = bad_files();
  for (BadFile& good : good_files()) all.push_back(std::move(good));
  for (const BadFile& each : all) {
    const auto source = each.open();
    if (source->size() > 10'000) continue;
    files.emplace_back(source->size(), '\0');
    source->read(0, files.back().data(), files.back().size());
  }
  const auto model = numbered<Net<float>>();
  for (const dit::Layout layout : {dit::Layout::original, dit::Layout::diffusers}) {
    files.push_back(text_of(dit::save_to_memory(model, {.dtype = dit::DType::BF16, .layout = layout})));
  }
  return files;
}

/// A few mutations, mostly in the header, whose length is mostly made true again.
class Mutator {
 public:
  explicit Mutator(std::uint32_t seed) : random_(seed) {}

  std::string operator()(std::string bytes, const std::string& other) {
    const bool true_length = below(8) != 0;
    for (std::uint32_t n = 1 + below(3); n > 0; --n) {
      std::uint64_t length = 0;
      if (bytes.size() >= 8) std::memcpy(&length, bytes.data(), 8);
      const std::size_t before = bytes.size();
      mutate(bytes, other);
      length += bytes.size() - before;
      if (true_length && bytes.size() >= 8) std::memcpy(bytes.data(), &length, 8);
    }
    return bytes;
  }

 private:
  std::uint32_t below(std::size_t n) { return static_cast<std::uint32_t>(random_() % std::max<std::size_t>(n, 1)); }

  void mutate(std::string& bytes, const std::string& other) {
    static const char* const words[] = {"0",
                                        "1",
                                        "8",
                                        "-1",
                                        "2147483648",
                                        "4294967296",
                                        "4294967295",
                                        "9223372036854775807",
                                        "9223372036854775808",
                                        "18446744073709551615",
                                        "18446744073709551616",
                                        "1e3",
                                        "2.0",
                                        "01",
                                        "null",
                                        "true",
                                        "[",
                                        "]",
                                        "{",
                                        "}",
                                        ",",
                                        ":",
                                        "\"",
                                        "\\",
                                        "\\u0000",
                                        "\\ud800",
                                        "\\udc00",
                                        "\"a\"",
                                        "\"\"",
                                        "\"dtype\"",
                                        "\"shape\"",
                                        "\"data_offsets\"",
                                        "\"__metadata__\"",
                                        "\"F32\"",
                                        "\"F16\"",
                                        "\"F4\"",
                                        "[0,8]",
                                        "[]",
                                        "[[",
                                        "{}",
                                        "\xff",
                                        "\xc3\xa9",
                                        " ",
                                        "\n"};
    const std::size_t header = std::min<std::size_t>(bytes.size(), below(4) == 0 ? bytes.size() : 400);
    const std::size_t at = std::min<std::size_t>(8 + below(header), bytes.size()),
                      count = std::min<std::size_t>(1 + below(8), bytes.size() - at);
    const std::string word = words[below(std::size(words))];
    switch (below(7)) {
      case 0:
        bytes.erase(at, count);
        break;
      case 1:
        bytes.insert(at, word);
        break;
      case 2:
        bytes.replace(at, std::min(word.size(), count), word);
        break;
      case 3:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 4:
        bytes.insert(at, bytes.substr(below(bytes.size()), 1 + below(60)));
        break;
      case 5:
        bytes.insert(at, other.substr(std::min<std::size_t>(8 + below(other.size()), other.size()), 1 + below(60)));
        break;
      default:
        replace_number(bytes, at, word);
    }
  }

  /// The first number from there on becomes the word.
  static void replace_number(std::string& bytes, std::size_t at, const std::string& word) {
    const std::size_t begin = bytes.find_first_of("0123456789", std::max<std::size_t>(at, 8));
    if (begin == std::string::npos) return;
    const std::size_t end = std::min(bytes.find_first_not_of("0123456789", begin), bytes.size());
    bytes.replace(begin, end - begin, word);
  }

  std::mt19937 random_;
};

TEST(Fuzz, EverySeedIsAFileOrATypedError) {
  int files = 0, models = 0;
  for (const std::string& seed : seeds()) {
    files += fuzz_file(bytes_of(seed)) ? 1 : 0;
    models += fuzz_model(bytes_of(seed)) ? 1 : 0;
  }
  EXPECT_GE(files, 10) << "the good ones";
  EXPECT_EQ(models, 2);
}

TEST(Fuzz, MutationsAreFilesOrTypedErrors) {
  const auto corpus = seeds();
  int files = 0;
  for (std::uint32_t seed = 0; seed < 60'000; ++seed) {
    SCOPED_TRACE(seed);
    const std::string& one = corpus[seed % corpus.size()];
    const std::string& other = corpus[seed * 7919 % corpus.size()];
    const std::string bytes = Mutator(seed)(one, other);
    files += fuzz_file(bytes_of(bytes)) ? 1 : 0;
    if (seed % 8 == 0) fuzz_model(bytes_of(bytes));
  }
  EXPECT_GT(files, 300) << "some of them must get through, or nothing behind the header is tried";
}

TEST(Fuzz, MutatedModelsAreModelsOrTypedErrors) {
  const auto model = numbered<Net<float>>();
  int models = 0;
  for (std::uint32_t seed = 0; seed < 3'000; ++seed) {
    SCOPED_TRACE(seed);
    const auto layout = seed % 2 == 0 ? dit::Layout::original : dit::Layout::diffusers;
    static const std::string files[2] = {text_of(dit::save_to_memory(model, {.layout = dit::Layout::original})),
                                         text_of(dit::save_to_memory(model, {.layout = dit::Layout::diffusers}))};
    models += fuzz_model(bytes_of(Mutator(seed)(files[layout == dit::Layout::original ? 0 : 1], files[0]))) ? 1 : 0;
  }
  EXPECT_GT(models, 30);
}

TEST(Fuzz, MutatedIndexesAreTypedErrors) {
  const TemporaryFolder folder;
  const std::string index =
      R"({"metadata":{"total_size":12},"weight_map":{"a":"one.safetensors","b":"deep/two.safetensors"}})";
  for (std::uint32_t seed = 0; seed < 1'000; ++seed) {
    SCOPED_TRACE(seed);
    const std::string bytes = Mutator(seed)("        " + index, index).substr(8);
    fuzz_index(folder.write("model.safetensors.index.json", bytes));
  }
}

}  // namespace
