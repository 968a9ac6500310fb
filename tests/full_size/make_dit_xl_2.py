"""DiT-XL/2 at full size with random weights, in both layouts, and what the references say of it.

    python3 make_dit_xl_2.py FOLDER       needs torch, diffusers, safetensors; 6 GB of disk, 8 GB of memory

Writes original.safetensors (official names) and diffusers/ (written by diffusers), and io.safetensors with the outputs
of the formulas on the first and of diffusers' own class on the second.
"""
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))

import torch
from safetensors.torch import save_file

from diffusers_dit import diffusers_dit
from official_dit import DiT, random_dit
from store import Random

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(os.cpu_count())

random = Random(675)
weights = random_dit(random, width=1152, depth=28, patch=2, channels=4, out=8, classes=1000, side=32)
save_file({name: w.contiguous() for name, w in weights.items()}, folder / "original.safetensors")

x, t, y = random.tensor(2, 4, 32, 32), torch.tensor([999.0, 250.0]), torch.tensor([207, 1000])
wide = random.tensor(1, 4, 24, 40)
io = {"x": x, "t": t, "y": y, "wide.x": wide}
model = DiT(weights, heads=16)
start = time.time()
io["original.out"] = model(x, t, y)
print(f"formulas, float32, batch 2: {time.time() - start:.2f} s")
io["wide.out"] = model(wide, t[:1], y[:1])

theirs = diffusers_dit(weights, heads=16, width=1152, classes=1000, side=32)
theirs.save_pretrained(folder / "diffusers", max_shard_size="2GB")
del model, weights
theirs(x, t, y)
start = time.time()
io["diffusers.out"] = theirs(x, t, y).sample
print(f"diffusers, float32, batch 2: {time.time() - start:.2f} s")
save_file({name: w.contiguous() for name, w in io.items()}, folder / "io.safetensors")
