#pragma once
/// A model with its conditioning fixed: the field that a sampler walks along.

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "dit/core/workspace.hpp"
#include "dit/nn/adaln.hpp"
#include "dit/ops/patch.hpp"

namespace dit { inline namespace DIT_ABI {

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
/// Times that were not prepared are computed when they come, unless `release_modulation` gave back the weights that
/// takes, a third of the model's: then they are errc::bad_state. A batch smaller than the conditioning takes its
/// first samples, so [conditional | unconditional] serves batched guidance. A copy copies what was prepared; wrap
/// std::ref(field) where that is much. Errors: bad_condition (fewer conditions than samples, and what the model
/// does not accept), and those of the model.
template <class M>
class Conditioned {
 public:
  using R = typename M::R;

  /// The model and the workspace must outlive it.
  template <bool temporary = true>
  Conditioned(const M&&, const typename M::Condition&, Workspace&) {
    static_assert(!temporary,
                  "a Conditioned field refers to its model, which must outlive it: give the model a name");
  }
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
  /// numbers for every time and sample: 0.8 MB in DiT-XL/2, 1.8 MB in SD3-medium, 4.2 MB in FLUX.1. Beside this
  /// table it takes the workspace for 256 vectors at a time, at most 16 MB in FLUX.1, however many there are.
  /// Errors: bad_condition without times; bad_state once the model's modulation weights are released. Whatever was
  /// prepared before stays then.
  template <class Times>
  void prepare(const Times& times) {
    or_out_of_memory("the modulations of all times", [&] {
      std::vector<R> each;
      for (const auto time : times) each.push_back(M::model_time(time));
      require(!each.empty(), errc::bad_condition, "there must be a time to prepare");
      std::vector<R> table(each.size() * step_table_.size());
      std::vector<R> t;
      const auto lease = workspace_->lease();
      const Index count = static_cast<Index>(each.size()), at_once = times_at_once();
      for (Index first = 0; first < count; first += at_once) {
        t.clear();
        for (Index i = first; i < std::min(count, first + at_once); ++i) {
          t.insert(t.end(), t_.size(), each[static_cast<std::size_t>(i)]);
        }
        model_->modulations(t, condition_, table.data() + first * static_cast<Index>(step_table_.size()),
                            *workspace_);
      }
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
  template <class Model = M>
  auto skipping(std::initializer_list<int> blocks) requires requires {
    typename Model::BlockSet;
  }
  {
    const auto skipped = Model::block_set(blocks);
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
    typename M::Modulations m;
    if (const auto found = std::find(prepared_.begin(), prepared_.end(), time); found != prepared_.end()) {
      m = modulations_of(found - prepared_.begin());
    } else {
      require(has_modulation(*model_), errc::bad_state,
              "this time was not prepared, and the model's modulation weights were released or never loaded");
      std::fill(t_.begin(), t_.end(), time);
      const auto lease = workspace_->lease();
      model_->modulations(std::span<const R>(t_).first(static_cast<std::size_t>(x.shape[0])), condition_,
                          step_table_.data(), *workspace_);
      m = {{step_table_.data(), x.shape[0], 0}};
    }
    (*model_)(x, m, condition_, v, *workspace_, options...);
  }

  /// The times whose modulations are computed together, 256 vectors or those of one time. They make a table of
  /// their own in `table_`.
  Index times_at_once() const { return std::max<Index>(1, 256 / std::max<Index>(1, condition_.samples())); }

  typename M::Modulations modulations_of(Index i) const {
    const Index samples = condition_.samples(), at_once = times_at_once(), first = i / at_once * at_once;
    const Index times = std::min(at_once, static_cast<Index>(prepared_.size()) - first);
    return {
        {table_.data() + first * static_cast<Index>(step_table_.size()), samples * times, samples * (i - first)}};
  }

  const M* model_ = nullptr;
  Workspace* workspace_ = nullptr;
  typename M::Embedded condition_{};
  std::vector<R> t_, prepared_, table_, step_table_;
};

}}  // namespace dit
