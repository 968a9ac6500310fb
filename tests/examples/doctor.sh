#!/bin/sh
# dit_doctor on files with one thing wrong each: doctor.sh PROGRAM GOLDEN_DIR
set -u
export LC_ALL=C
program=$1 golden=$2 folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

# expect CODE "WORDS IN THE OUTPUT" ARGUMENTS...
expect() {
  code=$1 words=$2
  shift 2
  output=$("$program" "$@" 2>&1)
  found=$?
  case $output in *"$words"*) said=yes ;; *) said=no ;; esac
  [ $found -eq "$code" ] && [ $said = yes ] && return
  printf 'dit_doctor %s: code %s where %s is expected, "%s" in the output: %s\n%s\n' \
    "$*" $found "$code" "$words" $said "$output"
  failures=$((failures + 1))
}

healthy=$golden/mmdit_mini.safetensors
sed 's/"final_layer.linear.bias"/"final_layer.linear.boss"/' "$healthy" >"$folder/missing.safetensors"
sed 's/"shape":\[24,20\]/"shape":[20,24]/' "$healthy" >"$folder/misshapen.safetensors"
cp "$healthy" "$folder/nan.safetensors"
size=$(wc -c <"$healthy")
printf '\0\0\300\177' | dd of="$folder/nan.safetensors" bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
head -c $((size - 4)) "$healthy" >"$folder/truncated.safetensors"
mkdir "$folder/shards" "$folder/pipeline"
cp "$healthy" "$folder/shards/model-00001-of-00001.safetensors"
cp -r "$golden/mmdit_mini_diffusers_sharded" "$folder/pipeline/transformer"
cp -r "$golden/flux_mini_diffusers_sharded" "$folder/pipeline/another"

expect 0 "loaded by dit::MMDiT<dit::MMDiTConfig{.width = 24, .depth = 3, .heads = HEADS" "$healthy"
expect 0 "not in the file: heads, to be filled in" "$healthy"
expect 0 "prefix model.diffusion_model." "$golden/mmdit_mini_f16.safetensors"
expect 0 "diffusers layout" "$golden/flux_mini_diffusers_sharded"
expect 0 "no model that dit knows" "$golden/mmdit_block.safetensors"
expect 0 "$folder/pipeline/transformer" "$folder/pipeline"
expect 0 "FLUX.1" "$folder/pipeline"
expect 1 "MISSING 1 tensor
      final_layer.linear.bias (nearest: final_layer.linear.boss)" "$folder/missing.safetensors"
expect 1 "context_embedder.weight expected [24,24] found [20,24]" "$folder/misshapen.safetensors"
expect 1 ": 1 NaN, 0 infinite" "$folder/nan.safetensors"
expect 0 "healthy, not looked for NaN" --no-scan "$folder/nan.safetensors"
expect 0 "at the start of every tensor only" --quick "$healthy"
expect 2 "file_truncated" "$folder/truncated.safetensors"
expect 2 "header_length_out_of_range" "$golden/README.md"
expect 2 "not_regular_file" "$folder/shards"
expect 2 "io_open" "$folder/nowhere"
expect 2 "healthy" "$healthy" "$folder/truncated.safetensors"
expect 2 "checkpoints" --json
expect 1 '"healthy": false' --json "$folder/nan.safetensors"
expect 2 '"code": "file_truncated"' --json "$folder/truncated.safetensors"
exit $((failures > 0))
