#pragma once

#include <algorithm>
#include <utility>

#include "dit/io/report.hpp"

namespace dit { inline namespace DIT_ABI { namespace detail {

DIT_ONCE std::size_t edit_distance(std::string_view a, std::string_view b) {
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

DIT_ONCE std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& candidates) {
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

}}}  // namespace dit::detail
