#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <functional>
#include <utility>

#include "dit/core/error.hpp"
#include "dit/io/save.hpp"

namespace dit { inline namespace DIT_ABI { namespace detail {

DIT_ONCE void ParametersToSave::add(const Path& path, const void* parameter, const SavedType& type) {
  parameters.push_back({path.str(), parameter, &type});
}

template <class Number>
void write_rows(const void* parameter, const SavedType& type, Index first, Index count, DType dtype,
                ByteSink& sink) {
  constexpr Index block_values = Index{1} << 18;
  const Index block = std::max<Index>(1, block_values / std::max<Index>(1, type.row_size));
  std::vector<Number> values(static_cast<std::size_t>(std::min(block, count) * type.row_size));
  std::vector<std::byte> bytes(values.size() * (bits(dtype) / 8));
  for (Index done = 0; done < count; done += block) {
    const Index rows = std::min(block, count - done);
    const auto n = static_cast<std::size_t>(rows * type.row_size);
    type.get_rows(parameter, first + done, rows, values.data());
    encode(dtype, values.data(), n, bytes.data());
    sink.write(bytes.data(), n * (bits(dtype) / 8));
  }
}

#ifdef DIT_EXTERN
template void write_rows<float>(const void*, const SavedType&, Index, Index, DType, ByteSink&);
template void write_rows<double>(const void*, const SavedType&, Index, Index, DType, ByteSink&);
template void write_rows<bf16>(const void*, const SavedType&, Index, Index, DType, ByteSink&);
template void write_rows<f16>(const void*, const SavedType&, Index, Index, DType, ByteSink&);
#endif

/// A parameter as it is to be written.
struct ParameterToWrite {
  std::string name;
  std::vector<std::uint64_t> shape;
  DType dtype;
  std::function<void(Index first, Index count, ByteSink& sink)> write;
};

/// The tensors that have the parameter's rows where these rules name them, in a model of so many blocks.
DIT_ONCE void append_tensors(std::vector<TensorToWrite>& tensors, const ParameterToWrite& p,
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
DIT_ONCE int block_count(const ParametersToSave& list, std::span<const NameRule> rules) {
  int count = 0;
  for (const auto& p : list.parameters) {
    for (const NameRule& rule : rules) {
      const auto match = match_name(rule.ours, p.name);
      if (!match || match->number.empty()) continue;
      int number = 0;
      std::from_chars(match->number.data(), match->number.data() + match->number.size(), number);
      count = std::max(count, number + 1);
    }
  }
  return count;
}

DIT_ONCE std::vector<TensorToWrite> tensors_of(const ParametersToSave& list, std::span<const LayoutNames> layouts,
                                               Layout layout, const SaveOptions& options) {
  const auto rules = rules_of(layouts, layout);
  const int blocks = block_count(list, rules);
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, parameter, type] : list.parameters) {
    const DType dtype = options.dtype.value_or(type->ordinary);
    require(is_real(dtype), errc::unsupported_dtype, "weights are written as F32, F16, BF16 or F64");
    if (type->empty(parameter)) detail::fail(errc::bad_state, {"the model has no weights yet"}, "", name);
    const auto write = [parameter = parameter, type = type, dtype](Index first, Index count, ByteSink& sink) {
      type->write(parameter, *type, first, count, dtype, sink);
    };
    append_tensors(tensors, {name, {type->shape.begin(), type->shape.end()}, dtype, write}, rules, blocks);
  }
  return tensors;
}

DIT_ONCE void save(const std::filesystem::path& path, std::vector<TensorToWrite> tensors,
                   const Metadata& metadata) {
  FileSink sink(path);
  write_safetensors(sink, std::move(tensors), metadata);
  sink.commit();
}

}}}  // namespace dit::detail
