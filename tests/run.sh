#!/usr/bin/env bash
# Builds and runs all tests and numbered examples. Arguments go to ctest: ./tests/run.sh -R nn/
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/configure.sh

configure release g++ cmake make libeigen3-dev nlohmann-json3-dev libgtest-dev libbenchmark-dev libpng-dev libcli11-dev
cmake --build --preset release --target dit_tests dit_examples --parallel "$jobs"
exec ctest --preset release --parallel "$jobs" "$@"
