#!/usr/bin/env bash
# Official sizes against PyTorch and diffusers, on random weights: ./tests/full_size/run.sh MODEL [FOLDER [SCALAR...]]
#   dit_xl_2      8 GB of disk, 8 GB of memory
#   sd3_medium    9 GB of disk, 18 GB of memory: 10 to make the files, then by scalar, 9 in float, 5 in bf16, 3 in int8
#   sd3_5_large   17 GB of disk, 18 GB of memory: 7 to make the files, 18 in bf16, 10 in int8
#   flux_dev      24 GB of disk, 16 GB of memory: 7 to make the files, 13 in int8, 26 in bf16
#   flux_blocks   1 GB of disk, 4 GB of memory: one double and one single block of FLUX.1-dev
#   autoencoders  1 GB of disk, 6 GB of memory: decoders of SD 1.x, SD3, FLUX.1, TAESD
# SCALAR: float, bf16, int8, each in a process of its own; those that are not named are float, bf16 and int8 for
# sd3_medium, bf16 for sd3_5_large, int8 for flux_dev. DEPTH=2 before it makes a trial of the two largest with few
# blocks. Needs python3 with torch, diffusers and safetensors. Files that are in FOLDER already are used; delete it
# afterwards. Not part of CI.
set -euo pipefail
cd "$(dirname "$0")"
model=${1:?which model: dit_xl_2, sd3_medium, sd3_5_large, flux_dev, flux_blocks or autoencoders}
folder=${2:-$(mktemp -d)}
scalars=("${@:3}")
if [ ${#scalars[@]} -eq 0 ]; then
  case $model in
    sd3_medium) scalars=(float bf16 int8) ;;
    sd3_5_large) scalars=(bf16) ;;
    flux_dev) scalars=(int8) ;;
    *) scalars=("") ;;
  esac
fi
[ -f "$folder/io.safetensors" ] || python3 "make_$model.py" "$folder" ${DEPTH:-}
${CXX:-g++} -std=c++20 -O2 -I../../include -I../../bench -isystem /usr/include/eigen3 ${DEPTH:+-DDEPTH=$DEPTH} \
  "$model.cpp" -o "$folder/$model" -pthread
failed=0
for scalar in "${scalars[@]}"; do "$folder/$model" "$folder" "$scalar" || failed=1; done
exit $failed
