// What is no field of a sampler ends in a sentence.
// error 1: a velocity field is called as field(View<const T, rank> x, T t, View<T, rank> v)
// error 2: a noise predictor is called as field(View<const T, rank> x, int t, View<T, rank> out)
// error 3: a noise source is called as draw(View<T, rank> noise)
// error 4: an observer is called as observer(sampler) and returns nothing, or false to cancel
// error 5: this field keeps state, as guidance does: it must not be const
#include "dit/sampling/ddim.hpp"
#include "dit/sampling/guidance.hpp"
#include "dit/sampling/sample.hpp"

using dit::View;

void compile(const dit::Tensor<float, 4>& noise) {
  const auto velocity = [](View<const float, 4>, float, View<float, 4>) {};
  const auto eps = [](View<const float, 4>, int, View<float, 4>) {};
  const auto draw = [](View<float, 4>) {};
  const auto two_arguments = [](View<const float, 4>, float) {};
  const dit::Schedule schedule = dit::Schedule::uniform(4);
  const dit::DiffusionSchedule chain(dit::ddim_steps(4));
  dit::DdimSampler ddim(1.0);
  ddim.begin(noise, chain);
  dit::SequentialGuidance guided(velocity, velocity, dit::Guidance{4});
#if DIT_BREAK == 1
  dit::sample(noise, schedule, two_arguments);
#elif DIT_BREAK == 2
  ddim.step(two_arguments, draw);
#elif DIT_BREAK == 3
  ddim.step(eps, two_arguments);
#elif DIT_BREAK == 4
  dit::sample(noise, schedule, velocity, [](const auto&) { return 1; });
#elif DIT_BREAK == 5
  const auto constant = guided;
  dit::sample(noise, schedule, constant);
#else
  dit::sample(noise, schedule, velocity);
  dit::sample(noise, schedule, guided, [](const auto&) { return true; });
  ddim.step(eps, draw);
  (void)two_arguments;
#endif
}
