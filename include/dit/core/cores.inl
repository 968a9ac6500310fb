#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "dit/core/cores.hpp"
#include "dit/core/error.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {

DIT_ONCE int cores_of_quota(std::string_view text) noexcept {
  std::int64_t quota = 0, period = 0;
  const char* const end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, quota);
  const char* const next = std::find_if(after, end, [](char c) { return c != ' ' && c != '\n'; });
  if (error != std::errc{} || next == after) return 0;
  if (std::from_chars(next, end, period).ec != std::errc{} || quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min<std::int64_t>((quota - 1) / period + 1, 1 << 20));
}

DIT_ONCE std::string text_of(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "r"), std::fclose);
  std::string text(file ? std::size_t{1} << 14 : 0, '\0');
  if (file) text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  return text;
}

DIT_ONCE int cores_of_control_groups(std::string_view groups, const std::string& root) {
  int least = 0;
  while (!groups.empty()) {
    const std::string_view line = groups.substr(0, groups.find('\n'));
    groups.remove_prefix(std::min(groups.size(), line.size() + 1));
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = join({",", line.substr(first + 1, second - first - 1), ","});
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(",cpu,") == controllers.npos) continue;
    for (std::string_view path = line.substr(second + 1);; path = path.substr(0, path.rfind('/'))) {
      const std::string folder = join({root, unified ? "" : "/cpu", path == "/" ? "" : path});
      const int cores = cores_of_quota(unified ? text_of(join({folder, "/cpu.max"}))
                                               : join({text_of(join({folder, "/cpu.cfs_quota_us"})), " ",
                                                       text_of(join({folder, "/cpu.cfs_period_us"}))}));
      if (cores > 0 && (least == 0 || cores < least)) least = cores;
      if (path.find('/') == path.npos) break;  // that was the outermost
    }
  }
  return least;
}

}  // namespace detail

DIT_ONCE int available_cores() noexcept {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t mask[8];  // room for 8192 processors
  CPU_ZERO_S(sizeof mask, mask);
  if (sched_getaffinity(0, sizeof mask, mask) == 0) cores = CPU_COUNT_S(sizeof mask, mask);
  try {
    const int quota = detail::cores_of_control_groups(detail::text_of("/proc/self/cgroup"));
    if (quota > 0) cores = std::min(cores, quota);
  } catch (const std::exception&) {  // no memory for a path: then without
  }
#endif
  return std::max(1, cores);
}

}}  // namespace dit
