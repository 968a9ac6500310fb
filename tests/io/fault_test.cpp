#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "dit/io/load.hpp"
#include "dit/io/save.hpp"
#include "io/modules.hpp"
#include "io/temporary.hpp"

namespace {

using namespace dit_test;

using Bytes = std::vector<std::byte>;
using Reader = std::function<std::ptrdiff_t(int call, std::uint64_t offset, std::byte* target, std::size_t count)>;

/// Bytes whose every read goes through `reader`, which is told how many came before.
class InjectedSource final : public dit::ByteSource {
 public:
  InjectedSource(std::size_t size, Reader reader) : ByteSource("injected", size), reader_(std::move(reader)) {}

 protected:
  std::ptrdiff_t read_some(std::uint64_t offset, std::byte* target, std::size_t count) const override {
    return reader_(calls_++, offset, target, count);
  }

 private:
  Reader reader_;
  mutable int calls_ = 0;
};

const Bytes& saved() {
  static const Bytes bytes = dit::save_to_memory(numbered<Net<float>>());
  return bytes;
}

std::ptrdiff_t copy(std::uint64_t offset, std::byte* target, std::size_t count) {
  std::memcpy(target, saved().data() + offset, count);
  return static_cast<std::ptrdiff_t>(count);
}

Net<float> load_through(Reader reader) {
  return dit::bind<Net<float>>(
      dit::Checkpoint(dit::Safetensors(std::make_unique<InjectedSource>(saved().size(), std::move(reader)))));
}

/// Loads with the first, second, third ... read replaced by `fault`, until none is; the code of every failure.
void expect_at_every_read(std::ptrdiff_t result, int error_number, dit::errc code) {
  int k = 0;
  for (bool met = true; met; ++k) {
    met = false;
    try {
      load_through([&](int call, std::uint64_t offset, std::byte* target, std::size_t count) {
        if (call != k) return copy(offset, target, count);
        met = true;
        errno = error_number;
        return result;
      });
      EXPECT_FALSE(met) << "read " << k << " failed, and there is a model";
    } catch (const dit::Error& error) {
      EXPECT_EQ(name(error.code()), name(code)) << error.what();
      EXPECT_EQ(error.where().file, "injected");
      EXPECT_TRUE(error.where().offset);
    }
  }
  EXPECT_GT(k, 18) << "at least one for every tensor";
}

TEST(BadFile, Row33ReadErrorAtAnyReadIsTyped) { expect_at_every_read(-1, EIO, dit::errc::io_read); }

TEST(BadFile, Row32FileThatShrinksAtAnyReadIsTyped) { expect_at_every_read(0, 0, dit::errc::file_truncated); }

TEST(BadFile, Row33InterruptionsAndShortReadsDoNotMatter) {
  const auto interrupted =
      load_through([](int call, std::uint64_t offset, std::byte* target, std::size_t count) -> std::ptrdiff_t {
        if (call % 50 == 49) return copy(offset, target, count);
        errno = EINTR;
        return -1;
      });
  EXPECT_EQ(dit::save_to_memory(interrupted), saved());
  const auto by_bytes = load_through(
      [](int, std::uint64_t offset, std::byte* target, std::size_t) { return copy(offset, target, 1); });
  EXPECT_EQ(dit::save_to_memory(by_bytes), saved());
}

TEST(ByteSource, GivesNothingBeyondItsEnd) {
  const dit::MemorySource source(saved());
  std::byte bytes[16];
  EXPECT_NO_THROW(source.read(source.size() - 16, bytes, 16));
  EXPECT_NO_THROW(source.read(source.size(), bytes, 0));
  EXPECT_EQ(code_of([&] { source.read(source.size() - 15, bytes, 16); }), "file_truncated");
  EXPECT_EQ(code_of([&] { source.read(source.size() + 1, bytes, 0); }), "file_truncated");
  EXPECT_EQ(code_of([&] { source.read(~std::uint64_t{0}, bytes, 16); }), "file_truncated");
}

/// A file that was written a while ago, and is open.
struct OpenFile {
  TemporaryFolder folder;
  std::filesystem::path path;
  dit::Checkpoint checkpoint;

  explicit OpenFile(bool mapped)
      : path(folder.write("net.safetensors", {reinterpret_cast<const char*>(saved().data()), saved().size()})),
        checkpoint(open(path, mapped)) {}

  static dit::Checkpoint open(const std::filesystem::path& path, bool mapped) {
    std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
    return dit::Checkpoint::open(path, {.mapped = mapped});
  }
};

TEST(BadFile, Row32FileThatShrinksBetweenHeaderAndData) {
  const OpenFile file(false);
  std::filesystem::resize_file(file.path, saved().size() - 1);
  EXPECT_EQ(code_of([&] { dit::bind<Net<float>>(file.checkpoint); }), "file_truncated");
}

TEST(BadFile, Row32FileThatGrowsBetweenHeaderAndData) {
  for (const bool mapped : {false, true}) {
    const OpenFile file(mapped);
    const auto written = std::filesystem::last_write_time(file.path);
    std::filesystem::resize_file(file.path, saved().size() + 1);
    std::filesystem::last_write_time(file.path, written);  // the size alone gives it away
    EXPECT_EQ(code_of([&] { dit::bind<Net<float>>(file.checkpoint); }), "file_changed");
  }
}

TEST(BadFile, Row32FileThatIsWrittenToBetweenHeaderAndData) {
  for (const bool mapped : {false, true}) {
    const OpenFile file(mapped);
    std::fstream(file.path, std::ios::binary | std::ios::in | std::ios::out).seekp(-1, std::ios::end) << 'x';
    EXPECT_EQ(code_of([&] { dit::bind<Net<float>>(file.checkpoint); }), "file_changed");
  }
}

TEST(BadFile, Row32FileThatIsReplacedIsStillTheOldOne) {
  const OpenFile file(false);
  dit::save(numbered<Net<float>>(1), file.path);  // puts a new file in its place
  EXPECT_EQ(dit::save_to_memory(dit::bind<Net<float>>(file.checkpoint)), saved());
}

using BadFileDeathTest = testing::Test;

TEST(BadFileDeathTest, TruncatingAMappedFileKillsTheProcessAsDocumented) {
  const auto truncate_and_read = [] {
    std::signal(SIGBUS, SIG_DFL);  // not the sanitizers' business
    const OpenFile file(true);
    std::filesystem::resize_file(file.path, 0);
    try {
      dit::bind<Net<float>>(file.checkpoint);
    } catch (const dit::Error&) {
      std::_Exit(1);
    }
    std::_Exit(0);
  };
  EXPECT_EXIT(truncate_and_read(), testing::KilledBySignal(SIGBUS), "");
}

TEST(BadFileDeathTest, Row01FileWithoutPermission) {
  const TemporaryFolder folder;
  const auto path = folder.write("secret.safetensors", "{}");
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  const auto open_as_nobody = [&path] {
    if (::geteuid() == 0 && ::setuid(65534) != 0) std::_Exit(2);  // root may read everything
    try {
      dit::Safetensors::open(path);
    } catch (const dit::Error& error) {
      std::_Exit(error.code() == dit::errc::io_open ? 0 : 1);
    }
    std::_Exit(3);
  };
  EXPECT_EXIT(open_as_nobody(), testing::ExitedWithCode(0), "");
}

TEST(SaveDeathTest, ToADiskThatIsFullIsTypedAndLeavesNothing) {
  const TemporaryFolder folder;
  const auto path = folder.write("net.safetensors", "old");
  const auto save_with_little_room = [&path] {
    std::signal(SIGXFSZ, SIG_IGN);  // so that write fails with EFBIG
    const rlimit little{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &little);
    try {
      dit::save(numbered<Net<float>>(), path);
    } catch (const dit::Error& error) {
      std::_Exit(error.code() == dit::errc::io_write ? 0 : 1);
    }
    std::_Exit(3);
  };
  EXPECT_EXIT(save_with_little_room(), testing::ExitedWithCode(0), "");
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
