#pragma once
/// What text encoders made of prompts, from a file.

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>

#include "dit/io/tensor.hpp"
#include "dit/nn/text.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {

/// A tensor that is not empty, of finite numbers.
template <class R, int rank>
Tensor<R, rank> read_condition(const Safetensors& file, const std::string& name) {
  Tensor<R, rank> values = read_tensor<R, rank>(file, name);
  if (values.size() == 0) throw Error(errc::shape_mismatch, "the text is empty", {file.file(), name, {}});
  if (!all_finite(values.data(), static_cast<std::size_t>(values.size()))) {
    throw Error(errc::bad_condition, "the text has a NaN or an infinity", {file.file(), name, {}});
  }
  return values;
}

}  // namespace detail

/// Whether a file holds any part of a text under this prefix.
inline bool has_text(const Safetensors& file, std::string_view prefix = {}) {
  return file.find(std::string(prefix) + "context") || file.find(std::string(prefix) + "pooled");
}

/// The text that a file holds: tensors `context` [B, M, W] and `pooled` [B, P] of F32, F16, BF16 or F64, as
/// examples/dump_prompts.py writes them. What guidance goes away from, the negative prompt, is a second text in the
/// same file: `negative_context` and `negative_pooled`.
///
///     const auto file = Safetensors::open("prompt.safetensors");
///     const auto both = concat(load_text<float>(file), load_text<float>(file, "negative_"));
///
/// Whether the widths are a model's, the model says. Errors: tensor_missing; shape_mismatch (a tensor of another
/// rank, an empty one, not one pooled text per sample); unsupported_dtype; bad_condition (a number that is not
/// finite); out_of_memory, io_read, file_truncated, file_changed.
template <class R = float>
Text<R> load_text(const Safetensors& file, std::string_view prefix = {}) {
  const std::string before(prefix);
  Text<R> text{detail::read_condition<R, 3>(file, before + "context"),
               detail::read_condition<R, 2>(file, before + "pooled")};
  if (text.pooled.dimension(0) != text.samples()) {
    throw Error(errc::shape_mismatch,
                "there are " + std::to_string(text.pooled.dimension(0)) + " pooled texts for " +
                    std::to_string(text.samples()) + " samples",
                {file.file(), before + "pooled", {}});
  }
  file.check_unchanged();
  return text;
}

/// The same from a path; in addition the errors of Safetensors::open.
template <class R = float>
Text<R> load_text(const std::filesystem::path& path, std::string_view prefix = {}) {
  return load_text<R>(Safetensors::open(path), prefix);
}

}}  // namespace dit
