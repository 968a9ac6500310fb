"""Stable Diffusion 3 and FLUX.1 as they are sampled: the official lists of sigmas, and whole runs of the small models.

Lists: diffusers' scheduler as its pipelines call it, the original repositories' float32 formulas, and the same formula
in float64. Runs: `x64` [steps + 1, ...] are the states by the formulas, in float64 over the float32 sigmas; `x` is
where diffusers' scheduler (where it has that sampler) leads in float32."""
import math
from types import SimpleNamespace

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.pipelines.flux.pipeline_flux_img2img import FluxImg2ImgPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3_img2img import StableDiffusion3Img2ImgPipeline
from safetensors.torch import load_file

import diffusers_mmdit
import official_mmdit
from official_flux import Flux, grid_ids, pack, unpack
from official_mmdit import MMDiT
from schedules import base, euler, follow, near, shifted
from store import HERE, Random, nmse, save

SEED = 2024
STEPS, CFG = 6, 5.0


# Lists

def with_zero(s):
    return torch.cat([torch.as_tensor(s), torch.zeros(1)])


def sd35_repo(a, n):
    """float32 from end points that the shift has already moved"""
    high, low = (torch.tensor(1000 * shifted(a, t), dtype=torch.float32) for t in (1, 1 / 1000))
    u = torch.linspace(high, low, n) / 1000
    return with_zero(a * u / (1 + (a - 1) * u))


def flux_repo(mu, n):
    t = torch.linspace(1, 0, n + 1)
    return t if mu is None else math.exp(mu) / (math.exp(mu) + (1 / t - 1))


def dynamic(tokens, n):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=base(n), mu=calculate_shift(tokens))
    return scheduler


def lists():
    out = {}

    def add(name, exact, **float32):
        exact = np.append(exact, 0.0)
        for who, s in float32.items():
            near(s, exact, 2e-7)
            out[f"{name}.{who}"] = s
        out[f"{name}.64"] = exact

    for a, steps in ((3, (1, 4, 28, 40, 50)), (1, (1, 50))):
        for n in steps:
            add(f"sd3.shift{a}.n{n}", shifted(a, base(n, a)), diffusers=euler(a, n, given=False).sigmas,
                original=sd35_repo(a, n))
    for tokens in (45, 256, 1024, 4096):
        mu = calculate_shift(tokens)
        out[f"flux.N{tokens}.mu"] = np.array([mu])
        for n in (4, 28, 50):
            add(f"flux.N{tokens}.n{n}", shifted(np.exp(mu), base(n)), diffusers=dynamic(tokens, n).sigmas,
                original=flux_repo(mu, n))
    for n in (1, 4):
        add(f"schnell.n{n}", base(n), diffusers=euler(1, n, given=True).sigmas, original=flux_repo(None, n))
    return out | kept()


def kept():
    """[n, strength, steps that are left] by both image-to-image pipelines"""
    rows = []
    for n in (1, 6, 10, 28, 50):
        for strength in (0.05, 0.3, 0.6, 0.7, 0.9, 1.0):
            starts = set()
            for pipeline, scheduler in ((StableDiffusion3Img2ImgPipeline, euler(3, n, given=False)),
                                        (FluxImg2ImgPipeline, dynamic(4096, n))):
                timesteps, left = pipeline.get_timesteps(SimpleNamespace(scheduler=scheduler), n, strength, "cpu")
                starts |= {(len(timesteps), left)}
            [(steps, left)] = starts
            assert steps == left
            if steps:  # the pipelines refuse 0
                rows.append([n, strength, steps])
    return {"img2img.kept": np.array(rows)}


# Runs

def euler_step(x, v, s, k):
    return x + (s[k + 1] - s[k]) * v


class SD3:
    """A small SD3 with conditions and empty captions, in float64 and as diffusers' class in float32"""

    def __init__(self, random, name):
        weights = load_file(HERE / f"{name}.safetensors")
        config = official_mmdit.MINI if name == "mmdit_mini" else official_mmdit.MINI_35
        self.ours = MMDiT(weights, 3).double()
        self.theirs = diffusers_mmdit.diffusers_mmdit(weights, **config)
        self.text = {"pooled": random.tensor(2, 12), "context": random.tensor(2, 7, 20)}
        self.null = {"pooled": random.tensor(2, 12), "context": random.tensor(2, 7, 20)}

    def inputs(self):
        return self.text | {f"null.{k}": v for k, v in self.null.items()}

    def velocity(self, x, s, text, **skip):
        t = (1000 * s).expand(2)
        if x.dtype == torch.float64:
            return self.ours(x, t, *text.values(), skip=skip.get("skip_layers", ()))
        return diffusers_mmdit.run(self.theirs, x, t, *text.values(), **skip)

    def guided(self, x, s, skip_scale=0.0, skip_layers=()):
        text, null = self.velocity(x, s, self.text), self.velocity(x, s, self.null)
        v = null + CFG * (text - null)
        if skip_scale:
            v = v + skip_scale * (text - self.velocity(x, s, self.text, skip_layers=list(skip_layers)))
        return v


def ran(states64, x):
    assert nmse(x, states64[-1]) < 1e-9, nmse(x, states64[-1])
    return {"x64": states64, "x": x}


def with_scheduler(scheduler, x, velocity, start=0, after=lambda x, k: x):
    """diffusers' loop in float32 from step `start`"""
    scheduler.set_begin_index(start)
    for k in range(start, len(scheduler.timesteps)):
        v = velocity(x, scheduler.sigmas[k], k)
        x = after(scheduler.step(v, scheduler.timesteps[k], x).prev_sample, k)
    return x


def text_to_image(model, noise):
    scheduler = euler(3, STEPS, given=False)
    s = scheduler.sigmas.double()
    states = follow(noise.double(), range(STEPS), lambda x, k: euler_step(x, model.guided(x, s[k]), s, k))
    return {"sigmas": scheduler.sigmas} | ran(states, with_scheduler(scheduler, noise,
                                                                     lambda x, s, k: model.guided(x, s)))


def skip_layer(model, noise, layers=(1,), scale=2.8, start=0.01, stop=0.5):
    """Guided once more, away from a model without some blocks, while start * n < step < stop * n"""
    scheduler = euler(3, STEPS, given=False)
    s = scheduler.sigmas.double()

    def velocity(x, s, k):
        return model.guided(x, s, scale if STEPS * start < k < STEPS * stop else 0, layers)

    states = follow(noise.double(), range(STEPS), lambda x, k: euler_step(x, velocity(x, s[k], k), s, k))
    unguided = follow(noise.double(), range(STEPS), lambda x, k: euler_step(x, model.guided(x, s[k]), s, k))
    assert nmse(states[-1], unguided[-1]) > 1e-3
    return {"sigmas": scheduler.sigmas, "parameters": np.array([scale, start, stop]), "layers": np.array(layers)} | ran(
        states, with_scheduler(scheduler, noise, velocity))


def image_to_image(model, image, noise, n=10, strength=0.6):
    scheduler = euler(3, n, given=False)
    timesteps, left = StableDiffusion3Img2ImgPipeline.get_timesteps(
        SimpleNamespace(scheduler=scheduler), n, strength, "cpu")
    start = scheduler.scale_noise(image, timesteps[:1], noise)
    s = scheduler.sigmas.double()[n - left:]
    exact = (1 - s[0]) * image.double() + s[0] * noise.double()
    states = follow(exact, range(left), lambda x, k: euler_step(x, model.guided(x, s[k]), s, k))
    x = with_scheduler(scheduler, start, lambda x, s, k: model.guided(x, s), n - left)
    return {"sigmas": scheduler.sigmas, "timesteps": timesteps, "start": start} | ran(states, x)


def inpaint(model, image, noise, mask, n=STEPS, strength=1.0):
    """After every step what is not to be painted (mask 0) is the image again, at the noise level just reached."""
    scheduler = euler(3, n, given=False)
    timesteps, left = StableDiffusion3Img2ImgPipeline.get_timesteps(
        SimpleNamespace(scheduler=scheduler), n, strength, "cpu")
    x = noise if strength == 1 else scheduler.scale_noise(image, timesteps[:1], noise)

    def blended(x, k):
        proper = image if k == n - 1 else scheduler.scale_noise(image, scheduler.timesteps[k + 1:k + 2], noise)
        return (1 - mask) * proper + mask * x

    x = with_scheduler(scheduler, x, lambda x, s, k: model.guided(x, s), n - left, blended)

    s, image, noise, mask = scheduler.sigmas.double()[n - left:], image.double(), noise.double(), mask.double()

    def step(x, k):
        x = euler_step(x, model.guided(x, s[k]), s, k)
        return (1 - mask) * ((1 - s[k + 1]) * image + s[k + 1] * noise) + mask * x

    states = follow((1 - s[0]) * image + s[0] * noise, range(left), step)
    return {"sigmas": scheduler.sigmas, "timesteps": timesteps} | ran(states, x)


def dpmpp_2m(model, noise):
    """The sd3.5 repository's: in l = -log sigma, linear in the denoised images of this step and the one before"""
    sigmas = sd35_repo(3, STEPS)
    s = sigmas.double()
    before = []

    def step(x, k):
        denoised = x - s[k] * model.guided(x, s[k])
        if k > 0 and s[k + 1] > 0:
            h, h_before = (s[i].log() - s[i + 1].log() for i in (k, k - 1))
            r = h_before / h
            slope = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * before[-1]
        else:
            slope = denoised
        before.append(denoised)
        return s[k + 1] / s[k] * x + (1 - s[k + 1] / s[k]) * slope  # -expm1(-h) = 1 - s_next / s

    states = follow(noise.double(), range(STEPS), step)
    assert torch.equal(states[-1], before[-1])
    return {"sigmas": sigmas, "x64": states}


def flux_runs(random):
    model = Flux({k: w.float() for k, w in load_file(HERE / "flux_mini.safetensors").items()}, 3)
    noise, image, pooled, txt = (random.tensor(*shape) for shape in ((2, 4, 6, 10), (2, 4, 6, 10), (2, 12), (2, 7, 20)))
    guidance, ids = torch.full([2], 3.5), grid_ids(3, 5)
    sigmas = flux_repo(calculate_shift(15), STEPS)
    near(sigmas, dynamic(15, STEPS).sigmas, 2e-7)
    s = sigmas.double()

    def velocity(x, s, k=0):
        m = model.double() if x.dtype == torch.float64 else model
        return unpack(m(pack(x), ids, txt, pooled, s.expand(2), guidance), 3, 5)

    states = follow(noise.double(), range(STEPS), lambda x, k: euler_step(x, velocity(x, s[k]), s, k))
    out = {"noise": noise, "txt": txt, "pooled": pooled, "guidance": guidance, "sigmas": sigmas} | ran(
        states, with_scheduler(dynamic(15, STEPS), noise, velocity))

    scheduler = dynamic(15, 10)
    timesteps, left = FluxImg2ImgPipeline.get_timesteps(SimpleNamespace(scheduler=scheduler), 10, 0.6, "cpu")
    start = scheduler.scale_noise(image, timesteps[:1], noise)
    s2 = scheduler.sigmas.double()[10 - left:]
    exact = (1 - s2[0]) * image.double() + s2[0] * noise.double()
    states = follow(exact, range(left), lambda x, k: euler_step(x, velocity(x, s2[k]), s2, k))
    return out | {"image": image} | prefixed("img2img", {
        "sigmas": scheduler.sigmas, "timesteps": timesteps, "start": start} | ran(
        states, with_scheduler(scheduler, start, velocity, 10 - left)))


def prefixed(prefix, io):
    return {f"{prefix}.{k}": v for k, v in io.items()}


def generate():
    save("flow_schedules_io", lists(), __file__)

    random = Random(SEED)
    model, noise, image = SD3(random, "mmdit_mini"), random.tensor(2, 4, 6, 10), random.tensor(2, 4, 6, 10)
    mask = torch.zeros(2, 1, 6, 10)
    mask[0, :, 1:4, 2:9], mask[1, :, :, 6:], mask[1, :, 0, 5] = 1, 1, 0.25
    io = {"noise": noise, "image": image, "mask": mask} | model.inputs()
    io |= prefixed("euler", text_to_image(model, noise)) | prefixed("dpmpp_2m", dpmpp_2m(model, noise))
    io |= prefixed("img2img", image_to_image(model, image, noise))
    io |= prefixed("inpaint", inpaint(model, image, noise, mask))
    io |= prefixed("inpaint_0.6", inpaint(model, image, noise, mask, 10, 0.6))
    save("sd3_sampling_io", io, __file__, SEED)

    model = SD3(random, "mmdit_mini_35")
    save("sd35_sampling_io", {"noise": noise} | model.inputs() | prefixed("skip_layer", skip_layer(model, noise)),
         __file__, SEED)
    save("flux_sampling_io", flux_runs(Random(SEED + 1)), __file__, SEED + 1)
