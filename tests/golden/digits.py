#!/usr/bin/env python3
"""Writes digits_sampling.safetensors: what PyTorch in float32 makes of the shipped examples/models/digits.safetensors.

    noise         [20, 1, 8, 8]   torch.randn, seeded
    labels        [20]            int64, two of each class
    velocity      [20, 1, 8, 8]   one conditional forward at `noise`, s = 1     (model time 1000)
    velocity_037  [20, 1, 8, 8]   the same at s = 0.37                          (model time 370)
    samples       [20, 1, 8, 8]   Euler from s = 1 to 0, sigma = linspace(1, 0, steps + 1), with guidance
"""
import hashlib
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))
from train_digits import CLASSES, load, sample  # noqa: E402

SEED, STEPS, GUIDANCE = 2026, 50, 1.25


@torch.no_grad()
def write(path):
    torch.set_num_threads(1)
    checkpoint = EXAMPLES / "models" / "digits.safetensors"
    model = load(checkpoint)
    noise = torch.randn(2 * CLASSES, 1, 8, 8, generator=torch.Generator().manual_seed(SEED))
    labels = torch.arange(2 * CLASSES) % CLASSES
    at = lambda s: torch.full((2 * CLASSES,), 1000 * s)
    tensors = dict(noise=noise, labels=labels, velocity=model(noise, at(1.0), labels),
                   velocity_037=model(noise, at(0.37), labels), samples=sample(model, noise, labels, STEPS, GUIDANCE))
    save_file(tensors, path, dict(torch=torch.__version__, seed=str(SEED), steps=str(STEPS), guidance=str(GUIDANCE),
                                  dtype="float32", generator="tests/golden/digits.py",
                                  checkpoint_sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest()))


if __name__ == "__main__":
    write(HERE / "digits_sampling.safetensors")
