#pragma once
/// What a loader found: everything missing, unexpected and misshapen, told at once.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

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
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The at most 5 candidates that are nearest to `name`. Looks at 4096 of them and 256 bytes of each, so that a
/// file cannot buy hours of comparing.
std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace detail
}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/report.inl"
#endif
