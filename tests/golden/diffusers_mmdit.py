"""Stable Diffusion 3 and 3.5 in both layouts: diffusers' own class on its own file, ours on the original names."""
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch
import json
import tempfile

import torch
from diffusers import SD3Transformer2DModel
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from diffusers.models.attention import JointTransformerBlock
from safetensors.torch import load_file

from official_mmdit import MINI, MINI_35, MMDiT, block_shapes, model_shapes, outputs, random_mmdit
from store import HERE, Random, double, nmse, save

SEED = 303

OUTSIDE = {"pos_embed": "pos_embed.pos_embed", "x_embedder.proj": "pos_embed.proj",
           "context_embedder": "context_embedder",
           "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
           "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
           "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
           "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
           "final_layer.adaLN_modulation.1": "norm_out.linear", "final_layer.linear": "proj_out"}
INSIDE = {"x_block.adaLN_modulation.1": "norm1.linear", "context_block.adaLN_modulation.1": "norm1_context.linear",
          "x_block.attn.proj": "attn.to_out.0", "context_block.attn.proj": "attn.to_add_out",
          "x_block.attn2.proj": "attn2.to_out.0",
          "x_block.attn.ln_q": "attn.norm_q", "x_block.attn.ln_k": "attn.norm_k",
          "context_block.attn.ln_q": "attn.norm_added_q", "context_block.attn.ln_k": "attn.norm_added_k",
          "x_block.attn2.ln_q": "attn2.norm_q", "x_block.attn2.ln_k": "attn2.norm_k",
          "x_block.mlp.fc1": "ff.net.0.proj", "x_block.mlp.fc2": "ff.net.2",
          "context_block.mlp.fc1": "ff_context.net.0.proj", "context_block.mlp.fc2": "ff_context.net.2"}
FUSED = {"x_block.attn.qkv": "attn.to_{}", "context_block.attn.qkv": "attn.add_{}_proj",
         "x_block.attn2.qkv": "attn2.to_{}"}


def swapped(w):
    """[shift; scale] <-> [scale; shift]"""
    return torch.cat(w.chunk(2)[::-1])


def diffusers_block_names(weights):
    """One block: q, k and v apart; the two chunks of a text side that ends here the other way round."""
    out, pre_only = {}, "context_block.attn.proj.weight" not in weights
    for name, w in weights.items():
        layer, _, end = name.rpartition(".")
        if layer in FUSED:
            out |= {f"{FUSED[layer].format(q)}.{end}": rows for q, rows in zip("qkv", w.chunk(3))}
        else:
            last = pre_only and layer == "context_block.adaLN_modulation.1"
            out[f"{INSIDE[layer]}.{end}"] = swapped(w) if last else w
    return out


def inside(weights, prefix):
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


def diffusers_names(weights):
    out = {}
    for i in range(depth(weights)):
        block = diffusers_block_names(inside(weights, f"joint_blocks.{i}."))
        out |= {f"transformer_blocks.{i}.{name}": w for name, w in block.items()}
    for name, w in weights.items():
        layer, end = name.rpartition(".")[::2] if name != "pos_embed" else (name, "")
        if layer in OUTSIDE:
            name = f"{OUTSIDE[layer]}.{end}".removesuffix(".")
            out[name] = swapped(w) if layer == "final_layer.adaLN_modulation.1" else w
    return out


def depth(weights):
    return sum(name.endswith("x_block.attn.qkv.bias") for name in weights)


def diffusers_mmdit(weights, depth, head, channels, context, pooled, side, qk_norm=False, dual=()):
    model = SD3Transformer2DModel(
        sample_size=2 * side, patch_size=2, in_channels=channels, out_channels=channels, num_layers=depth,
        attention_head_dim=head, num_attention_heads=depth, joint_attention_dim=context,
        caption_projection_dim=depth * head, pooled_projection_dim=pooled, pos_embed_max_size=side,
        dual_attention_layers=tuple(dual), qk_norm="rms_norm" if qk_norm else None).eval()
    model.load_state_dict(diffusers_names(weights))  # strict: not a name missing, not one too many
    return model


def lifted():
    """Where diffusers asks for float32 by name (time features, RMS norm, rotation), it gets float64."""
    stack = ExitStack()
    stack.enter_context(patch("torch.float32", torch.float64))
    stack.enter_context(patch("torch.Tensor.float", torch.Tensor.double))
    return stack


def run(model, x, t, pooled, context, **options):
    dtype = model.proj_out.weight.dtype
    with lifted() if dtype == torch.float64 else ExitStack():
        x, pooled, context = (a.to(dtype) for a in (x, pooled, context))
        return model(x, context, pooled, t, **options).sample


def same_as_converted(ours, theirs):
    """Our names and values are those of diffusers' own converter; tensors without storage: names and shapes"""
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    for name, w in ours.items():
        assert w.shape == theirs[name].shape and (w.is_meta or torch.equal(w, theirs[name])), name


def published_sizes():
    """Tensors in both layouts and numbers of the published models, without storage"""
    every = dict(head=64, channels=16, context=4096, pooled=2048)
    for config, tensors, theirs, numbers in (
            (dict(depth=24, side=192), 491, 683, 2_084_951_104),
            (dict(depth=24, side=384, qk_norm=True, dual=range(13)), 665, 909, 2_469_663_936),
            (dict(depth=38, side=192, qk_norm=True), 923, 1227, 8_146_280_768)):
        weights = {name: torch.empty(shape, device="meta") for name, shape in model_shapes(**every, **config).items()}
        converted = diffusers_names(weights)
        assert (len(weights), len(converted)) == (tensors, theirs)
        assert sum(w.numel() for w in weights.values()) == numbers
        same_as_converted(converted, convert_sd3_transformer_checkpoint_to_diffusers(dict(weights)))


def compared(weights, config, *inputs):
    """Ours and diffusers', in float64: the same; in float32: close. Returns out and out64."""
    same_as_converted(diffusers_names(weights), convert_sd3_transformer_checkpoint_to_diffusers(dict(weights)))
    ours, theirs = MMDiT(weights, config["depth"]), diffusers_mmdit(weights, **config)
    exact, float32 = ours.double()(*inputs), [ours(*inputs), run(theirs, *inputs)]
    assert (exact - run(theirs.double(), *inputs)).abs().max() < 1e-12
    return outputs(exact, *float32)


def save_as_diffusers_does(model, name, script, seed, shard=None):
    """One file `name`, or a folder of that name with shards and an index; config beside it; with our metadata."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
        for file in sorted(folder.glob("*.safetensors")):
            save(f"{name}/{file.stem}" if shard else name, load_file(file), script, seed)
        for index in folder.glob("*.index.json"):
            text = json.dumps(json.loads(index.read_text()), indent=2, sort_keys=True) + "\n"
            (HERE / name / index.name).write_text(text)
        config = HERE / (f"{name}/config.json" if shard else f"{name}_config.json")
        config.write_text((folder / "config.json").read_text())


def blocks():
    random = Random(SEED)
    x, context, c = random.tensor(2, 45, 24), random.tensor(2, 7, 24), random.tensor(2, 24)
    for name, qk_norm, dual, pre_only in (("", False, False, False), ("_qk_norm", True, False, False),
                                          ("_pre_only", False, False, True), ("_dual", True, True, False)):
        weights = random.weights(block_shapes(24, 8, qk_norm, dual, pre_only))
        theirs = JointTransformerBlock(24, 3, 8, pre_only, "rms_norm" if qk_norm else None, dual).eval()
        theirs.load_state_dict(diffusers_block_names(weights))
        ours = MMDiT(weights, 3)
        exact, float32 = ours.double().block(x.double(), context.double(), c.double()), ours.block(x, context, c)
        their32 = theirs(x, context, c)[::-1]
        with lifted():
            their64 = theirs.double()(x.double(), context.double(), c.double())[::-1]
        io = {"x": x, "context": context, "c": c}
        for stream, out, *others in zip(("x", "context"), exact, float32, their32, their64):
            if out is None:
                assert others == [None] * 3
                continue
            assert (out - others.pop()).abs().max() < 1e-12
            io |= {f"{stream}.{k}": v for k, v in outputs(out, *others).items()}
        save(f"mmdit_block{name}", weights, __file__, SEED)
        save(f"mmdit_block{name}_io", io, __file__, SEED)


PREFIX = "model.diffusion_model."


def single_file(weights, dtype, random):
    """As published: the transformer under a prefix, beside parts of the autoencoder and of the text encoders."""
    foreign = {"first_stage_model.decoder.conv_in.weight": random.tensor(3, 2, 3, 3),
               "first_stage_model.decoder.conv_in.bias": random.tensor(3),
               "text_encoders.clip_l.transformer.text_model.final_layer_norm.weight": random.tensor(5)}
    return {name: w.to(dtype) for name, w in ({PREFIX + name: w for name, w in weights.items()} | foreign).items()}


def mini():
    """SD3-medium's kind: no QK-norm; in every layout and precision"""
    random = Random(SEED + 1)
    weights = random_mmdit(random, **MINI)
    x, pooled, context = random.tensor(2, 4, 10, 18), random.tensor(2, 12), random.tensor(2, 7, 20)
    t = torch.tensor([985.25, 37.5])
    inputs = {"x": x, "t": t, "pooled": pooled, "context": context}
    io = inputs | compared(weights, MINI, *inputs.values())
    small = {"small.x": random.tensor(1, 4, 24, 4)}  # the whole height of the table
    small |= {f"small.{k}": v for k, v in compared(weights, MINI, small["small.x"], t[:1], pooled[:1],
                                                   context[:1]).items()}
    save("mmdit_mini", weights, __file__, SEED + 1)
    save_as_diffusers_does(diffusers_mmdit(weights, **MINI), "mmdit_mini_diffusers", __file__, SEED + 1)
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16)):
        save(f"mmdit_mini_{name}", single_file(weights, dtype, Random(SEED + 2)), __file__, SEED + 1)
        rounded = {k: w.to(dtype).float() for k, w in weights.items()}
        io |= {f"{name}.{k}": v for k, v in compared(rounded, MINI, *inputs.values()).items()}
    half = diffusers_mmdit(weights, **MINI).half()
    save_as_diffusers_does(half, "mmdit_mini_diffusers_sharded", __file__, SEED + 1, shard="50KB")
    save("mmdit_mini_io", io | small, __file__, SEED + 1)


def mini_35():
    """SD3.5-medium's kind: QK-norm, dual attention in the first blocks; and one scaled so that an eps shows"""
    random = Random(SEED + 3)
    weights = random_mmdit(random, **MINI_35)
    x, pooled, context = random.tensor(2, 4, 10, 18), random.tensor(2, 12), random.tensor(2, 7, 20)
    inputs = {"x": x, "t": torch.tensor([612.5, 8.75]), "pooled": pooled, "context": context}
    save("mmdit_mini_35", weights, __file__, SEED + 3)
    save("mmdit_mini_35_io", inputs | compared(weights, MINI_35, *inputs.values()), __file__, SEED + 3)
    save_as_diffusers_does(diffusers_mmdit(weights, **MINI_35), "mmdit_mini_35_diffusers", __file__, SEED + 3)

    inputs["t"] = torch.tensor([0.5, 2.0])
    weights = scaled_for_eps(weights)
    io = compared(weights, MINI_35, *inputs.values())
    noise = nmse(MMDiT(weights, 3)(*inputs.values()), io["out64"])
    for norm, bound in (("layer_eps", 1e-6), ("rms_eps", 1e-8)):
        seen = nmse(MMDiT(weights, 3, **{norm: 1e-5}).double()(*inputs.values()), io["out64"])
        print(f"           {norm} 1e-5 moves mmdit_eps by {seen:.1e}, float32 by {noise:.1e}")
        assert seen > bound > 1e3 * noise
    save("mmdit_eps", weights, __file__, SEED + 3)
    save("mmdit_eps_io", inputs | io, __file__, SEED + 3)


def scaled_for_eps(weights):
    """Tokens so small that the eps of a norm shows: embedders and positions by 1/200, q, k and v by 1/100."""
    small = {"x_embedder": 200, "t_embedder.mlp.2": 200, "y_embedder.mlp.2": 200, "context_embedder": 200,
             "pos_embed": 200, "qkv": 100}
    return {name: w / next((by for part, by in small.items() if part in name), 1) for name, w in weights.items()}


def generate():
    published_sizes()
    blocks()
    mini()
    mini_35()
