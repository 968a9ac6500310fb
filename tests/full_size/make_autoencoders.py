"""Autoencoders at full size with random weights, as diffusers writes them, and what diffusers decodes with them.

    python3 make_autoencoders.py FOLDER   needs torch, diffusers, safetensors; 1 GB of disk, 6 GB of memory

Writes sd_vae/, sd3_vae/, flux_vae/, taesd/, taef1/ (encoders and all) and io.safetensors with latents and images.
"""
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import save_file

from autoencoders import fill
from store import Random

folder = Path(sys.argv[1])
torch.set_num_threads(os.cpu_count())
LEVELS = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=256,
              down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
SIXTEEN = dict(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False)
MODELS = {"sd_vae": lambda: AutoencoderKL(**LEVELS, scaling_factor=0.18215),
          "sd3_vae": lambda: AutoencoderKL(**LEVELS, **SIXTEEN, scaling_factor=1.5305, shift_factor=0.0609),
          "flux_vae": lambda: AutoencoderKL(**LEVELS, **SIXTEEN, scaling_factor=0.3611, shift_factor=0.1159),
          "taesd": lambda: AutoencoderTiny(latent_channels=4), "taef1": lambda: AutoencoderTiny(latent_channels=16)}
# The largest is decoded whole; io would be large with all of them.
SIZES = {"sd_vae": (32, 32), "sd3_vae": (64, 64), "flux_vae": (24, 40), "taesd": (32, 32), "taef1": (64, 64)}

io, random = {}, Random(49)
for name, make in MODELS.items():
    model = fill(make().eval(), random)
    model.save_pretrained(folder / name)
    latents = random.tensor(1, model.config.latent_channels, *SIZES[name])
    scale, shift = model.config.scaling_factor, model.config.shift_factor or 0.0
    start = time.time()
    io[f"{name}.latents"], io[f"{name}.out"] = latents, model.decode(latents / scale + shift).sample
    print(f"{name}: diffusers, float32, {SIZES[name]} latents: {time.time() - start:.2f} s")
    if name == "sd_vae":  # four tiles and what is left
        model.enable_tiling()
        large = random.tensor(1, 4, 40, 33)
        io[f"{name}.tiled.latents"], io[f"{name}.tiled.out"] = large, model.decode(large / scale).sample
save_file({name: w.contiguous() for name, w in io.items()}, folder / "io.safetensors")
