"""Decoders of latents, by diffusers: AutoencoderKL and AutoencoderTiny on small random weights, whole and in tiles."""
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import load_file

from store import Random, double, nmse, save

SEED = 512


def autoencoder_kl(random, channels, layers, groups, latent, post_quant):
    """With numbers that a 16-bit file holds exactly."""
    model = AutoencoderKL(block_out_channels=channels, down_block_types=("DownEncoderBlock2D",) * len(channels),
                          up_block_types=("UpDecoderBlock2D",) * len(channels), layers_per_block=layers,
                          norm_num_groups=groups, latent_channels=latent, use_quant_conv=post_quant,
                          use_post_quant_conv=post_quant).eval()
    return fill(model, random)


def fill(model, random):
    weights = random.weights({name: w.shape for name, w in model.state_dict().items()})
    model.load_state_dict({name: w.half().float() for name, w in weights.items()})
    return model


def as_diffusers_writes_it(model):
    """Encoder and all."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        [file] = Path(folder).glob("*.safetensors")
        return {name: w.half() for name, w in load_file(file).items()}


def original_names(weights, levels):
    """The decoder as CompVis and black-forest-labs store it; checked by diffusers' own way back."""
    out = {}
    for name, w in weights.items():
        if name.startswith("encoder."):
            continue
        name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        if "mid_block.attentions.0" in name:
            name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            name = name.replace("to_out.0", "proj_out").replace("to_", "")
            w = w[:, :, None, None] if w.dim() == 2 else w
        for level in range(levels):
            name = name.replace(f"up_blocks.{level}.resnets", f"up.{levels - 1 - level}.block")
            name = name.replace(f"up_blocks.{level}.upsamplers.0", f"up.{levels - 1 - level}.upsample")
        out[name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")] = w
    config = {"down_block_types": [None] * levels, "up_block_types": [None] * levels}
    back = convert_ldm_vae_checkpoint(out | {"encoder.conv_in.weight": w}, config)
    decoder = {name: w for name, w in weights.items() if not name.startswith("encoder.")}
    assert set(decoder) <= set(back) and all(torch.equal(back[name], w) for name, w in decoder.items())
    return out


def old_names(weights):
    """The attention of diffusers' first year."""
    renamed = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    out = {}
    for name, w in weights.items():
        if name.startswith("encoder."):
            continue
        for new, old in renamed.items():
            name = name.replace(new, old) if "attentions" in name else name
        out[name] = w
    return out


def decoded(model, latents, scale=1.0, shift=0.0):
    """What the pipelines do: float32, and float64 from the same weights."""
    out = model.decode(latents / scale + shift).sample
    torch.set_default_dtype(torch.float64)  # the masks of tiles are made in it
    out64 = model.double().decode(latents.double() / scale + shift).sample
    torch.set_default_dtype(torch.float32)
    model.float()
    assert nmse(out, out64) < 1e-9
    return out, out64


def kl():
    random = Random(SEED)
    model = autoencoder_kl(random, (8, 8, 16, 16), layers=1, groups=4, latent=4, post_quant=True)
    weights = as_diffusers_writes_it(model)
    save("vae_mini", weights, __file__, SEED)
    save("vae_mini_original", original_names(weights, 4), __file__, SEED)
    save("vae_mini_old", old_names(weights), __file__, SEED)
    latents, large = random.tensor(2, 4, 3, 5), random.tensor(1, 4, 10, 7)
    out, out64 = decoded(model, latents, 0.18215)
    model.enable_tiling()
    model.tile_latent_min_size, model.tile_sample_min_size = 4, 32
    tiled = decoded(model, large, 0.18215)[1]
    model.disable_tiling()
    assert nmse(decoded(model, large, 0.18215)[1], tiled) > 1e-3  # tiles are no detail
    save("vae_mini_io", {"latents": latents, "out": out, "out64": out64, "tiled.latents": large, "tiled.out64": tiled},
         __file__, SEED)

    random = Random(SEED + 1)
    model = autoencoder_kl(random, (16, 24), layers=2, groups=8, latent=16, post_quant=False)
    weights = {k: w for k, w in as_diffusers_writes_it(model).items() if not k.startswith("encoder.")}
    save("vae_shifted", weights, __file__, SEED + 1)
    latents = random.tensor(1, 16, 9, 6)
    out, out64 = decoded(model, latents, 1.5305, 0.0609)
    save("vae_shifted_io", {"latents": latents, "out": out, "out64": out64}, __file__, SEED + 1)


def tiny():
    random = Random(SEED + 2)
    model = fill(AutoencoderTiny(decoder_block_out_channels=(12,) * 4, encoder_block_out_channels=(4,) * 4), random)
    weights = as_diffusers_writes_it(model.eval())
    save("taesd_mini", weights, __file__, SEED + 2)
    original = {f"{int(name.split('.')[2]) + 1}.{name.split('.', 3)[3]}": w  # the clamp comes first there
                for name, w in weights.items() if name.startswith("decoder.")}
    save("taesd_mini_original", original, __file__, SEED + 2)
    latents, large = random.tensor(2, 4, 3, 5, scale=3), random.tensor(1, 4, 10, 8)
    out, out64 = decoded(model, latents)
    model.enable_tiling()
    model.tile_latent_min_size = 8
    tiled = decoded(model, large)[1]
    save("taesd_mini_io", {"latents": latents, "out": out, "out64": out64, "tiled.latents": large,
                           "tiled.out64": tiled}, __file__, SEED + 2)


def generate():
    kl()
    tiny()


if __name__ == "__main__":
    generate()
