#pragma once
/// Small models with every kind of parameter, for tests of files.

#include <array>
#include <string_view>

#include "dit/io/names.hpp"
#include "dit/nn/module.hpp"

namespace dit_test {

template <int in, int out, class T>
struct Layer {
  using R = dit::real<T>;
  dit::Weight<T, out, in> weight;
  dit::Parameter<R, out> bias;
  static constexpr void visit(auto&& f, auto&... self) {
    f("weight", self.weight...);
    f("bias", self.bias...);
  }
};

/// Its other layout splits `qkv` in three, `mixed` in parts of 1 and 3, swaps the halves of `last`, stores `time`
/// once per block and `table` not at all.
template <class T>
struct Net {
  using R = dit::real<T>;

  struct Block {
    Layer<6, 18, T> qkv;
    Layer<6, 20, T> mixed;
    static constexpr void visit(auto&& f, auto&... self) {
      f("qkv", self.qkv...);
      f("mixed", self.mixed...);
    }
  };
  struct Table : dit::Parameter<R, 1, 5, 6> {};

  Table table;
  dit::Weight<T, 6, 2, 3, 3> patch;
  Layer<7, 6, T> time;
  std::array<Block, 3> blocks;
  Layer<6, 34, T> last;

  static constexpr void visit(auto&& f, auto&... self) {
    f("table", self.table...);
    f("patch.weight", self.patch...);
    f("time", self.time...);
    f("blocks", self.blocks...);
    f("last", self.last...);
  }

  static constexpr std::array<std::string_view, 1> derived{"table"};
  void fill_derived() {
    table.allocate();
    for (dit::Index i = 0; i < table.size; ++i) table.data()[i] = static_cast<R>(i) / 8;
  }

  static constexpr std::array<dit::NameRule, 5> rules{{
      {"time.*", {"parts.{}.clock.*"}},
      {"blocks.{}.qkv.*", {"parts.{}.q.*", "parts.{}.k.*", "parts.{}.v.*"}},
      {"blocks.{}.mixed.*", {"parts.{}.small.*", "parts.{}.large.*"}, {1, 3}},
      {"last.*", {"end.*"}, {1}, true},
      {"table", {}},
  }};
  static constexpr std::array<dit::LayoutNames, 1> layouts{{{dit::Layout::diffusers, rules}}};
  void set_layout(dit::Layout layout) { layout_ = layout; }
  dit::Layout layout() const { return layout_; }

 private:
  dit::Layout layout_ = dit::Layout::original;
};

/// A model with the numbers 1, 2, 3, ... / 64 in the order of its visit: exact in every dtype from bf16 up while
/// they are below 256 of them, distinct in f32.
template <class M>
M numbered(double step = 1.0 / 64) {
  M model{};
  double next = 0;
  dit::fill(model, [&next, step](const dit::Path&, const auto&) { return [&next, step] { return next += step; }; });
  return model;
}

}  // namespace dit_test
