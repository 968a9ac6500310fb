"""The original MMDiT of Stable Diffusion 3 and 3.5 (arXiv:2403.03206), from its formulas, over a plain dict with the
names of the original single file.

Runs in the type of its weights. What the file holds decides: QK-norm where there are `ln_q` and `ln_k`, a second
attention where there is `attn2`, a text stream that ends where the text side of a block has no `attn.proj`.
"""
import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from official_dit import attention, final_shapes, from_patches, layer_norm, modulate, time_features, to_patches
from operations import rms_norm
from store import double, nmse

MINI = dict(depth=3, head=8, channels=4, context=20, pooled=12, side=12)
MINI_35 = MINI | dict(qk_norm=True, dual=(0, 1))


def centre_crop(table, rows, columns):
    """[1, S * S, D] -> [rows * columns, D]: the middle of the stored grid, an odd rest rounded down"""
    side = math.isqrt(table.shape[1])
    top, left = (side - rows) // 2, (side - columns) // 2
    return table.unflatten(1, (side, side))[0, top:top + rows, left:left + columns].flatten(0, 1)


@dataclass
class MMDiT:
    weights: dict
    heads: int
    layer_eps: float = 1e-6
    rms_eps: float = 1e-6

    def double(self):
        return replace(self, weights=double(self.weights))

    def linear(self, name, x):
        return x @ self.weights[name + ".weight"].flatten(1).T + self.weights[name + ".bias"]

    def mlp(self, first, second, x, activation):
        return self.linear(second, activation(self.linear(first, x)))

    def norm(self, x):
        return layer_norm(x, self.layer_eps)

    def conditioning(self, t, pooled):
        features = time_features(t, 128, self.weights["t_embedder.mlp.0.weight"].dtype)
        time, text = (self.mlp(f"{name}.mlp.0", f"{name}.mlp.2", x, F.silu)
                      for name, x in (("t_embedder", features), ("y_embedder", pooled.to(features.dtype))))
        return time + text

    def patch(self):
        return self.weights["x_embedder.proj.weight"].shape[-1]

    def embed(self, x):
        p = self.patch()
        table = centre_crop(self.weights["pos_embed"], x.shape[2] // p, x.shape[3] // p)
        return self.linear("x_embedder.proj", to_patches(x.to(table.dtype), p)) + table

    def qkv(self, name, x):
        """q, k, v [B, N, D]; q and k normalised over each head where the file says so"""
        q, k, v = self.linear(f"{name}.qkv", x).chunk(3, -1)
        return *(self.qk_norm(f"{name}.{norm}.weight", a) for norm, a in (("ln_q", q), ("ln_k", k))), v

    def qk_norm(self, name, a):
        if name not in self.weights:
            return a
        return (rms_norm(a.unflatten(-1, (self.heads, -1)), self.rms_eps) * self.weights[name]).flatten(-2)

    def block(self, x, context, c, prefix=""):
        """(x, context) after one block; context is None after the last one, whose text side only gives q, k and v"""
        def adaln(stream):
            return self.linear(f"{prefix}{stream}.adaLN_modulation.1", F.silu(c)).unflatten(1, (-1, c.shape[1]))

        def finished(tokens, stream, out, a, second=0):
            tokens = tokens + a[:, 2, None] * self.linear(f"{prefix}{stream}.attn.proj", out) + second
            hidden = modulate(self.norm(tokens), a[:, 3], a[:, 4])
            mlp = [f"{prefix}{stream}.mlp.fc{i}" for i in (1, 2)]
            return tokens + a[:, 5, None] * self.mlp(*mlp, hidden, lambda h: F.gelu(h, approximate="tanh"))

        ax, ac = adaln("x_block"), adaln("context_block")
        image = self.qkv(f"{prefix}x_block.attn", modulate(self.norm(x), ax[:, 0], ax[:, 1]))
        text = self.qkv(f"{prefix}context_block.attn", modulate(self.norm(context), ac[:, 0], ac[:, 1]))
        out = attention(*(torch.cat(pair, 1) for pair in zip(text, image)), self.heads)
        out_text, out_image = out.split([context.shape[1], x.shape[1]], 1)

        second = 0
        if f"{prefix}x_block.attn2.qkv.weight" in self.weights:
            own = self.qkv(f"{prefix}x_block.attn2", modulate(self.norm(x), ax[:, 6], ax[:, 7]))
            second = ax[:, 8, None] * self.linear(f"{prefix}x_block.attn2.proj", attention(*own, self.heads))
        x = finished(x, "x_block", out_image, ax, second)
        pre_only = f"{prefix}context_block.attn.proj.weight" not in self.weights
        return x, None if pre_only else finished(context, "context_block", out_text, ac)

    def __call__(self, x, t, pooled, context, skip=()):
        """Velocity [B, C, H, W]; blocks in `skip` are passed by"""
        p = self.patch()
        c, tokens = self.conditioning(t, pooled), self.embed(x)
        text = self.linear("context_embedder", context.to(c.dtype))
        for i in range(sum(name.endswith("x_block.attn.qkv.bias") for name in self.weights)):
            if i not in skip:
                tokens, text = self.block(tokens, text, c, f"joint_blocks.{i}.")
        shift, scale = self.linear("final_layer.adaLN_modulation.1", F.silu(c)).chunk(2, 1)
        tokens = self.linear("final_layer.linear", modulate(self.norm(tokens), shift, scale))
        return from_patches(tokens, x.shape[2] // p, x.shape[3] // p, p)


def block_shapes(width, head, qk_norm=False, dual=False, pre_only=False, prefix=""):
    """Both streams of one block: layer -> (rows, columns) in widths"""
    attn = {"qkv": (3, 1), "proj": (1, 1)}
    layers = {"x_block.adaLN_modulation.1": (9 if dual else 6, 1),
              "context_block.adaLN_modulation.1": (2 if pre_only else 6, 1), "context_block.attn.qkv": (3, 1)}
    layers |= {f"x_block.{a}.{name}": by for a in ("attn", *["attn2"] * dual) for name, by in attn.items()}
    layers |= {"x_block.mlp.fc1": (4, 1), "x_block.mlp.fc2": (1, 4)}
    if not pre_only:
        layers |= {"context_block.attn.proj": (1, 1), "context_block.mlp.fc1": (4, 1), "context_block.mlp.fc2": (1, 4)}
    shapes = {prefix + name + end: shape for name, (o, i) in layers.items()
              for end, shape in ((".weight", (o * width, i * width)), (".bias", (o * width,)))}
    normed = ("x_block.attn", "context_block.attn", *["x_block.attn2"] * dual) if qk_norm else ()
    return shapes | {f"{prefix}{a}.{n}.weight": (head,) for a in normed for n in ("ln_q", "ln_k")}


def model_shapes(depth, head, channels, context, pooled, side, qk_norm=False, dual=()):
    """Depth = heads; patch 2; the position table is [1, side * side, width]."""
    width = depth * head
    linear = {"context_embedder": context, "t_embedder.mlp.0": 256, "t_embedder.mlp.2": width,
              "y_embedder.mlp.0": pooled, "y_embedder.mlp.2": width}
    shapes = {"pos_embed": (1, side * side, width), "x_embedder.proj.weight": (width, channels, 2, 2),
              "x_embedder.proj.bias": (width,)}
    for name, columns in linear.items():
        shapes |= {name + ".weight": (width, columns), name + ".bias": (width,)}
    for i in range(depth):
        shapes |= block_shapes(width, head, qk_norm, i in dual, i == depth - 1, f"joint_blocks.{i}.")
    return shapes | final_shapes(width, 4 * channels, "final_layer.")


def random_mmdit(random, **config):
    """The published tables are sines and cosines; this one follows no formula, so that it must be read."""
    shapes = model_shapes(**config)
    table = random.tensor(*shapes.pop("pos_embed"))
    return {"pos_embed": table} | random.weights(shapes)


def outputs(exact, *float32):
    """`out64` and the same rounded once. Runs in float32 must agree with it as well as float32 can."""
    for out in float32:
        assert nmse(out, exact) < 1e-9, nmse(out, exact)
    return {"out": exact.float(), "out64": exact}
