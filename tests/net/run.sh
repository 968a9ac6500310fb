#!/usr/bin/env bash
# Compares what an older revision of the headers computes with what today's compute, bit for bit, on every instruction
# set of this machine: tests/net/run.sh [--compiler CXX] [--types "float bf16"] [--jobs N] [REVISION]
# REVISION is a commit that the clone has, 569a1a6 unless given; types are double, float, bf16 and int8. Programs are
# built under build/net, those of the older revision once. Not part of CI. Ends with 1 if a case differs, or is missing
# on one side.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
compiler=${CXX:-g++} revision=569a1a6
types=(double float bf16 int8)
jobs=$(nproc 2>/dev/null || sysctl -n hw.ncpu)
while [ $# -gt 0 ]; do
  case $1 in
    --compiler) compiler=${2:?which compiler?}; shift 2 ;;
    --types) read -ra types <<<"${2:?which types?}"; shift 2 ;;
    --jobs) jobs=${2:?how many?}; shift 2 ;;
    -*) sed -n '2,6s/^# //p' "$0" >&2; exit 2 ;;
    *) revision=$1; shift ;;
  esac
done
commit=$(git rev-parse --verify --quiet --short=12 "$revision^{commit}") ||
  { echo "This clone has no revision $revision: git fetch --unshallow brings the history" >&2; exit 2; }

headers=build/net/headers/$commit
if [ ! -d "$headers" ]; then
  rm -rf "$headers.part"
  mkdir -p "$headers.part"
  git archive "$commit" include | tar -x -C "$headers.part"
  mv "$headers.part" "$headers"
fi

build() {  # folder and headers
  local log=$1/log
  mkdir -p "$1"
  cmake -S tests/net -B "$1" -DCMAKE_CXX_COMPILER="$compiler" -DDIT_INCLUDE="$PWD/$2" >"$log" 2>&1 &&
    cmake --build "$1" --parallel "$jobs" --target "${types[@]/#/net_}" >>"$log" 2>&1 && return
  grep -m 20 -E 'error:|CMake Error' "$log" >&2 || tail -n 20 "$log" >&2
  echo "$log has all of it" >&2
  exit 1
}
old=build/net/$commit-$(basename "$compiler") new=build/net/today-$(basename "$compiler")
build "$old" "$headers/include"
build "$new" include

# What one program prints for an instruction set, sorted.
lines() {
  DIT_ISA=$isa "$1/net_$type" >"$1/unsorted" || { echo "$1/net_$type failed on $isa" >&2; return 1; }
  LC_ALL=C sort "$1/unsorted" >"$1/lines"
}
failed=0
printf '%-12s %-7s %s\n' ISA type cases
for isa in $("$old/net_${types[0]}" --isas); do
  for type in "${types[@]}"; do
    lines "$old" & first=$!
    lines "$new"
    wait $first
    different=$({ LC_ALL=C comm -23 "$old/lines" "$new/lines" | sed 's/^/  before: /'
      LC_ALL=C comm -13 "$old/lines" "$new/lines" | sed 's/^/  today:  /'; } | LC_ALL=C sort -s -b -k 2b,4)
    printf '%-12s %-7s %d%s\n' "$isa" "$type" "$(wc -l <"$new/lines")" "${different:+, and these differ:}"
    [ -z "$different" ] || { failed=1; printf '%s\n' "$different"; }
  done
done
[ $failed = 1 ] || echo "All bits are those of $revision."
exit $failed
