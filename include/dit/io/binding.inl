#pragma once

#include <algorithm>
#include <utility>

#include "dit/core/tensor.hpp"
#include "dit/io/binding.hpp"
#include "dit/io/json.hpp"

namespace dit { inline namespace DIT_ABI { namespace detail {

DIT_ONCE Binder::Binder(const Checkpoint& checkpoint, const std::vector<Wanted>& wanted,
                          std::span<const LayoutNames> layouts, const LoadOptions& options)
    : checkpoint_(checkpoint), wanted_(wanted), options_(options) {
  for (const Safetensors& shard : checkpoint.shards()) known_.emplace_back(shard.size());
  choose_spelling(layouts);
}

DIT_ONCE Binding Binder::bind() {
  for (const Wanted& tensor : wanted_) binding_.sources.push_back(sources_of(tensor));
  LoadReport& report = binding_.report;
  std::vector<std::string> strangers;
  for (std::size_t shard = 0; shard < known_.size(); ++shard) {
    for (std::size_t i = 0; i < known_[shard].size(); ++i) {
      if (known_[shard][i]) continue;
      if (is_unneeded(checkpoint_.shards()[shard].name(i))) {
        ++report.unneeded;
        continue;
      }
      if (report.unexpected.size() < 1000) report.unexpected.emplace_back(checkpoint_.shards()[shard].name(i));
      if (strangers.size() < 4096 && !report.missing.empty())
        strangers.emplace_back(checkpoint_.shards()[shard].name(i));
      ++report.unexpected_count;
    }
  }
  for (std::size_t i = 0; i < std::min<std::size_t>(report.missing.size(), 16); ++i) {
    report.missing[i].nearest = nearest_names(report.missing[i].name, strangers);
  }
  return std::move(binding_);
}

DIT_ONCE void Binder::choose_spelling(std::span<const LayoutNames> known) {
  const auto layouts = spellings(known, options_.layout);
  std::vector<std::string> prefixes{""};
  prefixes.insert(prefixes.end(), known_prefixes.begin(), known_prefixes.end());
  if (options_.prefix) prefixes = {*options_.prefix};

  std::size_t most = 0;
  bool first = true;
  for (const LayoutNames& layout : layouts) {
    for (const std::string& prefix : prefixes) {
      std::size_t found = 0;
      for (const Wanted& tensor : wanted_) {
        for (const Piece& piece : spell(tensor.name, tensor.rows, layout.rules)) {
          if (checkpoint_.find(prefix + piece.name)) ++found;
        }
      }
      if (!std::exchange(first, false) && found <= most) continue;
      most = found;
      names_ = layout;
      binding_.report.layout = layout.layout;
      binding_.report.prefix = prefix;
    }
  }
}

DIT_ONCE bool Binder::is_unneeded(std::string_view name) const {
  if (!name.starts_with(binding_.report.prefix)) return false;
  name.remove_prefix(binding_.report.prefix.size());
  return std::any_of(names_.unneeded.begin(), names_.unneeded.end(),
                     [name](std::string_view pattern) { return match_name(pattern, name).has_value(); });
}

DIT_ONCE std::vector<Source> Binder::sources_of(const Wanted& tensor) {
  LoadReport& report = binding_.report;
  std::vector<Source> sources;
  const std::vector<Piece> pieces = spell(tensor.name, tensor.rows, names_.rules);
  if (pieces.empty() && !tensor.derived) report.missing.push_back({tensor.name, {}});
  for (const Piece& piece : pieces) {
    const std::string name = report.prefix + piece.name;
    const bool second_half = piece.first == 0 && piece.count < piece.rows;  // of a tensor that was met already
    auto source = find(name);
    if (!source) {
      if (!tensor.derived && !second_half) report.missing.push_back({name, {}});
      continue;
    }
    std::vector<std::uint64_t> expected = tensor.shape;
    expected[0] = static_cast<std::uint64_t>(piece.rows);
    if (piece.pointwise && expected.size() == 2) expected.insert(expected.end(), 2, 1);
    if (source->info.shape != expected) {
      if (!second_half) report.misshapen.push_back({name, std::move(expected), source->info.shape});
      continue;
    }
    source->first = piece.first;
    source->count = piece.count;
    if (!piece.copies.empty()) note_copies(report.prefix + piece.copies, *source);
    if (!second_half) {
      ++report.tensors;
      report.bytes += source->info.end - source->info.begin;
    }
    sources.push_back(std::move(*source));
  }
  return sources;
}

DIT_ONCE std::optional<Source> Binder::find(const std::string& name) {
  const auto place = checkpoint_.find(name);
  if (!place) return std::nullopt;
  known_[place->shard][place->tensor] = true;
  const Safetensors& file = checkpoint_.shards()[place->shard];
  return Source{&file, file[place->tensor], 0, 0};
}

DIT_ONCE void Binder::note_copies(const std::string& pattern, const Source& read) {
  std::vector<Source> copies{read};
  for (int block = 1;; ++block) {
    auto copy = find(fill_name(pattern, std::to_string(block), {}));
    if (!copy) break;
    copies.push_back(std::move(*copy));
  }
  binding_.copies.push_back(std::move(copies));
}

DIT_ONCE void throw_if_wrong(const LoadReport& report, const std::string& file, bool strict) {
  const bool unexpected = strict && report.unexpected_count > 0;
  if (report.complete() && !unexpected) return;
  constexpr std::size_t listed = 10;
  const auto list = [](std::size_t count, std::size_t known, const char* one, const char* many, auto&& item) {
    if (count == 0) return std::string();
    std::string text = std::to_string(count) + (count == 1 ? one : many);
    for (std::size_t i = 0; i < std::min({known, count, listed}); ++i) text += (i == 0 ? ": " : ", ") + item(i);
    return text + (count > listed ? ", ...; " : "; ");
  };
  std::string sentence =
      list(report.missing.size(), report.missing.size(), " tensor is missing", " tensors are missing",
           [&](std::size_t i) {
             std::string text = printable(report.missing[i].name);
             const auto& nearest = report.missing[i].nearest;
             for (std::size_t k = 0; k < nearest.size(); ++k) {
               text += (k == 0 ? " (nearest: " : ", ") + printable(nearest[k]);
             }
             return text + (nearest.empty() ? "" : ")");
           }) +
      list(report.misshapen.size(), report.misshapen.size(), " tensor has another shape",
           " tensors have other shapes", [&](std::size_t i) {
             const auto& tensor = report.misshapen[i];
             return printable(tensor.name) + " expected " + to_string(tensor.expected) + " found " +
                    to_string(tensor.found);
           });
  if (unexpected) {
    sentence += list(report.unexpected_count, report.unexpected.size(), " tensor is unexpected",
                     " tensors are unexpected", [&](std::size_t i) { return printable(report.unexpected[i]); });
  }
  sentence.resize(sentence.size() - 2);
  if (!report.missing.empty()) throw Error(errc::tensor_missing, sentence, {file, report.missing[0].name, {}});
  if (!report.misshapen.empty()) throw Error(errc::shape_mismatch, sentence, {file, report.misshapen[0].name, {}});
  throw Error(errc::unexpected_tensor, sentence, {file, report.unexpected[0], {}});
}

DIT_ONCE void check_copies(const std::vector<Source>& copies) {
  constexpr std::size_t block = std::size_t{1} << 19;
  const TensorInfo& first = copies[0].info;
  const std::uint64_t bytes = first.end - first.begin;
  std::vector<std::byte> a(static_cast<std::size_t>(std::min<std::uint64_t>(block, bytes))), b(a.size());
  for (std::size_t i = 1; i < copies.size(); ++i) {
    const TensorInfo& copy = copies[i].info;
    bool same = copy.dtype == first.dtype && copy.shape == first.shape;
    for (std::uint64_t at = 0; same && at < bytes; at += a.size()) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(a.size(), bytes - at));
      copies[0].file->read_bytes(first, at, count, a.data());
      copies[i].file->read_bytes(copy, at, count, b.data());
      same = std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(count), b.begin());
    }
    if (!same) {
      throw Error(errc::shape_mismatch, "the tensor is no copy of " + printable(first.name),
                  {copies[i].file->file(), copy.name, {}});
    }
  }
}

DIT_ONCE void check_dtypes(const std::vector<std::vector<Source>>& sources) {
  for (const auto& pieces : sources) {
    for (const Source& source : pieces) {
      if (is_real(source.info.dtype)) continue;
      throw Error(errc::unsupported_dtype,
                  "weights cannot be read from type " + std::string(name(source.info.dtype)) +
                      "; F32, F16, BF16 and F64 can",
                  {source.file->file(), source.info.name, {}});
    }
  }
}

}}}  // namespace dit::detail
