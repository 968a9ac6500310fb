#pragma once
/// Which tensors of a checkpoint are which of a model, and everything that can be wrong with that.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dit/core/executor.hpp"
#include "dit/io/checkpoint.hpp"
#include "dit/io/names.hpp"
#include "dit/io/report.hpp"

namespace dit { inline namespace DIT_ABI {

struct LoadOptions {
  bool strict = false;                     ///< tensors that the model does not have are an error
  bool check_finite = false;               ///< so are NaN and Inf
  bool check_copies = false;               ///< so are differing copies where a layout stores a tensor several times
  std::optional<Layout> layout = {};       ///< told from the names unless given
  std::optional<std::string> prefix = {};  ///< before every name; none or one of known_prefixes unless given
  std::optional<std::size_t> memory_limit = {};  ///< bytes that the packed weights may take
  Executor* executor = nullptr;                  ///< who loads; a pool of one thread for every core unless given
  OpenOptions open = {};
};

namespace detail {

/// A tensor that the model wants, and where its rows come from.
struct Wanted {
  std::string name;
  std::vector<std::uint64_t> shape;
  Index rows;
  bool derived;
};

/// Rows [first, first + count) of a tensor of a file, by its number there.
struct Source {
  const Safetensors* file;
  std::size_t tensor;
  Index first, count;

  TensorInfo info() const { return (*file)[tensor]; }
};

struct Binding {
  std::vector<std::vector<Source>> sources;  ///< for every wanted tensor; none: it is derived
  std::vector<std::vector<Source>> copies;   ///< other blocks' copies of a tensor that is read, itself the first
  LoadReport report;
};

/// Which of the wanted tensors a checkpoint has, under which names.
class Binder {
 public:
  Binder(const Checkpoint& checkpoint, const std::vector<Wanted>& wanted, std::span<const LayoutNames> layouts,
         const LoadOptions& options);

  Binding bind();

 private:
  /// The layout and prefix under which most tensors are found; on a tie the simplest.
  void choose_spelling(std::span<const LayoutNames> known);

  bool is_unneeded(std::string_view name) const;

  std::vector<Source> sources_of(const Wanted& tensor);

  std::optional<Source> find(std::string_view name);

  void note_copies(std::string_view pattern, const Source& read);

  const Checkpoint& checkpoint_;
  const std::vector<Wanted>& wanted_;
  const LoadOptions& options_;
  LayoutNames names_{};
  std::vector<std::vector<bool>> known_;  // per file and tensor: the model has a use for it
  Binding binding_;
};

/// One error for everything that is wrong with a report.
void throw_if_wrong(const LoadReport& report, const std::string& file, bool strict);

void check_copies(const std::vector<Source>& copies);

void check_dtypes(const std::vector<std::vector<Source>>& sources);

}  // namespace detail
}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/binding.inl"
#endif
