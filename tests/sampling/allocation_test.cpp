/// No step allocates: every way to the heap is counted.

#include <atomic>
#include <cstdlib>
#include <new>

#include "dit/sampling/ddim.hpp"
#include "dit/sampling/ddpm.hpp"
#include "dit/sampling/dpmpp_2m.hpp"
#include "dit/sampling/guidance.hpp"
#include "dit/sampling/heun.hpp"
#include "dit/sampling/inpaint.hpp"
#include "dit/sampling/prediction.hpp"
#include "dit/sampling/skip_layer.hpp"
#include "sampling/fields.hpp"
#include "sanitized.hpp"

namespace {
std::atomic<long> allocations{0};
}

// Eigen's tensors come from malloc. Where the C library lets itself be wrapped (and no sanitizer has done so
// already) it is counted itself; elsewhere operator new is.
#if defined(__GLIBC__) && !DIT_TEST_SANITIZED && !defined(__clang__)
#define COUNTS_MALLOC 1
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void* malloc(std::size_t n) noexcept { return ++allocations, __libc_malloc(n); }
void* calloc(std::size_t n, std::size_t size) noexcept { return ++allocations, __libc_calloc(n, size); }
void* realloc(void* p, std::size_t n) noexcept { return ++allocations, __libc_realloc(p, n); }
void* aligned_alloc(std::size_t alignment, std::size_t n) noexcept {
  return ++allocations, __libc_memalign(alignment, n);
}
int posix_memalign(void** p, std::size_t alignment, std::size_t n) noexcept {
  *p = (++allocations, __libc_memalign(alignment, n));
  return *p == nullptr ? 12 : 0;
}
}
#else
#define COUNTS_MALLOC 0
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // a new of malloc goes with a delete of free
#endif
void* operator new(std::size_t n) {
  ++allocations;
  if (void* p = std::malloc(n == 0 ? 1 : n)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

namespace {

using namespace sampling_test;
using namespace dit;

const Shape<4> latent{2, 4, 8, 8};

/// Noise without a heap.
struct Ramp {
  template <class T, std::size_t rank>
  void operator()(View<T, rank> noise) const {
    for (Index i = 0; i < noise.size(); ++i) noise.data[i] = static_cast<T>(i % 7) - 3;
  }
};

/// Allocations of the first step, which may warm up a wrapper's scratch, and of all others.
template <class S, class Timeline, class... Arguments>
void expect_no_allocation(S sampler, const Timeline& timeline, bool cold, Arguments&&... arguments) {
  const auto noise = random_tensor<typename S::scalar>(latent, 1);
  long before = allocations;
  sampler.begin(noise, timeline);
  EXPECT_GT(allocations - before, 0) << "the counter counts";
  before = allocations;
  sampler.step(arguments...);
  const long first = allocations - before;
  if (!cold) {
    EXPECT_EQ(first, 0);
  }
  before = allocations;
  double sum = 0;
  while (!sampler.done()) {
    sampler.step(arguments...);
    sum += static_cast<double>(sampler.denoised().data[0]) + static_cast<double>(sampler.state().data[0]);
  }
  EXPECT_EQ(allocations - before, 0);
  EXPECT_TRUE(std::isfinite(sum));

  sampler.begin(noise, timeline);  // at the same shape the wrappers stay warm
  before = allocations;
  while (!sampler.done()) sampler.step(arguments...);
  EXPECT_EQ(allocations - before, 0);
}

TEST(Step, AllocatesNothing) {
  const Schedule schedule = Schedule::uniform(6).shifted(3);
  const DiffusionSchedule chain(ddim_steps(10));
  expect_no_allocation(EulerSampler<float, 4>(), schedule, false, Mixer{});
  expect_no_allocation(HeunSampler<double, 4>(), schedule, false, Mixer{});
  expect_no_allocation(Dpmpp2mSampler<float, 4>(), schedule, false, Mixer{});
  expect_no_allocation(DdimSampler<float, 4>(), chain, false, Mixer{});
  expect_no_allocation(DdimSampler<float, 4>(1), chain, false, Mixer{}, Ramp{});
  expect_no_allocation(DdpmSampler<float, 4>(), chain, false, Mixer{}, Ramp{});
}

TEST(Step, AllocatesNothingWhileItRepaints) {
  const auto image = random_tensor<float>(latent, 2), noise = random_tensor<float>(latent, 3);
  Tensor<float, 4> mask(2, 1, 8, 8);
  mask.setConstant(0.5F);
  const Schedule schedule = sd3_schedule(6);
  expect_no_allocation(InpaintSampler(EulerSampler<float, 4>(), image, noise, mask), schedule, false, Mixer{});
  expect_no_allocation(InpaintSampler(Dpmpp2mSampler<float, 4>(), image, noise, mask), schedule, false, Mixer{});
  expect_no_allocation(InpaintSampler(DdpmSampler<float, 4>(), image, noise, mask),
                       DiffusionSchedule(ddim_steps(10)), false, Mixer{}, Ramp{});
}

TEST(Step, AllocatesNothingAfterTheFirstWithWrappedFields) {
  const Schedule schedule = Schedule::uniform(6).shifted(3);
  const DiffusionSchedule chain(ddim_steps(10));
  const Guidance guidance{.scale = 4, .channels = 3}, late{.scale = 4, .lo = 0, .hi = 0.6};
  expect_no_allocation(EulerSampler<float, 4>(), schedule, true, SequentialGuidance(Mixer{1}, Mixer{2}, guidance));
  expect_no_allocation(HeunSampler<double, 4>(), schedule, true, BatchedGuidance(Mixer{}, guidance));
  expect_no_allocation(EulerSampler<float, 4>(), schedule, true, SequentialGuidance(Mixer{1}, Mixer{2}, late));
  expect_no_allocation(EulerSampler<float, 4>(), schedule, true, BatchedGuidance(Mixer{}, late));
  const auto skip = SkipLayer::between(schedule, 0, 1);  // from the second step on
  expect_no_allocation(EulerSampler<float, 4>(), schedule, true,
                       SkipLayerGuidance(SequentialGuidance(Mixer{1}, Mixer{2}, guidance), Mixer{3}, skip));
  expect_no_allocation(EulerSampler<float, 4>(), schedule, true,
                       SkipLayerGuidance(SequentialGuidance(Mixer{1}, Mixer{2}, Guidance{0}), Mixer{3}, skip));
  expect_no_allocation(Dpmpp2mSampler<float, 4>(), schedule, true,
                       SkipLayerGuidance(BatchedGuidance(Mixer{}, guidance), Mixer{3}, skip));
  expect_no_allocation(DdpmSampler<float, 4>(), chain, true, BatchedGuidance(Mixer{}, guidance), Ramp{});
  expect_no_allocation(DdimSampler<float, 4>(), chain, true, WithoutVariance(BatchedGuidance(Mixer{}, guidance)));
  expect_no_allocation(EulerSampler<float, 4>(), flow_schedule(chain), true,
                       VelocityFromDiffusion(Mixer{}, Prediction::eps, chain));
  expect_no_allocation(EulerSampler<float, 4>(), schedule, true,
                       ConvertedField(Mixer{}, Prediction::x0, Prediction::flow, FlowPath()));
}

TEST(Step, IsCountedByTheWayItsMemoryComes) {
  if (COUNTS_MALLOC == 0) return;
  const long before = allocations;
  const Tensor<float, 4> tensor(2, 4, 8, 8);
  EXPECT_EQ(allocations - before, 1);
}

}  // namespace
