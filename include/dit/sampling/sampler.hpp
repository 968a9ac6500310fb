#pragma once
/// What all samplers share: a state that is walked step by step along a timeline, and the loop on top.

#include <algorithm>
#include <initializer_list>
#include <new>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "dit/core/error.hpp"
#include "dit/core/tensor.hpp"
#include "dit/sampling/field.hpp"

namespace dit { inline namespace DIT_ABI {

/// The resumable part of a sampler. A derived one adds `step(field)`, which
///   - asks the field first and touches `state()` last: if the field throws, the step can be taken again;
///   - allocates nothing.
///
/// To save a run keep `state()` and `index()`; `begin(state, timeline, index)` goes on from there, bit for bit. (A
/// method of several steps asks for its `history()` too.) A copy of the sampler does as well. `Timeline` is what
/// the steps are counted on: a Schedule or a DiffusionSchedule.
///
/// Errors: bad_state (no run begun, or it is over), bad_input_shape, bad_option, out_of_memory.
template <class T, std::size_t rank, class Timeline>
class Sampler {
  static_assert(std::is_floating_point_v<T>, "a sampler works on float or double");

 public:
  using scalar = T;
  using timeline_type = Timeline;
  static constexpr std::size_t state_rank = rank;

  /// How many steps the run has, how many were taken, and how many are left.
  int steps() const noexcept { return steps_; }
  int index() const noexcept { return index_; }
  int remaining() const noexcept { return steps_ - index_; }
  bool done() const noexcept { return remaining() == 0; }

  /// The state between two steps, valid until the next.
  View<const T, rank> state() const {
    require_begun();
    return x_;
  }

  /// Where the last step aimed: the image it would end in if it went on straight. A preview; after the last step it
  /// is the result itself.
  View<const T, rank> denoised() const {
    require_begun();
    require(previewed_, errc::bad_state, "there is no preview before the first step");
    return denoised_;
  }

  const Timeline& timeline() const {
    require_begun();
    return *timeline_;
  }

  /// Moves the state out, which ends the run; before the last step it is still noisy.
  Tensor<T, static_cast<int>(rank)> take() {
    require_begun();
    previewed_ = false;
    return std::move(x_);
  }

 protected:
  Sampler() = default;

  using State = Tensor<T, static_cast<int>(rank)>;

  static State allocate(const Shape<rank>& shape) {
    try {
      return State(shape);
    } catch (const std::bad_alloc&) {
      throw Error(errc::out_of_memory, "no memory for a state of " + to_string(shape));
    }
  }

  /// Memory of the state's shape, or with several times its channels, that a derived sampler writes into.
  struct Buffer {
    State& memory;
    int channels = 1;
  };

  /// All or nothing: what fails leaves the sampler as it was.
  void begin(View<const T, rank> x, const Timeline& timeline, int index,
             std::initializer_list<Buffer> buffers = {}) {
    detail::require_filled<T, rank>(x);
    if (index < 0 || index > timeline.steps()) {
      throw Error(errc::bad_option, "a run of " + std::to_string(timeline.steps()) +
                                        " steps cannot be taken up after step " + std::to_string(index));
    }
    State state = allocate(x.shape), denoised = allocate(x.shape);  // not in place: x may be our own state
    std::vector<State> memory;
    for (const Buffer& buffer : buffers) {
      Shape<rank> shape = x.shape;
      if (buffer.channels > 1) shape[1 % rank] *= buffer.channels;
      memory.push_back(allocate(shape));
    }
    std::optional<Timeline> copy(timeline);
    std::copy(x.begin(), x.end(), state.data());

    x_ = std::move(state);
    denoised_ = std::move(denoised);
    std::size_t i = 0;
    for (const Buffer& buffer : buffers) buffer.memory = std::move(memory[i++]);
    timeline_ = std::move(copy);
    steps_ = timeline_->steps();
    index_ = index;
    previewed_ = false;
  }

  /// For what makes sense only before the last step.
  void require_more() const {
    require_begun();
    require(!done(), errc::bad_state, "all steps have been taken");
  }
  /// Before the field is asked, with `denoised_` to write into.
  void start_step() {
    require_more();
    previewed_ = false;
  }
  /// After the field has answered and the step is taken.
  void advance() noexcept {
    ++index_;
    previewed_ = true;
  }

  State x_, denoised_;
  std::optional<Timeline> timeline_;

 private:
  void require_begun() const {
    require(x_.size() > 0, errc::bad_state, "no run has begun, or its result has been taken");
  }

  int steps_ = 0, index_ = 0;
  bool previewed_ = false;
};

/// Steps until done, or until the observer says no: `observer(sampler)` is called after every step and may return
/// false to cancel. `arguments` are those of `sampler.step`. True if the run is done; a cancelled one can be taken
/// up again.
template <class S, class Observer, class... Arguments>
bool run(S& sampler, Observer&& observer, Arguments&&... arguments) {
  using Answer = std::invoke_result_t<Observer&, const S&>;
  static_assert(std::is_void_v<Answer> || std::is_same_v<Answer, bool>,
                "an observer is called as observer(sampler) and returns nothing, or false to cancel");
  sampler.state();  // bad_state if no run has begun
  while (!sampler.done()) {
    sampler.step(arguments...);
    if constexpr (std::is_void_v<Answer>) {
      observer(std::as_const(sampler));
    } else {
      if (!observer(std::as_const(sampler))) break;
    }
  }
  return sampler.done();
}

/// The observer that looks at nothing.
struct Unobserved {
  template <class S>
  void operator()(const S&) const noexcept {}
};

}}  // namespace dit
