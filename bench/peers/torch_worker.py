"""The contender PyTorch: torch_worker.py THREADS

Variants: `eager`; `compile`, torch.compile with frozen weights (inductor packs them beforehand); in int8 `dynamic`,
quantize_dynamic of every Linear, activations per tensor."""
import gc
import sys

import torch

import torch_models
from worker import Absent, serve

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}
torch.set_num_threads(int(sys.argv[1]))
torch.set_grad_enabled(False)
cache = {}


def net_of(kind, dtype, sizes):
    key = kind, dtype, *sizes
    if key not in cache:
        cache.clear()
        gc.collect()
        net, inputs = torch_models.build(kind, sizes)
        to = DTYPES[dtype]
        cache[key] = net.to(to), tuple(x.to(to) if x.is_floating_point() and x.numel() > 1 else x for x in inputs)
    return cache[key]


def quantized(net):
    torch.backends.quantized.engine = "x86" if "x86" in torch.backends.quantized.supported_engines else "onednn"
    return torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)


def make(kind, dtype, variant, sizes):
    if kind == "clear":
        cache.clear()
        torch._dynamo.reset()
        gc.collect()
        return None
    if (dtype == "int8") != (variant == "dynamic"):
        raise Absent("no such variant in " + dtype)
    net, inputs = net_of(kind, dtype, sizes)
    if variant == "dynamic":
        net = quantized(net)
    if variant == "compile":
        torch._inductor.config.freezing = True
        net = torch.compile(net)
    return (lambda: net(*inputs)), torch_models.flat


serve(f"PyTorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})", make)
