#!/usr/bin/env bash
# dit and its peers, in one run (README.md):
#     bench/peers/run.sh [gemm] [attention] [xl2] [blocks] [--threads N] [--rounds N] [--output FILE] ...
# Environment: GGML=/path/to/ggml; WORK=folder for programs, models and results; PYTHON, CXX, EIGEN;
# INSTALL=1 takes missing peers from pip and apt.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(realpath -m "${WORK:-$root/build/peers}")
python=${PYTHON:-python3} cxx=${CXX:-g++} eigen=${EIGEN:-/usr/include/eigen3}
bin=$work/bin
mkdir -p "$bin"

if [[ ${INSTALL:-0} == 1 ]]; then
  "$python" -c 'import numpy, torch' 2>/dev/null ||
    "$python" -m pip install numpy torch --extra-index-url https://download.pytorch.org/whl/cpu || true
  "$python" -c 'import openvino, nncf' 2>/dev/null || "$python" -m pip install openvino nncf || true
  missing=()
  [[ -e /usr/include/oneapi/dnnl/dnnl.hpp ]] || missing+=(libdnnl-dev)
  ldconfig -p | grep -q libopenblas || missing+=(libopenblas-dev)
  [[ ${#missing[@]} == 0 ]] || apt-get install -y "${missing[@]}" || true
fi

# build NAME SOURCE FLAGS...: $bin/NAME, again where something is newer; nothing is left where it does not compile
build() {
  local name=$1 source=$here/$2 needs
  shift 2
  needs=("$source" "$here/worker.hpp")
  if [[ $name == dit_* ]]; then
    mapfile -t -O 2 needs < <(find "$root/include" "$root/bench/peak.hpp" -type f)
  fi
  if [[ -e $bin/$name && -z $(find "${needs[@]}" -newer "$bin/$name" -print -quit) ]]; then return 0; fi
  rm -f "$bin/$name"
  if "$cxx" -std=c++20 -o "$bin/$name.part" "$source" "$@" -pthread 2> "$work/$name.log"; then
    mv "$bin/$name.part" "$bin/$name"
  else
    echo "absent: $name does not compile here ($work/$name.log)" >&2
  fi
}

dit=(dit_worker.cpp -O2 -I"$root/include" -I"$root/bench" -isystem "$eigen")
build dit_fp32 "${dit[@]}" -DPEERS_SCALAR=float &
build dit_bf16 "${dit[@]}" -DPEERS_SCALAR=dit::bf16
wait
build dit_int8 "${dit[@]}" -DPEERS_SCALAR=std::int8_t &
build onednn onednn_worker.cpp -O3 -march=native -fopenmp -ldnnl
build openblas gemm_worker.cpp -O3 -march=native -DPEERS_OPENBLAS -lopenblas
build eigen gemm_worker.cpp -O3 -march=native -fopenmp -isystem "$eigen"
if [[ -n ${GGML:-} ]]; then
  if [[ ! -e $work/ggml/built ]]; then
    cmake -S "$GGML" -B "$work/ggml" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_BUILD_TESTS=OFF \
      -DGGML_BUILD_EXAMPLES=OFF -DBUILD_SHARED_LIBS=OFF > "$work/ggml.log" 2>&1 &&
      cmake --build "$work/ggml" -j "$(nproc)" >> "$work/ggml.log" 2>&1 && touch "$work/ggml/built" ||
      echo "absent: ggml does not build here ($work/ggml.log)" >&2
  fi
  build ggml ggml_worker.cpp -O2 -fopenmp -I"$GGML/include" "$work/ggml/src/libggml-cpu.a" \
    "$work/ggml/src/libggml-base.a" -ldl
fi
wait
{
  "$cxx" --version | head -1
  echo "dit at $(git -C "$root" describe --always --dirty 2>/dev/null || echo '?')"
} > "$work/versions.txt"

exec "$python" "$here/compare.py" --work "$work" "$@"
