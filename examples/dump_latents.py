#!/usr/bin/env python3
"""Dumps the latents of an image, for dit_sd3 and dit_flux: image to image (--init), Kontext (--reference), Canny, Depth and Fill
(--control).

    python dump_latents.py black-forest-labs/FLUX.1-Kontext-dev fox.png --output fox.safetensors
    python dump_latents.py black-forest-labs/FLUX.1-Fill-dev fox.png --mask mask.png --size 1024 768 --output hole.safetensors

The model is a diffusers folder or its name on the Hugging Face Hub, of which the autoencoder is loaded. The file holds latents
[1, C, H/8, W/8], the mean of the encoder's distribution, scaled as the transformer knows them; with --mask, whose white is to be
repainted, those of the image with a hole of mid-grey, and mask [1, 1, H, W].

Needs torch, diffusers, safetensors, Pillow.
"""
import argparse

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import save_file


def pixels(image, mode, size):
    """[1, C, H, W] in [0, 1]"""
    array = np.asarray(image.convert(mode).resize(size, Image.LANCZOS if mode == "RGB" else Image.NEAREST), np.float32) / 255
    return torch.from_numpy(array.reshape(size[1], size[0], -1)).permute(2, 0, 1)[None].contiguous()


@torch.no_grad()
def encode(vae, image):
    """image [1, 3, H, W] in [-1, 1] -> latents as the transformer knows them"""
    return (vae.encode(image).latent_dist.mode() - (vae.config.shift_factor or 0)) * vae.config.scaling_factor


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a diffusers folder, or a name on the Hub")
    parser.add_argument("image")
    parser.add_argument("--mask", help="an image whose white is to be repainted")
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="the image's own, down to multiples of 16")
    parser.add_argument("--output", default="latents.safetensors")
    options = parser.parse_args(arguments)

    vae = AutoencoderKL.from_pretrained(options.model, subfolder="vae", torch_dtype=torch.float32)
    image = Image.open(options.image)
    size = options.size or [side // 16 * 16 for side in image.size]
    x = 2 * pixels(image, "RGB", size) - 1
    tensors = {}
    if options.mask:
        tensors["mask"] = (pixels(Image.open(options.mask), "L", size) >= 0.5).float()
        x *= 1 - tensors["mask"]
    tensors["latents"] = encode(vae, x).contiguous()
    save_file(tensors, options.output)
    print(options.output, {name: list(tensor.shape) for name, tensor in tensors.items()})


if __name__ == "__main__":
    main()
