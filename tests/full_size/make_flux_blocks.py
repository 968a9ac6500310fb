"""One double and one single block of FLUX.1-dev at full size with random weights, and what diffusers says of them.

    python3 make_flux_blocks.py FOLDER       needs torch, diffusers, safetensors; 1.1 GB of disk, 4 GB of memory

Writes double_block.safetensors and single_block.safetensors (the original's names relative to the block, bfloat16), and
io.safetensors: 512 text and 1024 image tokens, c (before SiLU), ids and rotations (text first), and diffusers' outputs
in float32: double.img, double.txt, and single.out for x = [txt, img].
"""
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))

import torch
from diffusers.models.transformers.transformer_flux import (FluxPosEmbed, FluxSingleTransformerBlock,
                                                            FluxTransformerBlock)
from safetensors.torch import save_file

from diffusers_flux import diffusers_block_names
from official_flux import bf16, double_block_shapes, grid_ids, single_block_shapes
from store import Random

WIDTH, HEADS, AXES = 3072, 24, (16, 56, 56)

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(os.cpu_count())

random = Random(3072)
img, txt, c = random.tensor(1, 1024, WIDTH), random.tensor(1, 512, WIDTH), random.tensor(1, WIDTH)
ids = torch.cat([torch.zeros(512, 3), grid_ids(32, 32)])
rope = FluxPosEmbed(10000, AXES)(ids)
cos, sin = (a[:, ::2].contiguous() for a in rope)
io = {"img": img, "txt": txt, "c": c, "ids": ids, "cos": cos, "sin": sin}


def block(name, make, shapes):
    """Writes random weights and loads diffusers' block with them."""
    weights = bf16(random.weights(shapes))
    save_file(weights, folder / f"{name}_block.safetensors")
    with torch.device("meta"):
        theirs = make(WIDTH, HEADS, WIDTH // HEADS).eval()
    theirs.load_state_dict({k: w.float() for k, w in diffusers_block_names(weights).items()}, assign=True)
    return theirs


def run(theirs):
    theirs(img, txt, c, rope)
    start = time.time()
    out_txt, out_img = theirs(img, txt, c, rope)
    print(f"{type(theirs).__name__}: {time.time() - start:.2f} s, "
          f"output of size {out_img.square().mean().sqrt():.2f}", flush=True)
    return out_txt, out_img


double = block("double", FluxTransformerBlock, double_block_shapes(WIDTH, WIDTH // HEADS))
io["double.txt"], io["double.img"] = (a.contiguous() for a in run(double))
del double
io["single.out"] = torch.cat(run(block("single", FluxSingleTransformerBlock,
                                       single_block_shapes(WIDTH, WIDTH // HEADS))), 1)
save_file(io, folder / "io.safetensors")
