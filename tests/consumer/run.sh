#!/usr/bin/env bash
# Installs dit, moves the installed copy, and builds and runs one small program in each way of using it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source .ci/configure.sh

root=$PWD out=$PWD/build/consumer
rm -rf "$out"
mkdir -p "$out"
run() { "$@" >"$out/log" 2>&1 || { cat "$out/log" >&2; echo "failed: $*" >&2; exit 1; }; }

run cmake -S . -B "$out/dit" -DDIT_TESTS=OFF -DDIT_BENCH=OFF -DDIT_EXAMPLES=OFF
run cmake --install "$out/dit" --prefix "$out/here"
mv "$out/here" "$out/there"

for way in find_package add_subdirectory fetch_content; do
  run cmake -S "tests/consumer/$way" -B "$out/$way" -DCMAKE_PREFIX_PATH="$out/there" -DDIT_SOURCE_DIR="$root"
  run cmake --build "$out/$way" --parallel "$jobs"
  printf '%-16s ' "$way"
  "$out/$way/consumer"
  printf '%-16s ' "  compiled"
  "$out/$way/consumer_compiled"
done

printf '%-16s ' pkg_config
export PKG_CONFIG_PATH=$out/there/share/pkgconfig
run make -C tests/consumer/pkg_config OUT="$out/consumer"
"$out/consumer"
