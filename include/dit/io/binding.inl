#pragma once

#include <algorithm>
#include <cstring>
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
      const std::string name(checkpoint_.shards()[shard].name(i));
      if (report.unexpected.size() < 1000) report.unexpected.push_back(name);
      if (strangers.size() < 4096 && !report.missing.empty()) strangers.push_back(name);
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
  std::vector<std::string_view> prefixes;
  prefixes.push_back(options_.prefix ? std::string_view(*options_.prefix) : "");
  for (const std::string_view prefix : known_prefixes) {
    if (!options_.prefix) prefixes.push_back(prefix);
  }

  std::size_t most = 0;
  bool first = true;
  for (const LayoutNames& layout : layouts) {
    for (const std::string_view prefix : prefixes) {
      std::size_t found = 0;
      for (const Wanted& tensor : wanted_) {
        for (const Piece& piece : spell(tensor.name, tensor.rows, layout.rules)) {
          if (checkpoint_.find(join({prefix, piece.name}))) ++found;
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
  const auto miss = [&report](const std::string& name) { report.missing.push_back({name, {}}); };
  if (pieces.empty() && !tensor.derived) miss(tensor.name);
  for (const Piece& piece : pieces) {
    const std::string name = join({report.prefix, piece.name});
    const bool second_half = piece.first == 0 && piece.count < piece.rows;  // of a tensor that was met already
    auto source = find(name);
    if (!source) {
      if (!tensor.derived && !second_half) miss(name);
      continue;
    }
    std::vector<std::uint64_t> expected = tensor.shape;
    expected[0] = static_cast<std::uint64_t>(piece.rows);
    if (piece.pointwise && expected.size() == 2) expected.resize(4, 1);
    const TensorInfo info = source->info();
    if (info.shape != expected) {
      if (!second_half) report.misshapen.push_back({name, expected, info.shape});
      continue;
    }
    source->first = piece.first;
    source->count = piece.count;
    if (!piece.copies.empty()) note_copies(join({report.prefix, piece.copies}), *source);
    if (!second_half) {
      ++report.tensors;
      report.bytes += info.end - info.begin;
    }
    sources.push_back(*source);
  }
  return sources;
}

DIT_ONCE std::optional<Source> Binder::find(std::string_view name) {
  const auto place = checkpoint_.find(name);
  if (!place) return std::nullopt;
  known_[place->shard][place->tensor] = true;
  return Source{&checkpoint_.shards()[place->shard], place->tensor, 0, 0};
}

DIT_ONCE void Binder::note_copies(std::string_view pattern, const Source& read) {
  std::vector<Source> copies;
  auto copy = std::optional<Source>(read);
  for (int block = 1; copy; ++block) {
    copies.push_back(*copy);
    copy = find(fill_name(pattern, join({block}), {}));
  }
  binding_.copies.push_back(std::move(copies));
}

DIT_ONCE void throw_if_wrong(const LoadReport& report, const std::string& file, bool strict) {
  const bool unexpected = strict && report.unexpected_count > 0;
  if (report.complete() && !unexpected) return;
  std::string sentence;
  /// Item i of a list of `count`; the first ten are said.
  const auto begin = [&](std::size_t i, std::size_t count, const char* one, const char* many) {
    constexpr std::size_t listed = 10;
    if (i == 0) append(sentence, {sentence.empty() ? "" : "; ", count, count == 1 ? one : many});
    if (i < listed) append(sentence, {i == 0 ? ": " : ", "});
    if (i == listed) append(sentence, {", ..."});
    return i < listed;
  };
  for (std::size_t i = 0; i < report.missing.size(); ++i) {
    const auto& [name, nearest] = report.missing[i];
    if (!begin(i, report.missing.size(), " tensor is missing", " tensors are missing")) break;
    append(sentence, {printable(name)});
    for (std::size_t k = 0; k < nearest.size(); ++k)
      append(sentence, {k == 0 ? " (nearest: " : ", ", printable(nearest[k])});
    append(sentence, {nearest.empty() ? "" : ")"});
  }
  for (std::size_t i = 0; i < report.misshapen.size(); ++i) {
    const auto& [name, expected, found] = report.misshapen[i];
    if (!begin(i, report.misshapen.size(), " tensor has another shape", " tensors have other shapes")) break;
    append(sentence, {printable(name), " expected ", to_string(expected), " found ", to_string(found)});
  }
  for (std::size_t i = 0; unexpected && i < report.unexpected.size(); ++i) {
    if (!begin(i, report.unexpected_count, " tensor is unexpected", " tensors are unexpected")) break;
    append(sentence, {printable(report.unexpected[i])});
  }
  const bool missing = !report.missing.empty(), misshapen = !report.misshapen.empty();
  fail(missing     ? errc::tensor_missing
       : misshapen ? errc::shape_mismatch
                   : errc::unexpected_tensor,
       {sentence}, file,
       missing     ? report.missing[0].name
       : misshapen ? report.misshapen[0].name
                   : report.unexpected[0]);
}

DIT_ONCE void check_copies(const std::vector<Source>& copies) {
  constexpr std::size_t block = std::size_t{1} << 19;
  const TensorInfo first = copies[0].info();
  const std::uint64_t bytes = first.end - first.begin;
  std::vector<std::byte> a(static_cast<std::size_t>(std::min<std::uint64_t>(block, bytes))), b(a.size());
  for (std::size_t i = 1; i < copies.size(); ++i) {
    const TensorInfo copy = copies[i].info();
    bool same = copy.dtype == first.dtype && copy.shape == first.shape;
    for (std::uint64_t at = 0; same && at < bytes; at += a.size()) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(a.size(), bytes - at));
      copies[0].file->read_bytes(first, at, count, a.data());
      copies[i].file->read_bytes(copy, at, count, b.data());
      same = std::memcmp(a.data(), b.data(), count) == 0;
    }
    if (!same) {
      fail(errc::shape_mismatch, {"the tensor is no copy of ", printable(first.name)}, copies[i].file->file(),
           copy.name);
    }
  }
}

DIT_ONCE void check_dtypes(const std::vector<std::vector<Source>>& sources) {
  for (const auto& pieces : sources) {
    for (const Source& source : pieces) {
      const TensorInfo info = source.info();
      if (is_real(info.dtype)) continue;
      fail(errc::unsupported_dtype,
           {"weights cannot be read from type ", name(info.dtype), "; F32, F16, BF16 and F64 can"},
           source.file->file(), info.name);
    }
  }
}

}}}  // namespace dit::detail
