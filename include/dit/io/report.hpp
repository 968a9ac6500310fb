#pragma once
/// What a loader found: everything missing, unexpected and misshapen, told at once.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dit/core/tensor.hpp"
#include "dit/nn/layout.hpp"

namespace dit { inline namespace DIT_ABI {

struct LoadReport {
  struct Missing {
    std::string name;                  ///< as the file would spell it
    std::vector<std::string> nearest;  ///< names in the file, nearest first, at most 5; for the first 16 only
  };
  struct Misshapen {
    std::string name;
    std::vector<std::uint64_t> expected, found;
  };
  std::vector<Missing> missing;
  std::vector<Misshapen> misshapen;
  std::vector<std::string> unexpected;  ///< the first 1000
  std::size_t unexpected_count = 0;
  std::size_t unneeded = 0;  ///< tensors of such files that the model has no use for

  Layout layout = Layout::original;
  std::string prefix;       ///< what stood before every name
  std::size_t tensors = 0;  ///< read from the file
  std::uint64_t bytes = 0;  ///< that they take there

  bool complete() const noexcept { return missing.empty() && misshapen.empty(); }
};

namespace detail {

/// Insertions, deletions and replacements that turn a into b (Levenshtein).
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

/// The at most 5 candidates that are nearest to `name`. Looks at 4096 of them and 256 bytes of each, so that a
/// file cannot buy hours of comparing.
inline std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& candidates) {
  std::vector<std::pair<std::size_t, std::size_t>> ranked;
  for (std::size_t i = 0; i < std::min<std::size_t>(candidates.size(), 4096); ++i) {
    ranked.emplace_back(edit_distance(name.substr(0, 256), std::string_view(candidates[i]).substr(0, 256)), i);
  }
  const std::size_t n = std::min<std::size_t>(ranked.size(), 5);
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(n), ranked.end());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < n; ++i) names.push_back(candidates[ranked[i].second]);
  return names;
}

}  // namespace detail
}}  // namespace dit
