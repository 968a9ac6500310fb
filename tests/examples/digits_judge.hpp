#pragma once
/// Are drawn digits recognised? The judge of examples/evaluate_digits.py, and digits for it.

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "dit/sampling/euler.hpp"
#include "dit/sampling/guidance.hpp"
#include "dit/sampling/sample.hpp"
#include "models/digits.hpp"
#include "models/models.hpp"

namespace dit_test {

using dit::Index;
using support::Tensor;

/// A support vector machine: for each two classes a vote of the sign of sum_s dual_s exp(-gamma |x - s|^2) +
/// intercept.
class DigitsJudge {
 public:
  DigitsJudge() {
    Index first = 0;
    for (const int n : golden_.integers("of_class")) begin_.push_back(first), first += n;
    begin_.push_back(first);
  }

  /// The class of an image of 64 grey values of 0..16.
  int operator()(const double* image) const {
    const Index count = begin_.back();
    std::vector<double> near(static_cast<std::size_t>(count));
    for (Index s = 0; s < count; ++s) {
      double squares = 0;
      for (Index i = 0; i < 64; ++i) {
        const double difference = image[i] - support_(s, i);
        squares += difference * difference;
      }
      near[static_cast<std::size_t>(s)] = std::exp(-0.001 * squares);
    }
    std::array<int, 10> votes{};
    auto intercept = intercept_.begin();
    for (Index a = 0; a < 10; ++a) {
      for (Index b = a + 1; b < 10; ++b) {
        const double sum = *intercept++ + of(a, b - 1, near) + of(b, a, near);
        ++votes[static_cast<std::size_t>(sum > 0 ? a : b)];
      }
    }
    return static_cast<int>(std::max_element(votes.begin(), votes.end()) - votes.begin());
  }
  /// Of images [n, 1, 8, 8] of [-1, 1].
  std::vector<int> operator()(const Tensor<float, 4>& images) const {
    std::vector<int> seen;
    for (Index i = 0; i < images.size(); i += 64) {
      double grey[64];
      for (Index p = 0; p < 64; ++p) {
        grey[p] = std::clamp((static_cast<double>(images.data()[i + p]) + 1) * 8, 0.0, 16.0);
      }
      seen.push_back((*this)(grey));
    }
    return seen;
  }

 private:
  /// What the support vectors of a class say with their coefficients number `row`.
  double of(Index label, Index row, const std::vector<double>& near) const {
    double sum = 0;
    for (Index s = begin_[static_cast<std::size_t>(label)]; s < begin_[static_cast<std::size_t>(label) + 1]; ++s) {
      sum += dual_(row, s) * near[static_cast<std::size_t>(s)];
    }
    return sum;
  }

  support::Golden golden_{"digits_judge"};
  Tensor<double, 2> support_ = golden_.bytes<double, 2>("support"), dual_ = golden_.tensor<double, 2>("dual");
  std::vector<double> intercept_ = golden_.values<double>("intercept");
  std::vector<Index> begin_;
};

/// Digits 0, 1, ... 9, 0, ... from the same noise whatever T is: [count, 1, 8, 8].
template <class T>
Tensor<float, 4> draw_digits(Index count, int steps, unsigned seed, double guidance = 1.25) {
  const auto model = dit::load<dit::DiT<digits, T>>(std::filesystem::path(DIT_MODELS_DIR) / "digits.safetensors");
  std::vector<int> classes;
  for (Index i = 0; i < count; ++i) classes.push_back(static_cast<int>(i % 10));
  classes.resize(2 * classes.size(), digits.classes);
  dit::Workspace workspace(2);
  dit::Conditioned both(model, classes, workspace);
  const auto schedule = dit::Schedule::uniform(steps);
  both.prepare(schedule.template times<float>());
  return dit::sample(support::normal<float, 4>({count, 1, 8, 8}, seed), schedule,
                     dit::BatchedGuidance(std::ref(both), dit::Guidance{.scale = guidance}))
      .x;
}

}  // namespace dit_test
