#!/usr/bin/env python3
"""Trains the text-to-image MMDiT that dit ships: scenes of one to three objects, 32 x 32 pixels, drawn from a caption.

The model is SD3's (arXiv:2403.03206) as diffusers' SD3Transformer2DModel, with diffusers' parameter names; only the sizes differ,
and the text encoder is a learned table of words. The script renders its own images, as many as it needs, while it trains.

    context_i = words[token_i] + positions[i]    i < 16; a caption is padded with <pad>, and no caption is <pad> alone
    pooled    = mean of the 16 rows of context
    x_s = (1 - s) x + s noise                    s in [0, 1], the model is told t = 1000 s
    v   = noise - x                              what the model learns; sampling walks x <- x + (s' - s) v from s = 1 to s = 0

    python train_scenes.py --bf16 --resume scenes.pt --output models/scenes.safetensors
"""
import argparse
import copy
import functools
import itertools
import math
import os
import random
import re
import time
import zlib
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import SD3Transformer2DModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

# -------------------------------------------------------------------------------------------------------------- scenes

SIZE = 32
BACKGROUND = np.array([24, 26, 38]) / 255
COLOURS = {k: np.array(v) / 255 for k, v in dict(
    red=(225, 40, 45), orange=(250, 135, 20), yellow=(250, 225, 60), green=(45, 180, 65), cyan=(70, 215, 235),
    blue=(50, 85, 240), purple=(170, 65, 215), white=(245, 245, 240)).items()}
SHAPES = {  # inside or not, for u, v in [-1, 1] over the box around the shape, v downwards
    "circle": lambda u, v: u * u + v * v <= 1,
    "square": lambda u, v: (abs(u) <= 1) & (abs(v) <= 1),
    "triangle": lambda u, v: (abs(u) <= (v + 1) / 2) & (abs(v) <= 1),
    "diamond": lambda u, v: abs(u) + abs(v) <= 1,
    "cross": lambda u, v: ((abs(u) <= 0.36) & (abs(v) <= 1)) | ((abs(v) <= 0.36) & (abs(u) <= 1)),
    "ring": lambda u, v: (u * u + v * v <= 1) & (u * u + v * v >= 0.28),
}
SIDES = {"small": (8.0, 8.5, 9.0), "large": (12.5, 13.0, 13.5)}  # pixels
RELATIONS = {"above": (0, 1), "below": (0, -1), "left": (1, 0), "right": (-1, 0)}  # from the subject to the other, (x, y)
PLACES = {"top left": (0, 0), "top right": (1, 0), "bottom left": (0, 1), "bottom right": (1, 1)}  # quadrants, (x, y)
WORDS = ["<pad>", *SIDES, *COLOURS, *SHAPES, *RELATIONS, "top", "bottom", "and"]
FILLERS = {"a", "an", "the", "at", "in", "to", "of", "on"}
TOKENS = 16


@dataclass
class Thing:
    colour: str
    shape: str
    size: str = ""  # as said; "" leaves it open
    place: str = ""

    def __str__(self):
        words = " ".join(w for w in (self.size, self.colour, self.shape) if w)
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}" + (f" {self.place}" if self.place else "")


@dataclass
class Scene:
    """What a caption says: things, and relations (word, i, j) that read "thing i is <word> thing j"."""
    things: list
    relations: list = field(default_factory=list)

    def __str__(self):
        parts = [str(t) for t in self.things]
        if self.relations:
            said = [f"{w} of" if w in ("left", "right") else w for w, _, _ in self.relations]
            return f"{parts[0]} " + " and ".join(f"{w} {p}" for w, p in zip(said, parts[1:]))
        return " and ".join(p for p in (", ".join(parts[:-1]), parts[-1]) if p)


def held_out(a, b):
    """A tenth of all pairs of objects never stands in one training picture."""
    key = "|".join(sorted(f"{t.colour} {t.shape}" for t in (a, b)))
    return zlib.crc32(key.encode()) % 10 == 0


def random_scene(rng, unseen=False, least=1):
    """A scene without any held-out pair, or one with at least one. Objects of one scene differ in colour or shape."""
    while True:
        count = rng.choices((1, 2, 3), (1, 5, 5))[0]
        if count < least:
            continue
        kinds = rng.sample(list(itertools.product(COLOURS, SHAPES)), count)
        things = [Thing(c, s, rng.choice(("", *SIDES))) for c, s in kinds]
        if any(held_out(a, b) for a, b in itertools.combinations(things, 2)) != unseen:
            continue
        grammar = rng.choices(("relations", "places", "list"), (5, 4, 1))[0]
        if grammar == "places":
            for thing, place in zip(things, rng.sample(list(PLACES), count)):
                thing.place = place
        relations = []
        if grammar == "relations":
            words = [rng.choice(("above", "below")), rng.choice(("left", "right"))]
            rng.shuffle(words)
            relations = [(words[i], 0, i + 1) for i in range(count - 1)]
        return Scene(things, relations)


def arrange(rng, scene):
    """Boxes [(x, y, side)] of the things: inside the picture, two pixels apart, as the caption says. In quarters of a pixel."""
    sides = [rng.choice(SIDES[t.size or rng.choice(list(SIDES))]) for t in scene.things]
    anywhere = lambda side, low=1, high=SIZE - 1: low + rng.randrange(int((high - low - side) * 4) + 1) / 4
    in_cell = lambda side, cell: anywhere(side, 1 + 16 * cell, 15 + 16 * cell)
    count = len(sides)
    if count == 1 and not scene.things[0].place:
        return [(anywhere(sides[0]), anywhere(sides[0]), sides[0])]
    if count == 2 and scene.relations:  # one behind the other along one axis, side by side somewhere along the other
        dx, dy = RELATIONS[scene.relations[0][0]]
        along = [in_cell(side, cell) for side, cell in zip(sides, (0, 1) if dx + dy > 0 else (1, 0))]
        centre = anywhere(max(sides)) + max(sides) / 2
        clamp = lambda p, side: min(max(p, 1), SIZE - 1 - side)
        across = [clamp(math.floor(4 * (centre - side / 2 + rng.uniform(-2, 2))) / 4, side) for side in sides]
        return [(p, q, s) if dx else (q, p, s) for p, q, s in zip(along, across, sides)]
    cells = [PLACES[t.place] if t.place else None for t in scene.things]
    if scene.relations:  # the first is the corner of an L
        (x, y), (u, v) = (RELATIONS[w] for w, _, _ in scene.relations)
        corner = (0 if x + u > 0 else 1, 0 if y + v > 0 else 1)
        cells = [corner, (corner[0] + x, corner[1] + y), (corner[0] + u, corner[1] + v)]
    elif cells[0] is None:
        cells = rng.sample(list(PLACES.values()), count)
    return [(in_cell(s, x), in_cell(s, y), s) for s, (x, y) in zip(sides, cells)]


@functools.lru_cache(maxsize=None)
def stencil(shape, side, x, y, fine=4):
    """[16, 16] coverage of the pixels by a shape whose box has its corner at (x, y), 0 <= x, y < 1; fine^2 samples a pixel."""
    at = (np.arange(16 * fine) + 0.5) / fine
    u, v = (2 * (at - p) / side - 1 for p in (x, y))
    return SHAPES[shape](u[None, :], v[:, None]).reshape(16, fine, 16, fine).mean((1, 3)).astype(np.float32)


def render(scenes, boxes):
    """[n, 3, 32, 32] in [-1, 1]."""
    picture = np.tile((2 * BACKGROUND - 1).astype(np.float32)[:, None, None], (len(scenes), 1, SIZE + 16, SIZE + 16))
    for image, scene, places in zip(picture, scenes, boxes):
        for thing, (x, y, side) in zip(scene.things, places):
            colour = (2 * (COLOURS[thing.colour] - BACKGROUND)).astype(np.float32)
            i, j = int(x), int(y)
            image[:, j:j + 16, i:i + 16] += colour[:, None, None] * stencil(thing.shape, side, x - i, y - j)
    return torch.from_numpy(picture[:, :, :SIZE, :SIZE].copy())


def tokens(caption):
    """The caption's words as indices, padded to 16."""
    words = [w for w in re.findall(r"[^\s,.;:!?]+", caption.lower()) if w not in FILLERS]
    unknown = [w for w in words if w not in WORDS[1:]]
    if unknown:
        raise ValueError(f"unknown word '{unknown[0]}' in '{caption}'; the words are: {' '.join(WORDS[1:])}")
    if len(words) > TOKENS:
        raise ValueError(f"'{caption}' has {len(words)} words beside fillers, at most {TOKENS} fit")
    return [WORDS.index(w) for w in words] + [0] * (TOKENS - len(words))


# --------------------------------------------------------------------------------------------------------------- model

class Text(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.words = nn.Parameter(0.5 * torch.randn(len(WORDS), width))
        self.positions = nn.Parameter(0.5 * torch.randn(TOKENS, width))

    def forward(self, ids):
        context = self.words[ids] + self.positions
        return context, context.mean(1)


class JointAttention:
    """diffusers' JointAttnProcessor2_0, with attention in float32: on a CPU its backward pass is six times as fast as in bf16."""

    def __call__(self, attn, hidden_states, encoder_hidden_states, attention_mask=None):
        def joint(norm, project, norm_text, project_text):  # [B, H, N + M, d]
            split = lambda x: x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            both = norm(split(project(hidden_states))), norm_text(split(project_text(encoder_hidden_states)))
            return torch.cat(both, dim=2).float()

        q = joint(attn.norm_q, attn.to_q, attn.norm_added_q, attn.add_q_proj)
        k = joint(attn.norm_k, attn.to_k, attn.norm_added_k, attn.add_k_proj)
        v = joint(nn.Identity(), attn.to_v, nn.Identity(), attn.add_v_proj)
        with torch.autocast("cpu", enabled=False):
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        image, text = y.split([hidden_states.shape[1], encoder_hidden_states.shape[1]], dim=1)
        return attn.to_out[0](image), None if attn.context_pre_only else attn.to_add_out(text)


class Painter(nn.Module):
    """A table of words and SD3's transformer."""

    def __init__(self, depth, head_dim, text_width=128):
        super().__init__()
        self.config = dict(depth=depth, head_dim=head_dim, text_width=text_width)
        self.text = Text(text_width)
        self.transformer = SD3Transformer2DModel(
            sample_size=SIZE, patch_size=4, in_channels=3, out_channels=3, num_layers=depth, num_attention_heads=depth,
            attention_head_dim=head_dim, caption_projection_dim=depth * head_dim, joint_attention_dim=text_width,
            pooled_projection_dim=text_width, pos_embed_max_size=SIZE // 4, qk_norm="rms_norm")
        self.transformer.set_attn_processor(JointAttention())
        for name, module in self.transformer.named_modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
                nn.init.zeros_(module.bias)
                if re.search(r"norm\w*\.linear$|^proj_out$", name):  # adaLN-Zero
                    nn.init.zeros_(module.weight)
                if "timestep_embedder" in name:
                    nn.init.normal_(module.weight, std=0.02)

    def forward(self, x, t, ids):
        context, pooled = self.text(ids)
        return self.transformer(x, context, pooled, t, return_dict=False)[0]


# ------------------------------------------------------------------------------------------------------------ sampling

def sigmas(steps, shift):
    """1 to 0, shifted as SD3's: s <- shift s / (1 + (shift - 1) s)."""
    s = torch.linspace(1, 0, steps + 1)
    return shift * s / (1 + (shift - 1) * s)


@torch.no_grad()
def sample(model, noise, ids, steps, guidance, shift):
    """Euler from s = 1 to s = 0 with classifier-free guidance, v = v_null + guidance (v_cond - v_null)."""
    x, both = noise, torch.cat([ids, torch.zeros_like(ids)])
    for s, s_next in itertools.pairwise(sigmas(steps, shift)):
        v, v_null = model(torch.cat([x, x]), (1000 * s).expand(2 * len(x)), both).chunk(2)
        x = x + (s_next - s) * (v_null + guidance * (v - v_null))
    return x


# --------------------------------------------------------------------------------------------------------------- files

def save(model, path):
    """Weights as float16 under diffusers' names, the fixed position table as float32, and the text's two tables."""
    state = {k.removeprefix("transformer."): v.half() if "pos_embed.pos_embed" not in k else v
             for k, v in model.state_dict().items()}
    metadata = dict(architecture="sd3", layout="diffusers", width=model.transformer.inner_dim, patch=4, in_channels=3,
                    input_size=SIZE, qk_norm="rms_norm", vocabulary=" ".join(WORDS), fillers=" ".join(sorted(FILLERS)),
                    tokens=TOKENS, objective="rectified flow, v = noise - x0, time 1000*sigma", **model.config)
    save_file(state, path + ".part", {k: str(v) for k, v in metadata.items()})
    os.replace(path + ".part", path)


def load(path):
    with safe_open(path, "pt") as file:
        config = {k: int(file.metadata()[k]) for k in ("depth", "head_dim", "text_width")}
        if file.metadata()["vocabulary"].split() != WORDS:
            raise ValueError(f"{path} has another vocabulary: {file.metadata()['vocabulary']}")
        state = {k if k.startswith("text.") else "transformer." + k: file.get_tensor(k).float() for k in file.keys()}
    model = Painter(**config)
    model.load_state_dict(state)
    return model.eval()


# ------------------------------------------------------------------------------------------------------------ training

def batch_of(rng, count):
    scenes = [random_scene(rng) for _ in range(count)]
    ids = [tokens(str(s)) if rng.random() >= 0.1 else [0] * TOKENS for s in scenes]
    return render(scenes, [arrange(rng, s) for s in scenes]), torch.tensor(ids)


def loss_of(model, x, ids):
    """Mean squared error of the velocity; logit-normal times, spread evenly, towards the noise, where the layout is decided."""
    u = (torch.arange(len(x)) + torch.rand(len(x))) / len(x)
    s = torch.sigmoid(1.0 + 1.2 * torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6)))
    w, noise = s.view(-1, 1, 1, 1), torch.randn_like(x)
    v = model((1 - w) * x + w * noise, 1000 * s, ids)
    return F.mse_loss(v.float(), noise - x)


def optimizers_of(model, args):
    """Muon for the matrices of the blocks, AdamW for all else."""
    matrices, others = [], []
    for name, p in model.named_parameters():
        muon = args.muon and p.ndim == 2 and "transformer_blocks" in name
        (matrices if muon else others).append(p)
    result = [torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.99), weight_decay=args.weight_decay)]
    if matrices:
        result.append(torch.optim.Muon(matrices, lr=args.lr, weight_decay=args.weight_decay, momentum=0.95,
                                       adjust_lr_fn="match_rms_adamw"))
    return result


def quick_score(model, args):
    from evaluate_scenes import evaluate, held_out_scenes
    scenes = held_out_scenes(args.score, seed=1)
    noise = torch.randn(len(scenes), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
        images = sample(model, noise, torch.tensor([tokens(str(s)) for s in scenes]), 16, 3.0, 3.0)
    result = evaluate(images.float().numpy(), scenes)
    return "  ".join(f"{k} {v:.3f}" for k, v in result.items() if isinstance(v, float))


def train(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng = random.Random(args.seed)
    model = Painter(args.depth, args.head_dim)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizers = optimizers_of(model, args)
    step, spent, running = 0, 0.0, None
    if args.resume and os.path.exists(args.resume):
        state = torch.load(args.resume)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        step, spent, running = state["step"], state["spent"], state["running"]
        torch.manual_seed(args.seed + step)
        rng = random.Random(args.seed + step)
        print(f"resumed at step {step}, {spent:.0f} s", flush=True)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    compute = torch.compile(model) if args.compile else model

    begin, last = time.time() - spent, time.time()
    saved = scored = time.time()
    while (spent := time.time() - begin) < 60 * args.minutes:
        step += 1
        warmup, progress = min(1, step / 200), spent / (60 * args.minutes)
        for group in itertools.chain(*(o.param_groups for o in optimizers)):
            group["lr"] = args.lr * warmup * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)

        x, ids = batch_of(rng, args.batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            loss = loss_of(compute, x, ids)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()

        keep = min(args.ema, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)

        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if step % args.log_every == 0:
            print(f"step {step:6d}  loss {running:.4f}  {time.time() - begin:6.0f} s"
                  f"  {(time.time() - last) / args.log_every:.3f} s a step", flush=True)
            last = time.time()
        if args.resume and time.time() - saved > 120:
            saved = time.time()
            torch.save(dict(model=model.state_dict(), average=average.state_dict(), step=step, spent=spent, running=running,
                            optimizers=[o.state_dict() for o in optimizers]), args.resume + ".part")
            os.replace(args.resume + ".part", args.resume)
        if args.score and time.time() - scored > 60 * args.score_every:
            save(average, args.output)
            print(f"step {step:6d}  {quick_score(average, args)}", flush=True)
            scored = last = time.time()
    save(average, args.output)
    print(f"done, step {step}" + (f"  {quick_score(average, args)}" if args.score else ""), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=6, help="blocks, and heads")
    parser.add_argument("--head-dim", type=int, default=24)
    parser.add_argument("--minutes", type=float, default=64, help="length of the training and of the learning-rate schedule")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--muon", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--bf16", action="store_true", help="train under bfloat16 autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--score", type=int, default=48, help="held-out captions of a score during training")
    parser.add_argument("--score-every", type=float, default=10, help="minutes")
    parser.add_argument("--resume", help="checkpoint: continued from if it exists, written every two minutes")
    parser.add_argument("--output", default="scenes.safetensors")
    train(parser.parse_args())
