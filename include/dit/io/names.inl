#pragma once

#include <algorithm>

#include "dit/core/error.hpp"
#include "dit/io/names.hpp"

namespace dit { inline namespace DIT_ABI { namespace detail {

DIT_ONCE std::optional<NameMatch> match_name(std::string_view pattern, std::string_view text) {
  NameMatch match;
  while (!pattern.empty()) {
    if (pattern == "*") {
      match.rest = text;
      return match;
    }
    if (pattern.starts_with("{}")) {
      std::size_t digits = 0;
      while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
      if (digits == 0) return std::nullopt;
      match.number = text.substr(0, digits);
      pattern.remove_prefix(2);
      text.remove_prefix(digits);
    } else {
      if (text.empty() || text.front() != pattern.front()) return std::nullopt;
      pattern.remove_prefix(1);
      text.remove_prefix(1);
    }
  }
  if (!text.empty()) return std::nullopt;
  return match;
}

DIT_ONCE std::string fill_name(std::string_view pattern, std::string_view number, std::string_view rest) {
  std::string text;
  while (!pattern.empty()) {
    const bool hole = pattern.starts_with("{}");
    text += hole ? number : pattern == "*" ? rest : pattern.substr(0, 1);
    pattern.remove_prefix(hole ? 2 : 1);
  }
  return text;
}

DIT_ONCE std::vector<Piece> spell(std::string_view ours, Index rows, std::span<const NameRule> rules) {
  for (const NameRule& rule : rules) {
    const auto match = match_name(rule.ours, ours);
    if (!match || (rule.only_block >= 0 && match->number != join({rule.only_block}))) continue;
    std::vector<Piece> pieces;
    Index shares = 0;
    for (std::size_t i = 0; i < rule.theirs.size() && !rule.theirs[i].empty(); ++i) shares += rule.shares[i];
    for (std::size_t i = 0; i < rule.theirs.size() && !rule.theirs[i].empty(); ++i) {
      const bool copied = match->number.empty() && rule.theirs[i].find("{}") != std::string_view::npos;
      const Index own = rows * rule.shares[i] / shares;
      Piece piece{fill_name(rule.theirs[i], copied ? "0" : match->number, match->rest), own, 0, own};
      piece.pointwise = rule.pointwise;
      if (copied) piece.copies = fill_name(rule.theirs[i], "{}", match->rest);
      if (rule.swapped_halves) {
        piece.count = own / 2;
        pieces.push_back(piece);
        pieces.back().first = own / 2;
      }
      pieces.push_back(std::move(piece));
    }
    return pieces;
  }
  return {{std::string(ours), rows, 0, rows}};
}

DIT_ONCE std::span<const NameRule> rules_of(std::span<const LayoutNames> layouts, Layout layout) {
  for (const LayoutNames& known : layouts) {
    if (known.layout == layout) return known.rules;
  }
  require(layout == Layout::original, errc::bad_option, "this model has no checkpoints of the layout asked for");
  return {};
}

DIT_ONCE std::vector<LayoutNames> spellings(std::span<const LayoutNames> layouts, std::optional<Layout> asked) {
  std::vector<LayoutNames> all;
  const auto add = [&](const LayoutNames& known) {
    if (!asked || known.layout == *asked) all.push_back(known);
  };
  const auto is_original = [](const LayoutNames& known) { return known.layout == Layout::original; };
  if (std::none_of(layouts.begin(), layouts.end(), is_original)) add({Layout::original, {}});
  for (const LayoutNames& known : layouts) add(known);
  require(!all.empty(), errc::bad_option, "this model has no checkpoints of the layout asked for");
  return all;
}

}}}  // namespace dit::detail
