#include "dit/io/text.hpp"

#include <limits>
#include <utility>
#include <vector>

#include "dit/io/writer.hpp"
#include "io/bad_files.hpp"
#include "io/temporary.hpp"

namespace {

using namespace dit_test;
using dit::DType;
using dit::Index;
using dit::load_text;
using dit::Safetensors;
using dit::Tensor;

/// A tensor of first, first + 1/8, first + 2/8, ..., which every type here holds exactly.
struct Entry {
  std::string name;
  std::vector<std::uint64_t> shape;
  DType dtype = DType::F32;
  double first = 0;
};

std::vector<double> numbers(const Entry& entry) {
  std::size_t count = 1;
  for (const auto extent : entry.shape) count *= extent;
  std::vector<double> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = entry.first + static_cast<double>(i) / 8;
  return values;
}

std::vector<std::byte> file_of(const std::vector<Entry>& entries) {
  std::vector<dit::TensorToWrite> tensors;
  for (const Entry& entry : entries) {
    tensors.push_back({entry.name, entry.dtype, entry.shape, [entry](dit::ByteSink& sink) {
                         const auto values = numbers(entry);
                         std::vector<std::byte> bytes(values.size() * (bits(entry.dtype) / 8));
                         if (is_real(entry.dtype))
                           dit::detail::encode(entry.dtype, values.data(), values.size(), bytes.data());
                         sink.write(bytes.data(), bytes.size());
                       }});
  }
  dit::MemorySink sink;
  dit::write_safetensors(sink, std::move(tensors));
  return sink.take();
}

template <class R = float>
dit::Text<R> load(const std::vector<Entry>& entries, std::string_view prefix = {}) {
  const auto bytes = file_of(entries);
  return load_text<R>(Safetensors::from_memory(bytes), prefix);
}

template <class Dense>
std::vector<double> values_of(const Dense& tensor) {
  return {tensor.data(), tensor.data() + tensor.size()};
}

const Entry context{"context", {2, 3, 5}}, pooled{"pooled", {2, 4}, DType::F32, 1};

TEST(Text, IsReadFromEveryRealType) {
  for (const DType dtype : {DType::F32, DType::F64, DType::F16, DType::BF16}) {
    Entry tokens = context, vectors = pooled;
    tokens.dtype = vectors.dtype = dtype;
    const auto text = load<float>({tokens, vectors});
    EXPECT_EQ(dit::to_string(text.context.dimensions()), "[2, 3, 5]");
    EXPECT_EQ(dit::to_string(text.pooled.dimensions()), "[2, 4]");
    EXPECT_EQ(values_of(text.context), numbers(tokens)) << name(dtype);
    EXPECT_EQ(values_of(text.pooled), numbers(vectors)) << name(dtype);
    EXPECT_EQ(values_of(load<double>({tokens, vectors}).context), numbers(tokens)) << name(dtype);
  }
}

TEST(Text, IsReadFromAPath) {
  const TemporaryFolder folder;
  const auto bytes = file_of({context, pooled});
  const auto path = folder.write("text.safetensors", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  EXPECT_EQ(values_of(load_text(path).context), numbers(context));
  EXPECT_EQ(code_of([&] { load_text(folder / "absent.safetensors"); }), "io_open");
}

TEST(Text, MayHaveANegativeOneBesideIt) {
  const Entry negative_context{"negative_context", {1, 2, 5}, DType::F16, 3};
  const Entry negative_pooled{"negative_pooled", {1, 4}, DType::F16, 7};
  const auto bytes = file_of({context, pooled, negative_context, negative_pooled});
  const auto file = Safetensors::from_memory(bytes);
  EXPECT_TRUE(dit::has_text(file));
  EXPECT_TRUE(dit::has_text(file, "negative_"));
  EXPECT_EQ(values_of(load_text(file).pooled), numbers(pooled));
  EXPECT_EQ(values_of(load_text(file, "negative_").context), numbers(negative_context));
  EXPECT_EQ(values_of(load_text(file, "negative_").pooled), numbers(negative_pooled));

  const auto alone = file_of({context, pooled});
  EXPECT_FALSE(dit::has_text(Safetensors::from_memory(alone), "negative_"));
}

TEST(Text, SaysWhichTensorIsMissing) {
  const auto error = error_of([] { load({context, {"POOLED", {2, 4}}}); });
  EXPECT_EQ(name(error.code()), "tensor_missing");
  EXPECT_EQ(error.where().tensor, "pooled");
  EXPECT_EQ(error_of([] { load({pooled}); }).where().tensor, "context");
  EXPECT_EQ(error_of([] { load({context, pooled}, "negative_"); }).where().tensor, "negative_context");
}

TEST(Text, HasTokensAndOneVectorPerSample) {
  const auto shapes = [](std::vector<std::uint64_t> tokens, std::vector<std::uint64_t> vectors) {
    return code_of([&] { load({{"context", std::move(tokens)}, {"pooled", std::move(vectors)}}); });
  };
  EXPECT_EQ(shapes({3, 5}, {2, 4}), "shape_mismatch");
  EXPECT_EQ(shapes({1, 2, 3, 5}, {2, 4}), "shape_mismatch");
  EXPECT_EQ(shapes({2, 3, 5}, {4}), "shape_mismatch");
  EXPECT_EQ(shapes({2, 3, 5}, {2, 1, 4}), "shape_mismatch");
  EXPECT_EQ(shapes({2, 3, 5}, {}), "shape_mismatch");
  EXPECT_EQ(shapes({2, 3, 5}, {3, 4}), "shape_mismatch");
  EXPECT_EQ(shapes({2, 3, 5}, {1, 4}), "shape_mismatch");
  for (std::size_t axis = 0; axis < 3; ++axis) {
    std::vector<std::uint64_t> empty{2, 3, 5};
    empty[axis] = 0;
    EXPECT_EQ(shapes(empty, {2, 4}), "shape_mismatch") << axis;
  }
  EXPECT_EQ(shapes({2, 3, 5}, {2, 0}), "shape_mismatch");
}

TEST(Text, IsMadeOfFiniteNumbers) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Entry tokens = context, vectors = pooled;
    tokens.first = bad;
    EXPECT_EQ(code_of([&] { load({tokens, pooled}); }), "bad_condition");
    vectors.first = -bad;
    const auto error = error_of([&] { load({context, vectors}); });
    EXPECT_EQ(name(error.code()), "bad_condition");
    EXPECT_EQ(error.where().tensor, "pooled");
  }
  Entry large = context;  // finite in the file, not in float
  large.dtype = DType::F64;
  large.first = 1e300;
  EXPECT_EQ(code_of([&] { load<float>({large, pooled}); }), "bad_condition");
  EXPECT_NO_THROW(load<double>({large, pooled}));
}

TEST(Text, IsMadeOfRealNumbers) {
  Entry tokens = context;
  tokens.dtype = DType::I64;
  EXPECT_EQ(code_of([&] { load({tokens, pooled}); }), "unsupported_dtype");
}

}  // namespace
