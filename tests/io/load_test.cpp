#include "dit/io/load.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "dit/io/save.hpp"
#include "io/bad_files.hpp"
#include "io/modules.hpp"
#include "io/temporary.hpp"

namespace {

using namespace dit_test;
using dit::DType;
using dit::Layout;
using dit::LoadReport;

using Bytes = std::vector<std::byte>;

/// A file of some tensors of `bytes`, under other names: `rename` gives the new name, or nothing to leave one out.
template <class Rename>
Bytes renamed(const Bytes& bytes, Rename&& rename) {
  const auto file = dit::Safetensors::from_memory(bytes);
  std::vector<dit::TensorToWrite> tensors;
  for (std::size_t i = 0; i < file.size(); ++i) {
    const dit::TensorInfo info = file[i];
    const std::string name = rename(info.name);
    if (name.empty()) continue;
    tensors.push_back({name, info.dtype, info.shape, [&file, info](dit::ByteSink& sink) {
                         Bytes data(info.end - info.begin);
                         file.read_bytes(info, 0, data.size(), data.data());
                         sink.write(data.data(), data.size());
                       }});
  }
  dit::MemorySink sink;
  dit::write_safetensors(sink, std::move(tensors));
  return sink.take();
}

Bytes prefixed(const Bytes& bytes, const std::string& prefix) {
  return renamed(bytes, [&prefix](const std::string& name) { return prefix + name; });
}

Net<float> derived_and_numbered() {
  auto model = numbered<Net<float>>();
  model.fill_derived();
  return model;
}

TEST(Load, GivesBackWhatWasSaved) {
  const auto model = numbered<Net<float>>();
  const Bytes bytes = dit::save_to_memory(model);
  const TemporaryFolder folder;
  const auto path = folder.write("net.safetensors", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  EXPECT_EQ(dit::max_difference(model, dit::load_from_memory<Net<float>>(bytes)), 0);
  EXPECT_EQ(dit::max_difference(model, dit::load<Net<float>>(path)), 0);
  EXPECT_EQ(dit::max_difference(model, dit::load<Net<float>>(path, {.open = {.mapped = true}})), 0);
  EXPECT_EQ(dit::max_difference(numbered<Net<double>>(), dit::load<Net<double>>(path)), 0);

  LoadReport report;
  dit::load<Net<float>>(path, {.strict = true}, &report);
  EXPECT_EQ(report.tensors, 18U);
  EXPECT_EQ(report.bytes, static_cast<std::uint64_t>(4 * dit::parameter_count<Net<float>>()));
  EXPECT_EQ(report.layout, Layout::original);
  EXPECT_EQ(report.prefix, "");
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(report.unexpected_count, 0U);
}

TEST(Load, ReadsAModuleOnItsOwn) {
  const auto layer = numbered<Layer<3, 40, float>>();
  EXPECT_EQ(dit::max_difference(layer, dit::load_from_memory<Layer<3, 40, float>>(dit::save_to_memory(layer))), 0);
}

TEST(Load, TellsTheLayoutFromTheNames) {
  const auto model = derived_and_numbered();
  const Bytes bytes = dit::save_to_memory(model, {.layout = Layout::diffusers});
  LoadReport report;
  const auto loaded = dit::load_from_memory<Net<float>>(bytes, {.strict = true, .check_copies = true}, &report);
  EXPECT_EQ(loaded.layout(), Layout::diffusers);
  EXPECT_EQ(report.layout, Layout::diffusers);
  EXPECT_EQ(report.unexpected_count, 0U) << "the copies in the other blocks are known";
  EXPECT_EQ(report.tensors, 1U + 2U + 3U * 10U + 2U);
  EXPECT_EQ(dit::max_difference(model, loaded), 0);
  EXPECT_EQ(code_of([&] { dit::load_from_memory<Net<float>>(bytes, {.layout = Layout::original}); }),
            "tensor_missing");
}

TEST(Load, OtherLayoutStacksSplitsSwapsAndCopies) {
  const auto model = numbered<Net<float>>();
  const Bytes bytes = dit::save_to_memory(model, {.layout = Layout::diffusers});
  const auto file = dit::Safetensors::from_memory(bytes);
  const auto read = [&file](const char* name) {
    const auto at = file.find(name);
    EXPECT_TRUE(at) << name;
    return file.read<float>(file[*at]);
  };
  const auto rows = [](const auto& parameter, dit::Index first, dit::Index count) {
    std::vector<float> values(static_cast<std::size_t>(count * parameter.row_size));
    parameter.get_rows(first, count, values.data());
    return values;
  };
  const auto& block = model.blocks[1];
  EXPECT_EQ(read("parts.1.q.weight"), rows(block.qkv.weight, 0, 6));
  EXPECT_EQ(read("parts.1.k.weight"), rows(block.qkv.weight, 6, 6));
  EXPECT_EQ(read("parts.1.v.bias"), rows(block.qkv.bias, 12, 6));
  EXPECT_EQ(read("parts.1.small.weight"), rows(block.mixed.weight, 0, 5));
  EXPECT_EQ(read("parts.1.large.weight"), rows(block.mixed.weight, 5, 15));
  std::vector<float> swapped = rows(model.last.weight, 17, 17);
  const std::vector<float> first = rows(model.last.weight, 0, 17);
  swapped.insert(swapped.end(), first.begin(), first.end());
  EXPECT_EQ(read("end.weight"), swapped);
  for (const char* name : {"parts.0.clock.weight", "parts.1.clock.weight", "parts.2.clock.weight"}) {
    EXPECT_EQ(read(name), rows(model.time.weight, 0, 6));
  }
  EXPECT_FALSE(file.find("parts.3.clock.weight"));
  EXPECT_FALSE(file.find("table"));
  EXPECT_TRUE(file.find("patch.weight")) << "a name without a rule is the same in every layout";
}

TEST(Load, ChecksCopiesIfAsked) {
  Bytes bytes = dit::save_to_memory(derived_and_numbered(), {.layout = Layout::diffusers});
  const auto file = dit::Safetensors::from_memory(bytes);
  const dit::TensorInfo copy = file[*file.find("parts.2.clock.bias")];
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  bytes[8 + header + copy.begin] ^= std::byte{1};
  EXPECT_NO_THROW(dit::load_from_memory<Net<float>>(bytes));
  const dit::Error error = error_of([&] { dit::load_from_memory<Net<float>>(bytes, {.check_copies = true}); });
  EXPECT_EQ(error.code(), dit::errc::shape_mismatch);
  EXPECT_EQ(error.where().tensor, "parts.2.clock.bias");
}

TEST(Load, FillsDerivedTensorsThatAreAbsentAndReadsThoseThatAreThere) {
  const auto model = numbered<Net<float>>();
  const Bytes whole = dit::save_to_memory(model);
  EXPECT_EQ(dit::load_from_memory<Net<float>>(whole).table.data()[3], model.table.data()[3]);
  const Bytes without = renamed(whole, [](const std::string& name) { return name == "table" ? "" : name; });
  LoadReport report;
  const auto loaded = dit::load_from_memory<Net<float>>(without, {.strict = true}, &report);
  EXPECT_EQ(loaded.table.data()[3], 3.0F / 8);
  EXPECT_EQ(report.tensors, 17U);
  EXPECT_EQ(dit::max_difference(model.last, loaded.last), 0);
}

TEST(Load, StripsThePrefixesOfTrainersAndBundles) {
  const auto model = numbered<Net<float>>();
  const Bytes bytes = dit::save_to_memory(model);
  for (const auto prefix : dit::known_prefixes) {
    LoadReport report;
    const auto loaded =
        dit::load_from_memory<Net<float>>(prefixed(bytes, std::string(prefix)), {.strict = true}, &report);
    EXPECT_EQ(report.prefix, prefix);
    EXPECT_EQ(dit::max_difference(model, loaded), 0);
  }
  const Bytes other = prefixed(bytes, "student.net.");
  EXPECT_EQ(code_of([&] { dit::load_from_memory<Net<float>>(other); }), "tensor_missing");
  EXPECT_NO_THROW(dit::load_from_memory<Net<float>>(other, {.prefix = "student.net."}));
  EXPECT_EQ(code_of([&] { dit::load_from_memory<Net<float>>(prefixed(bytes, "ema."), {.prefix = ""}); }),
            "tensor_missing");
}

TEST(BadBinding, Row37WeightThatIsMissingIsNamedWithTheNearest) {
  const Bytes bytes = renamed(dit::save_to_memory(numbered<Net<float>>()), [](const std::string& name) {
    return name == "blocks.1.qkv.weight" ? "blocks.1.qkv.wieght" : name == "last.bias" ? "" : name;
  });
  LoadReport report;
  const dit::Error error = error_of([&] { dit::load_from_memory<Net<float>>(bytes, {}, &report); });
  EXPECT_EQ(error.code(), dit::errc::tensor_missing);
  ASSERT_EQ(report.missing.size(), 2U);
  EXPECT_EQ(report.missing[0].name, "blocks.1.qkv.weight");
  EXPECT_EQ(report.missing[0].nearest, (std::vector<std::string>{"blocks.1.qkv.wieght"}));
  EXPECT_EQ(report.missing[1].name, "last.bias");
  EXPECT_EQ(report.unexpected, (std::vector<std::string>{"blocks.1.qkv.wieght"}));
  for (const char* part : {"2 tensors are missing", "blocks.1.qkv.weight", "blocks.1.qkv.wieght", "last.bias"}) {
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
  }
}

TEST(BadBinding, Row37UnderAnotherPrefixTheFiveNearestAreNamed) {
  const Bytes bytes = prefixed(dit::save_to_memory(numbered<Net<float>>()), "student.");
  LoadReport report;
  const dit::Error error = error_of([&] { dit::load_from_memory<Net<float>>(bytes, {}, &report); });
  EXPECT_EQ(error.code(), dit::errc::tensor_missing);
  EXPECT_EQ(report.missing.size(), 17U) << "all but the derived one";
  for (std::size_t i = 0; i < 16; ++i) {
    ASSERT_EQ(report.missing[i].nearest.size(), 5U);
    EXPECT_EQ(report.missing[i].nearest[0], "student." + report.missing[i].name);
  }
  EXPECT_EQ(report.unexpected_count, 18U);
}

TEST(BadBinding, Row37PartOfAStackedWeightThatIsMissing) {
  const Bytes bytes =
      renamed(dit::save_to_memory(derived_and_numbered(), {.layout = Layout::diffusers}),
              [](const std::string& name) { return name == "parts.2.k.bias" || name == "end.bias" ? "" : name; });
  LoadReport report;
  EXPECT_EQ(code_of([&] { dit::load_from_memory<Net<float>>(bytes, {}, &report); }), "tensor_missing");
  ASSERT_EQ(report.missing.size(), 2U);
  EXPECT_EQ(report.missing[0].name, "parts.2.k.bias");
  EXPECT_EQ(report.missing[1].name, "end.bias");
}

struct Two {
  using R = float;
  Layer<2, 3, float> a, b;
  static constexpr void visit(auto&& f, auto&... self) {
    f("a", self.a...);
    f("b", self.b...);
  }
};
struct One {
  Layer<2, 3, float> a;
  static constexpr void visit(auto&& f, auto&... self) { f("a", self.a...); }
};

TEST(BadBinding, Row38ExtraWeightsAreListedAndRefusedOnlyWhenStrict) {
  const Bytes bytes = dit::save_to_memory(numbered<Two>());
  LoadReport report;
  EXPECT_NO_THROW(dit::load_from_memory<One>(bytes, {}, &report));
  EXPECT_EQ(report.unexpected, (std::vector<std::string>{"b.bias", "b.weight"}));
  EXPECT_EQ(report.unexpected_count, 2U);
  const dit::Error error = error_of([&] { dit::load_from_memory<One>(bytes, {.strict = true}); });
  EXPECT_EQ(error.code(), dit::errc::unexpected_tensor);
  EXPECT_NE(std::string_view(error.what()).find("b.weight"), std::string_view::npos) << error.what();
}

TEST(BadBinding, Row39WeightOfAnotherShapeIsToldWithBothShapes) {
  LoadReport report;
  const dit::Error transposed = error_of([&] {
    dit::load_from_memory<Layer<3, 2, float>>(dit::save_to_memory(numbered<Layer<2, 3, float>>()), {}, &report);
  });
  EXPECT_EQ(transposed.code(), dit::errc::shape_mismatch);
  ASSERT_EQ(report.misshapen.size(), 2U) << "all of them at once";
  EXPECT_EQ(report.misshapen[0].expected, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(report.misshapen[0].found, (std::vector<std::uint64_t>{3, 2}));
  for (const char* part : {"weight", "[2, 3]", "[3, 2]", "[2]", "[3]"}) {
    EXPECT_NE(std::string_view(transposed.what()).find(part), std::string_view::npos) << transposed.what();
  }

  // As many numbers in another rank are another shape as well.
  Bytes flat;
  {
    dit::MemorySink sink;
    const auto zeros = [](std::size_t n) {
      return [n](dit::ByteSink& s) { s.write(std::string(n, '\0').data(), n); };
    };
    dit::write_safetensors(sink, {{"weight", DType::F32, {6}, zeros(24)}, {"bias", DType::F32, {2, 1}, zeros(8)}});
    flat = sink.take();
  }
  EXPECT_EQ(code_of([&] { dit::load_from_memory<Layer<3, 2, float>>(flat, {}, &report); }), "shape_mismatch");
  EXPECT_EQ(report.misshapen.size(), 2U);
}

TEST(BadBinding, Row39MissingComesBeforeMisshapenAndBothAreTold) {
  const Bytes bytes = renamed(dit::save_to_memory(numbered<Layer<2, 3, float>>()),
                              [](const std::string& name) { return name == "bias" ? "" : name; });
  LoadReport report;
  const dit::Error error =
      error_of([&] { dit::load_from_memory<Layer<3, 2, float>>(bytes, {.strict = true}, &report); });
  EXPECT_EQ(error.code(), dit::errc::tensor_missing);
  EXPECT_EQ(report.missing.size(), 1U);
  EXPECT_EQ(report.misshapen.size(), 1U);
}

TEST(BadBinding, Row19WeightsOfADtypeWithoutArithmetic) {
  dit::MemorySink sink;
  const auto zeros = [](std::size_t n) {
    return [n](dit::ByteSink& s) { s.write(std::string(n, '\0').data(), n); };
  };
  dit::write_safetensors(sink, {{"weight", DType::F8_E4M3, {2, 3}, zeros(6)}, {"bias", DType::F32, {2}, zeros(8)}});
  const Bytes bytes = sink.take();
  // Told before any memory is taken.
  const dit::Error error = error_of([&] { dit::load_from_memory<Layer<3, 2, float>>(bytes, {.memory_limit = 0}); });
  EXPECT_EQ(error.code(), dit::errc::unsupported_dtype);
  EXPECT_EQ(error.where().tensor, "weight");
  EXPECT_TRUE((dit::inspect<Layer<3, 2, float>>(dit::Checkpoint::from_memory(bytes)).complete()));
}

TEST(BadBinding, Row41NanAndInfAreTakenUnlessChecked) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()}) {
    for (const DType dtype : {DType::F32, DType::F64, DType::F16, DType::BF16}) {
      auto model = numbered<Layer<2, 3, double>>();
      model.bias.data()[1] = bad;
      const Bytes bytes = dit::save_to_memory(model, {.dtype = dtype});
      const auto loaded = dit::load_from_memory<Layer<2, 3, float>>(bytes);
      EXPECT_FALSE(std::isfinite(loaded.bias.data()[1]));
      const dit::Error error =
          error_of([&] { dit::load_from_memory<Layer<2, 3, float>>(bytes, {.check_finite = true}); });
      EXPECT_EQ(error.code(), dit::errc::non_finite_weight);
      EXPECT_EQ(error.where().tensor, "bias");
      EXPECT_EQ(code_of([&] { dit::load_from_memory<Layer<2, 3, double>>(bytes, {.check_finite = true}); }),
                "non_finite_weight");
    }
  }
  const Bytes good = dit::save_to_memory(numbered<Net<float>>());
  EXPECT_NO_THROW(dit::load_from_memory<Net<float>>(good, {.check_finite = true}));
}

TEST(BadBinding, Row42MemoryLimitOfTheUser) {
  const Bytes bytes = dit::save_to_memory(numbered<Layer<20, 33, float>>());
  const std::size_t weights = 48 * 20 * 4 + 33 * 4;  // rows are packed in strips of 16
  EXPECT_NO_THROW((dit::load_from_memory<Layer<20, 33, float>>(bytes, {.memory_limit = weights})));
  EXPECT_EQ(code_of([&] { dit::load_from_memory<Layer<20, 33, float>>(bytes, {.memory_limit = weights - 1}); }),
            "out_of_memory");
}

TEST(Load, ShardsAndTheirOrderDoNotMatter) {
  const auto model = numbered<Net<float>>();
  const Bytes bytes = dit::save_to_memory(model);
  const TemporaryFolder folder;
  std::string map;
  for (int shard = 2; shard >= 0; --shard) {
    int number = 0;
    const std::string file = "part" + std::to_string(shard) + ".safetensors";
    const Bytes part = renamed(bytes, [&](const std::string& name) {
      if (number++ % 3 != shard) return std::string();
      map += (map.empty() ? "\"" : ",\"") + name + "\":\"" + file + "\"";
      return name;
    });
    folder.write(file, {reinterpret_cast<const char*>(part.data()), part.size()});
  }
  folder.write("model.safetensors.index.json", R"({"metadata":{"total_size":1},"weight_map":{)" + map + "}}");
  const auto loaded = dit::load<Net<float>>(folder.path(), {.strict = true});
  EXPECT_EQ(dit::save_to_memory(loaded), bytes);
}

TEST(Load, ManyStrangeNamesCostNoTime) {
  const auto checkpoint = dit::Checkpoint(dit::Safetensors(many_tensors(200'000)));
  LoadReport report;
  EXPECT_EQ(code_of([&] { dit::bind<Net<float>>(checkpoint, {}, &report); }), "tensor_missing");
  EXPECT_EQ(report.unexpected_count, 200'001U);
  EXPECT_EQ(report.unexpected.size(), 1000U);
}

TEST(Names, PatternsMatchNumbersAndRests) {
  using dit::detail::match_name;
  EXPECT_EQ(match_name("blocks.{}.qkv.*", "blocks.12.qkv.weight")->number, "12");
  EXPECT_EQ(match_name("blocks.{}.qkv.*", "blocks.12.qkv.weight")->rest, "weight");
  EXPECT_FALSE(match_name("blocks.{}.qkv.*", "blocks.x.qkv.weight"));
  EXPECT_FALSE(match_name("blocks.{}.qkv.*", "blocks.1.qk.weight"));
  EXPECT_FALSE(match_name("blocks.{}.qkv", "blocks.1.qkv.weight"));
  EXPECT_FALSE(match_name("blocks.{}.qkv.weight", "blocks.1.qkv"));
  EXPECT_TRUE(match_name("table", "table"));
}

TEST(Report, EditDistanceCountsInsertionsDeletionsAndReplacements) {
  using dit::detail::edit_distance;
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("abc", "abc"), 0U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("weight", "wieght"), 2U);
  EXPECT_EQ(edit_distance("student.a", "a"), 8U);
}

}  // namespace
