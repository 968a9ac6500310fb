#pragma once
/// A checkpoint: one safetensors file, or a folder of them with an index.

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dit/io/safetensors.hpp"

namespace dit { inline namespace DIT_ABI {

inline constexpr std::size_t max_shards = 1024;

/// The tensors of all its files under one roof. Const and shareable by threads.
class Checkpoint {
 public:
  /// A tensor: its file's and its own number.
  struct Place {
    std::size_t shard, tensor;
  };

  /// `path` is a safetensors file, an index (`*.json`), or a folder that holds model.safetensors.index.json,
  /// model.safetensors, or the same with diffusers' diffusion_pytorch_model.
  /// Errors: as Safetensors; bad_index, unsafe_path, shard_missing, tensor_missing, duplicate_name.
  static Checkpoint open(const std::filesystem::path& path, const OpenOptions& options = {});

  static Checkpoint from_memory(std::span<const std::byte> bytes, const OpenOptions& options = {});
  explicit Checkpoint(Safetensors file);

  /// The path as it was given.
  const std::string& name() const noexcept { return name_; }
  const std::vector<Safetensors>& shards() const noexcept { return shards_; }

  std::optional<Place> find(std::string_view name) const;

  void check_unchanged() const;

 private:
  class IndexVisitor;
  explicit Checkpoint(std::string name) : name_(std::move(name)) {}

  static std::filesystem::path in_folder(const std::filesystem::path& folder);
  void open_index(const std::filesystem::path& path, const OpenOptions& options);

  std::string name_;
  std::vector<Safetensors> shards_;
};

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/io/checkpoint.inl"
#endif
