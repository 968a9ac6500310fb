#pragma once
/// From a model to a safetensors file: `save(model, "model.safetensors")`.

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dit/io/names.hpp"
#include "dit/io/writer.hpp"
#include "dit/nn/module.hpp"

namespace dit { inline namespace DIT_ABI {

struct SaveOptions {
  std::optional<DType> dtype = {};    ///< F32 unless given, in double models F64; or F16, BF16. Of int8: q * scale
  std::optional<Layout> layout = {};  ///< the model's own unless given
  Metadata metadata = {};
};

namespace detail {

/// Gives rows [first, first + count) to a sink, as `dtype`, a block at a time; get(first, count, values) has them.
template <class Number>
void write_rows(const std::function<void(Index, Index, Number*)>& get, Index row_size, Index first, Index count,
                DType dtype, ByteSink& sink) {
  constexpr Index block_values = Index{1} << 18;
  const Index block = std::max<Index>(1, block_values / std::max<Index>(1, row_size));
  std::vector<Number> values(static_cast<std::size_t>(std::min(block, count) * row_size));
  std::vector<std::byte> bytes(values.size() * (bits(dtype) / 8));
  for (Index done = 0; done < count; done += block) {
    const Index rows = std::min(block, count - done);
    const auto n = static_cast<std::size_t>(rows * row_size);
    get(first + done, rows, values.data());
    encode(dtype, values.data(), n, bytes.data());
    sink.write(bytes.data(), n * (bits(dtype) / 8));
  }
}

/// A parameter without its type, so that naming and writing are compiled once for every shape of a model.
struct ParameterToWrite {
  std::string name;
  std::vector<std::uint64_t> shape;
  DType dtype;
  std::function<void(Index first, Index count, ByteSink& sink)> write;
};

/// The tensors that have the parameter's rows where these rules name them, in a model of so many blocks.
inline void append_tensors(std::vector<TensorToWrite>& tensors, const ParameterToWrite& p,
                           std::span<const NameRule> rules, int blocks) {
  Index row = 0;
  for (const Piece& piece : spell(p.name, static_cast<Index>(p.shape[0]), rules)) {
    auto shape = p.shape;
    shape[0] = static_cast<std::uint64_t>(piece.rows);
    if (piece.pointwise && shape.size() == 2) shape.insert(shape.end(), 2, 1);
    // A tensor of swapped halves is two pieces: ours [row, row + count) is its second half, what follows its first.
    if (piece.count != piece.rows) {
      if (piece.first == 0) continue;
      const auto swapped = [write = p.write, row, half = piece.count](ByteSink& sink) {
        write(row + half, half, sink);
        write(row, half, sink);
      };
      tensors.push_back({piece.name, p.dtype, shape, swapped});
      row += piece.rows;
      continue;
    }
    const auto rows = [write = p.write, row, count = piece.count](ByteSink& sink) { write(row, count, sink); };
    for (int block = 0; block < (piece.copies.empty() ? 1 : blocks); ++block) {
      tensors.push_back({piece.copies.empty() ? piece.name : fill_name(piece.copies, std::to_string(block), {}),
                         p.dtype, shape, rows});
    }
    row += piece.count;
  }
}

/// How many blocks a model has, told from its names: one more than the largest number that a rule's {} stands for.
template <class M>
int block_count(const M& model, std::span<const NameRule> rules) {
  int count = 0;
  for_each_parameter(
      [&](const Path& path, const auto&) {
        const std::string ours = path.str();
        for (const NameRule& rule : rules) {
          const auto match = match_name(rule.ours, ours);
          if (!match || match->number.empty()) continue;
          int number = 0;
          std::from_chars(match->number.data(), match->number.data() + match->number.size(), number);
          count = std::max(count, number + 1);
        }
      },
      model);
  return count;
}

template <class M>
std::vector<TensorToWrite> tensors_of(const M& model, const SaveOptions& options) {
  Layout layout = options.layout.value_or(Layout::original);
  if constexpr (requires { model.layout(); }) layout = options.layout.value_or(model.layout());
  const auto rules = rules_of(layouts_of<M>(), layout);
  const int blocks = block_count(model, rules);
  std::vector<TensorToWrite> tensors;
  for_each_parameter(
      [&]<class P>(const Path& path, const P& p) {
        using Number = typename P::Unpacked;
        const DType dtype = options.dtype.value_or(dtype_of<real<typename P::scalar>>);
        require(is_real(dtype), errc::unsupported_dtype, "weights are written as F32, F16, BF16 or F64");
        std::string ours = path.str();
        if (p.empty()) throw Error(errc::bad_state, "the model has no weights yet", {"", ours, {}});
        const auto write = [&p, dtype](Index first, Index count, ByteSink& sink) {
          write_rows<Number>([&p](Index row, Index rows, Number* values) { p.get_rows(row, rows, values); },
                             P::row_size, first, count, dtype, sink);
        };
        append_tensors(tensors, {std::move(ours), {P::shape.begin(), P::shape.end()}, dtype, write}, rules, blocks);
      },
      model);
  return tensors;
}

}  // namespace detail

/// Saves a model under its checkpoint's names. The file appears when it is complete, or not at all.
/// Errors: io_write, bad_state for a model without weights, bad_option for a layout that the model does not have.
template <class M>
void save(const M& model, const std::filesystem::path& path, const SaveOptions& options = {}) {
  detail::with_typed_bad_alloc(path, [&] {
    auto tensors = detail::tensors_of(model, options);
    FileSink sink(path);
    write_safetensors(sink, std::move(tensors), options.metadata);
    sink.commit();
  });
}

/// The same into memory.
template <class M>
std::vector<std::byte> save_to_memory(const M& model, const SaveOptions& options = {}) {
  return detail::with_typed_bad_alloc("memory", [&] {
    MemorySink sink;
    write_safetensors(sink, detail::tensors_of(model, options), options.metadata);
    return sink.take();
  });
}

}}  // namespace dit
