#!/usr/bin/env python3
"""Dumps what the official text encoders make of prompts, for dit_sd3 and dit_flux (dit::load_text reads it).

    python dump_prompts.py stabilityai/stable-diffusion-3.5-medium "a fox in the snow" --negative "" --output fox.safetensors
    python dump_prompts.py black-forest-labs/FLUX.1-dev "a fox in the snow" --output fox.safetensors

The model is a diffusers folder or its name on the Hugging Face Hub; transformer and autoencoder are not loaded. Several prompts
make one batch. The file holds context [B, M, W] and pooled [B, P], with --negative also negative_context and negative_pooled:

    Stable Diffusion 3   context = [CLIP-L | CLIP-G, padded with zeros to W] then [T5], 77 + 256 tokens, W = 4096
                         pooled  = [CLIP-L | CLIP-G], P = 768 + 1280
    FLUX.1               context = T5, 512 tokens (schnell: --tokens 256), W = 4096;  pooled = CLIP-L's, P = 768

Needs torch, diffusers, transformers, safetensors; T5 takes 9.5 GB in bfloat16.
"""
import argparse
import inspect

import torch
from diffusers import DiffusionPipeline, SD3Transformer2DModel
from safetensors.torch import save_file


def load_encoders(model, dtype, without_t5=False):
    """The pipeline that the folder names, without what draws."""
    absent = {"transformer": None, "vae": None}
    if without_t5:  # zeros stand for it, as wide as the transformer wants them, which is therefore built without memory
        with torch.device("meta"):
            config = SD3Transformer2DModel.load_config(model, subfolder="transformer")
            absent |= {"transformer": SD3Transformer2DModel.from_config(config), "text_encoder_3": None, "tokenizer_3": None}
    return DiffusionPipeline.from_pretrained(model, torch_dtype=dtype, **absent)


@torch.no_grad()
def encode(pipeline, prompts, tokens=None, device="cpu"):
    """context and pooled of a batch of prompts, by the pipeline's own encode_prompt."""
    sd3 = "prompt_3" in inspect.signature(pipeline.encode_prompt).parameters
    if sd3:
        context, _, pooled, _ = pipeline.encode_prompt(prompts, None, None, device=device, max_sequence_length=tokens or 256,
                                                       do_classifier_free_guidance=False)
    else:
        context, pooled, _ = pipeline.encode_prompt(prompts, None, device=device, max_sequence_length=tokens or 512)
    return {"context": context.contiguous(), "pooled": pooled.contiguous()}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a diffusers folder, or a name on the Hub")
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--negative", help='what guidance goes away from, mostly ""; Stable Diffusion 3 needs it')
    parser.add_argument("--tokens", type=int, help="of T5: 256 for Stable Diffusion 3 and 512 for FLUX unless given")
    parser.add_argument("--without-t5", action="store_true", help="Stable Diffusion 3 only: zeros in T5's place")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="T5 overflows in float16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", default="prompt.safetensors")
    options = parser.parse_args(arguments)

    pipeline = load_encoders(options.model, getattr(torch, options.dtype), options.without_t5)
    for encoder in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        if getattr(pipeline, encoder, None) is not None:
            getattr(pipeline, encoder).to(options.device)
    tensors = encode(pipeline, options.prompts, options.tokens, options.device)
    if options.negative is not None:
        negative = encode(pipeline, [options.negative] * len(options.prompts), options.tokens, options.device)
        tensors |= {f"negative_{name}": tensor for name, tensor in negative.items()}
    save_file({name: tensor.cpu() for name, tensor in tensors.items()}, options.output,
              metadata={"model": options.model, "prompts": "\n".join(options.prompts)})
    print(options.output, {name: list(tensor.shape) for name, tensor in tensors.items()})


if __name__ == "__main__":
    main()
