#pragma once
/// Numbers from files into parameters, by several threads.

#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "dit/core/executor.hpp"
#include "dit/io/binding.hpp"
#include "dit/nn/module.hpp"

namespace dit { inline namespace DIT_ABI { namespace detail {

template <class P>
inline constexpr bool is_packed = requires(const P& p) {
  p.packed();
};

/// Rows of a tensor as numbers; non_finite_weight if asked to check them.
template <class Number>
void read_rows(const Source& source, Index first, Index rows, void* values, bool check_finite);

/// A type of parameters as loading sees it: facts, and functions for one of them behind a pointer, so that all else
/// is compiled once for every shape of a model.
struct LoadedType {
  std::span<const Index> shape;
  Index row_size;
  std::size_t bytes;  ///< that one takes once loaded
  std::size_t number_bytes;
  /// Reads rows of it, as what they may be given as: numbers, or `unpacked` ones.
  using Read = void(const Source& source, Index first, Index rows, void* values, bool check_finite);
  Read* read;
  Read* read_unpacked = nullptr;
  /// Of a packed weight: memory, then rows.
  void (*allocate)(void* parameter) = nullptr;
  void (*set_rows)(void* parameter, Index row, Index count, const void* values, bool unpacked) = nullptr;
  /// Of another parameter: fresh memory for all of its numbers.
  void* (*numbers)(void* parameter) = nullptr;
};

template <class P>
constexpr LoadedType make_loaded_type() {
  using Number = real<typename P::scalar>;
  LoadedType type{P::shape, P::row_size, P::bytes, sizeof(Number), read_rows<Number>};
  if constexpr (is_packed<P>) {
    type.read_unpacked = read_rows<typename P::Unpacked>;
    type.allocate = [](void* parameter) { static_cast<P*>(parameter)->allocate_to_set_rows(); };
    type.set_rows = [](void* parameter, Index row, Index count, const void* values, bool unpacked) {
      P& p = *static_cast<P*>(parameter);
      if (std::is_same_v<Number, typename P::Unpacked> || unpacked) {
        p.set_rows(row, count, static_cast<const typename P::Unpacked*>(values));
      } else {
        p.set_rows(row, count, static_cast<const Number*>(values));
      }
    };
  } else {
    type.numbers = [](void* parameter) -> void* {
      P& p = *static_cast<P*>(parameter);
      p.allocate_to_set_rows();
      return p.data();
    };
  }
  return type;
}
template <class P>
inline constexpr LoadedType loaded_type = make_loaded_type<P>();

/// Loads parameters in tasks: strips of a packed weight, or another parameter as a whole. What a task reads, rounds
/// and packs at a time stays in its core's cache, and its thread is the first to touch the memory that it fills.
class Loader {
 public:
  Loader(Executor& executor, bool check_finite);

  /// The parameter and where its rows come from, in their order; all must stay.
  void add(void* parameter, const LoadedType& type, const std::vector<Source>& sources);

  /// What is wrong with the first of them in order is thrown, whatever the threads met first.
  void run();

 private:
  using Scratch = std::vector<std::byte>;
  struct Job {
    void* parameter;
    const LoadedType* type;
    const std::vector<Source>* sources;
    Index rows, rows_per_task, first_task;
  };

  void read_packed(const Job& job, Index first, Index count, Scratch& scratch) const;
  void read_plain(const Job& job, Index first, Index count) const;

  Executor& executor_;
  bool check_finite_;
  std::vector<Scratch> scratch_;  ///< of every strand
  std::vector<Job> jobs_;
  Index tasks_ = 0;
};

}}}  // namespace dit::detail

#ifndef DIT_EXTERN
#include "dit/io/loader.inl"
#endif
