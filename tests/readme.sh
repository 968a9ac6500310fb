#!/usr/bin/env bash
# Compiles the README's marked programs with the command that the README gives, and runs them from the root.
#   <!-- example: run -->      before a ```cpp block: compile and run
#   <!-- example: compile -->  compile only: it wants a file that is not there
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=build/readme
rm -rf "$out"
mkdir -p "$out"
awk -v out="$out" '
  /^<!-- example: (run|compile) -->$/ { verb = $3; next }
  /^```cpp$/ && verb { file = sprintf("%s/%02d.%s.cpp", out, ++count, verb); verb = ""; next }
  /^```$/ { file = "" }
  file { print > file }' README.md

compiled=0
for source in "$out"/*.cpp; do
  [ -f "$source" ] || break
  ${CXX:-g++} -std=c++20 -O2 "$source" -pthread -Iinclude -I/usr/include/eigen3 -o "$source.out"
  case $source in *.run.cpp) "$source.out" ;; esac
  compiled=$((compiled + 1))
done
[ "$compiled" -gt 0 ] || { echo "README.md has no marked example" >&2; exit 1; }
echo "$compiled of the README's programs work"
