#!/usr/bin/env bash
# Compiles the README's marked programs with the command that the README gives, and runs them from the root.
#   <!-- example: run -->      before a ```cpp block: compile and run
#   <!-- example: compile -->  compile only: it wants a file that is not there
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/configure.sh

out=build/readme
rm -rf "$out"
mkdir -p "$out"
awk -v out="$out" '
  /^<!-- example: (run|compile) -->$/ { verb = $3; next }
  /^```cpp$/ && verb { file = sprintf("%s/%02d.%s.cpp", out, ++count, verb); verb = ""; next }
  /^```$/ { file = "" }
  file { print > file }' README.md

programs=("$out"/*.cpp)
[ -f "${programs[0]}" ] || { echo "README.md has no marked example" >&2; exit 1; }
printf '%s\0' "${programs[@]}" | xargs -0 -n 1 -P "$jobs" sh -c \
  '${CXX:-g++} -std=c++20 -O2 "$1" -pthread -Iinclude -I/usr/include/eigen3 -o "$1.out"' compile
for program in "$out"/*.run.cpp.out; do "$program"; done
echo "${#programs[@]} of the README's programs work"
