/// Models are the same, and so is what is wrong with a file, however many threads load them.

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "dit/io/load.hpp"
#include "dit/io/save.hpp"
#include "dit/nn/conv.hpp"
#include "io/modules.hpp"
#include "io/temporary.hpp"

namespace {

using namespace dit_test;
using dit::DType;
using dit::Index;

using Bytes = std::vector<std::byte>;

/// Weights of several tasks. In the other layout their rows come in three pieces that cut strips.
template <class T>
struct Wide {
  dit::Parameter<dit::real<T>, 30, 40> table;
  std::array<Layer<500, 3000, T>, 2> blocks;
  dit::ConvWeight<T, 40, 24, 3> conv;

  static constexpr void visit(auto&& f, auto&... self) {
    f("table", self.table...);
    f("blocks", self.blocks...);
    f("conv.weight", self.conv...);
  }
  static constexpr std::array<dit::NameRule, 1> rules{
      {{"blocks.{}.*", {"parts.{}.q.*", "parts.{}.k.*", "parts.{}.v.*"}}}};
  static constexpr std::array<dit::LayoutNames, 1> layouts{{{dit::Layout::diffusers, rules}}};
  void set_layout(dit::Layout) {}
};

/// Bit by bit, with what int8 has beside its numbers and what lies in a strip behind the last row.
template <class M>
bool same_bits(const M& a, const M& b) {
  bool same = true;
  dit::for_each_parameter(
      [&same]<class P>(const dit::Path&, const P& p, const P& q) {
        if constexpr (requires { p.packed(); }) {
          const std::size_t bytes = std::remove_cvref_t<decltype(p.packed())>::bytes(P::rows, P::row_size);
          same = same && std::memcmp(p.packed().strip(0), q.packed().strip(0), bytes) == 0;
        } else {
          same =
              same && std::memcmp(p.data(), q.data(), sizeof(*p.data()) * static_cast<std::size_t>(P::size)) == 0;
        }
      },
      a, b);
  return same;
}

const Wide<float>& wide() {
  static const auto model = numbered<Wide<float>>(1.0 / 4096);
  return model;
}

template <class T>
void expect_one_model_for_any_number_of_threads() {
  for (const DType stored : {DType::F32, DType::F16, DType::BF16, DType::F64}) {
    dit::InlineExecutor alone;
    const auto expected =
        dit::load_from_memory<Wide<T>>(dit::save_to_memory(wide(), {.dtype = stored}), {.executor = &alone});
    for (const auto layout : {dit::Layout::original, dit::Layout::diffusers}) {
      const Bytes bytes = dit::save_to_memory(wide(), {.dtype = stored, .layout = layout});
      for (int threads = 0; threads <= 4; ++threads) {
        dit::ThreadPool pool(threads);
        const auto loaded =
            dit::load_from_memory<Wide<T>>(bytes, {.strict = true, .executor = threads > 0 ? &pool : nullptr});
        EXPECT_TRUE(same_bits(loaded, expected)) << name(stored) << ", " << threads << " threads";
      }
    }
  }
}

TEST(LoadThreads, GiveTheSameBitsInFloat) { expect_one_model_for_any_number_of_threads<float>(); }
TEST(LoadThreads, GiveTheSameBitsInDouble) { expect_one_model_for_any_number_of_threads<double>(); }
TEST(LoadThreads, GiveTheSameBitsInBfloat16) { expect_one_model_for_any_number_of_threads<dit::bf16>(); }
TEST(LoadThreads, GiveTheSameBitsInInt8) { expect_one_model_for_any_number_of_threads<dit::int8>(); }

TEST(LoadThreads, GiveWhatWasFilledInRowByRow) {
  const auto loaded = dit::load_from_memory<Wide<float>>(dit::save_to_memory(wide()));
  EXPECT_TRUE(same_bits(loaded, wide()));
}

/// The file with value `bits` in the first number of the tensor's row.
Bytes spoiled(Bytes bytes, const char* tensor, std::uint64_t row, std::uint32_t bits) {
  const auto file = dit::Safetensors::from_memory(bytes);
  const dit::TensorInfo info = file[*file.find(tensor)];
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  std::memcpy(bytes.data() + 8 + header + info.begin + row * (info.end - info.begin) / info.shape[0], &bits, 4);
  return bytes;
}

template <class T>
void expect_the_first_special_number() {
  const Bytes good = dit::save_to_memory(wide());
  for (const std::uint32_t special : {0x7f800000U, 0xff800000U, 0x7fc00000U, 0xff800001U}) {
    const Bytes one = spoiled(good, "conv.weight", 39, special),
                two = spoiled(one, "blocks.0.weight", 2999, special), three = spoiled(two, "table", 29, special);
    for (int threads = 1; threads <= 4; ++threads) {
      dit::ThreadPool pool(threads);
      const dit::LoadOptions options{.check_finite = true, .executor = &pool};
      EXPECT_NO_THROW(dit::load_from_memory<Wide<T>>(three, {.executor = &pool}));
      for (const auto& bad : {std::pair{&one, "conv.weight"}, {&two, "blocks.0.weight"}, {&three, "table"}}) {
        const auto error = error_of([&] { dit::load_from_memory<Wide<T>>(*bad.first, options); });
        EXPECT_EQ(error.code(), dit::errc::non_finite_weight);
        EXPECT_EQ(error.where().tensor, bad.second) << "the first of them, in the order of the model";
      }
    }
  }
}

TEST(LoadThreads, TellTheFirstSpecialNumberInFloat) { expect_the_first_special_number<float>(); }
TEST(LoadThreads, TellTheFirstSpecialNumberInBfloat16) { expect_the_first_special_number<dit::bf16>(); }
TEST(LoadThreads, TellTheFirstSpecialNumberInInt8) { expect_the_first_special_number<dit::int8>(); }

/// Bytes that cannot be read from some offset on.
class BrokenSource final : public dit::ByteSource {
 public:
  BrokenSource(const Bytes& bytes, std::uint64_t good, std::ptrdiff_t result)
      : ByteSource("broken", bytes.size()), bytes_(bytes), good_(good), result_(result) {}

 protected:
  std::ptrdiff_t read_some(std::uint64_t offset, std::byte* target, std::size_t count) const override {
    if (offset >= good_) {
      errno = EIO;
      return result_;
    }
    const std::size_t some = std::min<std::size_t>(count, static_cast<std::size_t>(good_ - offset));
    std::memcpy(target, bytes_.data() + offset, some);
    return static_cast<std::ptrdiff_t>(some);
  }

 private:
  const Bytes& bytes_;
  std::uint64_t good_;
  std::ptrdiff_t result_;
};

TEST(LoadThreads, TellTheSameByteThatCannotBeRead) {
  const Bytes bytes = dit::save_to_memory(wide());
  for (const std::size_t missing : {std::size_t{1}, std::size_t{3'000'000}, bytes.size() - 4096}) {
    for (const std::ptrdiff_t result : {-1, 0}) {
      std::optional<std::uint64_t> offset;
      for (int threads = 1; threads <= 4; ++threads) {
        dit::ThreadPool pool(threads);
        const dit::Checkpoint file(
            dit::Safetensors(std::make_unique<BrokenSource>(bytes, bytes.size() - missing, result)));
        const auto error = error_of([&] { dit::bind<Wide<float>>(file, {.executor = &pool}); });
        EXPECT_EQ(error.code(), result < 0 ? dit::errc::io_read : dit::errc::file_truncated);
        EXPECT_EQ(error.where().file, "broken");
        ASSERT_TRUE(error.where().offset);
        if (threads == 1) offset = error.where().offset;
        EXPECT_EQ(error.where().offset, offset) << threads << " threads";
      }
    }
  }
}

TEST(LoadThreads, MayBeBusyWithSeveralModels) {
  const Bytes bytes = dit::save_to_memory(wide());
  const dit::Checkpoint file = dit::Checkpoint::from_memory(bytes);
  dit::ThreadPool shared(3);
  std::vector<std::thread> loaders;
  std::atomic<int> right{0};
  for (int i = 0; i < 3; ++i) {
    loaders.emplace_back([&] {
      if (same_bits(dit::bind<Wide<float>>(file, {.executor = &shared}), wide())) ++right;
    });
  }
  for (std::thread& loader : loaders) loader.join();
  EXPECT_EQ(right, 3);
}

}  // namespace
