"""Stable Diffusion 3.5 large at full size with random weights, and what diffusers says of it.

    python3 make_sd3_5_large.py FOLDER [DEPTH]    needs torch, diffusers, safetensors; 17 GB of disk, 7 GB of memory

Writes transformer/ as diffusers lays it out (bfloat16, in shards with an index), and io.safetensors: inputs and, for
512.x, diffusers' output in float32, block by block. A DEPTH below 38 makes a small trial, its width 64 DEPTH.
"""
import sys
from pathlib import Path

import torch

from streamed import streamed, timed, write  # first: it leads to the golden files' modules

from diffusers import SD3Transformer2DModel
from safetensors.torch import save_file

from diffusers_mmdit import run
from store import Random

SEED, DEPTH = 2432, int(sys.argv[2]) if len(sys.argv) > 2 else 38

folder = Path(sys.argv[1])
with torch.device("meta"):
    model = SD3Transformer2DModel(num_layers=DEPTH, num_attention_heads=DEPTH, caption_projection_dim=64 * DEPTH,
                                  pos_embed_max_size=192, qk_norm="rms_norm")
numbers = sum(w.numel() for w in model.state_dict().values())
assert DEPTH != 38 or (len(model.state_dict()), numbers) == (1227, 8_146_280_768)
if not (folder / "transformer" / "config.json").exists():
    write(model, folder / "transformer", SEED)

random = Random(SEED)
io = {"context": random.tensor(1, 154, 4096), "pooled": random.tensor(1, 2048), "t": torch.tensor([612.5]),
      "512.x": random.tensor(1, 16, 64, 64)}
model = streamed(model, folder / "transformer")
io["512.out"] = timed("512, latents 64 x 64", lambda: run(model, io["512.x"], io["t"], io["pooled"], io["context"]))
save_file(io, folder / "io.safetensors")
