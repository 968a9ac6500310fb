#pragma once
/// Image to image: where such a run begins, and repainting a part of an image.

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>

#include "dit/sampling/sampler.hpp"
#include "dit/sampling/schedule.hpp"

namespace dit { inline namespace DIT_ABI {

/// (1 - s) image + s noise, where a run of image to image begins:
///
///     const Schedule schedule = sd3_schedule(28).with_strength(0.6);
///     sampler.begin(add_noise(image, noise, schedule[0]), schedule);
///
/// Source: diffusers, FlowMatchEulerDiscreteScheduler.scale_noise. Errors: bad_input_shape, bad_schedule.
template <class Image, class Noise>
auto add_noise(const Image& image, const Noise& noise, double s) {
  return [s]<class T, class U, std::size_t rank>(View<T, rank> x0, View<U, rank> eps) {
    using Scalar = std::remove_const_t<T>;
    static_assert(std::is_same_v<Scalar, std::remove_const_t<U>>, "image and noise are of one scalar");
    require(x0.shape == eps.shape, errc::bad_input_shape, "image and noise must have one shape");
    require(s >= 0 && s <= 1, errc::bad_schedule, "a noise level lies between 0 and 1");
    const Scalar of_image = static_cast<Scalar>(1 - s), of_noise = static_cast<Scalar>(s);
    Tensor<Scalar, static_cast<int>(rank)> x(x0.shape);
    for (Index i = 0; i < x.size(); ++i) x.data()[i] = of_image * x0.data[i] + of_noise * eps.data[i];
    return x;
  }(View(image), View(noise));
}

/// Any sampler, repainting an image where the mask is 1 and keeping it where the mask is 0. After every step
///   x <- (1 - mask) (a image + b noise) + mask x
/// at the step's end: a = 1 - s, b = s on a Schedule, sqrt(abar) and sqrt(1 - abar) on a DiffusionSchedule; after
/// the last step a = 1, b = 0. The preview is composed likewise with the image itself.
///
/// image, noise [B, C, ...], mask [B, C, ...] or [B, 1, ...], on the grid of the latent; each of them may have one
/// item for all. All three are copied. Begun, stepped, saved and taken up again as the sampler that it is made of;
/// a step allocates nothing that this one does not.
///
///     InpaintSampler sampler(EulerSampler<float, 4>(), image, noise, mask);
///     sampler.begin(sd3_schedule(28).with_strength(0.6));
///     while (!sampler.done()) sampler.step(field);      // or run(sampler, observer, field)
///
/// (Models that take mask and image as channels, as FLUX.1 Fill does, need none of this.)
/// Source: diffusers, pipeline_stable_diffusion_3_inpaint.py. Errors: bad_input_shape; bad_option for a mask with
/// values outside [0, 1] or NaN; out_of_memory.
template <class Method>
class InpaintSampler : public Method {
 public:
  using T = typename Method::scalar;
  using Timeline = typename Method::timeline_type;
  static constexpr std::size_t rank = Method::state_rank;
  static_assert(rank >= 2, "axis 0 of the state is the batch, axis 1 the channels");

  InpaintSampler(Method method, View<const T, rank> image, View<const T, rank> noise, View<const T, rank> mask)
      : Method(std::move(method)), image_(copy(image)), noise_(copy(noise)), mask_(copy(mask)) {
    require_fits(this->x_.size() > 0 ? View<const T, rank>(this->x_).shape : common_shape());
    for (const T m : mask) {
      require(m >= 0 && m <= 1, errc::bad_option, "a mask has values from 0 (keep) to 1 (repaint)");
    }
  }

  /// From the image with the noise of the timeline's first step.
  void begin(const Timeline& timeline) {
    const Shape<rank> shape = common_shape();
    typename Method::State x = Method::allocate(shape);
    const Noising at(timeline.mixture(0));
    each(shape, [&](Index i, T image, T noise, T) { x.data()[i] = at(image, noise); });
    begin(x, timeline);
  }
  /// From any state: what `more` is, the index and the like, says the sampler.
  template <class... More>
  void begin(View<const T, rank> x, const Timeline& timeline, const More&... more) {
    require_fits(x.shape);
    Method::begin(x, timeline, more...);
  }

  /// Takes what the sampler's step takes.
  template <class... Arguments>
  void step(Arguments&&... arguments) {
    Method::step(std::forward<Arguments>(arguments)...);
    const View<T, rank> x = this->x_, denoised = this->denoised_;
    const Noising at(this->timeline_->mixture(this->index()));
    each(x.shape, [&](Index i, T image, T noise, T mask) {
      x.data[i] = (1 - mask) * at(image, noise) + mask * x.data[i];
      denoised.data[i] = (1 - mask) * image + mask * denoised.data[i];
    });
  }

 private:
  using State = typename Method::State;

  /// a image + b noise
  struct Noising {
    explicit Noising(Mixture at) : of_image(static_cast<T>(at.image)), of_noise(static_cast<T>(at.noise)) {}
    T operator()(T image, T noise) const { return of_image * image + of_noise * noise; }
    T of_image, of_noise;
  };

  static State copy(View<const T, rank> x) {
    detail::require_filled<T, rank>(x);
    State state = Method::allocate(x.shape);
    std::copy(x.begin(), x.end(), state.data());
    return state;
  }

  /// With the largest of the batches.
  Shape<rank> common_shape() const {
    Shape<rank> shape = View<const T, rank>(image_).shape;
    shape[0] = std::max({shape[0], noise_.dimension(0), mask_.dimension(0)});
    return shape;
  }

  void require_fits(const Shape<rank>& state) const {
    const auto fits = [&](const State& tensor, std::size_t loose_axes) {
      bool same = true;
      for (std::size_t axis = 0; axis < rank; ++axis) {
        const Index extent = tensor.dimension(axis);
        same = same && (extent == state[axis] || (axis < loose_axes && extent == 1));
      }
      return same;
    };
    if (!fits(image_, 1) || !fits(noise_, 1) || !fits(mask_, 2)) {
      throw Error(errc::bad_input_shape, "to repaint a state of " + to_string(state) + ", image " +
                                             to_string(image_.dimensions()) + ", noise " +
                                             to_string(noise_.dimensions()) + " and mask " +
                                             to_string(mask_.dimensions()) + " must have its shape");
    }
  }

  /// f(i, image, noise, mask) for every number of a state.
  template <class F>
  void each(const Shape<rank>& shape, F&& f) const {
    const Index channels = shape[1], size = dit::size(shape) / (shape[0] * channels);
    const auto plane = [&](const State& from, Index item, Index channel) {
      const Index batch = from.dimension(0), width = from.dimension(1);
      return from.data() + ((batch == 1 ? 0 : item) * width + (width == 1 ? 0 : channel)) * size;
    };
    Index i = 0;
    for (Index item = 0; item < shape[0]; ++item) {
      for (Index channel = 0; channel < channels; ++channel) {
        const T *image = plane(image_, item, channel), *noise = plane(noise_, item, channel),
                *mask = plane(mask_, item, channel);
        for (Index j = 0; j < size; ++j, ++i) f(i, image[j], noise[j], mask[j]);
      }
    }
  }

  State image_, noise_, mask_;
};

}}  // namespace dit
