#pragma once
/// How many processors there are for us.

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "dit/version.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {

/// How many processors a control group's quota amounts to, rounded up: "150000 100000", microseconds of computing
/// in a period of so many (cgroup v2, cpu.max), is 2. 0 where there is none ("max 100000", in v1 "-1") or the text
/// says something else.
inline int cores_of_quota(std::string_view text) noexcept {
  std::int64_t quota = 0, period = 0;
  const char* const end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, quota);
  const char* const next = std::find_if(after, end, [](char c) { return c != ' ' && c != '\n'; });
  if (error != std::errc{} || next == after) return 0;
  if (std::from_chars(next, end, period).ec != std::errc{} || quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min<std::int64_t>((quota - 1) / period + 1, 1 << 20));
}

/// The beginning of a small file, "" if there is none.
inline std::string text_of(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "r"), std::fclose);
  std::string text(file ? std::size_t{1} << 14 : 0, '\0');
  if (file) text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  return text;
}

/// The least quota of the control groups that a process is in and of those around them, 0 if none has one. `groups`
/// is the text of /proc/self/cgroup: lines "0::/path" (v2) and "4:cpu,cpuacct:/path" (v1), of groups in `root`.
inline int cores_of_control_groups(std::string_view groups, const std::string& root = "/sys/fs/cgroup") {
  int least = 0;
  while (!groups.empty()) {
    const std::string_view line = groups.substr(0, groups.find('\n'));
    groups.remove_prefix(std::min(groups.size(), line.size() + 1));
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(",cpu,") == controllers.npos) continue;
    for (std::string_view path = line.substr(second + 1);; path = path.substr(0, path.rfind('/'))) {
      const std::string folder = root + (unified ? "" : "/cpu") + std::string(path == "/" ? "" : path);
      const int cores = cores_of_quota(unified ? text_of(folder + "/cpu.max")
                                               : text_of(folder + "/cpu.cfs_quota_us") + " " +
                                                     text_of(folder + "/cpu.cfs_period_us"));
      if (cores > 0 && (least == 0 || cores < least)) least = cores;
      if (path.find('/') == path.npos) break;  // that was the outermost
    }
  }
  return least;
}

}  // namespace detail

/// How many processors this process may use, at least 1: on Linux those of its affinity mask, but no more than its
/// control group's quota of time amounts to, a container's --cpus. With more threads than that all of them would
/// stand still from time to time.
inline int available_cores() noexcept {
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
