#!/usr/bin/env bash
# DiT-XL/2 at full size against PyTorch and diffusers, on random weights: ./tests/full_size/run.sh [FOLDER]
# Needs python3 with torch, diffusers and safetensors, 8 GB of disk in FOLDER and as much memory. Not part of CI.
set -euo pipefail
cd "$(dirname "$0")"
folder=${1:-$(mktemp -d)}
[ -f "$folder/io.safetensors" ] || python3 make_dit_xl_2.py "$folder"
${CXX:-g++} -std=c++20 -O2 -I../../include -isystem /usr/include/eigen3 dit_xl_2.cpp -o "$folder/dit_xl_2" -pthread
"$folder/dit_xl_2" "$folder"
