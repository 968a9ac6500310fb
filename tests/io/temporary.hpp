#pragma once
/// A folder that is gone when the test ends, and what tests do with files.

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <string_view>

#include "dit/core/error.hpp"

namespace dit_test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::random_device random;
    do {
      path_ = std::filesystem::temp_directory_path() /
              ("dit_test_" + std::to_string(random()) + std::to_string(random()));
    } while (!std::filesystem::create_directory(path_));
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  /// Writes a file, with its folders, and gives its path.
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// The error that `f` throws; a failure if it throws none.
template <class F>
dit::Error error_of(F&& f) {
  try {
    f();
  } catch (const dit::Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return dit::Error(dit::errc::bad_state, "nothing was thrown");
}

/// The name of the code that `f` throws: readable when it is the wrong one.
template <class F>
std::string code_of(F&& f) {
  return std::string(name(error_of(f).code()));
}

}  // namespace dit_test
