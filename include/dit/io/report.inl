#pragma once

#include <algorithm>
#include <limits>

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
  const std::size_t count = std::min<std::size_t>(candidates.size(), 4096);
  constexpr std::size_t taken = std::numeric_limits<std::size_t>::max();
  std::vector<std::size_t> distances;
  for (std::size_t i = 0; i < count; ++i) {
    distances.push_back(edit_distance(name.substr(0, 256), std::string_view(candidates[i]).substr(0, 256)));
  }
  std::vector<std::string> names;
  for (std::size_t n = 0; n < std::min<std::size_t>(count, 5); ++n) {
    const auto nearest = std::min_element(distances.begin(), distances.end());
    names.push_back(candidates[static_cast<std::size_t>(nearest - distances.begin())]);
    *nearest = taken;
  }
  return names;
}

}}}  // namespace dit::detail
