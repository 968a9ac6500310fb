/// The same MMDiT or FLUX in its authors' layout and in diffusers': names, rows, halves, and the way back.

#include <algorithm>
#include <set>

#include "dit/io/save.hpp"
#include "models/text_models.hpp"

namespace {

using namespace dit;
using namespace support;

struct Sd3 {
  using M = MMDiT<sd3_mini>;
  static constexpr const char *name = "sd3", *original = "mmdit_mini.safetensors",
                              *diffusers = "mmdit_mini_diffusers.safetensors";
  static constexpr DType dtype = DType::F32;
};
struct Sd35 {
  using M = MMDiT<sd35_mini>;
  static constexpr const char *name = "sd3_5", *original = "mmdit_mini_35.safetensors",
                              *diffusers = "mmdit_mini_35_diffusers.safetensors";
  static constexpr DType dtype = DType::F32;
};
struct FluxDev {
  using M = Flux<flux_mini>;
  static constexpr const char *name = "flux", *original = "flux_mini.safetensors",
                              *diffusers = "flux_mini_diffusers_sharded";
  static constexpr DType dtype = DType::BF16;
};
struct FileName {
  template <class Files>
  static std::string GetName(int) {
    return Files::name;
  }
};

template <class Files>
class TextLayouts : public testing::Test {};
using AllFiles = testing::Types<Sd3, Sd35, FluxDev>;
TYPED_TEST_SUITE(TextLayouts, AllFiles, FileName);

TYPED_TEST(TextLayouts, AreTwoSpellingsOfTheSameModel) {
  using M = typename TypeParam::M;
  LoadReport from_original, from_diffusers;
  const auto original = load<M>(golden_path(TypeParam::original), {.strict = true}, &from_original),
             diffusers = load<M>(golden_path(TypeParam::diffusers), {.strict = true}, &from_diffusers);
  EXPECT_EQ(original.layout(), Layout::original);
  EXPECT_EQ(diffusers.layout(), Layout::diffusers);
  EXPECT_EQ(from_original.tensors, static_cast<std::size_t>(tensor_count<M>()));
  EXPECT_GT(from_diffusers.tensors, from_original.tensors);
  EXPECT_EQ(from_original.bytes, from_diffusers.bytes);
  EXPECT_EQ(max_difference(original, diffusers), 0);
  Workspace workspace(2);
  const auto x = random_latents<M>(2, 6, 10, 2);
  const auto condition = random_condition<M>(2, 3);
  EXPECT_TRUE(same_bits(run_text(original, x, condition, workspace), run_text(diffusers, x, condition, workspace)));
}

TYPED_TEST(TextLayouts, SavedAndLoadedAndSavedAreTheSameBytes) {
  using M = typename TypeParam::M;
  auto model = load<M>(golden_path(TypeParam::original));
  for (const Layout layout : {Layout::original, Layout::diffusers}) {
    for (const DType dtype : {DType::F32, TypeParam::dtype}) {
      model.set_layout(layout);
      const auto bytes = save_to_memory(model, {.dtype = dtype});
      const auto again = load_from_memory<M>(bytes, {.strict = true});
      EXPECT_EQ(again.layout(), layout);
      EXPECT_EQ(max_difference(model, again), 0);
      EXPECT_EQ(save_to_memory(again, {.dtype = dtype}), bytes);
    }
  }
}

TYPED_TEST(TextLayouts, GoThereAndBackWithoutLosingABit) {
  using M = typename TypeParam::M;
  const auto original = random_model<M>(1);
  const auto bytes = save_to_memory(original);
  const auto there = load_from_memory<M>(save_to_memory(original, {.layout = Layout::diffusers}));
  EXPECT_EQ(there.layout(), Layout::diffusers);
  EXPECT_EQ(save_to_memory(there, {.layout = Layout::original}), bytes);
}

/// Names, shapes and numbers, in the order of the names, whatever files they are in.
struct Stored {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::vector<float> values;
  bool operator==(const Stored&) const = default;
};
std::vector<Stored> contents(const Checkpoint& checkpoint) {
  std::vector<Stored> tensors;
  for (const Safetensors& file : checkpoint.shards())
    for (std::size_t i = 0; i < file.size(); ++i)
      tensors.push_back({std::string(file.name(i)), file[i].shape, file.read<float>(file[i])});
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}
TYPED_TEST(TextLayouts, AreWrittenAsTheirOwnersWriteThem) {
  const auto model = load<typename TypeParam::M>(golden_path(TypeParam::original));
  for (const auto& [layout, name] :
       {std::pair(Layout::original, TypeParam::original), std::pair(Layout::diffusers, TypeParam::diffusers)}) {
    const auto bytes = save_to_memory(model, {.dtype = TypeParam::dtype, .layout = layout});
    const auto ours = contents(Checkpoint::from_memory(bytes)),
               theirs = contents(Checkpoint::open(golden_path(name)));
    ASSERT_EQ(ours.size(), theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
      EXPECT_EQ(ours[i].name, theirs[i].name);
      EXPECT_TRUE(ours[i] == theirs[i]) << ours[i].name;
    }
  }
}

TYPED_TEST(TextLayouts, AreToldWhatIsMissing) {
  using M = typename TypeParam::M;
  for (const Layout layout : {Layout::original, Layout::diffusers}) {
    const auto model = random_model<M>(1);
    const auto bytes = save_to_memory(model, {.layout = layout});
    const auto names = [&] {
      std::vector<std::string> all;
      for (const Stored& tensor : contents(Checkpoint::from_memory(bytes))) all.push_back(tensor.name);
      return all;
    }();
    for (const std::string& lost : {names.front(), names[names.size() / 2], names.back()}) {
      auto broken = bytes;  // one name spelled otherwise, in the header
      const auto* first = reinterpret_cast<const std::byte*>(lost.data());
      const auto at = std::search(broken.begin(), broken.end(), first, first + lost.size());
      ASSERT_NE(at, broken.end());
      *at = std::byte{'Z'};
      LoadReport report;
      EXPECT_ERROR(errc::tensor_missing, load_from_memory<M>(broken, {}, &report));
      EXPECT_EQ(report.missing.size(), 1U) << lost;
      EXPECT_EQ(report.unexpected_count, 1U) << lost;
      EXPECT_EQ(report.layout, layout);
      if (!report.missing.empty()) {
        EXPECT_EQ(report.missing[0].name, lost);
        EXPECT_FALSE(report.missing[0].nearest.empty());
      }
    }
  }
}

/// Tensors of a file in a layout, from the names alone: nothing is stored.
template <class M>
std::size_t tensors_in(Layout layout) {
  std::set<std::string> names;
  const M model{};
  for_each_parameter(
      [&]<class P>(const Path& path, const P&) {
        for (const auto& piece :
             detail::spell(path.str(), P::shape[0], detail::rules_of(detail::layouts_of<M>(), layout)))
          EXPECT_TRUE(names.insert(piece.name).second || piece.count < piece.rows) << piece.name << " twice";
      },
      model);
  return names.size();
}
TEST(TextLayout, HasAsManyTensorsAsThePublishedFile) {
  EXPECT_EQ(tensors_in<MMDiT<sd3_medium>>(Layout::original), 491U);
  EXPECT_EQ(tensors_in<MMDiT<sd3_medium>>(Layout::diffusers), 683U);
  EXPECT_EQ(tensors_in<MMDiT<sd3_5_medium>>(Layout::original), 665U);
  EXPECT_EQ(tensors_in<MMDiT<sd3_5_medium>>(Layout::diffusers), 909U);
  EXPECT_EQ(tensors_in<MMDiT<sd3_5_large>>(Layout::original), 923U);
  EXPECT_EQ(tensors_in<MMDiT<sd3_5_large>>(Layout::diffusers), 1227U);
  EXPECT_EQ(tensors_in<Flux<flux_dev>>(Layout::original), 780U);
  EXPECT_EQ(tensors_in<Flux<flux_dev>>(Layout::diffusers), 1160U);
  EXPECT_EQ(tensors_in<Flux<flux_fill>>(Layout::diffusers), 1160U);
  EXPECT_EQ(tensors_in<Flux<flux_canny>>(Layout::diffusers), 1160U);
  EXPECT_EQ(tensors_in<Flux<flux_schnell>>(Layout::original), 776U);
  EXPECT_EQ(tensors_in<Flux<flux_schnell>>(Layout::diffusers), 1156U);
}

}  // namespace
