#include "dit/io/save.hpp"

#include <gtest/gtest.h>

#include <random>

#include "dit/io/load.hpp"
#include "io/modules.hpp"
#include "io/temporary.hpp"

namespace {

using namespace dit_test;
using dit::DType;
using dit::Layout;

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

dit::TensorToWrite tensor(std::string name, DType dtype, std::vector<std::uint64_t> shape, std::string hex) {
  return {std::move(name), dtype, std::move(shape), [hex](dit::ByteSink& sink) {
            for (std::size_t i = 0; i < hex.size(); i += 2) {
              const auto byte = static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
              sink.write(&byte, 1);
            }
          }};
}

std::string written(std::vector<dit::TensorToWrite> tensors, const dit::Metadata& metadata = {}) {
  dit::MemorySink sink;
  dit::write_safetensors(sink, std::move(tensors), metadata);
  return text_of(sink.take());
}

// The bytes of safetensors 0.8.0 in Python:
//   t = {"b.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b.bias": np.array([1, -2], np.float32),
//        "a": np.array([0.5, 1.5, 2.5], np.float16), "scale": np.array(3.25), "none": np.zeros((2, 0), np.float32),
//        "ids": np.array([1, 2], np.int64), "mask": np.array([True]), 'q"\\\u00e9/\U0001F600': np.array([7],
//        np.uint8), "i": np.array([-1], np.int32), "u": np.array([9], np.uint16), "A": np.array([4], np.float32),
//        "b10": np.array([4], np.float32), "b2": np.array([4], np.float32)}
//   save(t, metadata={"note": "tab\t line\n bell\x07 del\x7f quote\" slash/ back\\ \u00e9"})
TEST(Writer, WritesTheBytesOfThePythonLibrary) {
  const std::string header =
      R"({"__metadata__":{"note":"tab\t line\n bell\u0007 del)"
      "\x7f"
      R"( quote\" slash/ back\\ é"},"ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},)"
      R"("scale":{"dtype":"F64","shape":[],"data_offsets":[16,24]},)"
      R"("A":{"dtype":"F32","shape":[1],"data_offsets":[24,28]},)"
      R"("b.bias":{"dtype":"F32","shape":[2],"data_offsets":[28,36]},)"
      R"("b.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[36,60]},)"
      R"("b10":{"dtype":"F32","shape":[1],"data_offsets":[60,64]},)"
      R"("b2":{"dtype":"F32","shape":[1],"data_offsets":[64,68]},)"
      R"("none":{"dtype":"F32","shape":[2,0],"data_offsets":[68,68]},)"
      R"("i":{"dtype":"I32","shape":[1],"data_offsets":[68,72]},)"
      R"("a":{"dtype":"F16","shape":[3],"data_offsets":[72,78]},)"
      R"("u":{"dtype":"U16","shape":[1],"data_offsets":[78,80]},)"
      R"("q\"\\é/😀":{"dtype":"U8","shape":[1],"data_offsets":[80,81]},)"
      R"("mask":{"dtype":"BOOL","shape":[1],"data_offsets":[81,82]}}    )";
  ASSERT_EQ(header.size(), 840U);
  const std::string data =
      "010000000000000002000000000000000000000000000a40000080400000803f000000c0000000000000803f00000040000040400000"
      "80"
      "400000a0400000804000008040ffffffff0038003e004109000701";
  std::string expected("\x48\x03\0\0\0\0\0\0", 8);
  expected += header;
  for (std::size_t i = 0; i < data.size(); i += 2) {
    expected += static_cast<char>(std::stoi(data.substr(i, 2), nullptr, 16));
  }
  EXPECT_EQ(
      written({tensor("b.weight", DType::F32, {2, 3}, "000000000000803f0000004000004040000080400000a040"),
               tensor("b.bias", DType::F32, {2}, "0000803f000000c0"), tensor("a", DType::F16, {3}, "0038003e0041"),
               tensor("scale", DType::F64, {}, "0000000000000a40"), tensor("none", DType::F32, {2, 0}, ""),
               tensor("ids", DType::I64, {2}, "01000000000000000200000000000000"),
               tensor("mask", DType::BOOL, {1}, "01"), tensor("q\"\\é/😀", DType::U8, {1}, "07"),
               tensor("i", DType::I32, {1}, "ffffffff"), tensor("u", DType::U16, {1}, "0900"),
               tensor("A", DType::F32, {1}, "00008040"), tensor("b10", DType::F32, {1}, "00008040"),
               tensor("b2", DType::F32, {1}, "00008040")},
              {{"note", "tab\t line\n bell\a del\x7f quote\" slash/ back\\ é"}}),
      expected);
  EXPECT_EQ(written({}), std::string("\x8\0\0\0\0\0\0\0{}      ", 16));
}

TEST(Writer, RefusesWhatNoReaderWouldTake) {
  const auto refused = [](const std::string& name, const dit::Metadata& metadata = {}) {
    return code_of([&] { written({tensor(name, DType::U8, {1}, "00")}, metadata); });
  };
  EXPECT_EQ(refused(""), "bad_name");
  EXPECT_EQ(refused("a\n"), "bad_name");
  EXPECT_EQ(refused(std::string("a\0b", 3)), "bad_name");
  EXPECT_EQ(refused(std::string(4097, 'n')), "bad_name");
  EXPECT_EQ(refused("\xff"), "header_not_utf8");
  EXPECT_EQ(refused("a", {{"k", "\xc3"}}), "header_not_utf8");
  EXPECT_EQ(refused("a", {{"k", std::string(5'000'000, 'v')}}), "bad_metadata");
  const std::string large(2'000'000, 'v');
  EXPECT_NO_THROW(written({}, {{"a", large}, {"b", large}}));
  EXPECT_EQ(refused("a", {{"a", large}, {"b", large}, {"c", large}}), "bad_metadata");
  EXPECT_EQ(code_of([] {
              written({tensor("a", DType::U8, {1}, "00"), tensor("a", DType::U8, {1}, "00")});
            }),
            "duplicate_name");
  EXPECT_EQ(code_of([] { written({tensor("a", DType::U8, {1ULL << 40, 1ULL << 40}, "")}); }), "size_overflow");
  EXPECT_EQ(code_of([] { written({tensor("a", DType::U8, std::vector<std::uint64_t>(9, 1), "00")}); }), "bad_rank");
}

TEST(Save, ThenLoadThenSaveGivesTheSameBytes) {
  const TemporaryFolder folder;
  const auto model = numbered<Net<float>>();
  for (const Layout layout : {Layout::original, Layout::diffusers}) {
    for (const DType dtype : {DType::F32, DType::F64, DType::F16, DType::BF16}) {
      const dit::SaveOptions options{.dtype = dtype, .layout = layout, .metadata = {{"format", "pt"}}};
      dit::save(model, folder / "first", options);
      const auto again = dit::load<Net<float>>(folder / "first");
      EXPECT_EQ(again.layout(), layout);
      dit::save(again, folder / "second", options);
      EXPECT_EQ(slurp(folder / "first"), slurp(folder / "second")) << name(dtype);
      EXPECT_EQ(slurp(folder / "first"), text_of(dit::save_to_memory(model, options)));
    }
  }
}

TEST(Save, KeepsEveryBit) {
  const auto model = numbered<Net<float>>(1.0 / 3);
  auto bytes = dit::save_to_memory(model);
  EXPECT_EQ(dit::max_difference(model, dit::load_from_memory<Net<float>>(bytes)), 0);

  const auto reference = numbered<Net<double>>(1.0 / 3);
  bytes = dit::save_to_memory(reference);
  EXPECT_EQ(dit::max_difference(reference, dit::load_from_memory<Net<double>>(bytes)), 0);
  const dit::Safetensors file = dit::Safetensors::from_memory(bytes);
  EXPECT_EQ(file[0].dtype, DType::F64);
}

TEST(Save, IsTheSameForEveryOrderOfSplittingALayout) {
  auto model = numbered<Net<float>>();
  model.fill_derived();
  const auto other = dit::save_to_memory(model, {.layout = Layout::diffusers});
  const auto back = dit::load_from_memory<Net<float>>(other);
  EXPECT_EQ(dit::max_difference(model, back), 0);
  EXPECT_EQ(dit::save_to_memory(back, {.layout = Layout::original}), dit::save_to_memory(model));
}

TEST(Save, RoundsToTheNearestOfTheDtype) {
  auto layer = numbered<Layer<1, 3, float>>();
  const float values[3] = {1.0F + 1.0F / 256, 1.0F + 3.0F / 256, -1.0F / 3};  // ties to even at bf16
  layer.weight.set_rows(0, 3, values);
  const auto file_of = [&layer](DType dtype) {
    const auto bytes = dit::save_to_memory(layer, {.dtype = dtype});
    const auto file = dit::Safetensors::from_memory(bytes);
    EXPECT_EQ(file[1].dtype, dtype);
    return file.read<double>(file[*file.find("weight")]);
  };
  EXPECT_EQ(file_of(DType::BF16), (std::vector<double>{1.0, 1.0 + 4.0 / 256, -0.333984375}));
  EXPECT_EQ(file_of(DType::F16), (std::vector<double>{1.0 + 1.0 / 256, 1.0 + 3.0 / 256, -0.333251953125}));
  EXPECT_EQ(file_of(DType::F64), (std::vector<double>{values[0], values[1], static_cast<double>(values[2])}));
}

TEST(Save, LeavesTheOldFileWhenItCannotWrite) {
  const TemporaryFolder folder;
  const auto path = folder.write("model.safetensors", "old");
  Layer<2, 3, float> empty;
  EXPECT_EQ(code_of([&] { dit::save(empty, path); }), "bad_state");
  EXPECT_EQ(code_of([&] { dit::save(numbered<Net<float>>(), path, {.dtype = DType::I8}); }), "unsupported_dtype");
  EXPECT_EQ(code_of([&] { dit::save(numbered<Layer<2, 3, float>>(), path, {.layout = Layout::diffusers}); }),
            "bad_option");
  EXPECT_EQ(code_of([&] {
              dit::FileSink sink(path);
              dit::write_safetensors(sink, {tensor("a", DType::U8, {1}, "00"), tensor("a", DType::U8, {1}, "00")});
            }),
            "duplicate_name");
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1)
      << "something was left behind";

  EXPECT_EQ(code_of([&] { dit::save(numbered<Net<float>>(), folder / "missing" / "model"); }), "io_write");
  EXPECT_EQ(code_of([&] { dit::save(numbered<Net<float>>(), folder.path()); }), "io_write");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);

  dit::save(numbered<Net<float>>(), path);
  EXPECT_NO_THROW(dit::load<Net<float>>(path));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(Save, RandomTensorsComeBackAsTheyWere) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&random](std::uint32_t n) { return static_cast<std::uint32_t>(random()) % n; };
    std::map<std::string, std::pair<dit::TensorInfo, std::string>> expected;
    std::vector<dit::TensorToWrite> tensors;
    for (std::uint32_t n = below(12); n > 0; --n) {
      dit::TensorInfo info;
      for (std::uint32_t length = 1 + below(20); length > 0; --length) {
        constexpr std::string_view alphabet[] = {"a", "Z", ".", "0", "\"", "\\", "/", " ", "é", "_", "😀", "{", "}"};
        info.name += alphabet[below(13)];
      }
      info.dtype = static_cast<DType>(below(22));
      for (std::uint32_t rank = below(5); rank > 0; --rank) info.shape.push_back(below(6));
      const std::uint64_t size = *dit::detail::byte_size(info.shape, info.dtype);
      std::string bytes;
      while (bytes.size() < size) bytes += static_cast<char>(random());
      if (!expected.emplace(info.name, std::pair(info, bytes)).second) continue;
      tensors.push_back({info.name, info.dtype, info.shape,
                         [bytes](dit::ByteSink& sink) { sink.write(bytes.data(), bytes.size()); }});
    }
    dit::Metadata metadata;
    for (std::uint32_t n = below(4); n > 0; --n)
      metadata["key\n" + std::to_string(below(100))] = std::string(below(9), '\\');
    const std::string content = written(tensors, metadata);
    const auto file = dit::Safetensors::from_memory(bytes_of(content));
    EXPECT_EQ(file.metadata(), metadata);
    ASSERT_EQ(file.size(), expected.size());
    std::size_t i = 0;
    for (const auto& [name, tensor] : expected) {
      const dit::TensorInfo info = file[i++];
      EXPECT_EQ(info.name, name);
      EXPECT_EQ(info.dtype, tensor.first.dtype);
      EXPECT_EQ(info.shape, tensor.first.shape);
      std::string bytes(tensor.second.size(), '\0');
      file.read_bytes(info, 0, bytes.size(), reinterpret_cast<std::byte*>(bytes.data()));
      EXPECT_EQ(bytes, tensor.second);
    }
  }
}

}  // namespace
