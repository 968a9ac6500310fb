#pragma once

#include <algorithm>
#include <map>
#include <system_error>

#include "dit/io/checkpoint.hpp"
#include "dit/io/json.hpp"

namespace dit { inline namespace DIT_ABI {

/// Reads {"metadata": {...}, "weight_map": {tensor: file, ...}}, opens every file at its first mention, and checks
/// that the tensors are in them: an index of any length takes no memory.
class Checkpoint::IndexVisitor final : public JsonVisitor {
 public:
  IndexVisitor(const JsonParser& parser, std::filesystem::path index, const OpenOptions& options,
               std::vector<Safetensors>& shards)
      : parser_(parser), index_(std::move(index)), options_(options), shards_(shards) {}

  bool weight_map_seen() const { return weight_map_seen_; }

  void key(std::string& text) override {
    if (place_ == Place::top) {
      place_ = Place::value;
      is_weight_map_ = text == "weight_map";
      if (is_weight_map_ && std::exchange(weight_map_seen_, true))
        fail(errc::bad_index, {"weight_map is there twice"});
    } else {
      if (const auto wrong = detail::wrong_with_name(text)) fail(errc::bad_name, {*wrong});
      tensor_ = std::move(text);
    }
  }

  void scalar(JsonKind kind, std::uint64_t, std::string& text) override {
    switch (place_) {
      case Place::document:
        fail(errc::bad_index, {"the index is not an object"});
      case Place::weight_map:
        if (kind != JsonKind::string) fail(errc::bad_index, {"a tensor's file is not a string"});
        return add(text);
      default:
        if (is_weight_map_) fail(errc::bad_index, {"weight_map is not an object"});
        place_ = Place::top;
    }
  }

  bool open(JsonKind kind) override {
    if (place_ == Place::weight_map) fail(errc::bad_index, {"a tensor's file is not a string"});
    if (place_ == Place::value && !is_weight_map_) {
      place_ = Place::top;
      return false;
    }
    if (kind != JsonKind::object) {
      fail(errc::bad_index,
           {place_ == Place::document ? "the index is not an object" : "weight_map is not an object"});
    }
    place_ = place_ == Place::document ? Place::top : Place::weight_map;
    return true;
  }
  void close() override { place_ = Place::top; }
  errc long_string() const override { return errc::bad_index; }
  errc bad_number() const override { return errc::bad_index; }

 private:
  enum class Place { document, top, value, weight_map };

  [[noreturn]] void fail(errc code, std::initializer_list<detail::Word> sentence) const {
    detail::fail(code, sentence, index_.string(), tensor_, parser_.position() - 1);
  }

  void add(const std::string& file) {
    const std::size_t shard = shard_number(file);
    const auto tensor = shards_[shard].find(tensor_);
    if (!tensor)
      fail(errc::tensor_missing,
           {"the index places the tensor in ", printable(file), ", which has none of that name"});
    if (seen_[shard][*tensor]) fail(errc::duplicate_name, {"the index has the tensor twice"});
    seen_[shard][*tensor] = true;
  }

  std::size_t shard_number(const std::string& file) {
    const auto known = numbers_.find(file);
    if (known != numbers_.end()) return known->second;
    if (shards_.size() == max_shards) fail(errc::bad_index, {"more than 1024 files"});
    shards_.push_back(Safetensors::open(safe_path(file), options_));
    seen_.emplace_back(shards_.back().size());
    numbers_[file] = shards_.size() - 1;
    return shards_.size() - 1;
  }

  /// Inside the index's folder, by its spelling and after links are followed.
  std::filesystem::path safe_path(const std::string& file) const {
    namespace fs = std::filesystem;
    const fs::path relative(file);
    bool safe = !file.empty() && file.find_first_of(std::string_view("\\:\0", 3)) == std::string::npos &&
                !relative.has_root_path();
    for (const fs::path& part : relative) safe = safe && part != "..";
    if (!safe) fail(errc::unsafe_path, {"the path ", printable(file), " leads out of the folder"});

    const fs::path folder = index_.has_parent_path() ? index_.parent_path() : fs::path(".");
    std::error_code failed;
    const fs::path root = fs::canonical(folder, failed);
    const fs::path target = fs::canonical(folder / relative, failed);
    if (failed == std::errc::not_enough_memory) throw std::bad_alloc();
    if (failed) fail(errc::shard_missing, {"the file ", printable(file), " is not there: ", failed.message()});
    if (options_.follow_links) return target;
    const auto [end_of_root, rest] = std::mismatch(root.begin(), root.end(), target.begin(), target.end());
    if (end_of_root != root.end()) {
      fail(errc::unsafe_path,
           {"the file ", printable(file), " is a link out of the folder; the option follow_links allows that"});
    }
    return target;
  }

  const JsonParser& parser_;
  const std::filesystem::path index_;
  const OpenOptions& options_;
  std::vector<Safetensors>& shards_;

  Place place_ = Place::document;
  bool is_weight_map_ = false, weight_map_seen_ = false;
  std::string tensor_;
  std::map<std::string, std::size_t> numbers_;
  std::vector<std::vector<bool>> seen_;
};

DIT_ONCE Checkpoint Checkpoint::from_memory(std::span<const std::byte> bytes, const OpenOptions& options) {
  return detail::with_typed_bad_alloc("memory",
                                      [&] { return Checkpoint(Safetensors::from_memory(bytes, options)); });
}

DIT_ONCE Checkpoint::Checkpoint(Safetensors file) : name_(file.file()) { shards_.push_back(std::move(file)); }

DIT_ONCE std::optional<Checkpoint::Place> Checkpoint::find(std::string_view name) const {
  for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
    if (const auto tensor = shards_[shard].find(name)) return Place{shard, *tensor};
  }
  return std::nullopt;
}

DIT_ONCE void Checkpoint::check_unchanged() const {
  for (const Safetensors& shard : shards_) shard.check_unchanged();
}

DIT_ONCE std::filesystem::path Checkpoint::in_folder(const std::filesystem::path& folder) {
  for (const char* file : {"model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.json",
                           "model.safetensors", "diffusion_pytorch_model.safetensors"}) {
    std::error_code ignored;
    if (std::filesystem::exists(folder / file, ignored)) return folder / file;
  }
  detail::fail(
      errc::not_regular_file,
      {"the folder holds neither model.safetensors nor diffusion_pytorch_model.safetensors nor an index of them"},
      folder.string());
}

DIT_ONCE void Checkpoint::open_index(const std::filesystem::path& path, const OpenOptions& options) {
  const auto source = FileSource::open(path);
  if (source->size() > max_header)
    detail::fail(errc::bad_index, {"the index is larger than 100 MB"}, path.string());
  JsonParser parser(*source, 0, source->size(), {errc::bad_index, errc::bad_index, errc::bad_index});
  IndexVisitor visitor(parser, path, options, shards_);
  parser.run(visitor);
  if (!visitor.weight_map_seen()) detail::fail(errc::bad_index, {"the index has no weight_map"}, path.string());

  std::vector<std::string_view> names;
  for (const Safetensors& shard : shards_) {
    for (std::size_t i = 0; i < shard.size(); ++i) names.push_back(shard.name(i));
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    detail::fail(errc::duplicate_name, {"two files have the same tensor"}, path.string(), *twice);
  }
}

DIT_ONCE Checkpoint Checkpoint::open(const std::filesystem::path& path, const OpenOptions& options) {
  return detail::with_typed_bad_alloc(path, [&] {
    std::error_code ignored;
    const std::filesystem::path file = std::filesystem::is_directory(path, ignored) ? in_folder(path) : path;
    Checkpoint checkpoint(path.string());
    if (file.extension() == ".json") {
      checkpoint.open_index(file, options);
    } else {
      checkpoint.shards_.push_back(Safetensors::open(file, options));
    }
    return checkpoint;
  });
}

}}  // namespace dit
