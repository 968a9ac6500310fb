#pragma once
/// Where a file's bytes come from: a descriptor, memory, a mapping, or a test that makes them fail.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

#if defined(_WIN32)
#include <fstream>
#include <mutex>
#else
struct stat;
#endif

#include "dit/core/error.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {
[[noreturn]] void throw_out_of_memory(const std::filesystem::path& file);

/// f(), with errc::out_of_memory where it meets std::bad_alloc. `file` is a path or a text.
template <class Name, class F>
auto with_typed_bad_alloc(const Name& file, F&& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    throw_out_of_memory(file);
  }
}
}  // namespace detail

/// Bytes at offsets. The size is fixed when it is opened; every read is checked against it. Several threads may
/// read at the same time.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  const std::string& name() const noexcept { return name_; }
  std::uint64_t size() const noexcept { return size_; }

  /// Fills `target` from `offset`: all of it, or io_read / file_truncated.
  void read(std::uint64_t offset, void* target, std::size_t count) const;

  /// errc::file_changed if somebody wrote to the file since it was opened, as far as that can be known.
  DIT_ONCE_VIRTUAL virtual void check_unchanged() const;

 protected:
  ByteSource(std::string name, std::uint64_t size) : name_(std::move(name)), size_(size) {}

  /// As POSIX pread: the number of bytes read, at least one and at most `count`; 0 at the end; -1 with errno set.
  /// From several threads at once.
  virtual std::ptrdiff_t read_some(std::uint64_t offset, std::byte* target, std::size_t count) const = 0;

 private:
  std::string name_;
  std::uint64_t size_;
};

/// Bytes that the caller holds, and keeps for as long as this lives.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes, std::string name = "memory")
      : ByteSource(std::move(name), bytes.size()), bytes_(bytes) {}

 protected:
  DIT_ONCE_VIRTUAL std::ptrdiff_t read_some(std::uint64_t offset, std::byte* target,
                                            std::size_t count) const override;

 private:
  std::span<const std::byte> bytes_;
};

/// A regular file, opened once; or, if asked for, mapped. Mapped reads save nothing in a loader that packs its
/// weights anyway, and carry a risk: do not modify the file while it is open. Truncating it kills the process
/// (SIGBUS).
class FileSource final : public ByteSource {
 public:
  static std::unique_ptr<FileSource> open(const std::filesystem::path& path, bool mapped = false);
  DIT_ONCE_VIRTUAL ~FileSource() override;
  DIT_ONCE_VIRTUAL void check_unchanged() const override;

#if defined(_WIN32)
  FileSource(const std::filesystem::path& path, std::string name, std::uint64_t size);
#else
  /// Takes over an open descriptor whose `fstat` is `status`.
  FileSource(int descriptor, const struct ::stat& status, std::string name);
#endif

 protected:
  DIT_ONCE_VIRTUAL std::ptrdiff_t read_some(std::uint64_t offset, std::byte* target,
                                            std::size_t count) const override;

 private:
#if defined(_WIN32)
  std::filesystem::path path_;
  mutable std::mutex reading_;
  mutable std::ifstream stream_;
  std::filesystem::file_time_type written_;
#else
  static std::pair<std::int64_t, std::int64_t> last_write(const struct ::stat& status);
  void map();

  int descriptor_;
  std::pair<std::int64_t, std::int64_t> written_;
  const std::byte* mapping_ = nullptr;
#endif
};

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/byte_source.inl"
#endif
