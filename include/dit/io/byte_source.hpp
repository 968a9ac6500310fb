#pragma once
/// Where a file's bytes come from: a descriptor, memory, a mapping, or a test that makes them fail.

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#if defined(_WIN32)
#include <fstream>
#include <mutex>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include "dit/core/error.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {
/// f(), with errc::out_of_memory where it meets std::bad_alloc. `file` is a path or a text.
template <class Name, class F>
auto with_typed_bad_alloc(const Name& file, F&& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    throw Error(errc::out_of_memory, "there is not enough memory", {std::filesystem::path(file).string()});
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
  void read(std::uint64_t offset, void* target, std::size_t count) const {
    if (offset > size_ || count > size_ - offset) {
      throw Error(errc::file_truncated, "the file ends before the data that it announces", {name_, "", size_});
    }
    auto* to = static_cast<std::byte*>(target);
    while (count > 0) {
      const std::ptrdiff_t got = read_some(offset, to, count);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        throw Error(errc::io_read, "reading failed: " + std::generic_category().message(errno),
                    {name_, "", offset});
      }
      if (got == 0)
        throw Error(errc::file_truncated, "the file became shorter while it was read", {name_, "", offset});
      offset += static_cast<std::uint64_t>(got);
      to += got;
      count -= static_cast<std::size_t>(got);
    }
  }

  /// errc::file_changed if somebody wrote to the file since it was opened, as far as that can be known.
  virtual void check_unchanged() const {}

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
  std::ptrdiff_t read_some(std::uint64_t offset, std::byte* target, std::size_t count) const override {
    std::memcpy(target, bytes_.data() + offset, count);
    return static_cast<std::ptrdiff_t>(count);
  }

 private:
  std::span<const std::byte> bytes_;
};

/// A regular file, opened once; or, if asked for, mapped. Mapped reads save nothing in a loader that packs its
/// weights anyway, and carry a risk: do not modify the file while it is open. Truncating it kills the process
/// (SIGBUS).
class FileSource final : public ByteSource {
 public:
  static std::unique_ptr<FileSource> open(const std::filesystem::path& path, bool mapped = false);
  ~FileSource() override { close(); }

#if defined(_WIN32)
 public:
  FileSource(const std::filesystem::path& path, std::string name, std::uint64_t size)
      : ByteSource(std::move(name), size), path_(path), stream_(path, std::ios::binary) {
    if (!stream_) throw Error(errc::io_open, "the file cannot be opened", {this->name()});
    written_ = std::filesystem::last_write_time(path_);
  }
  void check_unchanged() const override {
    std::error_code failed;
    if (std::filesystem::file_size(path_, failed) != size() || failed ||
        std::filesystem::last_write_time(path_, failed) != written_ || failed) {
      throw Error(errc::file_changed, "the file changed while it was read", {name()});
    }
  }

 protected:
  std::ptrdiff_t read_some(std::uint64_t offset, std::byte* target, std::size_t count) const override {
    const std::lock_guard turn(reading_);
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(offset));
    stream_.read(reinterpret_cast<char*>(target), static_cast<std::streamsize>(count));
    if (stream_.bad()) {
      errno = EIO;
      return -1;
    }
    return static_cast<std::ptrdiff_t>(stream_.gcount());
  }

 private:
  void close() noexcept {}
  std::filesystem::path path_;
  mutable std::mutex reading_;
  mutable std::ifstream stream_;
  std::filesystem::file_time_type written_;
#else
 public:
  /// Takes over an open descriptor whose `fstat` is `status`.
  FileSource(int descriptor, const struct ::stat& status, std::string name)
      : ByteSource(std::move(name), static_cast<std::uint64_t>(status.st_size)),
        descriptor_(descriptor),
        written_(last_write(status)) {}
  void check_unchanged() const override {
    struct ::stat now {};
    if (::fstat(descriptor_, &now) != 0 || static_cast<std::uint64_t>(now.st_size) != size() ||
        last_write(now) != written_) {
      throw Error(errc::file_changed, "the file changed while it was read", {name()});
    }
  }

 protected:
  std::ptrdiff_t read_some(std::uint64_t offset, std::byte* target, std::size_t count) const override {
    if (mapping_ != nullptr) {
      std::memcpy(target, mapping_ + offset, count);
      return static_cast<std::ptrdiff_t>(count);
    }
    constexpr std::size_t most = std::size_t{1} << 30;  // a single read is limited on every system
    return ::pread(descriptor_, target, std::min(count, most), static_cast<off_t>(offset));
  }

 private:
  static std::pair<std::int64_t, std::int64_t> last_write(const struct ::stat& status) {
#if defined(__APPLE__)
    return {status.st_mtimespec.tv_sec, status.st_mtimespec.tv_nsec};
#else
    return {status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
#endif
  }
  void map() {
    void* at = ::mmap(nullptr, static_cast<std::size_t>(size()), PROT_READ, MAP_PRIVATE, descriptor_, 0);
    if (at == MAP_FAILED) throw Error(errc::io_read, "the file cannot be mapped", {name()});
    mapping_ = static_cast<const std::byte*>(at);
  }
  void close() noexcept {
    if (mapping_ != nullptr) ::munmap(const_cast<std::byte*>(mapping_), static_cast<std::size_t>(size()));
    ::close(descriptor_);
  }

  int descriptor_;
  std::pair<std::int64_t, std::int64_t> written_;
  const std::byte* mapping_ = nullptr;
#endif
};

inline std::unique_ptr<FileSource> FileSource::open(const std::filesystem::path& path, bool mapped) {
  std::string name = path.string();
#if defined(_WIN32)
  std::error_code failed;
  const auto status = std::filesystem::status(path, failed);
  if (!std::filesystem::exists(status)) throw Error(errc::io_open, "there is no such file", {std::move(name)});
  if (!std::filesystem::is_regular_file(status)) {
    throw Error(errc::not_regular_file, "not a regular file", {std::move(name)});
  }
  const std::uint64_t size = std::filesystem::file_size(path, failed);
  if (failed) throw Error(errc::io_open, failed.message(), {std::move(name)});
  (void)mapped;  // not on this system: reading gives the same result
  return std::make_unique<FileSource>(path, std::move(name), size);
#else
  // Without O_NONBLOCK opening a FIFO would wait for a writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    const std::string reason = std::generic_category().message(errno);
    throw Error(errc::io_open, "the file cannot be opened: " + reason, {std::move(name)});
  }
  struct CloseUnlessKept {
    int descriptor;
    ~CloseUnlessKept() {
      if (descriptor >= 0) ::close(descriptor);
    }
  } guard{descriptor};
  struct ::stat status {};
  if (::fstat(descriptor, &status) != 0) {
    const std::string reason = std::generic_category().message(errno);
    throw Error(errc::io_open, "the file cannot be examined: " + reason, {std::move(name)});
  }
  if (!S_ISREG(status.st_mode)) throw Error(errc::not_regular_file, "not a regular file", {std::move(name)});
  auto source = std::make_unique<FileSource>(descriptor, status, std::move(name));
  guard.descriptor = -1;
  if (mapped && source->size() > 0) source->map();
  return source;
#endif
}

}}  // namespace dit
