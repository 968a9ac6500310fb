"""The original FLUX.1, from its formulas, over a plain dict with the names of the original file.

Runs in the type of its weights; rotations are computed in double and rounded once. A file without `guidance_in` is
schnell's kind.
"""
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from official_dit import attention, final_shapes, layer_norm, modulate, time_features
from operations import rms_norm
from store import double

AXES = (4, 6, 6)
MINI = dict(depth=2, single_depth=3, heads=3, channels=16, out=16, context=20, pooled=12, guidance=True)
SCHNELL = MINI | dict(depth=1, single_depth=1, guidance=False)
FILL = MINI | dict(depth=1, single_depth=1, channels=16 + 16 + 64)


def pack(latents):
    """[B, C, H, W] -> [B, H/2 * W/2, (c i j)]"""
    return latents.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens, rows, columns):
    """[B, N, (c i j)] -> [B, C, 2 rows, 2 columns]"""
    x = tokens.unflatten(2, (-1, 2, 2)).unflatten(1, (rows, columns))
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def pack_mask(mask, factor):
    """A mask at pixel size [B, 1, f H, f W]: each f x f block is f * f channels, row by row; packed like latents"""
    return pack(F.pixel_unshuffle(mask, factor))


def grid_ids(rows, columns, kind=0):
    """float32 [rows * columns, 3]: (kind, row, column); a reference image is of kind 1"""
    return torch.cartesian_prod(torch.tensor([kind]), torch.arange(rows), torch.arange(columns)).float()


def rotation(ids, axes=AXES, theta=10000):
    """float64 cos and sin [N, d/2] of every pair, axis after axis"""
    angles = [ids[:, i, None].double() * theta ** (-torch.arange(0, a, 2, dtype=torch.float64) / a)
              for i, a in enumerate(axes)]
    angles = torch.cat(angles, 1)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """x [..., N, d]: adjacent channels 2k and 2k + 1 are turned together"""
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


@dataclass
class Flux:
    weights: dict
    heads: int
    layer_eps: float = 1e-6
    rms_eps: float = 1e-6

    def double(self):
        return replace(self, weights=double(self.weights))

    def dtype(self):
        return next(iter(self.weights.values())).dtype

    def linear(self, name, x):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, x):
        return layer_norm(x, self.layer_eps)

    def embedder(self, name, x):
        return self.linear(f"{name}.out_layer", F.silu(self.linear(f"{name}.in_layer", x.to(self.dtype()))))

    def conditioning(self, t, guidance, pooled):
        c = self.embedder("time_in", time_features(1000 * t.double(), dtype=self.dtype()))
        if "guidance_in.in_layer.bias" in self.weights:
            c = c + self.embedder("guidance_in", time_features(1000 * guidance.double(), dtype=self.dtype()))
        return c + self.embedder("vector_in", pooled)

    def chunks(self, name, c):
        return self.linear(name, F.silu(c)).unflatten(1, (-1, c.shape[1])).unbind(1)

    def normed(self, name, q, k, v):
        """q and k normalised over each head"""
        def rms(a, which):
            a = rms_norm(a.unflatten(-1, (self.heads, -1)), self.rms_eps)
            return (a * self.weights[f"{name}.{which}.scale"]).flatten(-2)
        return rms(q, "query_norm"), rms(k, "key_norm"), v

    def attention(self, q, k, v, table):
        """Rotates q and k of each head, then attends."""
        cos, sin = (a.to(q.dtype) for a in table)
        q, k = (rotate(a.unflatten(-1, (self.heads, -1)).transpose(1, 2), cos, sin).transpose(1, 2).flatten(2)
                for a in (q, k))
        return attention(q, k, v, self.heads)

    def double_block(self, img, txt, c, table, prefix=""):
        streams, projected = {"txt": txt, "img": img}, []
        mods = {s: self.chunks(f"{prefix}{s}_mod.lin", c) for s in streams}
        for s, x in streams.items():
            qkv = self.linear(f"{prefix}{s}_attn.qkv", modulate(self.norm(x), *mods[s][:2])).chunk(3, -1)
            projected.append(self.normed(f"{prefix}{s}_attn.norm", *qkv))
        out = self.attention(*(torch.cat(pair, 1) for pair in zip(*projected)), table)
        for (s, x), o in zip(streams.items(), out.split([txt.shape[1], img.shape[1]], 1)):
            shift, scale, gate = mods[s][3:]
            x = x + mods[s][2][:, None] * self.linear(f"{prefix}{s}_attn.proj", o)
            hidden = self.linear(f"{prefix}{s}_mlp.0", modulate(self.norm(x), shift, scale))
            streams[s] = x + gate[:, None] * self.linear(f"{prefix}{s}_mlp.2", F.gelu(hidden, approximate="tanh"))
        return streams["img"], streams["txt"]

    def single_block(self, x, c, table, prefix=""):
        shift, scale, gate = self.chunks(f"{prefix}modulation.lin", c)
        width = x.shape[-1]
        all_in_one = self.linear(f"{prefix}linear1", modulate(self.norm(x), shift, scale))
        *qkv, hidden = all_in_one.split([width] * 3 + [all_in_one.shape[-1] - 3 * width], -1)
        out = self.attention(*self.normed(f"{prefix}norm", *qkv), table)
        both = torch.cat([out, F.gelu(hidden, approximate="tanh")], -1)
        return x + gate[:, None] * self.linear(f"{prefix}linear2", both)

    def __call__(self, img, ids, txt, pooled, t, guidance=None):
        """Velocity [B, N, out], packed; ids [N, 3] of the image tokens, those of the text are 0"""
        c = self.conditioning(t, guidance, pooled)
        img, txt = self.linear("img_in", img.to(c.dtype)), self.linear("txt_in", txt.to(c.dtype))
        text = txt.shape[1]
        table = rotation(torch.cat([torch.zeros(text, 3), ids]))
        for i in range(sum(name.endswith("img_attn.qkv.bias") for name in self.weights)):
            img, txt = self.double_block(img, txt, c, table, f"double_blocks.{i}.")
        x = torch.cat([txt, img], 1)
        for i in range(sum(name.endswith("linear1.bias") for name in self.weights)):
            x = self.single_block(x, c, table, f"single_blocks.{i}.")
        shift, scale = self.chunks("final_layer.adaLN_modulation.1", c)
        return self.linear("final_layer.linear", modulate(self.norm(x[:, text:]), shift, scale))


def linear_shapes(layers, prefix=""):
    """layer -> (rows, columns)"""
    return {prefix + name + end: shape for name, (o, i) in layers.items()
            for end, shape in ((".weight", (o, i)), (".bias", (o,)))}


def double_block_shapes(width, head, prefix=""):
    shapes = {}
    for s in ("img", "txt"):
        shapes |= linear_shapes({f"{s}_mod.lin": (6 * width, width), f"{s}_attn.qkv": (3 * width, width),
                                 f"{s}_attn.proj": (width, width), f"{s}_mlp.0": (4 * width, width),
                                 f"{s}_mlp.2": (width, 4 * width)}, prefix)
        shapes |= {f"{prefix}{s}_attn.norm.{n}.scale": (head,) for n in ("query_norm", "key_norm")}
    return shapes


def single_block_shapes(width, head, prefix=""):
    return linear_shapes({"modulation.lin": (3 * width, width), "linear1": (7 * width, width),
                          "linear2": (width, 5 * width)}, prefix) | {
        f"{prefix}norm.{n}.scale": (head,) for n in ("query_norm", "key_norm")}


def model_shapes(depth, single_depth, heads, channels, out, context, pooled, guidance, head=sum(AXES)):
    width = heads * head
    into = {"time_in": 256} | ({"guidance_in": 256} if guidance else {}) | {"vector_in": pooled}
    layers = {"img_in": (width, channels), "txt_in": (width, context)}
    for name, columns in into.items():
        layers |= {f"{name}.in_layer": (width, columns), f"{name}.out_layer": (width, width)}
    shapes = linear_shapes(layers)
    for i in range(depth):
        shapes |= double_block_shapes(width, head, f"double_blocks.{i}.")
    for i in range(single_depth):
        shapes |= single_block_shapes(width, head, f"single_blocks.{i}.")
    return shapes | final_shapes(width, out, "final_layer.")


def bf16(weights):
    """As the published files store them"""
    return {name: w.to(torch.bfloat16) for name, w in weights.items()}


def random_flux(random, **config):
    """float32 values that bfloat16 holds"""
    return {name: w.float() for name, w in bf16(random.weights(model_shapes(**config))).items()}
