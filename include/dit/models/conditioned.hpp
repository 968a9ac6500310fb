#pragma once
/// A model with its conditioning fixed: the field that a sampler walks along.

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "dit/core/workspace.hpp"
#include "dit/ops/patch.hpp"

namespace dit::inline DIT_ABI {

/// v(x, time) for one batch, its classes or texts given:
///
///     Conditioned field(model, {207, 360}, workspace);              // a DiT: one class for every sample
///     Conditioned field(model, text, workspace);                    // an MMDiT: text and pooled text
///     Conditioned field(model, {text, {3.5f}}, workspace);          // a FLUX: text and guidance
///     sample(noise, schedule, field);                               // a flow: time is sigma in [0, 1]
///     sample<DdpmSampler>(noise, chain, field, Unobserved{}, draw);  // DiT's chain: time is its step, an integer
///     sample<DdimSampler>(noise, chain, WithoutVariance(field));    // the same, without its variance logits
///
/// What depends on the conditioning alone is computed once. So is, with `prepare(times)`, what depends on it and on
/// time: the modulations of all times, one GEMM per layer instead of one per layer and step, bit for bit the same.
/// Times that were not prepared are computed when they come. A batch smaller than the conditioning takes its first
/// samples, so [conditional | unconditional] serves batched guidance. A copy copies what was prepared; wrap
/// std::ref(field) where that is much. Errors: bad_condition (fewer conditions than samples, and what the model
/// does not accept), and those of the model.
template <class M>
class Conditioned {
 public:
  using R = typename M::R;

  /// The model and the workspace must outlive it.
  Conditioned(const M&& model, const typename M::Condition& condition, Workspace& workspace) = delete;
  Conditioned(const M& model, const typename M::Condition& condition, Workspace& workspace)
      : model_(&model), workspace_(&workspace) {
    or_out_of_memory("the conditioning", [&] {
      {
        const auto lease = workspace.lease();
        condition_ = model.embed(condition, workspace);
      }
      const auto samples = static_cast<std::size_t>(condition_.samples());
      t_.resize(samples);
      step_table_.resize(samples * static_cast<std::size_t>(M::Modulations::per_vector));
    });
  }

  /// times: sigmas of a flow, or integer steps of a chain; any range of numbers. Takes Modulations::per_vector
  /// numbers for every time and sample: 0.8 MB in DiT-XL/2, 1.8 MB in SD3-medium, 4.2 MB in FLUX.1.
  template <class Times>
  void prepare(const Times& times) {
    or_out_of_memory("the modulations of all times", [&] {
      std::vector<R> each, t;
      for (const auto time : times) {
        each.push_back(M::model_time(time));
        t.insert(t.end(), t_.size(), each.back());
      }
      std::vector<R> table(t.size() * static_cast<std::size_t>(M::Modulations::per_vector));
      const auto lease = workspace_->lease();
      model_->modulations(t, condition_, table.data(), *workspace_);
      table_ = std::move(table);
      prepared_ = std::move(each);
    });
  }

  /// v(x, time)
  template <class Time>
  void operator()(View<const R, 4> x, Time time, View<R, 4> v) {
    evaluate(x, M::model_time(time), v);
  }

  /// The same field with some of the model's blocks left out, for skip-layer guidance: a view of this one, which
  /// must outlive it. Errors: bad_option for a block that the model does not have.
  auto skipping(std::initializer_list<int> blocks) requires requires { typename M::BlockSet; }
  {
    const auto skipped = M::block_set(blocks);
    return [this, skipped](View<const R, 4> x, auto time, View<R, 4> v) {
      this->evaluate(x, M::model_time(time), v, skipped);
    };
  }

 private:
  template <class... Options>
  void evaluate(View<const R, 4> x, R time, View<R, 4> v, const Options&... options) {
    patch_grid(x, M::config.patch);
    const Index samples = condition_.samples();
    require(x.shape[0] <= samples, errc::bad_condition, "there must be a condition for every sample");
    const auto found = std::find(prepared_.begin(), prepared_.end(), time);
    typename M::Modulations m;
    if (found != prepared_.end()) {
      m = {{table_.data(), samples * static_cast<Index>(prepared_.size()), samples * (found - prepared_.begin())}};
    } else {
      std::fill(t_.begin(), t_.end(), time);
      const auto lease = workspace_->lease();
      model_->modulations(std::span<const R>(t_).first(static_cast<std::size_t>(x.shape[0])), condition_,
                          step_table_.data(), *workspace_);
      m = {{step_table_.data(), x.shape[0], 0}};
    }
    (*model_)(x, m, condition_, v, *workspace_, options...);
  }

  const M* model_;
  Workspace* workspace_;
  typename M::Embedded condition_{};
  std::vector<R> t_, prepared_, table_, step_table_;
};

}  // namespace dit::inline DIT_ABI
