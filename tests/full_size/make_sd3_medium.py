"""Stable Diffusion 3 medium at full size with random weights, in both layouts, and what diffusers says of it.

    python3 make_sd3_medium.py FOLDER [DEPTH]    needs torch, diffusers, safetensors; 9 GB of disk, 10 GB of memory

Writes original.safetensors (one file in half precision, the transformer under its prefix beside parts of an
autoencoder), diffusers/ (the same weights in half precision, in shards, written by diffusers), and io.safetensors:
inputs and, for 512.x, 1024.x and tall.x, diffusers' outputs in float32. A DEPTH below 24 makes a small trial, its
width 64 DEPTH.
"""
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))

import numpy as np
import torch
from diffusers import SD3Transformer2DModel
from safetensors.torch import save_file

from diffusers_mmdit import diffusers_names, single_file
from official_mmdit import model_shapes
from store import Random

SEED, DEPTH = 1536, int(sys.argv[2]) if len(sys.argv) > 2 else 24


def half(random, name, shape):
    """Sizes stay near one through all blocks: matrices keep their input's size, modulations are a third of that."""
    if name == "pos_embed" or len(shape) == 1:
        scale = 0.5 if name == "pos_embed" else 0.1
    else:
        scale = (0.3 if "adaLN" in name else 1) / np.prod(shape[1:]) ** 0.5
    return torch.from_numpy(random.standard_normal(shape, np.float32)).mul_(scale).half()


def seconds(run):
    start = time.time()
    out = run()
    return out, time.time() - start


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(os.cpu_count())

random = Random(SEED)
shapes = model_shapes(DEPTH, 64, channels=16, context=4096, pooled=2048, side=192)
weights = {name: half(random, name, shape) for name, shape in shapes.items()}
numbers = sum(w.numel() for w in weights.values())
assert DEPTH != 24 or (len(weights), numbers) == (491, 2_084_951_104)
print(f"{len(weights)} tensors, {numbers:,d} numbers, {numbers - weights['pos_embed'].numel():,d} without the table")
save_file(single_file(weights, torch.float16, Random(SEED + 1)), folder / "original.safetensors")

with torch.device("meta"):
    model = SD3Transformer2DModel(num_layers=DEPTH, num_attention_heads=DEPTH, caption_projection_dim=64 * DEPTH,
                                  pos_embed_max_size=192).eval()
weights = {name: w.contiguous() for name, w in diffusers_names(weights).items()}
model.load_state_dict(weights, assign=True)  # strict
del weights
model.save_pretrained(folder / "diffusers", max_shard_size="2GB")
model.float()

io = {"context": random.tensor(1, 154, 4096), "pooled": random.tensor(1, 2048), "t": torch.tensor([612.5])}
for name, rows, columns in (("512", 64, 64), ("1024", 128, 128), ("tall", 96, 48)):
    x = io[f"{name}.x"] = random.tensor(1, 16, rows, columns)
    out, took = seconds(lambda: model(x, io["context"], io["pooled"], io["t"]).sample)
    io[f"{name}.out"] = out.contiguous()
    size = out.square().mean().sqrt()
    print(f"{name}, latents {rows} x {columns}: {took:.1f} s, output of size {size:.2f}", flush=True)
save_file(io, folder / "io.safetensors")
