#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include "dit/io/byte_source.hpp"

namespace dit { inline namespace DIT_ABI {

DIT_ONCE void detail::throw_out_of_memory(const std::filesystem::path& file) {
  detail::fail(errc::out_of_memory, {"there is not enough memory"}, file.string());
}

DIT_ONCE void ByteSource::read(std::uint64_t offset, void* target, std::size_t count) const {
  if (offset > size_ || count > size_ - offset) {
    detail::fail(errc::file_truncated, {"the file ends before the data that it announces"}, name_, "", size_);
  }
  auto* to = static_cast<std::byte*>(target);
  while (count > 0) {
    const std::ptrdiff_t got = read_some(offset, to, count);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      detail::fail(errc::io_read, {"reading failed: ", std::generic_category().message(errno)}, name_, "", offset);
    }
    if (got == 0)
      detail::fail(errc::file_truncated, {"the file became shorter while it was read"}, name_, "", offset);
    offset += static_cast<std::uint64_t>(got);
    to += got;
    count -= static_cast<std::size_t>(got);
  }
}

DIT_ONCE_VIRTUAL void ByteSource::check_unchanged() const {}

DIT_ONCE_VIRTUAL std::ptrdiff_t MemorySource::read_some(std::uint64_t offset, std::byte* target,
                                                        std::size_t count) const {
  std::memcpy(target, bytes_.data() + offset, count);
  return static_cast<std::ptrdiff_t>(count);
}

#if defined(_WIN32)

DIT_ONCE FileSource::FileSource(const std::filesystem::path& path, std::string name, std::uint64_t size)
    : ByteSource(std::move(name), size), path_(path), stream_(path, std::ios::binary) {
  if (!stream_) detail::fail(errc::io_open, {"the file cannot be opened"}, this->name());
  written_ = std::filesystem::last_write_time(path_);
}

DIT_ONCE_VIRTUAL FileSource::~FileSource() = default;

DIT_ONCE_VIRTUAL void FileSource::check_unchanged() const {
  std::error_code failed;
  if (std::filesystem::file_size(path_, failed) != size() || failed ||
      std::filesystem::last_write_time(path_, failed) != written_ || failed) {
    detail::fail(errc::file_changed, {"the file changed while it was read"}, name());
  }
}

DIT_ONCE_VIRTUAL std::ptrdiff_t FileSource::read_some(std::uint64_t offset, std::byte* target,
                                                      std::size_t count) const {
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

DIT_ONCE std::unique_ptr<FileSource> FileSource::open(const std::filesystem::path& path, bool mapped) {
  std::string name = path.string();
  std::error_code failed;
  const auto status = std::filesystem::status(path, failed);
  if (!std::filesystem::exists(status)) detail::fail(errc::io_open, {"there is no such file"}, name);
  if (!std::filesystem::is_regular_file(status)) {
    detail::fail(errc::not_regular_file, {"not a regular file"}, name);
  }
  const std::uint64_t size = std::filesystem::file_size(path, failed);
  if (failed) detail::fail(errc::io_open, {failed.message()}, name);
  (void)mapped;  // not on this system: reading gives the same result
  return std::make_unique<FileSource>(path, std::move(name), size);
}

#else

DIT_ONCE FileSource::FileSource(int descriptor, const struct ::stat& status, std::string name)
    : ByteSource(std::move(name), static_cast<std::uint64_t>(status.st_size)),
      descriptor_(descriptor),
      written_(last_write(status)) {}

DIT_ONCE_VIRTUAL FileSource::~FileSource() {
  if (mapping_ != nullptr) ::munmap(const_cast<std::byte*>(mapping_), static_cast<std::size_t>(size()));
  ::close(descriptor_);
}

DIT_ONCE_VIRTUAL void FileSource::check_unchanged() const {
  struct ::stat now {};
  if (::fstat(descriptor_, &now) != 0 || static_cast<std::uint64_t>(now.st_size) != size() ||
      last_write(now) != written_) {
    detail::fail(errc::file_changed, {"the file changed while it was read"}, name());
  }
}

DIT_ONCE_VIRTUAL std::ptrdiff_t FileSource::read_some(std::uint64_t offset, std::byte* target,
                                                      std::size_t count) const {
  if (mapping_ != nullptr) {
    std::memcpy(target, mapping_ + offset, count);
    return static_cast<std::ptrdiff_t>(count);
  }
  constexpr std::size_t most = std::size_t{1} << 30;  // a single read is limited on every system
  return ::pread(descriptor_, target, std::min(count, most), static_cast<off_t>(offset));
}

DIT_ONCE std::pair<std::int64_t, std::int64_t> FileSource::last_write(const struct ::stat& status) {
#if defined(__APPLE__)
  return {status.st_mtimespec.tv_sec, status.st_mtimespec.tv_nsec};
#else
  return {status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
#endif
}

DIT_ONCE void FileSource::map() {
  void* at = ::mmap(nullptr, static_cast<std::size_t>(size()), PROT_READ, MAP_PRIVATE, descriptor_, 0);
  if (at == MAP_FAILED) detail::fail(errc::io_read, {"the file cannot be mapped"}, name());
  mapping_ = static_cast<const std::byte*>(at);
}

DIT_ONCE std::unique_ptr<FileSource> FileSource::open(const std::filesystem::path& path, bool mapped) {
  std::string name = path.string();
  // Without O_NONBLOCK opening a FIFO would wait for a writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    const std::string reason = std::generic_category().message(errno);
    detail::fail(errc::io_open, {"the file cannot be opened: ", reason}, name);
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
    detail::fail(errc::io_open, {"the file cannot be examined: ", reason}, name);
  }
  if (!S_ISREG(status.st_mode)) detail::fail(errc::not_regular_file, {"not a regular file"}, name);
  auto source = std::make_unique<FileSource>(descriptor, status, std::move(name));
  guard.descriptor = -1;
  if (mapped && source->size() > 0) source->map();
  return source;
}

#endif

}}  // namespace dit
