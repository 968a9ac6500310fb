/// Files that Python's safetensors and diffusers wrote.

#include <gtest/gtest.h>

#include "dit/io/load.hpp"
#include "dit/io/save.hpp"
#include "io/temporary.hpp"
#include "models/models.hpp"

namespace {

using namespace dit_test;
using dit::Layout;
using support::golden_path;
using support::mini;

/// A file in two: the header without padding, and without metadata, whose order is left open; and the data.
std::pair<std::string, std::string> parts(const std::string& bytes) {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  std::string header = bytes.substr(8, length);
  header.resize(header.rfind('}') + 1);
  if (header.starts_with("{\"__metadata__\"")) header.erase(1, header.find("},") + 1);
  return {header, bytes.substr(8 + length)};
}

template <class M>
std::string saved(const M& model, const dit::SaveOptions& options = {}) {
  const auto bytes = dit::save_to_memory(model, options);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

using Mini = dit::DiT<mini>;

TEST(PythonFile, OfTheOriginalDiTComesBackByteForByte) {
  EXPECT_EQ(parts(saved(dit::load<Mini>(golden_path("dit_mini.safetensors"), {.strict = true}))),
            parts(slurp(golden_path("dit_mini.safetensors"))));
  EXPECT_EQ(parts(saved(dit::load<dit::DiT<support::tiny>>(golden_path("dit_tiny.safetensors"), {.strict = true}))),
            parts(slurp(golden_path("dit_tiny.safetensors"))));
}

TEST(PythonFile, OfHalfPrecisionComesBackByteForByte) {
  for (const auto& [file, dtype] : {std::pair{"dit_mini_f16.safetensors", dit::DType::F16},
                                    std::pair{"dit_mini_bf16.safetensors", dit::DType::BF16}}) {
    const auto model = dit::load<Mini>(golden_path(file), {.strict = true});
    EXPECT_EQ(parts(saved(model, {.dtype = dtype})), parts(slurp(golden_path(file))));
    EXPECT_EQ(parts(saved(dit::load<dit::DiT<mini, double>>(golden_path(file)), {.dtype = dtype})),
              parts(slurp(golden_path(file))));
    if (dtype != dit::DType::BF16) continue;
    EXPECT_EQ(parts(saved(dit::load<dit::DiT<mini, dit::bf16>>(golden_path(file)), {.dtype = dtype})),
              parts(slurp(golden_path(file))));
  }
}

TEST(PythonFile, OfDiffusersComesBackByteForByte) {
  dit::LoadReport report;
  const auto path = golden_path("dit_mini_diffusers.safetensors");
  const auto model = dit::load<Mini>(path, {.strict = true, .check_copies = true}, &report);
  EXPECT_EQ(report.layout, Layout::diffusers);
  EXPECT_EQ(report.tensors, 39U) << "44 less the second block's copies of the embedders";
  EXPECT_EQ(parts(saved(model)), parts(slurp(path))) << "a model is saved in its own layout";
}

TEST(PythonFile, OfDiffusersBecomesTheOriginalAndBack) {
  const auto diffusers = dit::load<Mini>(golden_path("dit_mini_diffusers.safetensors"));
  EXPECT_EQ(parts(saved(diffusers, {.layout = Layout::original})),
            parts(slurp(golden_path("dit_mini.safetensors"))));
  const auto original = dit::load<Mini>(golden_path("dit_mini.safetensors"));
  EXPECT_EQ(parts(saved(original, {.layout = Layout::diffusers})),
            parts(slurp(golden_path("dit_mini_diffusers.safetensors"))));
}

TEST(PythonFile, InShardsIsTheWholeOne) {
  dit::LoadReport report;
  for (const char* path :
       {"dit_mini_diffusers_sharded", "dit_mini_diffusers_sharded/model.safetensors.index.json"}) {
    const auto model = dit::load<Mini>(golden_path(path), {.strict = true, .check_copies = true}, &report);
    EXPECT_EQ(parts(saved(model)), parts(slurp(golden_path("dit_mini_diffusers.safetensors"))));
  }
}

TEST(PythonFile, OfAnotherModelIsRefusedWithBothShapes) {
  dit::LoadReport report;
  const auto path = golden_path("dit_tiny.safetensors");
  EXPECT_EQ(code_of([&] { dit::load<Mini>(path, {}, &report); }), "shape_mismatch");
  EXPECT_GT(report.misshapen.size(), 20U);
  EXPECT_EQ(code_of([&] { dit::load<Mini>(golden_path("plain_dit.safetensors")); }), "tensor_missing");
  EXPECT_EQ(code_of([&] { dit::load<Mini>(golden_path("generate.py")); }), "header_length_out_of_range");
}

}  // namespace
