"""The simplified DiT of textbooks, class for class as its listing has it, with its parameter names."""
import torch
from torch import nn

from store import Random, nmse, save

SEED = 2


class AdaLN(nn.Module):
    def __init__(self, d_model, d_cond):
        super().__init__()
        self.norm = nn.LayerNorm(d_model, elementwise_affine=False)
        self.proj = nn.Linear(d_cond, 2 * d_model)

    def forward(self, x, c):
        gamma, beta = self.proj(c).chunk(2, dim=-1)
        return (1 + gamma.unsqueeze(1)) * self.norm(x) + beta.unsqueeze(1)


class DiTBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, d_cond):
        super().__init__()
        self.adaln1 = AdaLN(d_model, d_cond)
        self.attn = nn.MultiheadAttention(d_model, n_heads, batch_first=True)
        self.adaln2 = AdaLN(d_model, d_cond)
        self.ff = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model))

    def forward(self, x, c):
        h = self.adaln1(x, c)
        x = x + self.attn(h, h, h)[0]
        return x + self.ff(self.adaln2(x, c))


class DiT(nn.Module):
    def __init__(self, in_channels, patch_size, d_model, n_heads, d_ff, n_layers, d_cond):
        super().__init__()
        p = self.patch_size = patch_size
        self.patchify = nn.Conv2d(in_channels, d_model, p, stride=p)
        self.blocks = nn.ModuleList([DiTBlock(d_model, n_heads, d_ff, d_cond) for _ in range(n_layers)])
        self.norm_out = nn.LayerNorm(d_model)
        self.depatchify = nn.Linear(d_model, p * p * in_channels)

    def tokens(self, x):
        return self.patchify(x).flatten(2).transpose(1, 2)

    def image(self, tokens, B, C, H, W):
        p = self.patch_size
        patches = self.depatchify(tokens)
        return patches.view(B, H // p, W // p, p, p, C).permute(0, 5, 1, 3, 2, 4).reshape(B, C, H, W)

    def forward(self, x, t_emb, cond):
        tokens, c = self.tokens(x), t_emb + cond
        for block in self.blocks:
            tokens = block(tokens, c)
        return self.image(self.norm_out(tokens), *x.shape)


def generate():
    random = Random(SEED)
    model = DiT(in_channels=3, patch_size=2, d_model=72, n_heads=3, d_ff=100, n_layers=2, d_cond=40).eval()
    weights = random.weights({name: tuple(w.shape) for name, w in model.state_dict().items()})
    model.load_state_dict(weights)

    x, t_emb, cond, h = (random.tensor(*shape) for shape in ((2, 3, 6, 10), (2, 40), (2, 40), (2, 15, 72)))
    inputs = {"x": x, "t_emb": t_emb, "cond": cond, "h": h}

    def outputs(x, t_emb, cond, h):
        block = model.blocks[0]
        return {"out": model(x, t_emb, cond), "adaln": block.adaln1(h, cond), "block": block(h, cond),
                "patchify": model.tokens(x), "depatchify": model.image(h, *x.shape)}

    out = outputs(*inputs.values())
    model.double()
    out64 = outputs(*(v.double() for v in inputs.values()))
    assert all(nmse(out[k], out64[k]) < 1e-10 for k in out)
    save("plain_dit", weights, __file__, SEED)
    save("plain_dit_io", inputs | out | {k + "64": v for k, v in out64.items()}, __file__, SEED)
