"""Golden files: how their numbers are drawn and how they are written."""
import hashlib
import json
import os
from pathlib import Path

os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")  # before torch: its float32 kernels differ by instruction set

import diffusers
import numpy as np
import torch
from safetensors.torch import save as encode

HERE = Path(__file__).parent

torch.set_num_threads(1)
torch.set_grad_enabled(False)


class Random(np.random.Generator):
    """Seeded numbers as torch tensors; float32 values, so that float64 runs start from the same bits."""

    def __init__(self, seed):
        super().__init__(np.random.PCG64(seed))

    def tensor(self, *shape, scale=1.0, offset=0.0):
        return torch.from_numpy((self.standard_normal(shape) * scale + offset).astype(np.float32))

    def weights(self, shapes, gain=1.0):
        """Nothing is zero: matrices keep their input's size times `gain`, biases are small, norms are near one."""
        return {name: self.tensor(*shape, scale=gain / np.prod(shape[1:]) ** 0.5) if len(shape) > 1
                else self.tensor(*shape, scale=0.2, offset=float(is_norm(name)))
                for name, shape in shapes.items()}


def is_norm(name):
    return ("norm" in name or ".ln_" in name) and name.endswith(("weight", "scale"))


def save(name, tensors, script, seed=None):
    """Writes `name`.safetensors beside this script, with sorted metadata: the library writes it in no fixed order."""
    script = Path(script)
    metadata = {"format": "pt", "generator": script.name, "sha256": hashlib.sha256(script.read_bytes()).hexdigest(),
                "seed": str(seed), "torch": torch.__version__, "diffusers": diffusers.__version__,
                "numpy": np.__version__}
    blob = encode({k: torch.as_tensor(v).contiguous().clone() for k, v in tensors.items()}, metadata)
    end = 8 + int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(end - 8)
    path = HERE / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(blob[:8] + text + blob[end:])
    print(f"{path.stat().st_size:9,d}  {path.relative_to(HERE)}")


def nmse(a, reference):
    """Squared error over squared size; NaN stays NaN and fails every comparison."""
    reference = reference.double()
    return float((a.double() - reference).square().sum() / reference.square().sum())


def double(tensors):
    return {name: tensor.double() for name, tensor in tensors.items()}
