#include <gtest/gtest.h>

#include "core/allocations.hpp"
#include "dit/io/load.hpp"
#include "dit/io/save.hpp"
#include "io/bad_files.hpp"
#include "io/modules.hpp"
#include "io/temporary.hpp"
#include "sanitized.hpp"

namespace {

using namespace dit_test;

constexpr long long mb = 1 << 20;

/// The most bytes that were allocated while `f` ran, above what was before.
template <class F>
long long peak_of(F&& f) {
  const long long before = allocations::live;
  allocations::peak = before;
  f();
  return allocations::peak - before;
}

/// How many descriptors this process has open but for pipes: clang's sanitizers open one for a moment, in any
/// thread, to see whether memory is there.
int open_descriptors() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/fd")) {
    std::error_code closed_meanwhile;
    const auto status = entry.status(closed_meanwhile);
    count += exists(status) && !is_fifo(status) ? 1 : 0;
  }
  return count;
}

TEST(Memory, RefusingAFileTakesNoMoreThanItsHeaderAnd16MB) {
  for (const BadFile& bad : bad_files()) {
    auto source = bad.open();
    std::uint64_t header = 0;
    if (source->size() >= 8) source->read(0, &header, 8);
    const auto bound = static_cast<long long>(std::min(header, source->size())) + 16 * mb;
    const long long peak = peak_of([&] { error_of([&] { dit::Safetensors(std::move(source)); }); });
    EXPECT_LE(peak, bound) << bad.row << " " << bad.what.substr(0, 200);
    EXPECT_GT(peak, 0);
  }
}

TEST(Memory, HeaderOfAMillionTensorsTakesNoMoreThanItsOwnSizeAnd16MB) {
  // Refused at its very end; then not refused at all.
  for (const std::string last : {R"("z":{"dtype":"F32","shape":[0],"data_offsets":[0,4]})",
                                 R"("z":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})"}) {
    auto source = many_tensors(dit::max_tensors - 1, last);
    const auto header = static_cast<long long>(source->size());
    bool opened = false;
    const long long peak = peak_of([&] {
      try {
        const dit::Safetensors file(std::move(source));
        opened = file.size() == dit::max_tensors;
      } catch (const dit::Error& error) {
        EXPECT_EQ(name(error.code()), "size_mismatch");
      }
    });
    EXPECT_LE(peak, header + 16 * mb);
    RecordProperty(opened ? "opened_mb" : "refused_mb", static_cast<int>(peak / mb));
    EXPECT_EQ(opened, last.find("[0,0]") != std::string::npos);
  }
}

/// Runs `f` with the first, second, third ... allocation failing, until it succeeds without one: each time an Error
/// that says so, no memory lost and no file left open.
template <class F>
void expect_typed_errors_when_allocations_fail(F&& f) {
  f();  // what the standard library allocates once and keeps
  long failures = 0;
  for (;; ++failures) {
    const long long live = allocations::live;
    const int descriptors = open_descriptors();
    bool failed = false;
    {
      allocations::FailAfter one(failures);
      try {
        f();
      } catch (const dit::Error& error) {
        EXPECT_EQ(name(error.code()), "out_of_memory") << error.what();
      }
      failed = one.failed();
    }
    ASSERT_EQ(allocations::live, live) << "allocation " << failures << " failed and something leaked";
    ASSERT_EQ(open_descriptors(), descriptors) << "allocation " << failures << " failed and a file stayed open";
    if (!failed) break;
  }
  EXPECT_GT(failures, 20);
}

TEST(BadBinding, Row42AnyAllocationMayFail) {
  const TemporaryFolder folder;
  const auto model = numbered<Net<float>>();
  const auto bytes = dit::save_to_memory(model, {.dtype = dit::DType::F16, .metadata = {{"format", "pt"}}});
  const std::string content(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto path = folder.write("net.safetensors", content);
  folder.write("shard.safetensors", content);
  std::string map;
  const auto file = dit::Safetensors::from_memory(bytes);
  for (std::size_t i = 0; i < file.size(); ++i) {
    map += (i == 0 ? "\"" : ",\"") + std::string(file.name(i)) + R"(":"shard.safetensors")";
  }
  const auto index = folder.write("model.safetensors.index.json", R"({"weight_map":{)" + map + "}}");

  expect_typed_errors_when_allocations_fail([&] { dit::load_from_memory<Net<float>>(bytes); });
  expect_typed_errors_when_allocations_fail([&] { dit::load<Net<float>>(path); });
  expect_typed_errors_when_allocations_fail([&] { dit::load<Net<float>>(path, {.open = {.mapped = true}}); });
  expect_typed_errors_when_allocations_fail([&] { dit::load<Net<float>>(index); });
  expect_typed_errors_when_allocations_fail([&] { dit::load<Net<float>>(folder.path()); });
  dit::ThreadPool pool(3);
  expect_typed_errors_when_allocations_fail([&] { dit::load<Net<float>>(path, {.executor = &pool}); });
  expect_typed_errors_when_allocations_fail([&] { dit::save_to_memory(model); });
  const auto saved = folder / "saved";
  expect_typed_errors_when_allocations_fail([&] { dit::save(model, saved); });
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 4) << "a temporary file is left";
}

/// The most bytes of this process that were resident while `f` ran, above what was before; 0 where that is not
/// known, or not its own doing.
template <class F>
long long resident_peak_of(F&& f) {
#if defined(__linux__) && !DIT_TEST_SANITIZED
  const auto resident = [](const std::string& which) {
    std::ifstream status("/proc/self/status");
    long long kilobytes = 0;
    for (std::string word; status >> word;) {
      if (word == which) status >> kilobytes;
    }
    return kilobytes * 1024;
  };
  std::ofstream("/proc/self/clear_refs") << 5;  // forgets the peak so far
  const long long before = resident("VmRSS:");
  f();
  return resident("VmHWM:") - before;
#else
  f();
  return 0;
#endif
}

/// Three weights of 16 MB, a table that is one row of 6 MB.
struct Large {
  using R = float;
  std::array<Layer<2048, 2048, float>, 3> layers;
  dit::Parameter<float, 1, 512, 3072> table;
  static constexpr void visit(auto&& f, auto&... self) {
    f("layers", self.layers...);
    f("table", self.table...);
  }
};

TEST(Memory, LoadingTakesThePackedWeightsTheLargestTensorAnd16MB) {
  constexpr long long largest = 4LL * 2048 * 2048, row = 4LL * 512 * 3072, weights = 3 * (largest + 4 * 2048) + row;
#if defined(__linux__)
  constexpr long long heap = 3 * 4 * 2048;  // what is large has pages of its own
#else
  constexpr long long heap = weights;
#endif
  const TemporaryFolder folder;
  const auto model = numbered<Large>();
  for (const dit::DType dtype : {dit::DType::F32, dit::DType::F64, dit::DType::BF16}) {
    const auto path = folder / "large.safetensors";
    EXPECT_LE(peak_of([&] { dit::save(model, path, {.dtype = dtype}); }), 3 * row + 2 * mb)
        << "a row, as float and as F64";
    for (const int threads : {1, 2, 16}) {
      dit::ThreadPool pool(threads);
      const long long peak = peak_of([&] { dit::load<Large>(path, {.executor = &pool}); });
      EXPECT_LE(peak, heap + 16 * mb) << threads;
      EXPECT_GE(peak, heap);
      EXPECT_LE(resident_peak_of([&] { dit::load<Large>(path, {.executor = &pool}); }), weights + largest + 16 * mb)
          << threads;
    }
  }
}

}  // namespace
