"""FLUX.1-dev at full size with random weights, and what diffusers says of it.

    python3 make_flux_dev.py FOLDER [DEPTH]    needs torch, diffusers, safetensors; 24 GB of disk, 7 GB of memory

Writes transformer/ as diffusers lays it out (bfloat16, in shards with an index), and io.safetensors: inputs and, for
512.x, diffusers' output in float32, block by block. A DEPTH below 19 makes a small trial of DEPTH double and 2 DEPTH
single blocks.
"""
import sys
from pathlib import Path

import torch

from streamed import streamed, timed, write  # first: it leads to the golden files' modules

from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file

from diffusers_flux import run
from official_flux import grid_ids, pack, unpack
from store import Random

SEED, DEPTH = 3072, int(sys.argv[2]) if len(sys.argv) > 2 else 19

folder = Path(sys.argv[1])
with torch.device("meta"):
    model = FluxTransformer2DModel(num_layers=DEPTH, num_single_layers=2 * DEPTH, guidance_embeds=True)
numbers = sum(w.numel() for w in model.state_dict().values())
assert DEPTH != 19 or (len(model.state_dict()), numbers) == (1160, 11_901_408_320)
if not (folder / "transformer" / "config.json").exists():
    write(model, folder / "transformer", SEED)

random = Random(SEED)
io = {"context": random.tensor(1, 512, 4096), "pooled": random.tensor(1, 768), "sigma": torch.tensor([0.625]),
      "guidance": torch.tensor([3.5]), "512.x": random.tensor(1, 16, 64, 64)}
model = streamed(model, folder / "transformer")
inputs = pack(io["512.x"]), grid_ids(32, 32), io["context"], io["pooled"], io["sigma"], io["guidance"]
io["512.out"] = timed("512, latents 64 x 64", lambda: unpack(run(model, *inputs), 32, 32))
save_file(io, folder / "io.safetensors")
