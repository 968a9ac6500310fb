/// The weights of models whose modulation weights were released: what is left of them, and where the rest went.

#include <unistd.h>
#include <fstream>

#include "dit/io/save.hpp"
#include "dit/models/plain_dit.hpp"
#include "dit/nn/plan.hpp"
#include "models/released.hpp"
#include "sanitized.hpp"

namespace support { namespace {

using namespace dit;

TYPED_TEST(Released, ModelsAreNotSavedCopiedOrCompared) {
  using M = TypeParam;
  auto model = random_model<M>(1), other = random_model<M>(1);
  release_modulation(model);
  EXPECT_ERROR(errc::bad_state, save_to_memory(model));
  EXPECT_ERROR(errc::bad_state, copy(model, other));
  EXPECT_ERROR(errc::bad_state, max_difference(model, other));
  int gone = 0, kept = 0;
  for_each_parameter(
      [&]<class P>(const Path& path, const P& p) {
        const std::string name = path.str();
        const bool modulates = name.find("adaLN_modulation.1.") != name.npos ||
                               name.find("_mod.lin.") != name.npos || name.find("modulation.lin.") != name.npos;
        EXPECT_EQ(p.empty(), modulates) << name;
        (p.empty() ? gone : kept) += 1;
        std::vector<typename P::scalar> row(static_cast<std::size_t>(P::row_size));
        EXPECT_EQ(error_of([&] { p.get_rows(0, 1, row.data()); }),
                  modulates ? std::optional(errc::bad_state) : std::nullopt)
            << name;
      },
      model);
  EXPECT_GT(gone, 5);
  EXPECT_GT(kept, 5);
  release_modulation(model);  // twice is once
}

/// Bytes that the parameters of the model take now: what is left of the plan's.
template <class M>
std::size_t bytes_in_use(const M& model) {
  std::size_t bytes = 0;
  for_each_parameter([&]<class P>(const Path&, const P& p) { bytes += p.empty() ? 0 : P::bytes; }, model);
  return bytes;
}

TYPED_TEST(Released, WeightsAreThoseOfThePlan) {
  using M = TypeParam;
  const Plan p = [] {
    if constexpr (M::family == "dit") {
      return plan<M>(3, {8, 8}, 2);
    } else {
      return plan<M>(3, {8, 8}, 7, 2);
    }
  }();
  auto model = random_model<M>(1);
  EXPECT_EQ(bytes_in_use(model), p.weights);
  release_modulation(model);
  EXPECT_EQ(bytes_in_use(model), p.weights - p.modulation);
  EXPECT_EQ(p.table, 3 * sizeof(typename M::R) * static_cast<std::size_t>(M::Modulations::per_vector));
  EXPECT_EQ(p.prepared(10), p.weights + p.arena + 11 * p.table);
  EXPECT_EQ(p.released(10), p.prepared(10) - p.modulation);
}

#if defined(__GLIBC__) && !DIT_TEST_SANITIZED
/// Bytes of physical memory that this process has.
std::size_t resident() {
  std::ifstream file("/proc/self/statm");
  std::size_t pages = 0, in_memory = 0;
  file >> pages >> in_memory;
  return in_memory * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// 34 MB of 71 are modulation. Each matrix takes 3.5 MB: where the C library has lately freed a larger block, it
// would put them between others, from where they do not go back.
TEST(Release, GivesTheSystemItsMemoryBack) {
  constexpr DiTConfig config{.width = 384, .depth = 9, .heads = 6, .patch = 2, .input = 8, .classes = 10};
  using M = DiT<config>;
  { const std::vector<char> larger(std::size_t{16} << 20, 'x'); }
  DiT<config> model;
  fill(model, [](const Path&, const auto&) { return [] { return 0.01; }; });
  const auto expected = static_cast<double>(modulation_bytes<M>());
  ASSERT_GT(expected, 30e6);
  const std::size_t before = resident();
  release_modulation(model);
  EXPECT_GT(static_cast<double>(before) - static_cast<double>(resident()), 0.95 * expected);
}
#endif

static_assert(
    modulation_bytes<PlainDiT<PlainDiTConfig{
        .in_channels = 3, .patch = 2, .width = 72, .heads = 3, .mlp = 100, .depth = 2, .width_c = 40}>>() == 0);
// A third of DiT-XL/2 and SD3-medium, 27 % of FLUX.1.
constexpr std::size_t projection(std::size_t chunks, std::size_t width) { return 4 * chunks * (width + 1) * width; }
static_assert(modulation_bytes<DiT<dit_xl_2>>() == projection(28 * 6 + 2, 1152));
static_assert(modulation_bytes<MMDiT<sd3_medium>>() == projection(23 * 12 + 8 + 2, 1536));
static_assert(modulation_bytes<MMDiT<sd3_5_medium>>() == projection(23 * 12 + 13 * 3 + 8 + 2, 1536));
static_assert(modulation_bytes<Flux<flux_dev>>() == projection(19 * 12 + 38 * 3 + 2, 3072));

}}  // namespace support
