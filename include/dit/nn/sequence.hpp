#pragma once
/// Modules of different types as one list, which numbers them: torch.nn.Sequential and ModuleList.

#include <tuple>
#include <utility>

#include "dit/nn/module.hpp"

namespace dit { inline namespace DIT_ABI {

/// No module at all.
struct Nothing {
  static constexpr void visit(auto&&, auto&...) {}
};

/// "blocks" -> "blocks.0", "blocks.1", ...; where all are of one type a std::array does as well.
template <class... Modules>
struct Sequence {
  static constexpr std::size_t size = sizeof...(Modules);
  std::tuple<Modules...> modules;

  static constexpr void visit(auto&& f, auto&... self) {
    for_each_index([&](auto i) { f(static_cast<int>(i), std::get<i>(self.modules)...); });
  }

  template <std::size_t i>
  constexpr const auto& get() const {
    return std::get<i>(modules);
  }
  template <std::size_t i>
  constexpr auto& get() {
    return std::get<i>(modules);
  }
  /// f(module) for all of them, in order.
  template <class F>
  constexpr void for_each(F&& f) const {
    for_each_index([&](auto i) { f(std::get<i>(modules)); });
  }

 private:
  template <class F>
  static constexpr void for_each_index(F&& f) {
    [&f]<std::size_t... i>(std::index_sequence<i...>) { (f(std::integral_constant<std::size_t, i>{}), ...); }
    (std::make_index_sequence<size>{});
  }
};

}}  // namespace dit
