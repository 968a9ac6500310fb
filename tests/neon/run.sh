#!/usr/bin/env bash
# Builds tests of the kernels, and a whole small model, for 64-bit ARM, and runs them in an emulator of machines with
# and without the extensions of NEON. Installs what is missing. About two minutes; of speed it says nothing.
#   tests/neon/run.sh [build directory]        CXX=clang++ compiles with clang
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source .ci/configure.sh

triple=aarch64-linux-gnu
out=${1:-build/neon}
sources=/usr/src/googletest/googletest
compiler=($triple-g++)
case ${CXX:-} in *clang*) compiler=("$CXX" --target=$triple) ;; esac
if ! command -v $triple-g++ "${compiler[0]}" qemu-aarch64 >/dev/null || ! [ -d $sources ] ||
  ! [ -d /usr/include/eigen3 ] || ! [ -e /usr/include/nlohmann/json.hpp ]; then
  need g++-$triple qemu-user googletest libeigen3-dev nlohmann-json3-dev
fi
mkdir -p "$out/include"
ln -sfn /usr/include/nlohmann "$out/include/nlohmann"  # and no other header of this machine

build() {  # program and its sources
  "${compiler[@]}" -std=c++20 -O1 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -Iinclude -Itests \
    -isystem /usr/include/eigen3 -isystem "$out/include" -isystem $sources/include -isystem $sources \
    -DDIT_GOLDEN_DIR="\"$PWD/tests/golden\"" -pthread -o "$out/$1" "${@:2}"
}
at_once() {  # the command, for each line of the input, as many at a time as there are processors
  local line failed=0
  while read -r line; do
    [ "$(jobs -rp | wc -l)" -lt "$jobs" ] || wait -n || failed=1
    "$@" $line &
  done
  while [ -n "$(jobs -p)" ]; do wait -n || failed=1; done
  return $failed
}
on() {  # machine, program and its arguments
  qemu-aarch64 -L /usr/$triple -cpu "$1" "$out/$2" --gtest_brief=1 "${@:3}"
}

[ -e "$out/gtest.o" ] || build gtest.o -w -c $sources/src/gtest-all.cc
[ -e "$out/main.o" ] || build main.o -w -c $sources/src/gtest_main.cc
at_once build <<END
products tests/kernels/products_test.cpp $out/gtest.o $out/main.o
gemm tests/kernels/gemm_test.cpp $out/gtest.o $out/main.o
attention tests/kernels/attention_test.cpp $out/gtest.o $out/main.o
rowwise tests/kernels/rowwise_test.cpp $out/gtest.o $out/main.o
golden tests/neon/golden.cpp $out/gtest.o $out/main.o
END

# Double is the portable reference; what takes longest without another instruction stays out.
for machine in cortex-a57:neon cortex-a76:neondot max:neonmmla; do
  echo "${machine%:*}"
  DIT_EXPECTED_ISA=${machine#*:} on "${machine%:*}" golden
  on "${machine%:*}" products --gtest_filter='-*/double.*'
done
on max gemm --gtest_filter='-*/double.*:*AcrossTheReal*:*AgreesAcross*:*TakesExactly*:*SameBits*'
on max attention --gtest_filter='-*/double.*:*SameBits*:*/float.MatchesDouble*'
on max rowwise --gtest_filter='-*OverAllFloats'
