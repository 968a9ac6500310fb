#pragma once
/// How many processors there are for us.

#include <string>
#include <string_view>

#include "dit/version.hpp"

namespace dit { inline namespace DIT_ABI {

namespace detail {

/// How many processors a control group's quota amounts to, rounded up: "150000 100000", microseconds of computing
/// in a period of so many (cgroup v2, cpu.max), is 2. 0 where there is none ("max 100000", in v1 "-1") or the text
/// says something else.
int cores_of_quota(std::string_view text) noexcept;

/// The beginning of a small file, "" if there is none.
std::string text_of(const std::string& path);

/// The least quota of the control groups that a process is in and of those around them, 0 if none has one. `groups`
/// is the text of /proc/self/cgroup: lines "0::/path" (v2) and "4:cpu,cpuacct:/path" (v1), of groups in `root`.
int cores_of_control_groups(std::string_view groups, const std::string& root = "/sys/fs/cgroup");

}  // namespace detail

/// How many processors this process may use, at least 1: on Linux those of its affinity mask, but no more than its
/// control group's quota of time amounts to, a container's --cpus. With more threads than that all of them would
/// stand still from time to time.
int available_cores() noexcept;

}}  // namespace dit

#ifndef DIT_EXTERN
#include "dit/core/cores.inl"
#endif
