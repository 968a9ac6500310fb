#!/usr/bin/env bash
# Builds the example samplers and draws pictures: scenes from captions, then handwritten digits.
#   ./examples/run.sh                                              both: scenes.png, digits.png
#   ./examples/run.sh --prompt "a red circle above a blue square"  scenes; --help lists all that it takes
#   ./examples/run.sh digits --class 3 --seed 1                    digits
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/configure.sh

configure examples g++ cmake make libeigen3-dev nlohmann-json3-dev libpng-dev libcli11-dev

# draw <scenes|digits> <arguments...>, in the caller's folder
draw() {
  local program=$PWD/build/examples/examples/dit_$1
  [ -x "$program" ] || echo "Compiling dit_$1, once" >&2
  cmake --build --preset examples --target "dit_$1" --parallel "$jobs" >"build/examples-$1.log" 2>&1 ||
    { cat "build/examples-$1.log" >&2; exit 1; }
  (cd "$here" && "$program" "${@:2}")
}

case ${1-both} in
  both) draw scenes; draw digits ;;
  scenes | digits) draw "$@" ;;
  *) draw scenes "$@" ;;
esac
