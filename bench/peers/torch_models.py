"""The cases as torch modules: the formulas of tests/golden, with torch's fast operations in place of the spelled-out
ones (scaled_dot_product_attention, layer_norm, rms_norm, Linear)."""
import os
import sys
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from worker import ACTIVATIONS, Absent, named, numbers

# tests/golden/store.py writes golden files and slows torch down so that they do not change; not needed here
sys.modules["store"] = types.SimpleNamespace(Random=None, double=None, nmse=None, save=None)
sys.path.insert(0, os.environ.get("DIT_GOLDEN", str(Path(__file__).resolve().parents[2] / "tests" / "golden")))
import official_dit  # noqa: E402
import official_flux  # noqa: E402
import official_mmdit  # noqa: E402


def attention(q, k, v, heads):
    q, k, v = (a.unflatten(-1, (heads, -1)).transpose(1, 2) for a in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def layer_norm(x, eps):
    return F.layer_norm(x, x.shape[-1:], eps=eps)


def rms_norm(x, eps):
    return F.rms_norm(x, x.shape[-1:], eps=eps)


time_features = official_dit.time_features
for module in (official_dit, official_mmdit, official_flux):
    module.attention, module.layer_norm, module.rms_norm = attention, layer_norm, rms_norm
    module.time_features = lambda t, divisor=128, dtype=None: time_features(t, divisor, torch.float32).to(dtype)


def tensor(*shape, scale=1):
    return torch.from_numpy(numbers(*shape, scale=scale))


class Table:
    """In place of store.Random: the numbers that dit gets, norms near 1"""

    def tensor(self, *shape):
        return torch.from_numpy(named("y_embedder.embedding_table.weight", *shape))  # the only one by itself

    def weights(self, shapes):
        return {name: torch.from_numpy(named(name, *shape) + np.float32(name.endswith("norm.scale") or ".ln_" in name))
                for name, shape in shapes.items()}


class Matrix(NamedTuple):
    """What the formulas ask of a weight that they do not multiply with by themselves"""
    shape: tuple
    dtype: torch.dtype


class Weights:
    """The dict of a formula: names in their order, tensors that are not matrices from the module"""

    def __init__(self, net, shapes):
        self.net, self.shapes = net, shapes

    def __iter__(self):
        return iter(self.shapes)

    def __contains__(self, name):
        return name in self.shapes

    def __getitem__(self, name):
        key = mangled(name)
        rest = self.net.rest
        return rest[key] if key in rest else Matrix(self.shapes[name], rest["pos_embed"].dtype)


def mangled(name):
    return name.replace(".", "|")  # torch allows no dots


class Net(torch.nn.Module):
    """A formula whose matrices are torch.nn.Linear. `fixed`: outputs of layers that are computed beforehand."""

    def __init__(self, formula, weights, heads, method, fixed=None):
        super().__init__()
        self.layers, self.rest, self.method = torch.nn.ModuleDict(), torch.nn.ParameterDict(), method
        for name, value in weights.items():
            stem = name.removesuffix(".weight")
            if stem + ".bias" in weights:
                self.layers[mangled(stem)] = linear_layer(value.flatten(1), weights[stem + ".bias"])
            elif not name.endswith(".bias"):
                self.rest[mangled(name)] = torch.nn.Parameter(value, requires_grad=False)
        for name, value in (fixed or {}).items():
            self.register_buffer("fixed " + mangled(name), value)
        net = self

        class Fast(formula):
            def linear(self, name, x):
                known = getattr(net, "fixed " + mangled(name), None)
                return net.layers[mangled(name)](x) if known is None else known

        self.formula = Fast(Weights(self, {name: tuple(value.shape) for name, value in weights.items()}), heads)

    def forward(self, *inputs):
        return getattr(self.formula, self.method)(*inputs)


def linear_layer(weight, bias=None):
    layer = torch.nn.Linear(1, 1, bias=bias is not None)
    layer.out_features, layer.in_features = weight.shape
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias, requires_grad=False)
    return layer


def dit_xl_2(side):
    weights = official_dit.random_dit(Table(), 1152, 28, 2, 4, 8, 1000, side)
    x = tensor(1, 4, side, side, scale=ACTIVATIONS)
    net = Net(official_dit.DiT, weights, 16, "__call__")
    return net, (x, torch.tensor([500.0]), torch.tensor([207]))


def chunks(width, count):
    return tensor(1, count * width, scale=10)


def sd3(image, text):
    width = 1536
    shapes = {name: shape for name, shape in official_mmdit.block_shapes(width, 64).items() if "adaLN" not in name}
    fixed = {f"{stream}.adaLN_modulation.1": chunks(width, 6) for stream in ("x_block", "context_block")}
    net = Net(official_mmdit.MMDiT, Table().weights(shapes), 24, "block", fixed)
    return net, (tensor(1, image, width, scale=ACTIVATIONS), tensor(1, text, width, scale=ACTIVATIONS),
                 torch.zeros(1, width))


def turns(image, text):
    side = round(image**0.5)
    ids = torch.cat([torch.zeros(text, 3), official_flux.grid_ids(side, side)])
    return tuple(a.float() for a in official_flux.rotation(ids, (16, 56, 56)))


class Turned(torch.nn.Module):
    """A block of FLUX with its table of turns as two inputs"""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, *inputs):
        *tokens, cos, sin = inputs
        return self.net(*tokens, (cos, sin))


def flux_double(image, text):
    width = 3072
    shapes = {name: shape for name, shape in official_flux.double_block_shapes(width, 128).items()
              if "_mod.lin" not in name}
    fixed = {f"{stream}_mod.lin": chunks(width, 6) for stream in ("img", "txt")}
    net = Net(official_flux.Flux, Table().weights(shapes), 24, "double_block", fixed)
    return Turned(net), (tensor(1, image, width, scale=ACTIVATIONS), tensor(1, text, width, scale=ACTIVATIONS),
                         torch.zeros(1, width), *turns(image, text))


def flux_single(image, text):
    width = 3072
    shapes = {name: shape for name, shape in official_flux.single_block_shapes(width, 128).items()
              if not name.startswith("modulation")}
    net = Net(official_flux.Flux, Table().weights(shapes), 24, "single_block", {"modulation.lin": chunks(width, 3)})
    return Turned(net), (tensor(1, image + text, width, scale=ACTIVATIONS), torch.zeros(1, width),
                         *turns(image, text))


def gemm(m, k, n):
    return torch.nn.Sequential(linear_layer(tensor(n, k))), (tensor(m, k, scale=ACTIVATIONS),)


class Attention(torch.nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def forward(self, qkv):
        return attention(*qkv.chunk(3, -1), self.heads)


def joint_attention(n, heads, d):
    return Attention(heads), (tensor(1, n, 3 * heads * d, scale=ACTIVATIONS),)


CASES = {"gemm": gemm, "xl2": dit_xl_2, "sd3": sd3, "flux_double": flux_double, "flux_single": flux_single,
         "attention": joint_attention}


def build(kind, sizes):
    """(module in float32, its inputs)"""
    if kind not in CASES:
        raise Absent("not measured")
    with torch.no_grad():
        net, inputs = CASES[kind](*sizes)
    return net.eval(), inputs


def flat(out):
    """The output as one float32 array; of two streams the image's comes first"""
    parts = out if isinstance(out, (tuple, list)) else (out,)
    return torch.cat([p.detach().float().reshape(-1) for p in parts]).numpy()
