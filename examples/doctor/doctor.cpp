/// The checkpoint doctor: which model a safetensors file, index or folder holds, which type loads it, and what is
/// wrong with it.
///
///     dit_doctor sd3_medium.safetensors FLUX.1-dev/transformer
///     dit_doctor --json --no-scan model.safetensors
///
/// Ends with 0 if all are healthy, 1 if weights are missing, misshapen, NaN or infinite, 2 if one cannot be read.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "dit/io/json.hpp"
#include "doctor/detect.hpp"
#include "doctor/scan.hpp"
#include "progress.hpp"

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

struct Options {
  std::vector<std::string> paths;
  bool as_json = false, no_scan = false, quick = false;
};

/// Numbers and bytes in total and by type; unless skipped, which tensors have NaN or infinities.
void count(const dit::Checkpoint& checkpoint, const Options& options, json& found) {
  std::size_t tensors = 0;
  std::uint64_t parameters = 0;
  std::map<std::string, json> dtypes;
  for (const dit::Safetensors& file : checkpoint.shards()) {
    for (std::size_t i = 0; i < file.size(); ++i, ++tensors) {
      const dit::TensorInfo info = file[i];
      const std::uint64_t bytes = info.end - info.begin, numbers = bytes * 8 / dit::bits(info.dtype);
      json& dtype = dtypes[std::string(dit::name(info.dtype))];
      if (dtype.is_null()) dtype = {{"tensors", 0}, {"parameters", 0}, {"bytes", 0}};
      dtype["tensors"] = dtype["tensors"].get<std::size_t>() + 1;
      dtype["parameters"] = dtype["parameters"].get<std::uint64_t>() + numbers;
      dtype["bytes"] = dtype["bytes"].get<std::uint64_t>() + bytes;
      parameters += numbers;
    }
  }
  found["tensors"] = tensors;
  found["parameters"] = parameters;
  found["dtypes"] = dtypes;
  found["scan"] = options.no_scan ? "none" : options.quick ? "quick" : "full";
  found["non_finite"] = json::array();
  if (options.no_scan) return;

  const std::uint64_t limit = options.quick ? std::uint64_t{1} << 16 : std::numeric_limits<std::uint64_t>::max();
  const Progress progress("looking for NaN", static_cast<int>(tensors));
  int done = 0;
  for (const dit::Safetensors& file : checkpoint.shards()) {
    for (std::size_t i = 0; i < file.size(); ++i) {
      const auto bad = doctor::non_finite(file, file[i], limit);
      if (bad.any()) {
        found["non_finite"].push_back({{"tensor", file.name(i)}, {"nan", bad.nan}, {"infinite", bad.infinite}});
      }
      progress.show(++done);
    }
  }
  checkpoint.check_unchanged();
}

/// What the library makes of one model in a checkpoint.
json examine(const dit::Checkpoint& checkpoint, const doctor::Detected& model) {
  json found{{"architecture", name(model.architecture)},
             {"layout", model.layout == dit::Layout::original ? "original" : "diffusers"},
             {"prefix", model.prefix}};
  if (!model.loadable()) return found;
  found["type"] = model.type();
  found["prefix_known"] = model.prefix.empty() || std::count(dit::known_prefixes.begin(), dit::known_prefixes.end(),
                                                             std::string_view(model.prefix)) > 0;
  found["presets"] = json::array();
  for (const doctor::Preset* preset : model.presets) {
    found["presets"].push_back({{"name", preset->name}, {"title", preset->title}});
  }
  if (model.nearest != nullptr) {
    found["nearest"] = {{"name", model.nearest->name}, {"title", model.nearest->title}, {"differs", model.differs}};
  }
  found["config"] = json::object();
  std::visit(
      [&found]<class Config>(const Config& config) {
        if constexpr (!std::is_same_v<Config, std::monostate>) {
          doctor::for_each_field(
              [&](auto field, const auto& value) { found["config"][std::string(field)] = value; }, config);
        }
      },
      model.config);
  for (const std::string_view field : model.unread) {
    if (model.presets.empty()) found["config"][std::string(field)] = nullptr;
  }
  found["not_in_the_file"] = model.unread;

  const dit::LoadReport report = doctor::inspect(checkpoint, model);
  found["tensors"] = report.tensors;
  found["missing"] = found["misshapen"] = json::array();
  for (const auto& tensor : report.missing) {
    found["missing"].push_back({{"tensor", tensor.name}, {"nearest", tensor.nearest}});
  }
  for (const auto& tensor : report.misshapen) {
    found["misshapen"].push_back({{"tensor", tensor.name}, {"expected", tensor.expected}, {"found", tensor.found}});
  }
  found["unexpected_count"] = report.unexpected_count;
  found["unexpected"] = report.unexpected;
  found["not_needed"] = report.unneeded;
  std::vector<std::string> unreadable;
  for (const dit::Safetensors& file : checkpoint.shards()) {
    for (std::size_t i = 0; i < file.size(); ++i) {
      const auto dtype = file[i].dtype;
      const std::string type(dit::name(dtype));
      if (!dit::is_real(dtype) && file.name(i).starts_with(model.prefix) &&
          !std::count(unreadable.begin(), unreadable.end(), type)) {
        unreadable.push_back(type);
      }
    }
  }
  found["unreadable_dtypes"] = unreadable;
  return found;
}

json examine(const std::string& path, const Options& options) {
  json found{{"file", path}};
  try {
    dit::OpenOptions open;
    open.follow_links = true;  // as in Hugging Face's cache
    const auto checkpoint = dit::Checkpoint::open(path, open);
    count(checkpoint, options, found);
    found["models"] = json::array();
    bool healthy = found["non_finite"].empty();
    for (const doctor::Detected& model : doctor::detect_all(checkpoint)) {
      found["models"].push_back(examine(checkpoint, model));
      const json& report = found["models"].back();
      healthy = healthy && (!model.loadable() || (report["missing"].empty() && report["misshapen"].empty()));
    }
    found["healthy"] = healthy;
  } catch (const std::exception& error) {
    found = {{"file", path}, {"error", error.what()}};
    if (const auto* typed = dynamic_cast<const dit::Error*>(&error)) found["code"] = name(typed->code());
  }
  return found;
}

/// A folder without a checkpoint of its own is a pipeline's: its subfolders that have one.
std::vector<std::string> checkpoints_in(const std::string& path) {
  std::error_code ignored;  // what cannot be looked into holds nothing
  const auto holds_one = [&ignored](const fs::path& folder) {
    for (const char* name : {"model", "diffusion_pytorch_model"}) {
      for (const char* end : {".safetensors.index.json", ".safetensors"}) {
        if (fs::exists(folder / (std::string(name) + end), ignored)) return true;
      }
    }
    return false;
  };
  std::vector<std::string> found;
  if (fs::is_directory(path, ignored) && !holds_one(path)) {
    for (auto entry = fs::directory_iterator(path, ignored); entry != fs::directory_iterator();
         entry.increment(ignored)) {
      if (entry->is_directory(ignored) && holds_one(entry->path())) found.push_back(entry->path().string());
    }
    std::sort(found.begin(), found.end());
  }
  return found.empty() ? std::vector<std::string>{path} : found;
}

// What is printed for people, from the same report.

std::string text(const json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

std::string joined(const json& values) {
  std::string all;
  for (const json& value : values) all += (all.empty() ? "" : ", ") + text(value);
  return all;
}

std::string plural(const json& count, const char* what) {
  const auto n = count.get<std::uint64_t>();
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

/// On one line, whatever names a file has for its tensors.
void line(const char* indent, const std::string& what) {
  std::printf("%s%s\n", indent, dit::one_line(what, 1 << 14).c_str());
}

/// At most ten of a list.
template <class F>
void list(const json& items, const std::string& heading, F&& item) {
  constexpr std::size_t most = 10;
  if (items.empty()) return;
  line("    ", heading);
  for (std::size_t i = 0; i < std::min(most, items.size()); ++i) line("      ", item(items[i]));
  if (items.size() > most) line("      ", "...");
}

void print_model(const json& model) {
  const std::string prefix = text(model["prefix"]);
  line("  ", text(model["architecture"]) + ", " + text(model["layout"]) + " layout" +
                 (prefix.empty() ? "" : ", prefix " + prefix));
  if (!model.contains("type")) return line("    ", "dit does not load it");

  for (const json& preset : model["presets"])
    line("    ", text(preset["title"]) + ": dit::" + text(preset["name"]));
  if (model["presets"].empty()) line("    ", "of no published size");
  if (model["presets"].size() > 1) line("    ", "of the same shapes: which of them it is, the file does not tell");
  if (model.contains("nearest")) {
    line("    ", "next to " + text(model["nearest"]["title"]) + " but for " + joined(model["nearest"]["differs"]));
  }
  line("    ", "loaded by " + text(model["type"]));
  if (!model["prefix_known"]) line("    ", "with LoadOptions{.prefix = \"" + prefix + "\"}");
  if (!model["not_in_the_file"].empty()) {
    line("    ", "not in the file: " + joined(model["not_in_the_file"]) +
                     (model["presets"].empty() ? ", to be filled in" : ", taken from the published model"));
  }
  for (const json& dtype : model["unreadable_dtypes"])
    line("    ", "but dit reads no weights of type " + text(dtype));
  line("    ", plural(model["tensors"], "tensor") + " as expected" +
                   (model["not_needed"] == 0 ? "" : ", " + text(model["not_needed"]) + " that it has no use for"));
  list(model["missing"], "MISSING " + plural(model["missing"].size(), "tensor"), [](const json& tensor) {
    const json& nearest = tensor["nearest"];
    return text(tensor["tensor"]) + (nearest.empty() ? "" : " (nearest: " + text(nearest[0]) + ")");
  });
  list(model["misshapen"], "MISSHAPEN " + plural(model["misshapen"].size(), "tensor"), [](const json& tensor) {
    return text(tensor["tensor"]) + " expected " + text(tensor["expected"]) + " found " + text(tensor["found"]);
  });
  const std::string unexpected = "unexpected " + plural(model["unexpected_count"], "tensor");
  if (model["unexpected_count"] > 0 && model["unexpected"].empty()) line("    ", unexpected);
  list(model["unexpected"], unexpected, [](const json& tensor) { return text(tensor); });
}

void print(const json& found) {
  line("", text(found["file"]));
  if (found.contains("error")) return line("  ", "UNREADABLE " + text(found["error"]));
  line("  ", plural(found["tensors"], "tensor") + ", " + plural(found["parameters"], "number"));
  for (const auto& [name, dtype] : found["dtypes"].items()) {
    line("    ", name + ": " + plural(dtype["tensors"], "tensor") + ", " + plural(dtype["bytes"], "byte"));
  }
  for (const json& model : found["models"]) print_model(model);
  if (found["models"].empty()) line("  ", "no model that dit knows");
  list(found["non_finite"], "NOT FINITE in " + plural(found["non_finite"].size(), "tensor"),
       [](const json& tensor) {
         return text(tensor["tensor"]) + ": " + text(tensor["nan"]) + " NaN, " + text(tensor["infinite"]) +
                " infinite";
       });
  line("  ", std::string(found["healthy"] ? "healthy" : "NOT HEALTHY") +
                 (found["scan"] == "none"    ? ", not looked for NaN"
                  : found["scan"] == "quick" ? ", looked for NaN at the start of every tensor only"
                                             : ""));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Tells which model a checkpoint holds, which type of dit loads it, and what is wrong with it.",
               "dit_doctor");
  app.add_option("checkpoints", options.paths, "safetensors files, indices (*.json) or folders of them")
      ->required();
  app.add_flag("--json", options.as_json, "print a JSON array, an object for every checkpoint");
  app.add_flag("--no-scan", options.no_scan, "do not look for NaN and infinities: read no weights");
  app.add_flag("--quick", options.quick, "look for them in the first 64 KB of every tensor only");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return 0;
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "dit_doctor: %s\n", error.what());
    return 2;
  }

  int code = 0;
  json all = json::array();
  for (const std::string& path : options.paths) {
    for (const std::string& checkpoint : checkpoints_in(path)) {
      const json found = examine(checkpoint, options);
      code = std::max(code, found.contains("error") ? 2 : found["healthy"] ? 0 : 1);
      if (options.as_json) {
        all.push_back(found);
      } else {
        print(found);
      }
    }
  }
  if (options.as_json) std::printf("%s\n", all.dump(2, ' ', false, json::error_handler_t::replace).c_str());
  return code;
}
