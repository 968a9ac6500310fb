#!/usr/bin/env bash
# symbols.sh a.o b.o ...: no two of these objects may define the same function or constant of dit, since the linker
# keeps one of them only.
set -euo pipefail
shared=$(for object in "$@"; do
  nm --defined-only "$object" | awk '$2 ~ /^[WVu]$/ {print $3}' | c++filt | grep -E '(^|for | )dit::' | sort -u
done | sort | uniq -d)
if [ -n "$shared" ]; then
  printf 'defined more than once:\n%s\n' "$shared"
  exit 1
fi
[ "$(nm --defined-only "$1" | c++filt | grep -c 'dit::')" -gt 10 ]  # there was something to compare
