#!/usr/bin/env bash
# Official sizes against PyTorch and diffusers, on random weights: ./tests/full_size/run.sh MODEL [FOLDER]
#   dit_xl_2     8 GB of disk, 8 GB of memory
#   sd3_medium   9 GB of disk, 18 GB of memory
#   flux_blocks  1 GB of disk, 4 GB of memory: one double and one single block of FLUX.1-dev
#   autoencoders 1 GB of disk, 6 GB of memory: decoders of SD 1.x, SD3, FLUX.1, TAESD
# Needs python3 with torch, diffusers and safetensors. Files that are in FOLDER already are used. Not part of CI.
set -euo pipefail
cd "$(dirname "$0")"
model=${1:?which model: dit_xl_2, sd3_medium, flux_blocks or autoencoders}
folder=${2:-$(mktemp -d)}
[ -f "$folder/io.safetensors" ] || python3 "make_$model.py" "$folder"
${CXX:-g++} -std=c++20 -O2 -I../../include -I../../bench -isystem /usr/include/eigen3 "$model.cpp" -o "$folder/$model" -pthread
"$folder/$model" "$folder"
