#!/usr/bin/env python3
"""A sampling step of SD3-medium at 512 x 512, without guidance: dit and stable-diffusion.cpp, turn by turn.

    tests/full_size/run.sh sd3_medium FOLDER bf16 int8              first: the checkpoint, and dit's program for it
    bench/peers/stable_diffusion_cpp.py CHECKOUT FOLDER [--threads 2] [--rounds 3]

Both read FOLDER/original.safetensors. CHECKOUT is a tree of github.com/leejet/stable-diffusion.cpp with its submodules
(SD_WEBP and SD_WEBM are not needed); its sd-cli is built in FOLDER with the options it has by itself, and runs with
flash attention. Its text encoders and its autoencoder, without which it does not start, have random weights and no part
in the times: 77 tokens of CLIP and 77 zeros beside 1024 of the image are the 1178 that dit's program has. Steps count
from the second on, as its first one loads. Needs torch, diffusers and safetensors.
"""
import argparse
import os
import re
import statistics
import subprocess
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

ROWS = [  # dit's type; the types of the same memory
    ("bf16", ["bf16", "f16"]),
    ("int8", ["q8_0"]),
]


def write_text_encoder(path, width, layers):
    """A CLIP text model with projection, in the names of Hugging Face."""
    def linear(name, outputs, inputs):
        return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

    def norm(name):
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    shapes = {"text_model.embeddings.token_embedding.weight": (49408, width),
              "text_model.embeddings.position_embedding.weight": (77, width),
              **norm("text_model.final_layer_norm"), "text_projection.weight": (width, width)}
    for i in range(layers):
        layer = f"text_model.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{name}", width, width)
        shapes |= {**norm(f"{layer}.layer_norm1"), **norm(f"{layer}.layer_norm2"),
                   **linear(f"{layer}.mlp.fc1", 4 * width, width), **linear(f"{layer}.mlp.fc2", width, 4 * width)}
    save_file({name: (0.02 * torch.randn(shape)).half() for name, shape in shapes.items()}, path)


def write_autoencoder(path):
    model = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[128, 256, 512, 512], layers_per_block=2, latent_channels=16, use_quant_conv=False,
        use_post_quant_conv=False)
    save_file({name: t.half().contiguous() for name, t in model.state_dict().items()}, path)


def build(checkout, folder):
    """sd-cli, as `cmake -B build && cmake --build build` makes it."""
    tree = folder / "stable_diffusion_cpp"
    with open(folder / "stable_diffusion_cpp.log", "w") as log:
        for command in (["cmake", "-S", checkout, "-B", tree, "-DCMAKE_BUILD_TYPE=Release", "-DSD_WEBP=OFF",
                         "-DSD_WEBM=OFF"],
                        ["cmake", "--build", tree, "--target", "sd-cli", "--parallel", str(os.cpu_count())]):
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return tree / "bin" / "sd-cli"


def of_dit(folder, scalar):
    """Seconds of a step, and the share of the peak, as tests/full_size prints them first."""
    out = subprocess.run([folder / "sd3_medium", folder, scalar], capture_output=True, text=True).stdout
    step = re.search(r"a step in ([\d.]+) s: .*? (\d+) % of the peak", out)
    if step is None:
        raise RuntimeError(f"tests/full_size says no time for {scalar}: {out[-500:]}")
    return float(step[1]), int(step[2])


def of_peer(program, folder, kind, threads):
    """Seconds of the steps after the first. Ends it where it would decode."""
    command = [program, "-m", folder / "original.safetensors", "--vae", folder / "vae.safetensors", "--type", kind,
               "--diffusion-fa", "-p", "a cat", "--cfg-scale", "1", "--steps", "4", "-W", "512", "-H", "512",
               "--sampling-method", "euler", "-t", str(threads), "-o", folder / "out.png", "-v"]
    for name in ("clip_l", "clip_g"):
        command += [f"--{name}", folder / f"{name}.safetensors"]
    steps, said = [], b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while b"sampling completed" not in said:
            some = os.read(process.stdout.fileno(), 4096)
            if not some:
                raise RuntimeError(f"sd-cli ended: {said[-500:].decode(errors='replace')}")
            said += some
        process.kill()
    for i, seconds in re.findall(rb"(\d)/4 - ([\d.]+)s/it", said):
        if i != b"1":
            steps.append(float(seconds))
    assert len(steps) == 3, said
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="dit takes all cores")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()

    program = build(arguments.checkout.resolve(), folder)
    for name, width, layers in (("clip_l", 768, 12), ("clip_g", 1280, 32)):
        if not (folder / f"{name}.safetensors").exists():
            write_text_encoder(folder / f"{name}.safetensors", width, layers)
    if not (folder / "vae.safetensors").exists():
        write_autoencoder(folder / "vae.safetensors")

    for scalar, kinds in ROWS:
        own, shares, peer = [], [], {kind: [] for kind in kinds}
        for _ in range(arguments.rounds):
            seconds, share = of_dit(folder, scalar)
            own.append(seconds)
            shares.append(share)
            for kind in kinds:
                peer[kind] += of_peer(program, folder, kind, arguments.threads)
        median = statistics.median(own)
        print(f"dit {scalar}: {median:.2f} s, {statistics.median(shares):.0f} % of the peak", flush=True)
        for kind, steps in peer.items():
            print(f"  stable-diffusion.cpp {kind}: {statistics.median(steps):.2f} s, "
                  f"{statistics.median(steps) / median:.1f}x", flush=True)


if __name__ == "__main__":
    main()
