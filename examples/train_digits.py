#!/usr/bin/env python3
"""Trains the class-conditional DiT that dit ships: 8 x 8 handwritten digits, rectified flow, a CPU and one cup of tea.

The model is facebookresearch/DiT (arXiv:2212.09748) with its original parameter names; only the sizes and the objective differ.

    x_s = (1 - s) x + s noise        s in [0, 1], the model is told t = 1000 s
    v   = noise - x                  what the model learns; sampling walks x <- x + (s' - s) v from s = 1 to s = 0

    python train_digits.py --output models/digits.safetensors
"""
import argparse
import copy
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

CLASSES, SIZE, CHANNELS = 10, 8, 1


# ---------------------------------------------------------------------------------------------------------------- data

def real_digits(held_out):
    """The 1797 real digits of scikit-learn, four fifths to train on and one fifth held out, as images in [-1, 1]."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 8 - 1).astype(np.float32).reshape(-1, CHANNELS, SIZE, SIZE)
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)
    x, y = (test_x, test_y) if held_out else (train_x, train_y)
    return torch.from_numpy(x), torch.from_numpy(y)


# --------------------------------------------------------------------------------------------------------------- model

def modulate(x, shift, scale):
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


def layer_norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def position_table(width, grid):
    """[1, grid^2, width]: the first half encodes the column, the second the row; sines before cosines."""
    frequency = 10000.0 ** (-np.arange(width // 4) / (width / 4))
    row, column = np.divmod(np.arange(grid * grid), grid)
    table = [f(p[:, None] * frequency) for p in (column, row) for f in (np.sin, np.cos)]
    return torch.from_numpy(np.concatenate(table, axis=1)).float().unsqueeze(0)


class PatchEmbed(nn.Module):
    def __init__(self, patch, width):
        super().__init__()
        self.proj = nn.Conv2d(CHANNELS, width, patch, stride=patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class TimestepEmbedder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t):
        frequency = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / 128)
        phase = t[:, None].float() * frequency
        return self.mlp(torch.cat([phase.cos(), phase.sin()], dim=-1))


class LabelEmbedder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embedding_table = nn.Embedding(CLASSES + 1, width)  # the last row is the null class

    def forward(self, y):
        return self.embedding_table(y)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, H, N, d] each
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width, dropout):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.drop = nn.Dropout(dropout)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(self.drop(F.gelu(self.fc1(x), approximate="tanh")))


class DiTBlock(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width, dropout)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x, c):
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.adaLN_modulation(c).chunk(6, dim=1)
        x = x + gate_1.unsqueeze(1) * self.attn(modulate(layer_norm(x), shift_1, scale_1))
        x = x + gate_2.unsqueeze(1) * self.mlp(modulate(layer_norm(x), shift_2, scale_2))
        return x


class FinalLayer(nn.Module):
    def __init__(self, patch, width):
        super().__init__()
        self.linear = nn.Linear(width, patch * patch * CHANNELS)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x, c):
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
        return self.linear(modulate(layer_norm(x), shift, scale))


class DiT(nn.Module):
    def __init__(self, width, depth, heads, patch, dropout=0.0):
        super().__init__()
        self.config = dict(width=width, depth=depth, heads=heads, patch=patch)
        self.patch, self.grid = patch, SIZE // patch
        self.x_embedder = PatchEmbed(patch, width)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(width)
        self.pos_embed = nn.Parameter(position_table(width, self.grid), requires_grad=False)
        self.blocks = nn.ModuleList(DiTBlock(width, heads, dropout) for _ in range(depth))
        self.final_layer = FinalLayer(patch, width)
        self.apply(self._initialize)
        self._initialize_adaln_zero()

    @staticmethod
    def _initialize(module):
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def _initialize_adaln_zero(self):
        for i in (0, 2):
            nn.init.normal_(self.t_embedder.mlp[i].weight, std=0.02)
        for layer in [b.adaLN_modulation[1] for b in (*self.blocks, self.final_layer)] + [self.final_layer.linear]:
            nn.init.zeros_(layer.weight)

    def unpatchify(self, x):
        p, g = self.patch, self.grid
        x = x.reshape(-1, g, g, p, p, CHANNELS)
        return torch.einsum("bhwijc->bchiwj", x).reshape(-1, CHANNELS, SIZE, SIZE)

    def forward(self, x, t, y):
        x = self.x_embedder(x) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder(y)
        for block in self.blocks:
            x = block(x, c)
        return self.unpatchify(self.final_layer(x, c))


# ------------------------------------------------------------------------------------------------------------ sampling

@torch.no_grad()
def sample(model, noise, labels, steps, guidance):
    """Euler from s = 1 to s = 0 with classifier-free guidance, v = v_null + guidance (v_cond - v_null)."""
    x, null = noise, torch.full_like(labels, CLASSES)
    sigma = torch.linspace(1, 0, steps + 1)
    for s, s_next in zip(sigma[:-1], sigma[1:]):
        t = (1000 * s).expand(len(x))
        v, v_null = model(x, t, labels), model(x, t, null)
        x = x + (s_next - s) * (v_null + guidance * (v - v_null))
    return x


# --------------------------------------------------------------------------------------------------------------- files

def save(model, path):
    """Weights as float16, the fixed position table as float32."""
    state = {k: v if k == "pos_embed" else v.half() for k, v in model.state_dict().items()}
    metadata = dict(architecture="dit", classes=CLASSES, input_size=SIZE, in_channels=CHANNELS, learn_sigma=False,
                    objective="rectified flow, v = noise - x0, time 1000*sigma", null_class=CLASSES, mlp_ratio=4,
                    data="scikit-learn load_digits, pixel / 8 - 1", **model.config)
    save_file(state, path, {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in metadata.items()})


def load(path):
    with safe_open(path, "pt") as file:
        config = {k: int(file.metadata()[k]) for k in ("width", "depth", "heads", "patch")}
        state = {k: file.get_tensor(k).float() for k in file.keys()}
    model = DiT(**config)
    model.load_state_dict(state)
    return model.eval()


# ------------------------------------------------------------------------------------------------------------ training

def loss_of(model, x, y):
    """Mean squared error of the velocity; the times of a batch are spread evenly over [0, 1]."""
    s = (torch.arange(len(x)) + torch.rand(len(x))) / len(x)
    w, noise = s.view(-1, 1, 1, 1), torch.randn_like(x)
    v = model((1 - w) * x + w * noise, 1000 * s, y)
    return F.mse_loss(v.float(), noise - x)


@torch.no_grad()
def average_loss(model, x, y, repeats=8):
    state = torch.get_rng_state()
    torch.manual_seed(1)
    loss = sum(loss_of(model, x, y).item() for _ in range(repeats)) / repeats
    torch.set_rng_state(state)
    return loss


def train(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    (x, y), held_out = real_digits(held_out=False), real_digits(held_out=True)
    model = DiT(args.width, args.depth, args.heads, args.patch, args.dropout)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad],
                                  lr=args.lr, betas=(0.9, 0.99), weight_decay=args.weight_decay)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(x)} images", flush=True)

    start, running, best = time.time(), None, math.inf
    for step in range(1, args.steps + 1):
        warmup, progress = min(1, step / 200), step / args.steps
        optimizer.param_groups[0]["lr"] = args.lr * warmup * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)

        pick = torch.randint(len(x), (args.batch,))
        label = torch.where(torch.rand(args.batch) < 0.1, CLASSES, y[pick])
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            loss = loss_of(model, x[pick], label)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

        keep = min(args.ema, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)

        running = loss.item() if running is None else 0.99 * running + 0.01 * loss.item()
        if step % args.log_every == 0:
            held_out_now, train_now = average_loss(average, *held_out), average_loss(average, x, y, 2)
            print(f"step {step:6d}  loss {running:.4f}  held-out {held_out_now:.4f}  train {train_now:.4f}"
                  f"  {time.time() - start:6.0f} s", flush=True)
            if held_out_now >= best:
                break  # from here on it would learn the training digits by heart
            best = held_out_now
            save(average, args.output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--patch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10000, help="length of the learning-rate schedule, which early stopping cuts")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--bf16", action="store_true", help="train under bfloat16 autocast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log-every", type=int, default=250,
                        help="steps between two looks at the held-out loss; the first that is no better ends the training")
    parser.add_argument("--output", default="digits.safetensors", help="holds the best so far, by held-out loss")
    train(parser.parse_args())
