"""Models of diffusers that do not fit into memory: random weights written shard by shard, and forward passes that
read each block when its turn comes."""
import json
import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import ModuleList

from store import is_norm

torch.set_num_threads(len(os.sched_getaffinity(0)))
INDEX = "diffusion_pytorch_model.safetensors.index.json"


def random_bf16(name, shape, seed):
    """Sizes stay near one through all blocks: matrices keep their input's size, modulations are a third of that.
    Queries and keys are long enough that attention picks a few tokens out of a thousand instead of their mean, which
    would be nothing: an attention gone wrong shows."""
    w = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if name.endswith("pos_embed"):
        w *= 0.5
    elif len(shape) == 1:
        w *= 0.1
        if is_norm(name):
            w += 1.5
    else:
        w *= (0.3 if "norm" in name else 1) / shape[1:].numel() ** 0.5
    return w.bfloat16()


def write(model, folder, seed, shard=2 << 30):
    """Random bfloat16 weights for `model`, which has no storage, laid out as save_pretrained does; `shard` bytes at a
    time."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {name: w.shape for name, w in model.state_dict().items()}
    shards, size = [[]], 0
    for name, shape in shapes.items():
        if size + 2 * shape.numel() > shard and shards[-1]:
            shards, size = shards + [[]], 0
        shards[-1].append(name)
        size += 2 * shape.numel()
    places, seeds = {}, {name: seed * 10_000 + i for i, name in enumerate(shapes)}
    for i, names in enumerate(shards, 1):
        file = f"diffusion_pytorch_model-{i:05d}-of-{len(shards):05d}.safetensors"
        save_file({name: random_bf16(name, shapes[name], seeds[name]) for name in names}, folder / file, {"format": "pt"})
        places |= dict.fromkeys(names, file)
    numbers = sum(shape.numel() for shape in shapes.values())
    index = {"metadata": {"total_size": 2 * numbers}, "weight_map": dict(sorted(places.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    model.save_config(folder)
    print(f"{len(shapes)} tensors, {numbers:,d} numbers in {len(shards)} files", flush=True)


def streamed(model, folder):
    """`model`, which has no storage, in float32 with the weights in `folder`: those outside its blocks now, those of
    a block only while it runs."""
    places = json.loads((folder / INDEX).read_text())["weight_map"]

    def read(module, prefix, names):
        weights = {}
        for name in names:
            with safe_open(folder / places[prefix + name], "pt") as file:
                weights[name] = file.get_tensor(prefix + name).float()
        module.load_state_dict(weights, strict=False, assign=True)

    outside = set(model.state_dict())
    for prefix, blocks in model.named_children():
        if not isinstance(blocks, ModuleList):
            continue
        for i, block in enumerate(blocks):
            here, names = f"{prefix}.{i}.", list(block.state_dict())
            outside -= {here + name for name in names}
            block.register_forward_pre_hook(lambda module, _, here=here, names=names: read(module, here, names))
            block.register_forward_hook(lambda module, *_: module.to("meta") and None)
    read(model, "", outside)
    return model.eval()


def timed(what, run):
    start = time.time()
    out = run().contiguous()
    print(f"{what}: {time.time() - start:.1f} s, output of size {out.square().mean().sqrt():.2f}, "
          f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB", flush=True)
    return out
