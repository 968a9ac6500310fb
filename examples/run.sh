#!/usr/bin/env bash
# Builds the sampler of handwritten digits and draws a picture. Arguments go to it: ./examples/run.sh --class 3 --seed 1
# ./examples/run.sh --help lists them.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/configure.sh

configure examples g++ cmake make libeigen3-dev nlohmann-json3-dev libpng-dev libcli11-dev
program=$PWD/build/examples/examples/dit_digits
[ -x "$program" ] || echo "Compiling dit_digits, once" >&2
cmake --build --preset examples --target dit_digits --parallel "$jobs" >build/examples.log 2>&1 ||
  { cat build/examples.log >&2; exit 1; }
cd "$here"
exec "$program" "$@"
