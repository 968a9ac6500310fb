/// Models whose modulation weights were released: what was prepared goes on, bit for bit; the rest says so.

#include <unistd.h>
#include <fstream>

#include "core/allocations.hpp"
#include "dit/io/save.hpp"
#include "dit/models/plain_dit.hpp"
#include "dit/nn/plan.hpp"
#include "dit/sampling/euler.hpp"
#include "dit/sampling/guidance.hpp"
#include "dit/sampling/schedule.hpp"
#include "models/text_models.hpp"
#include "sanitized.hpp"

namespace {

using namespace dit;
using namespace support;

template <class M>
class Released : public testing::Test {};
using Models = testing::Types<DiT<tiny>, DiT<tiny, double>, DiT<tiny, bf16>, DiT<tiny, int8>, MMDiT<mixed_mini>,
                              MMDiT<mixed_mini, int8>, Flux<flux_mini>, Flux<flux_mini, bf16>>;
TYPED_TEST_SUITE(Released, Models, ModelName);

template <class M>
Tensor<typename M::R, 4> ask(Conditioned<M>& field, const Tensor<typename M::R, 4>& x,
                             std::type_identity_t<typename M::R> sigma) {
  Index channels = x.dimension(1);
  if constexpr (M::family == "dit") channels = M::config.out_channels();
  Tensor<typename M::R, 4> v(x.dimension(0), channels, x.dimension(2), x.dimension(3));
  v.setConstant(-7);
  field(View<const typename M::R, 4>(x), sigma, View<typename M::R, 4>(v));
  return v;
}

/// Sigmas that differ in every bit of the model's time.
template <class R>
std::vector<R> sigmas(int n) {
  std::vector<R> t;
  for (int i = 0; i < n; ++i) t.push_back(1 - static_cast<R>(i) / static_cast<R>(n));
  return t;
}

TYPED_TEST(Released, ModelsServeThePreparedTimesBitForBit) {
  using M = TypeParam;
  using R = typename M::R;
  auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(3, 6, 8, 2);
  const auto condition = random_condition<M>(3, 3);
  Conditioned plain(model, condition, workspace), field(model, condition, workspace),
      other(model, random_condition<M>(3, 4), workspace);
  const auto times = sigmas<R>(5);
  field.prepare(times);
  other.prepare(std::vector<R>{R(0.5)});
  std::vector<Tensor<R, 4>> expected;
  for (const R t : times) expected.push_back(ask(plain, x, t));
  const auto expected_of_other = ask(other, x, R(0.5));
  ASSERT_TRUE(has_modulation(model));

  release_modulation(model);
  EXPECT_FALSE(has_modulation(model));
  for (std::size_t i = 0; i < times.size(); ++i) {
    EXPECT_TRUE(same_bits(ask(field, x, times[i]), expected[i])) << times[i];
  }
  EXPECT_TRUE(same_bits(ask(other, x, R(0.5)), expected_of_other));
  auto copied = field;
  EXPECT_TRUE(same_bits(ask(copied, x, times[1]), expected[1]));
  EXPECT_TRUE(same_bits(ask(field, pick(x, {0}), times[1]), pick(expected[1], {0})));

  // The rest of the model is what it was: with the projections of another it computes again.
  const auto again = random_model<M>(1);
  for_each_parameter(
      [](const Path&, const auto& from, auto& to) {
        if (!to.empty()) return;
        to.allocate();
        to.copy(from);
      },
      again, model);
  EXPECT_TRUE(same_bits(ask(plain, x, times[2]), expected[2]));
  EXPECT_EQ(max_difference(model, again), 0);
}

TYPED_TEST(Released, ModelsSayThatATimeWasNotPrepared) {
  using M = TypeParam;
  using R = typename M::R;
  auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(2, 6, 8, 2);
  Conditioned field(model, random_condition<M>(2, 3), workspace),
      never(model, random_condition<M>(2, 3), workspace);
  field.prepare(sigmas<R>(3));
  const auto expected = ask(field, x, R(1));
  release_modulation(model);
  EXPECT_ERROR(errc::bad_state, ask(never, x, R(1)));
  EXPECT_ERROR(errc::bad_state, field.prepare(sigmas<R>(3)));
  try {
    ask(field, x, R(0.123));
    ADD_FAILURE() << "a time that nobody can compute";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), errc::bad_state);
    EXPECT_NE(std::string(error.what()).find("not prepared"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("released"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(same_bits(ask(field, x, R(1)), expected));  // and goes on with those that are
}

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

TYPED_TEST(Released, ModelsWalkTheirStepLoopWithoutAnAllocation) {
  using M = TypeParam;
  using R = typename M::R;
  if constexpr (M::family != "dit") {  // whose variance logits are no flow
    auto model = random_model<M>(1);
    Workspace workspace(2);
    Conditioned both(model, random_condition<M>(4, 3), workspace);
    const auto schedule = Schedule::uniform(6);
    both.prepare(schedule.template times<R>());
    BatchedGuidance field(std::ref(both), Guidance{.scale = 5});
    const auto run = [&](long* allocated) {
      EulerSampler<R> sampler;
      sampler.begin(random_latents<M>(2, 8, 8, 2), schedule);
      sampler.step(field);
      const long before = allocations::count;
      while (!sampler.done()) sampler.step(field);
      *allocated = allocations::count - before;
      return sampler.take();
    };
    long allocated = -1;
    const auto expected = run(&allocated);
    release_modulation(model);
    EXPECT_TRUE(same_bits(run(&allocated), expected));
    EXPECT_EQ(allocated, 0);
  }
}

// Many times make several products, of which each has a table of its own: none of that shows.
TYPED_TEST(Released, TablesOfManyTimesAreTheSameBits) {
  using M = TypeParam;
  using R = typename M::R;
  auto model = random_model<M>(1);
  Workspace workspace(2);
  const auto x = random_latents<M>(3, 2, 2, 2);
  const auto condition = random_condition<M>(3, 3);
  Conditioned plain(model, condition, workspace), field(model, condition, workspace);
  const auto times = sigmas<R>(200);
  field.prepare(times);
  std::vector<Tensor<R, 4>> expected;
  const int some[] = {0, 1, 83, 84, 85, 86, 127, 169, 170, 171, 198, 199};
  for (const int i : some) expected.push_back(ask(plain, x, times[static_cast<std::size_t>(i)]));
  release_modulation(model);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(same_bits(ask(field, x, times[static_cast<std::size_t>(some[i])]), expected[i])) << some[i];
  }
}

TYPED_TEST(Released, TablesOfManyTimesTakeNoMoreWorkspaceThanOf256Vectors) {
  using M = TypeParam;
  using R = typename M::R;
  const auto model = random_model<M>(1);
  const auto high_water = [&](Index samples, int times) {
    Workspace workspace(2);
    Conditioned field(model, random_condition<M>(samples, 3), workspace);
    field.prepare(sigmas<R>(times));
    return workspace.high_water();
  };
  EXPECT_EQ(high_water(2, 1000), high_water(2, 128));
  EXPECT_GT(high_water(2, 128), high_water(2, 100));
  EXPECT_EQ(high_water(1, 257), high_water(1, 256));
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

}  // namespace
