"""FLUX.1 in both layouts: diffusers' own class on its own file, ours on the original names. Files are bfloat16, as the
published ones are; every reference runs on exactly those values."""
from contextlib import ExitStack
from types import SimpleNamespace

import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from diffusers.models.transformers.transformer_flux import (FluxPosEmbed, FluxSingleTransformerBlock,
                                                            FluxTransformerBlock)
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from diffusers.pipelines.flux.pipeline_flux_kontext import FluxKontextPipeline

from diffusers_mmdit import inside, lifted, same_as_converted, save_as_diffusers_does, swapped
from official_flux import (AXES, FILL, MINI, SCHNELL, Flux, bf16, double_block_shapes, grid_ids, model_shapes, pack,
                           pack_mask, random_flux, rotation, single_block_shapes, unpack)
from store import Random, nmse, save

SEED = 12

OUTSIDE = {"img_in": "x_embedder", "txt_in": "context_embedder",
           "final_layer.adaLN_modulation.1": "norm_out.linear", "final_layer.linear": "proj_out"}
OUTSIDE |= {f"{ours}.{a}_layer": f"time_text_embed.{theirs}_embedder.linear_{i}"
            for ours, theirs in (("time_in", "timestep"), ("guidance_in", "guidance"), ("vector_in", "text"))
            for i, a in ((1, "in"), (2, "out"))}
DOUBLE = {"img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear",
          "img_attn.proj": "attn.to_out.0", "txt_attn.proj": "attn.to_add_out",
          "img_attn.norm.query_norm": "attn.norm_q", "img_attn.norm.key_norm": "attn.norm_k",
          "txt_attn.norm.query_norm": "attn.norm_added_q", "txt_attn.norm.key_norm": "attn.norm_added_k",
          "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2",
          "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2"}
SINGLE = {"modulation.lin": "norm.linear", "linear2": "proj_out",
          "norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k"}
FUSED = {"img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
         "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
         "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"]}


def diffusers_block_names(weights):
    """A double or a single block"""
    out = {}
    for name, w in weights.items():
        layer, _, end = name.rpartition(".")
        if layer in FUSED:
            width = w.shape[0] // (7 if layer == "linear1" else 3)
            rows = w.split([width] * 3 + [w.shape[0] - 3 * width] * (layer == "linear1"))
            out |= {f"{part}.{end}": r for part, r in zip(FUSED[layer], rows, strict=True)}
        else:
            out[f"{(DOUBLE | SINGLE)[layer]}.{end.replace('scale', 'weight')}"] = w
    return out


def depth(weights, name="img_attn.qkv.bias"):
    return sum(key.endswith(name) for key in weights)


def diffusers_names(weights):
    out = {}
    for ours, theirs, count in (("double_blocks", "transformer_blocks", depth(weights)),
                                ("single_blocks", "single_transformer_blocks", depth(weights, "linear1.bias"))):
        for i in range(count):
            block = diffusers_block_names(inside(weights, f"{ours}.{i}."))
            out |= {f"{theirs}.{i}.{name}": w for name, w in block.items()}
    for name, w in weights.items():
        layer, _, end = name.rpartition(".")
        if layer in OUTSIDE:
            out[f"{OUTSIDE[layer]}.{end}"] = swapped(w) if layer.endswith("adaLN_modulation.1") else w
    return out


def diffusers_flux(weights, depth, single_depth, heads, channels, out, context, pooled, guidance):
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=channels, out_channels=out, num_layers=depth, num_single_layers=single_depth,
        attention_head_dim=sum(AXES), num_attention_heads=heads, joint_attention_dim=context,
        pooled_projection_dim=pooled, guidance_embeds=guidance, axes_dims_rope=AXES).eval()
    model.load_state_dict(diffusers_names(weights))  # strict: not a name missing, not one too many
    return model


def run(model, img, ids, txt, pooled, t, guidance=None):
    dtype = model.proj_out.weight.dtype
    with lifted() if dtype == torch.float64 else ExitStack():
        img, txt, pooled = (a.to(dtype) for a in (img, txt, pooled))
        return model(img, txt, pooled, t, ids, torch.zeros(txt.shape[1], 3), guidance).sample


def published_sizes():
    """Tensors in both layouts and numbers of the published models, without storage"""
    every = dict(depth=19, single_depth=38, heads=24, head=128, out=64, context=4096, pooled=768)
    for channels, guidance, tensors, theirs, numbers in (
            (64, True, 780, 1160, 11_901_408_320), (64, False, 776, 1156, 11_891_178_560),
            (384, True, 780, 1160, 11_902_391_360), (128, True, 780, 1160, 11_901_604_928)):
        shapes = model_shapes(**every, channels=channels, guidance=guidance)
        weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        converted = diffusers_names(weights)
        assert (len(weights), len(converted)) == (tensors, theirs)
        assert sum(w.numel() for w in weights.values()) == numbers
        same_as_converted(converted, convert_flux_transformer_checkpoint_to_diffusers(dict(weights)))


def outputs(exact, *float32):
    """`out64` and the same rounded once. In float32 the time features of guidance cost digits."""
    for out in float32:
        assert nmse(out, exact) < 1e-9, nmse(out, exact)
    return {"out": exact.float(), "out64": exact}


def compared(weights, config, *inputs):
    """Ours and diffusers', in float64: the same; in float32: close. Returns out and out64."""
    ours, theirs = Flux(weights, config["heads"]), diffusers_flux(weights, **config)
    exact, float32 = ours.double()(*inputs), [ours(*inputs), run(theirs, *inputs)]
    assert (exact - run(theirs.double(), *inputs)).abs().max() < 1e-12
    return outputs(exact, *float32)


def prefixed(prefix, io):
    return {f"{prefix}.{k}": v for k, v in io.items()}


def packing():
    """Against diffusers' pipelines; returns the order of a mask's pixels where one latent pixel is 8 x 8."""
    random = Random(SEED)
    x = random.tensor(2, 4, 10, 18)
    theirs = FluxPipeline._pack_latents(x, 2, 4, 10, 18)
    assert torch.equal(pack(x), theirs) and torch.equal(unpack(theirs, 5, 9), x)
    assert torch.equal(FluxPipeline._unpack_latents(theirs, 80, 144, 8), x)
    assert torch.equal(grid_ids(5, 9), FluxPipeline._prepare_latent_image_ids(2, 5, 9, "cpu", torch.float32))

    mask = torch.arange(16 * 32, dtype=torch.float32).reshape(1, 1, 16, 32)
    pipeline = SimpleNamespace(vae_scale_factor=8, _pack_latents=FluxFillPipeline._pack_latents,
                               vae=SimpleNamespace(config=SimpleNamespace(shift_factor=0, scaling_factor=1)))
    theirs, _ = FluxFillPipeline.prepare_mask_latents(pipeline, mask, torch.zeros(1, 16, 2, 4), 1, 16, 1, 16, 32,
                                                      torch.float32, "cpu", None)
    assert torch.equal(pack_mask(mask, 8), theirs) and theirs.shape == (1, 2, 256)
    return {"latents": x, "packed": pack(x), "ids": grid_ids(5, 9), "mask": mask, "packed_mask": theirs}


def blocks():
    random = Random(SEED + 1)
    img, txt, c = random.tensor(2, 45, 48), random.tensor(2, 7, 48), random.tensor(2, 48)
    ids = torch.cat([torch.zeros(7, 3), grid_ids(5, 9)])
    ids[-12:] = grid_ids(3, 4, kind=1)  # so that axis 0 turns something too
    cos, sin = table = rotation(ids)
    for got, ours in zip(FluxPosEmbed(10000, AXES)(ids), table):
        assert torch.equal(got[:, ::2], ours.float()) and torch.equal(got[:, 1::2], ours.float())
    rope = {"ids": ids, "cos": cos.float(), "sin": sin.float(), "cos64": cos, "sin64": sin}

    def compared(weights, theirs, ours_on, theirs_on):
        """Lists of outputs, ours and theirs on the same weights: out and out64 of each"""
        theirs.load_state_dict(diffusers_block_names(weights))
        ours, exact = Flux(weights, 3), [a.double() for a in (img, txt, c)]
        repeated = [a.repeat_interleave(2, 1) for a in table]
        float32 = [ours_on(ours, img, txt, c), theirs_on(theirs.eval(), img, txt, c, [a.float() for a in repeated])]
        out = ours_on(ours.double(), *exact)
        with lifted():
            for a, b in zip(out, theirs_on(theirs.double(), *exact, repeated), strict=True):
                assert (a - b).abs().max() < 1e-12
        return [outputs(a, *others) for a, *others in zip(out, *float32)]

    def random_block(shapes):
        return {name: w.float() for name, w in bf16(random.weights(shapes)).items()}

    weights = random_block(double_block_shapes(48, 16))
    out = compared(weights, FluxTransformerBlock(48, 3, 16),
                   lambda ours, img, txt, c: ours.double_block(img, txt, c, table),
                   lambda theirs, *inputs: theirs(*inputs)[::-1])
    io = {"img": img, "txt": txt, "c": c} | rope | prefixed("img", out[0]) | prefixed("txt", out[1])
    save("flux_double_block", bf16(weights), __file__, SEED + 1)
    save("flux_double_block_io", io, __file__, SEED + 1)

    weights = random_block(single_block_shapes(48, 16))
    [out] = compared(weights, FluxSingleTransformerBlock(48, 3, 16),
                     lambda ours, img, txt, c: [ours.single_block(torch.cat([txt, img], 1), c, table)],
                     lambda theirs, *inputs: [torch.cat(theirs(*inputs), 1)])
    save("flux_single_block", bf16(weights), __file__, SEED + 1)
    save("flux_single_block_io", {"x": torch.cat([txt, img], 1), "c": c} | rope | out, __file__, SEED + 1)


def with_images(io):
    """Each packed output again as latents"""
    return io | {f"image.{k}": unpack(v, 5, 9) for k, v in io.items() if k in ("out", "out64")}


def models():
    random = Random(SEED + 2)
    weights = random_flux(random, **MINI)
    latents, pooled, txt = random.tensor(2, 4, 10, 18), random.tensor(2, 12), random.tensor(2, 7, 20)
    t, guidance = torch.tensor([0.8125, 0.046875]), torch.tensor([3.5, 1.5])
    ids = grid_ids(5, 9)
    shared = {"latents": latents, "img": pack(latents), "ids": ids, "txt": txt, "pooled": pooled, "t": t}
    inputs = shared | {"guidance": guidance}

    def run_on(weights, config, inputs):
        return compared(weights, config, *(v for k, v in inputs.items() if k != "latents"))

    io = inputs | with_images(run_on(weights, MINI, inputs))
    reference = random.tensor(2, 4, 6, 8)
    kontext = {"reference": reference, "reference.img": pack(reference), "reference.ids": grid_ids(3, 4, kind=1)}
    theirs = FluxKontextPipeline._prepare_latent_image_ids(2, 3, 4, "cpu", torch.float32)
    theirs[..., 0] = 1  # as its prepare_latents does
    assert torch.equal(theirs, kontext["reference.ids"])
    longer = inputs | {"img": torch.cat([inputs["img"], kontext["reference.img"]], 1),
                       "ids": torch.cat([ids, kontext["reference.ids"]])}
    kontext |= {k: v[:, :45] for k, v in run_on(weights, MINI, longer).items()}
    assert nmse(kontext["out64"], io["out64"]) > 1e-3  # the reference is seen
    save("flux_mini", bf16(weights), __file__, SEED + 2)
    save("flux_mini_io", io | prefixed("kontext", with_images(kontext)), __file__, SEED + 2)
    theirs = diffusers_flux(weights, **MINI).bfloat16()
    save_as_diffusers_does(theirs, "flux_mini_diffusers_sharded", __file__, SEED + 2, shard="250KB")

    weights = random_flux(random, **SCHNELL)
    save("flux_mini_schnell", bf16(weights), __file__, SEED + 2)
    save("flux_mini_schnell_io", shared | with_images(run_on(weights, SCHNELL, shared)), __file__, SEED + 2)

    weights = random_flux(random, **FILL)
    masked, mask = random.tensor(2, 4, 10, 18), (random.tensor(2, 1, 40, 72) > 0).float()
    tokens = torch.cat([inputs["img"], pack(masked), pack_mask(mask, 4)], 2)
    out = with_images(run_on(weights, FILL, inputs | {"img": tokens}))
    save("flux_mini_fill", bf16(weights), __file__, SEED + 2)
    save("flux_mini_fill_io", inputs | {"masked": masked, "mask": mask.to(torch.uint8), "img": tokens} | out,
         __file__, SEED + 2)

    weights = {k: w.float() for k, w in bf16(scaled_for_eps(random_flux(random, **SCHNELL))).items()}
    inputs = shared | {"t": torch.tensor([2.0 ** -11, 2.0 ** -9])}
    io = run_on(weights, SCHNELL, inputs)

    def by(model):
        return nmse(model(*(v for k, v in inputs.items() if k != "latents")), io["out64"])

    for norm, bound in (("layer_eps", 1e-6), ("rms_eps", 1e-8)):
        seen, noise = by(Flux(weights, 3, **{norm: 1e-5}).double()), by(Flux(weights, 3))
        print(f"           {norm} 1e-5 moves flux_eps by {seen:.1e}, float32 by {noise:.1e}")
        assert seen > bound > 1e3 * noise
    save("flux_eps", bf16(weights), __file__, SEED + 2)
    save("flux_eps_io", inputs | with_images(io), __file__, SEED + 2)


def scaled_for_eps(weights):
    """Tokens so small that the eps of a norm shows: embedders by 1/200, q, k and v by 1/100."""
    small = {"img_in": 200, "txt_in": 200, "out_layer": 200, "qkv": 100}
    out = {name: w / next((by for part, by in small.items() if part in name), 1) for name, w in weights.items()}
    for name in (name for name in out if "linear1" in name):
        w, attention = out[name].clone(), 3 * (out[name].shape[0] // 7)
        w[:attention] /= 100
        out[name] = w
    return out


def generate():
    published_sizes()
    save("flux_packing_io", packing(), __file__, SEED)
    blocks()
    models()
