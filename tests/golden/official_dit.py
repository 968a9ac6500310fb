"""The original DiT (arXiv:2212.09748), from its formulas, over a plain dict with the official names.

Runs in the type of its weights. `divisor` and `mlp_eps` are the two places where diffusers' DiT differs (127, 1e-5).
"""
import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from store import Random, double, nmse, save

SEED = 22


def time_features(t, divisor=128, dtype=torch.float64):
    """cos(t f), sin(t f) with f_i = 10000^(-i / divisor), i = 0..127"""
    phase = t.to(dtype)[:, None] * torch.exp(-math.log(10000) / divisor * torch.arange(128, dtype=dtype))
    return torch.cat([phase.cos(), phase.sin()], 1)


def position_table(rows, columns, width):
    """float64 [rows * columns, width]: sin, cos of the column, then sin, cos of the row"""
    q = width // 4
    w = 10000.0 ** (-torch.arange(q, dtype=torch.float64) / q)
    r, s = (axis[:, None] * w for axis in torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).T)
    return torch.cat([s.sin(), s.cos(), r.sin(), r.cos()], 1)


def layer_norm(x, eps):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + eps).sqrt()


def modulate(x, shift, scale):
    return x * (1 + scale[:, None]) + shift[:, None]


def attention(q, k, v, heads):
    """[B, N, D], head h in features h*d .. h*d + d - 1"""
    q, k, v = (a.unflatten(-1, (heads, -1)).transpose(1, 2) for a in (q, k, v))
    weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
    return (weights @ v).transpose(1, 2).flatten(2)


def to_patches(x, p):
    """[B, C, H, W] -> [B, N, (c i j)]"""
    return x.unflatten(3, (-1, p)).unflatten(2, (-1, p)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def from_patches(x, rows, columns, p):
    """[B, N, (i j c)] -> [B, C, H, W]"""
    return x.unflatten(2, (p, p, -1)).unflatten(1, (rows, columns)).permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


@dataclass
class DiT:
    weights: dict
    heads: int
    divisor: int = 128
    mlp_eps: float = 1e-6

    def double(self):
        return replace(self, weights=double(self.weights))

    def linear(self, name, x):
        return x @ self.weights[name + ".weight"].flatten(1).T + self.weights[name + ".bias"]

    def conditioning(self, t, y):
        features = time_features(t, self.divisor, self.weights["t_embedder.mlp.0.weight"].dtype)
        time = self.linear("t_embedder.mlp.2", F.silu(self.linear("t_embedder.mlp.0", features)))
        return time + self.weights["y_embedder.embedding_table.weight"][y]

    def embed(self, x):
        table = self.weights["pos_embed"]
        p = self.weights["x_embedder.proj.weight"].shape[-1]
        rows, columns = x.shape[2] // p, x.shape[3] // p
        if (rows, columns) != (math.isqrt(table.shape[1]),) * 2:
            table = position_table(rows, columns, table.shape[2]).float().to(table.dtype)
        return self.linear("x_embedder.proj", to_patches(x, p)) + table

    def block(self, x, c, prefix=""):
        s1, k1, g1, s2, k2, g2 = self.linear(prefix + "adaLN_modulation.1", F.silu(c)).chunk(6, 1)
        qkv = self.linear(prefix + "attn.qkv", modulate(layer_norm(x, 1e-6), s1, k1)).chunk(3, -1)
        x = x + g1[:, None] * self.linear(prefix + "attn.proj", attention(*qkv, self.heads))
        hidden = self.linear(prefix + "mlp.fc1", modulate(layer_norm(x, self.mlp_eps), s2, k2))
        return x + g2[:, None] * self.linear(prefix + "mlp.fc2", F.gelu(hidden, approximate="tanh"))

    def final(self, x, c, prefix=""):
        shift, scale = self.linear(prefix + "adaLN_modulation.1", F.silu(c)).chunk(2, 1)
        return self.linear(prefix + "linear", modulate(layer_norm(x, 1e-6), shift, scale))

    def __call__(self, x, t, y):
        x = x.to(self.weights["pos_embed"].dtype)
        p = self.weights["x_embedder.proj.weight"].shape[-1]
        c = self.conditioning(t, y)
        tokens = self.embed(x)
        for i in range(sum(name.endswith("attn.qkv.bias") for name in self.weights)):
            tokens = self.block(tokens, c, f"blocks.{i}.")
        return from_patches(self.final(tokens, c, "final_layer."), x.shape[2] // p, x.shape[3] // p, p)

    def guided(self, x, t, y, scale, channels=3):
        """Batch [conditional | null]; the second half of x is ignored, only the first `channels` are guided."""
        half = x[:len(x) // 2]
        out = self(torch.cat([half, half]), t, y)
        cond, null = out.chunk(2)
        eps = (null + scale * (cond - null))[:, :channels]
        return torch.cat([torch.cat([eps, eps]), out[:, channels:]], 1)


def block_shapes(width, prefix=""):
    layers = {"adaLN_modulation.1": (6, 1), "attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1),
              "mlp.fc2": (1, 4)}
    return {prefix + name + end: shape for name, (o, i) in layers.items()
            for end, shape in ((".weight", (o * width, i * width)), (".bias", (o * width,)))}


def final_shapes(width, out, prefix=""):
    return {prefix + "adaLN_modulation.1.weight": (2 * width, width), prefix + "adaLN_modulation.1.bias": (2 * width,),
            prefix + "linear.weight": (out, width), prefix + "linear.bias": (out,)}


def random_dit(random, width, depth, patch, channels, out, classes, side):
    """Weights of a whole model; the class table has a null row, the position table is the sin-cos one."""
    shapes = {"x_embedder.proj.weight": (width, channels, patch, patch), "x_embedder.proj.bias": (width,),
              "t_embedder.mlp.0.weight": (width, 256), "t_embedder.mlp.0.bias": (width,),
              "t_embedder.mlp.2.weight": (width, width), "t_embedder.mlp.2.bias": (width,)}
    for i in range(depth):
        shapes |= block_shapes(width, f"blocks.{i}.")
    shapes |= final_shapes(width, patch * patch * out, "final_layer.")
    table = position_table(side // patch, side // patch, width).float()[None]
    return random.weights(shapes) | {"y_embedder.embedding_table.weight": random.tensor(classes + 1, width),
                                     "pos_embed": table}


def run(model, *args):
    """float32 and float64 outputs; they must agree as well as float32 can."""
    out, out64 = model(*args), model.double()(*args)
    assert nmse(out, out64) < 1e-9, nmse(out, out64)
    return out, out64


def generate():
    random = Random(SEED)

    weights = random.weights(block_shapes(72))
    x, c = random.tensor(2, 17, 72), random.tensor(2, 72)
    save("dit_block", weights, __file__, SEED)
    save("dit_block_io", {"x": x, "c": c, "out": DiT(weights, 3).block(x, c),
                          "out64": DiT(double(weights), 3).block(x.double(), c.double())}, __file__, SEED)

    weights, x = random.weights(final_shapes(72, 2 * 2 * 8)), random.tensor(2, 15, 72)
    out64 = DiT(double(weights), 3).final(x.double(), c.double())
    save("final_layer", weights, __file__, SEED)
    save("final_layer_io", {"x": x, "c": c, "out": DiT(weights, 3).final(x, c), "out64": out64,
                            "image64": from_patches(out64, rows=3, columns=5, p=2)}, __file__, SEED)

    model = DiT(random_dit(random, width=72, depth=2, patch=2, channels=4, out=8, classes=10, side=8), heads=3)
    io = {}
    for name, batch, size, t, y in (("square", 3, (8, 8), (0.37, 999, 37.25), (3, 10, 7)),
                                    ("wide", 2, (6, 10), (500, 12.5), (0, 9)), ("tall", 1, (10, 6), (250,), (5,))):
        x, t, y = random.tensor(batch, 4, *size), torch.tensor(t, dtype=torch.float32), torch.tensor(y)
        out, out64 = run(model, x, t, y)
        io |= {f"{name}.x": x, f"{name}.t": t, f"{name}.y": y, f"{name}.out": out, f"{name}.out64": out64,
               f"{name}.c64": model.double().conditioning(t, y)}
    x, t, y = random.tensor(4, 4, 8, 8), torch.tensor([750.0, 20.0] * 2), torch.tensor([3, 8, 10, 10])
    io |= {"guided.x": x, "guided.t": t, "guided.y": y}
    for scale in (4.0, 1.5):
        for channels in (3, 4):
            name = f"guided.s{scale}.c{channels}"
            io[name + ".out"] = model.guided(x, t, y, scale, channels)
            io[name + ".out64"] = model.double().guided(x, t, y, scale, channels)
    save("dit_tiny", model.weights, __file__, SEED)
    save("dit_tiny_io", io, __file__, SEED)

    model = DiT(random_dit(random, width=48, depth=1, patch=4, channels=3, out=3, classes=5, side=16), heads=2)
    x, t, y = random.tensor(2, 3, 16, 16), torch.tensor([640.0, 3.5]), torch.tensor([5, 2])
    out, out64 = run(model, x, t, y)
    save("dit_tiny_p4", model.weights, __file__, SEED)
    save("dit_tiny_p4_io", {"x": x, "t": t, "y": y, "out": out, "out64": out64}, __file__, SEED)
