/// From any stored type to any type of model, rounding once.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "dit/io/load.hpp"
#include "dit/io/save.hpp"
#include "dit/models/mmdit.hpp"
#include "dit/nn/plan.hpp"
#include "io/modules.hpp"
#include "io/temporary.hpp"
#include "models/models.hpp"
#include "models/text_models.hpp"

namespace {

using namespace dit_test;
using dit::bf16;
using dit::DType;
using dit::Index;
using dit::int8;

constexpr DType all_stored[] = {DType::F32, DType::F16, DType::BF16, DType::F64};

/// One after the other, as numbers of S.
template <class S, class P>
std::vector<S> numbers_of(const P& p) {
  std::vector<S> values(static_cast<std::size_t>(P::size));
  p.get_rows(0, P::rows, values.data());
  return values;
}

template <class M>
std::vector<std::vector<double>> all_numbers_of(const M& model) {
  std::vector<std::vector<double>> all;
  dit::for_each_parameter(
      [&all]<class P>(const dit::Path&, const P& p) {
        const auto values = numbers_of<typename P::scalar>(p);
        all.emplace_back(values.begin(), values.end());
      },
      model);
  return all;
}

template <class To>
dit::detail::code<To> rounded(double x) {
  return dit::detail::encode<To>(x);
}

template <class P>
concept Quantised =
    std::is_same_v<std::remove_cvref_t<decltype(std::declval<const P&>().packed())>, dit::PackedMatrix<int8>>;

/// Every parameter of `model` against what it should have been made from.
template <class M>
void expect_rounded_once(const M& model, const std::vector<std::vector<double>>& exact) {
  std::size_t i = 0;
  dit::for_each_parameter(
      [&]<class P>(const dit::Path& path, const P& p) {
        const std::vector<double>& from = exact[i++];
        if constexpr (Quantised<P>) {
          const auto values = numbers_of<float>(p);
          for (Index row = 0; row < P::rows; ++row) {
            float highest = 0;
            const auto begin = static_cast<std::size_t>(row * P::row_size);
            for (std::size_t k = begin; k < begin + static_cast<std::size_t>(P::row_size); ++k)
              highest = std::max(highest, std::abs(static_cast<float>(from[k])));
            const float scale = p.packed().scale()[row];
            ASSERT_EQ(scale, highest / 127) << path.str() << " row " << row;
            double sum = 0;
            for (std::size_t k = begin; k < begin + static_cast<std::size_t>(P::row_size); ++k) {
              const double q = std::nearbyint(static_cast<double>(static_cast<float>(from[k]) * (127 / highest)));
              ASSERT_EQ(values[k], highest > 0 ? static_cast<float>(q) * scale : 0) << path.str() << " " << k;
              // 127 / highest and its product are rounded: two half units of numbers up to 127.
              ASSERT_LE(std::abs(from[k] - values[k]), scale * (0.5 + 127 * 0x1p-22));
              sum += highest > 0 ? q : 0;
            }
            ASSERT_EQ(p.packed().correction()[row], -128 * sum) << path.str() << " row " << row;
          }
        } else {
          using Number = typename P::Unpacked;
          const auto values = numbers_of<Number>(p);
          for (std::size_t k = 0; k < values.size(); ++k) {
            ASSERT_EQ(std::bit_cast<dit::detail::code<Number>>(values[k]), rounded<Number>(from[k]))
                << path.str() << " " << k;
          }
        }
      },
      model);
}

template <template <class> class Of>
void expect_all_conversions(const std::filesystem::path& golden) {
  const auto whole = dit::load<Of<double>>(golden);
  for (const DType stored : all_stored) {
    const auto bytes = dit::save_to_memory(whole, {.dtype = stored});
    const auto exact = all_numbers_of(dit::load_from_memory<Of<double>>(bytes));
    expect_rounded_once(dit::load_from_memory<Of<float>>(bytes), exact);
    expect_rounded_once(dit::load_from_memory<Of<double>>(bytes), exact);
    expect_rounded_once(dit::load_from_memory<Of<bf16>>(bytes), exact);
    expect_rounded_once(dit::load_from_memory<Of<int8>>(bytes), exact);
  }
}

template <class T>
using MiniDiT = dit::DiT<support::mini, T>;
template <class T>
using MiniMMDiT = dit::MMDiT<support::sd3_mini, T>;

TEST(Conversion, OfADiTRoundsOnce) {
  expect_all_conversions<MiniDiT>(support::golden_path("dit_mini.safetensors"));
}
TEST(Conversion, OfAnMMDiTRoundsOnce) {
  expect_all_conversions<MiniMMDiT>(support::golden_path("mmdit_mini.safetensors"));
}

/// A layer's weight from numbers of F64.
template <class T, int in>
Layer<in, 3, T> layer_of(const std::vector<double>& numbers, DType stored) {
  Layer<in, 3, double> layer;
  dit::zero(layer);
  layer.weight.set_rows(0, 3, numbers.data());
  return dit::load_from_memory<Layer<in, 3, T>>(dit::save_to_memory(layer, {.dtype = stored}));
}

TEST(Conversion, FromDoubleToBfloat16DoesNotGoThroughFloat) {
  // As floats these would be halfway between two numbers of bf16, and be rounded to the even one.
  const double above = 1 + 0x1p-8 + 0x1p-40, below = 1 + 3 * 0x1p-8 - 0x1p-40;
  for (const double sign : {1.0, -1.0}) {
    const auto values =
        numbers_of<float>(layer_of<bf16, 2>({above * sign, below * sign, 1, 2, 3, 4}, DType::F64).weight);
    EXPECT_EQ(values[0], static_cast<float>(sign * (1 + 0x1p-7)));
    EXPECT_EQ(values[1], static_cast<float>(sign * (1 + 0x1p-7)));
  }
}

/// In whole words and behind them.
TEST(Conversion, ToBfloat16KeepsWhatIsSubnormal) {
  constexpr int in = 45;
  std::vector<double> numbers;
  for (int i = 0; i < 3 * in; ++i) numbers.push_back((i % 2 ? -1 : 1) * (i + 1) * 0x1p-133);  // bf16's least number
  for (const DType stored : {DType::F32, DType::BF16, DType::F64}) {
    const auto values = numbers_of<float>(layer_of<bf16, in>(numbers, stored).weight);
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(values[i], static_cast<float>(numbers[i])) << name(stored) << " " << i;
    }
  }
}

TEST(Conversion, FromBfloat16ToBfloat16AndBackIsTheSameFile) {
  constexpr int in = 257;  // every pattern of 16 bits, NaN among them, and odd
  using Codes = Layer<in, 256, bf16>;
  auto bytes = dit::save_to_memory(numbered<Layer<in, 256, float>>(), {.dtype = DType::BF16});
  const auto file = dit::Safetensors::from_memory(bytes);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  std::byte* const weights = bytes.data() + 8 + header + file[*file.find("weight")].begin;
  for (int i = 0; i < in * 256; ++i) {
    const auto code = static_cast<std::uint16_t>(i);
    std::memcpy(weights + 2 * i, &code, 2);
  }
  const auto model = dit::load_from_memory<Codes>(bytes);
  EXPECT_EQ(dit::save_to_memory(model, {.dtype = DType::BF16}), bytes);
}

TEST(Conversion, OfASavedInt8ModelFindsTheSameNumbers) {
  const auto model = dit::load<MiniDiT<int8>>(support::golden_path("dit_mini.safetensors"));
  const auto back = dit::load_from_memory<MiniDiT<int8>>(dit::save_to_memory(model));
  dit::for_each_parameter(
      []<class P>(const dit::Path& path, const P& p, const P& q) {
        if constexpr (requires { p.packed(); }) {
          const auto n =
              static_cast<std::size_t>(p.packed().strips() * dit::strip_width * dit::padded<int8>(P::row_size));
          EXPECT_EQ(std::memcmp(p.packed().strip(0), q.packed().strip(0), n), 0) << path.str();
          for (Index row = 0; row < P::rows; ++row) {  // 127 * scale / 127
            EXPECT_NEAR(p.packed().scale()[row], q.packed().scale()[row], p.packed().scale()[row] * 0x1p-22F);
          }
        }
      },
      model, back);
}

TEST(Conversion, ToInt8OfRowsThatAreNextToNothingGivesZeros) {
  const auto values = numbers_of<float>(layer_of<int8, 2>({1e-40, -1e-40, 0, 0, 1e-37, 3e-37}, DType::F64).weight);
  for (const float x : values) EXPECT_LE(std::abs(x), 0.0F);
}

template <class T>
void expect_the_planned_bytes() {
  using M = MiniMMDiT<T>;
  const auto path = support::golden_path("mmdit_mini.safetensors");
  const std::size_t bytes = dit::weight_bytes<M>();
  EXPECT_NO_THROW(dit::load<M>(path, {.memory_limit = bytes}));
  EXPECT_EQ(code_of([&] { dit::load<M>(path, {.memory_limit = bytes - 1}); }), "out_of_memory");
}
TEST(MemoryLimit, IsThePlansBytesForEveryType) {
  expect_the_planned_bytes<float>();
  expect_the_planned_bytes<double>();
  expect_the_planned_bytes<bf16>();
  expect_the_planned_bytes<int8>();
}

}  // namespace
