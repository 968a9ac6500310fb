#!/usr/bin/env python3
"""examples/dump_prompts.py and dump_latents.py against what they say they write, on encoders of the official classes with few
random weights. Needs what they need; not part of CI.

    python3 tests/examples/dump_scripts.py
"""
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import (AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel,
                       SD3Transformer2DModel, StableDiffusion3Pipeline)
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import pad
from transformers import (CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5Config,
                          T5EncoderModel, T5TokenizerFast)

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import dump_latents
import dump_prompts

torch.manual_seed(0)
torch.set_grad_enabled(False)
folder = Path(tempfile.mkdtemp())
output = folder / "out.safetensors"
letters = [chr(c) for c in range(33, 127)]
prompts = ["a red fox", "two"]


def clip_tokenizer():
    pieces = letters + [letter + "</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def t5_tokenizer():
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)] + [(letter, -3.0) for letter in letters]
    return T5TokenizerFast(vocab=pieces, extra_ids=0)


def random(model):
    for parameter in model.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def clip(kind, width, projection):
    return random(kind(CLIPTextConfig(vocab_size=190, hidden_size=width, intermediate_size=16, num_hidden_layers=3,
                                      num_attention_heads=2, projection_dim=projection, bos_token_id=188, eos_token_id=189,
                                      pad_token_id=189)))


def same(got, expected, what):
    assert got.shape == expected.shape and expected.abs().max() > 0.01, (what, got.shape, expected.shape)
    assert (got - expected).abs().max() <= 1e-6, what
    print(what, list(got.shape))


clip_l, clip_g, clip_flux = (clip(CLIPTextModelWithProjection, 6, 6), clip(CLIPTextModelWithProjection, 8, 7),
                             clip(CLIPTextModel, 12, 12))
t5 = random(T5EncoderModel(T5Config(vocab_size=100, d_model=20, d_kv=5, d_ff=24, num_layers=2, num_heads=4,
                                    feed_forward_proj="gated-gelu")))
vae = random(AutoencoderKL(block_out_channels=[8, 8, 16, 16], down_block_types=["DownEncoderBlock2D"] * 4,
                           up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=1, norm_num_groups=4, latent_channels=4,
                           scaling_factor=1.5, shift_factor=0.25))
scheduler = FlowMatchEulerDiscreteScheduler()
StableDiffusion3Pipeline(
    SD3Transformer2DModel(sample_size=8, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8,
                          num_attention_heads=3, joint_attention_dim=20, caption_projection_dim=24,
                          pooled_projection_dim=13, pos_embed_max_size=12),
    scheduler, vae, clip_l, clip_tokenizer(), clip_g, clip_tokenizer(), t5, t5_tokenizer()).save_pretrained(folder / "sd3")
FluxPipeline(scheduler, vae, clip_flux, clip_tokenizer(), t5, t5_tokenizer(),
             FluxTransformer2DModel(in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
                                    num_attention_heads=2, joint_attention_dim=20, pooled_projection_dim=12,
                                    axes_dims_rope=(4, 6, 6))).save_pretrained(folder / "flux")


def clip_ids(texts):
    return clip_tokenizer()(texts, padding="max_length", max_length=77, return_tensors="pt").input_ids


def t5_states(texts, tokens):
    ids = t5_tokenizer()(texts, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt").input_ids
    return t5(ids)[0]


def sd3_text(texts, tokens, with_t5=True):
    of_l, of_g = (encoder(clip_ids(texts), output_hidden_states=True) for encoder in (clip_l, clip_g))
    clips = pad(torch.cat([of_l.hidden_states[-2], of_g.hidden_states[-2]], -1), (0, 20 - 6 - 8))
    rest = t5_states(texts, tokens) if with_t5 else torch.zeros(len(texts), tokens, 20)
    return torch.cat([clips, rest], 1), torch.cat([of_l.text_embeds, of_g.text_embeds], -1)


def dumped(model, *options):
    dump_prompts.main([str(folder / model), *prompts, "--dtype", "float32", "--output", str(output), *options])
    return load_file(output)


file, (context, pooled) = dumped("sd3", "--negative", ""), sd3_text(prompts, 256)
same(file["context"], context, "Stable Diffusion 3: context")
same(file["pooled"], pooled, "Stable Diffusion 3: pooled")
context, pooled = sd3_text(["", ""], 256)
same(file["negative_context"], context, "Stable Diffusion 3: negative context")
same(file["negative_pooled"], pooled, "Stable Diffusion 3: negative pooled")
same(dumped("sd3", "--tokens", "9")["context"], sd3_text(prompts, 9)[0], "Stable Diffusion 3: 9 tokens")
same(dumped("sd3", "--without-t5")["context"], sd3_text(prompts, 256, False)[0], "Stable Diffusion 3: without T5")
file = dumped("flux")
assert sorted(file) == ["context", "pooled"]
same(file["context"], t5_states(prompts, 512), "FLUX.1: context")
same(file["pooled"], clip_flux(clip_ids(prompts)).pooler_output, "FLUX.1: pooled")
same(dumped("flux", "--tokens", "7")["context"], t5_states(prompts, 7), "FLUX.1: 7 tokens")

colours = np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8)
hole = np.zeros((64, 96), np.uint8)
hole[10:30, 20:50] = 255
Image.fromarray(colours).save(folder / "image.png")
Image.fromarray(colours[:64, :96]).save(folder / "small.png")
Image.fromarray(hole).save(folder / "mask.png")
dump_latents.main([str(folder / "sd3"), str(folder / "image.png"), "--output", str(output)])
assert list(load_file(output)["latents"].shape) == [1, 4, 8, 12]
dump_latents.main([str(folder / "sd3"), str(folder / "small.png"), "--mask", str(folder / "mask.png"), "--output", str(output)])
file, mask = load_file(output), torch.from_numpy(hole / np.float32(255))[None, None]
image = torch.from_numpy(colours[:64, :96].astype(np.float32) / 255).permute(2, 0, 1)[None] * 2 - 1
same(file["mask"], mask, "mask")
same(file["latents"], (vae.encode(image * (1 - mask)).latent_dist.mean - 0.25) * 1.5, "latents of a masked image")
