#!/usr/bin/env python3
"""Writes scenes_sampling.safetensors: what PyTorch in float32 makes of the shipped examples/models/scenes.safetensors.

    noise         [3, 3, 32, 32]   torch.randn, seeded
    context       [3, 16, 128]     of the captions; `none` [1, 16, 128] of no caption
    pooled        [3, 128]         and `none_pooled`
    velocity_037  [3, 3, 32, 32]   one conditional forward at `noise`, s = 0.37  (model time 370)
    samples       [3, 3, 32, 32]   Euler from s = 1 to 0 on the shifted schedule, with guidance
"""
import hashlib
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))
from train_scenes import TOKENS, load, sample, tokens  # noqa: E402

SEED, STEPS, GUIDANCE, SHIFT = 2026, 25, 3.0, 3.0
CAPTIONS = ("a large red circle above a small green ring", "a small orange square right of a large yellow triangle",
            "a cyan cross top left, a white circle top right and a blue ring bottom left")


@torch.no_grad()
def write(path):
    torch.set_num_threads(1)
    checkpoint = EXAMPLES / "models" / "scenes.safetensors"
    model = load(checkpoint)
    noise = torch.randn(len(CAPTIONS), 3, 32, 32, generator=torch.Generator().manual_seed(SEED))
    ids = torch.tensor([tokens(caption) for caption in CAPTIONS])
    context, pooled = model.text(ids)
    none, none_pooled = model.text(torch.zeros(1, TOKENS, dtype=torch.long))
    tensors = dict(noise=noise, context=context, pooled=pooled, none=none, none_pooled=none_pooled,
                   velocity_037=model(noise, torch.full((len(CAPTIONS),), 370.0), ids),
                   samples=sample(model, noise, ids, STEPS, GUIDANCE, SHIFT))
    save_file({k: v.contiguous() for k, v in tensors.items()}, path,
              dict(torch=torch.__version__, seed=str(SEED), steps=str(STEPS), guidance=str(GUIDANCE), shift=str(SHIFT),
                   dtype="float32", generator="tests/golden/scenes.py",
                   checkpoint_sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest()))


if __name__ == "__main__":
    write(HERE / "scenes_sampling.safetensors")
