"""A DiT in both layouts: diffusers' own class on its own file, ours on the original names, the same numbers."""
import json
import tempfile
from pathlib import Path

import torch
from diffusers import DiTTransformer2DModel
from safetensors.torch import load_file

from official_dit import DiT, random_dit, run, time_features
from store import HERE, Random, double, nmse, save

SEED = 127
HEADS = 3
MINI = dict(width=12, depth=2, patch=2, channels=4, out=8, classes=10, side=8)
DIFFUSERS = dict(divisor=127, mlp_eps=1e-5)  # where diffusers departs from the original

OUTSIDE = {"x_embedder.proj": "pos_embed.proj", "final_layer.adaLN_modulation.1": "proj_out_1",
           "final_layer.linear": "proj_out_2"}
INSIDE = {"adaLN_modulation.1": "norm1.linear", "attn.proj": "attn1.to_out.0", "mlp.fc1": "ff.net.0.proj",
          "mlp.fc2": "ff.net.2"}
REPEATED = {"t_embedder.mlp.0": "timestep_embedder.linear_1", "t_embedder.mlp.2": "timestep_embedder.linear_2",
            "y_embedder.embedding_table": "class_embedder.embedding_table"}


def diffusers_names(weights):
    """The original file under diffusers' names: the embedders once per block, q, k and v apart, no position table."""
    out = {}
    for name, w in weights.items():
        layer, end = name.rpartition(".")[::2]
        block = layer.split(".", 2)[2] if layer.startswith("blocks.") else None
        there = f"transformer_blocks.{layer.split('.')[1]}." if block else ""
        if layer in OUTSIDE:
            out[f"{OUTSIDE[layer]}.{end}"] = w
        elif block == "attn.qkv":
            out |= {f"{there}attn1.to_{q}.{end}": rows for q, rows in zip("qkv", w.chunk(3))}
        elif block:
            out[f"{there}{INSIDE[block]}.{end}"] = w
        elif layer in REPEATED:
            out |= {f"transformer_blocks.{i}.norm1.emb.{REPEATED[layer]}.{end}": w for i in range(depth(weights))}
    return out


def depth(weights):
    return sum(name.endswith("attn.qkv.bias") for name in weights)


class ExactTime(torch.nn.Module):
    """diffusers computes the time features in float32 whatever the model's type; a float64 run needs them exact."""

    def forward(self, t):
        return time_features(t, 127)


def diffusers_dit(weights, heads=HEADS, width=MINI["width"], channels=4, out=8, classes=10, side=8, patch=2):
    model = DiTTransformer2DModel(num_attention_heads=heads, attention_head_dim=width // heads,
                                  num_layers=depth(weights), in_channels=channels, out_channels=out, sample_size=side,
                                  patch_size=patch, num_embeds_ada_norm=classes).eval()
    model.load_state_dict(diffusers_names(weights))  # strict: not a name missing, not one too many
    model.pos_embed.pos_embed.copy_(weights["pos_embed"])
    return model


def run64(model, *inputs):
    """diffusers in float64, which must be ours in float64 with its two differences."""
    model.double()
    for block in model.transformer_blocks:
        block.norm1.emb.time_proj = ExactTime()
    return model(inputs[0].double(), *inputs[1:]).sample


def save_as_diffusers_does(model):
    """One file, and the same in shards with an index; written by diffusers, stored with our metadata."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        [file] = Path(folder).glob("*.safetensors")
        save("dit_mini_diffusers", load_file(file), __file__, SEED)
        config = (Path(folder) / "config.json").read_text()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size="20KB")
        ours = HERE / "dit_mini_diffusers_sharded"
        for file in sorted(Path(folder).glob("*.safetensors")):
            name = file.stem.replace("diffusion_pytorch_model", "model")
            save(f"{ours.name}/{name}", load_file(file), __file__, SEED)
        [index] = Path(folder).glob("*.index.json")
        index = json.loads(index.read_text().replace("diffusion_pytorch_model", "model"))
        (ours / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    for path in (HERE / "dit_mini_diffusers_config.json", ours / "config.json"):
        path.write_text(config)


def scaled_for_eps(weights):
    """Tokens so small that the eps of a norm shows: embedders and positions by 1/200, attention by 1/100."""
    small = {"x_embedder": 200, "t_embedder.mlp.2": 200, "y_embedder": 200, "pos_embed": 200, "attn": 100}
    return {name: w / next((by for part, by in small.items() if part in name), 1) for name, w in weights.items()}


def generate():
    random = Random(SEED)
    weights = random_dit(random, **MINI)
    x, t, y = random.tensor(3, 4, 8, 8), torch.tensor([500, 37.25, 999]), torch.tensor([10, 4, 0])
    inputs = {"x": x, "t": t, "y": y}

    theirs = diffusers_dit(weights)
    untouched = DiTTransformer2DModel.from_config(theirs.config).pos_embed.pos_embed
    assert torch.equal(theirs.pos_embed.pos_embed, untouched)
    save_as_diffusers_does(theirs)
    out, out64 = theirs(x, t, y).sample, run64(theirs, x, t, y)
    ours = DiT(weights, HEADS, **DIFFUSERS).double()(x, t, y)
    assert (ours - out64).abs().max() < 1e-12 and nmse(out, out64) < 1e-9
    save("dit_mini_diffusers_io", inputs | {"out": out, "out64": out64}, __file__, SEED)

    save("dit_mini", weights, __file__, SEED)
    out, out64 = run(DiT(weights, HEADS), x, t, y)
    assert nmse(ours, out64) > 0.01  # the divisor is no detail
    io = inputs | {"out": out, "out64": out64}
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16)):
        rounded = {k: w.to(dtype) for k, w in weights.items()}
        save(f"dit_mini_{name}", rounded, __file__, SEED)
        io[f"{name}.out64"] = DiT(double(rounded), HEADS)(x, t, y)
        exact_table = double(rounded) | {"pos_embed": weights["pos_embed"].double()}
        io[f"{name}.out64.exact_table"] = DiT(exact_table, HEADS)(x, t, y)
    save("dit_mini_io", io, __file__, SEED)

    weights, t = scaled_for_eps(weights), torch.tensor([0.5, 2, 0])
    original, like_diffusers = DiT(weights, HEADS), DiT(weights, HEADS, **DIFFUSERS)
    out64, diffusers64 = original.double()(x, t, y), run64(diffusers_dit(weights), x, t, y)
    assert (like_diffusers.double()(x, t, y) - diffusers64).abs().max() < 1e-12
    tokens, c = original.embed(x), original.conditioning(t, y)
    noise, seen = nmse(original(x, t, y), out64), nmse(DiT(weights, HEADS, mlp_eps=1e-5).double()(x, t, y), out64)
    print(f"           eps 1e-5 in the second norm moves dit_eps by {seen:.1e}, float32 by {noise:.1e}")
    assert seen > 1e-7 > 1e5 * noise
    io = {"x": x, "t": t, "y": y, "out64": out64, "diffusers.out64": diffusers64, "block.x": tokens, "block.c": c}
    for name, model in (("block.out64", original), ("block.diffusers.out64", like_diffusers)):
        io[name] = model.double().block(tokens.double(), c.double(), "blocks.0.")
    save("dit_eps", weights, __file__, SEED)
    save("dit_eps_io", io, __file__, SEED)
