#pragma once
/// Things with parameters: `Parameter`, `Weight`, `visit`, and what is written once on top of it.
///
/// A module says its members once, under the official checkpoint's names:
///
///     static constexpr void visit(auto&& f, auto&... self) {
///       f("fc1", self.fc1...);
///       f("fc2", self.fc2...);
///     }
///
/// A member is a parameter, a module, or a std::array of modules ("blocks" -> "blocks.0", "blocks.1", ...); where
/// blocks of several types make up one list, its members have numbers for names. With one tree `visit` walks it;
/// with several of the same type it walks them in step.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "dit/core/scalar.hpp"
#include "dit/core/tensor.hpp"
#include "dit/kernels/pack.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {
/// Before a parameter's numbers are touched: a model that was never filled, or was moved from, has none, and what
/// was released is gone.
constexpr void require_weights(bool there) {
  require(there, errc::bad_state, "this model has no weights, or they were released: load or initialise it first");
}
}  // namespace detail

/// A learned tensor that is stored as it is, row-major: a bias, a norm's weight, an embedding table.
template <class T, int... extents>
class Parameter {
 public:
  using scalar = T;
  using Unpacked = T;
  static constexpr Shape<sizeof...(extents)> shape{extents...};
  static constexpr Index size = dit::size(shape);
  static constexpr Index rows = shape[0];
  static constexpr Index row_size = size / rows;
  static constexpr std::size_t bytes = static_cast<std::size_t>(size) * sizeof(T);  ///< that it takes

  constexpr bool empty() const noexcept { return values_.empty(); }
  void allocate() {
    or_out_of_memory("a parameter", [this] { values_ = Memory::zeroed(bytes); });
  }
  void allocate_to_set_rows() { allocate(); }
  /// A shape without numbers, for a plan: see Memory.
  constexpr void plan() { values_ = Memory::planned(bytes); }
  /// Back to the state before `allocate`.
  constexpr void release() noexcept { values_ = Memory(); }
  /// errc::bad_state before `allocate`, as for the rows; null where it is planned.
  constexpr const T* data() const {
    detail::require_weights(!empty());
    return values_.get() == nullptr ? nullptr : reinterpret_cast<const T*>(values_.get());
  }
  T* data() {
    detail::require_weights(!empty());
    return reinterpret_cast<T*>(values_.get());
  }

  void set_rows(Index first, Index count, const T* source) {
    std::copy(source, source + count * row_size, data() + first * row_size);
  }
  void get_rows(Index first, Index count, T* target) const {
    const T* from = data() + first * row_size;
    std::copy(from, from + count * row_size, target);
  }
  void copy(const Parameter& other) { std::copy(other.data(), other.data() + size, data()); }

 private:
  Memory values_;
};

/// A learned matrix [out, in], packed for the GEMM: y = x W^T. A convolution's weight [out, C, p, p] is
/// one as well.
template <class T, int... extents>
class Weight {
  static_assert(WeightType<T>::known || true);  // asking is enough: it says its sentence once for T

 public:
  using scalar = real<T>;
  using Unpacked = typename PackedMatrix<T>::Unpacked;  ///< rows may be of these instead; see there
  static constexpr Shape<sizeof...(extents)> shape{extents...};
  static constexpr Index size = dit::size(shape);
  static constexpr Index rows = shape[0];
  static constexpr Index row_size = size / rows;
  static constexpr std::size_t bytes = PackedMatrix<T>::bytes(rows, row_size);  ///< that it takes

  constexpr bool empty() const noexcept { return packed_.empty(); }
  /// Zeros.
  void allocate() { packed_ = PackedMatrix<T>(rows, row_size); }
  /// What is undefined until every row was set.
  void allocate_to_set_rows() { packed_ = PackedMatrix<T>::with_rows_to_set(rows, row_size); }
  /// Extents without numbers, for a plan: see Memory.
  constexpr void plan() { packed_ = PackedMatrix<T>::planned(rows, row_size); }
  /// Back to the state before `allocate`.
  constexpr void release() noexcept { packed_ = PackedMatrix<T>(); }
  /// errc::bad_state before `allocate`, as for the rows.
  constexpr const PackedMatrix<T>& packed() const {
    detail::require_weights(!empty());
    return packed_;
  }

  template <class S>
  void set_rows(Index first, Index count, const S* source) {
    detail::require_weights(!empty());
    packed_.set_rows(first, count, source);
  }
  template <class S>
  void get_rows(Index first, Index count, S* target) const {
    packed().get_rows(first, count, target);
  }
  /// Bit by bit, so nothing is rounded again.
  void copy(const Weight& other) { packed_.copy(other.packed()); }

 private:
  PackedMatrix<T> packed_;
};

template <class P>
concept IsParameter = requires {
  P::shape;
  P::size;
};

/// Where a parameter hangs in the tree: "blocks.3.attn.qkv.weight". A chain on the stack, so the compiler can
/// walk too.
struct Path {
  const Path* parent = nullptr;
  std::string_view name{};
  int index = -1;  ///< of an array's element

  std::string str() const {
    std::string text = parent && !(parent->parent == nullptr && parent->name.empty()) ? parent->str() : "";
    if (!text.empty()) text += ".";
    return text + (index < 0 ? std::string(name) : std::to_string(index));
  }
};

namespace detail {
template <class>
inline constexpr bool is_array = false;
template <class M, std::size_t n>
inline constexpr bool is_array<std::array<M, n>> = true;

struct AnyVisitor {
  constexpr void operator()(auto&&...) const {}
};
}  // namespace detail

/// Names its parameters: see the top of this file.
template <class M>
concept Module = IsParameter<M> || detail::is_array<M> || requires(M& model) {
  M::visit(detail::AnyVisitor{}, model);
};

namespace detail {
/// Says its sentence once for a type, however often it is walked.
template <class M>
struct Walked {
  static constexpr bool named = Module<M>;
  static_assert(named,
                "a module names its parameters: "
                "static constexpr void visit(auto&& f, auto&... self) { f(\"name\", self.member...); }");
};
}  // namespace detail

/// Calls `f(path, parameters...)` for every parameter of one tree, or of several of the same type in step,
/// in the order of the checkpoint.
template <class F, class Tree, class... Trees>
constexpr void for_each_parameter(const Path& path, F&& f, Tree& tree, Trees&... trees) {
  using Plain = std::remove_const_t<Tree>;
  if constexpr (!detail::Walked<Plain>::named) {
    return;
  } else if constexpr (IsParameter<Plain>) {
    f(path, tree, trees...);
  } else if constexpr (detail::is_array<Plain>) {
    for (std::size_t i = 0; i < tree.size(); ++i) {
      for_each_parameter(Path{&path, {}, static_cast<int>(i)}, f, tree[i], trees[i]...);
    }
  } else {
    Plain::visit(
        [&path, &f](auto name, auto& member, auto&... members) {
          if constexpr (std::is_integral_v<decltype(name)>) {
            for_each_parameter(Path{&path, {}, name}, f, member, members...);
          } else {
            for_each_parameter(Path{&path, name}, f, member, members...);
          }
        },
        tree, trees...);
  }
}
template <class F, class Tree, class... Trees>
constexpr void for_each_parameter(F&& f, Tree& tree,
                                  Trees&... trees) requires(!std::is_same_v<std::remove_cvref_t<F>, Path>) {
  for_each_parameter(Path{}, f, tree, trees...);
}

namespace detail {
template <class M>
struct ModelOf;
template <template <auto, class> class Model, auto config, class T>
struct ModelOf<Model<config, T>> {
  using scalar = T;
  template <class U>
  using with_scalar = Model<config, U>;
};
}  // namespace detail

/// The type of the weights of Model<config, T>, T, and the same model with other weights.
template <class M>
using scalar_of = typename detail::ModelOf<M>::scalar;
template <class M, class U>
using with_scalar = typename detail::ModelOf<M>::template with_scalar<U>;

/// How many learned numbers a model has: a constant of the compiler.
///     static_assert(parameter_count<DiT<dit_xl_2>>() == 675'129'632);
template <class M>
constexpr std::int64_t parameter_count() {
  std::int64_t count = 0;
  const M model{};
  for_each_parameter([&count](const Path&, const auto& p) { count += p.size; }, model);
  return count;
}

/// How many tensors its checkpoint has.
template <class M>
constexpr int tensor_count() {
  int count = 0;
  const M model{};
  for_each_parameter([&count](const Path&, const auto&) { ++count; }, model);
  return count;
}

/// Sets every number of every parameter to 0, giving it its memory.
template <class M>
void zero(M& model) {
  for_each_parameter([](const Path&, auto& p) { p.allocate(); }, model);
}

namespace detail {
/// Calls f(first row, rows) for blocks of rows that hold at most a million numbers or so: enough to be quick,
/// little enough to need no memory to speak of.
template <class P, class F>
void for_each_row_block(F&& f) {
  const Index rows = std::max<Index>(1, (Index{1} << 20) / P::row_size);
  for (Index first = 0; first < P::rows; first += rows) f(first, std::min(rows, P::rows - first));
}
}  // namespace detail

/// Sets the numbers of every parameter to what the function `value(path, parameter)` gives, called for each number,
/// in the order of the checkpoint.
template <class M, class F>
void fill(M& model, F&& value) {
  for_each_parameter(
      [&]<class P>(const Path& path, P& p) {
        std::vector<typename P::scalar> block;
        p.allocate_to_set_rows();
        auto&& next = value(path, p);
        detail::for_each_row_block<P>([&](Index first, Index rows) {
          block.resize(static_cast<std::size_t>(rows * P::row_size));
          for (auto& x : block) x = static_cast<typename P::scalar>(next());
          p.set_rows(first, rows, block.data());
        });
      },
      model);
}

/// to <- from: the parameters, and the layout whose conventions go with them. Errors: bad_state where `from`
/// has none.
template <class M>
void copy(const M& from, M& to) {
  if (&from == &to) return;
  if constexpr (requires { to.set_layout(from.layout()); }) to.set_layout(from.layout());
  for_each_parameter(
      [&]<class P>(const Path&, const P& source, P& target) {
        target.allocate_to_set_rows();
        target.copy(source);
      },
      from, to);
}

/// The largest absolute difference between two models' parameters, NaN if there is one anywhere; 0 means that they
/// are equal. Errors: bad_state where one has none yet.
template <class M>
double max_difference(const M& a, const M& b) {
  double largest = 0;
  for_each_parameter(
      [&]<class P>(const Path&, const P& p, const P& q) {
        std::vector<typename P::scalar> block_a, block_b;
        detail::for_each_row_block<P>([&](Index first, Index rows) {
          block_a.resize(static_cast<std::size_t>(rows * P::row_size));
          block_b.resize(block_a.size());
          p.get_rows(first, rows, block_a.data());
          q.get_rows(first, rows, block_b.data());
          for (std::size_t i = 0; i < block_a.size(); ++i) {
            if (block_a[i] == block_b[i] || std::isnan(largest)) continue;
            const double difference = std::abs(static_cast<double>(block_a[i]) - static_cast<double>(block_b[i]));
            if (!(difference <= largest)) largest = difference;
          }
        });
      },
      a, b);
  return largest;
}

}}  // namespace dit
