"""Sigmas, respaced chains and sampler trajectories over synthetic models that any language repeats:
velocity v(x, s) = a x s + b, noise eps(x, t) = a x + b t/1000, variance logits v(x) = c x.

Flow and diffusers' DDIM come from diffusers (float32); the original DiT's chain and every `.x64` come from the
formulas, in float64, and each diffusers trajectory must agree with its `.x64`."""
import math
from unittest.mock import patch

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

from store import Random, nmse, save

SEED = 1000
SHAPE = (2, 4, 1, 3)


def near(got, expected, tolerance=6e-8):
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape and np.all(np.abs(got - expected) <= tolerance), (got, expected)


def follow(x, steps, step):
    """[steps + 1, ...]: x and where each step leads"""
    states = [x]
    for k in steps:
        states.append(step(states[-1], k))
    return torch.stack(states)


# Flow matching

def shifted(a, s):
    return a * s / (1 + (a - 1) * s)


def base(n, a=None):
    """linspace(1, 1/n), or diffusers' own list, whose smallest sigma already carries the shift a"""
    return np.linspace(1, 1 / n if a is None else shifted(a, 1 / 1000), n)


def euler(shift, n, given, **config):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift, **config)
    scheduler.set_timesteps(n, sigmas=base(n) if given else None)
    return scheduler


def sigmas():
    out = {}
    for shift in (1, 3):
        for n in (1, 4, 28, 50):
            for given in (True, False):
                s = euler(shift, n, given).sigmas
                near(s[:-1], shifted(shift, base(n) if given else base(n, shift)), 2e-7)
                out[f"sigmas.shift{shift}.{'given' if given else 'none'}.n{n}"] = s
            heun = FlowMatchHeunDiscreteScheduler(shift=shift)
            heun.set_timesteps(n)
            assert torch.equal(heun.sigmas[::2] if n > 1 else heun.sigmas[:1], s[:-1]) and heun.sigmas[-1] == 0
    return out


def constants_of_the_sheet():
    """Published lists."""
    def dynamic(mu, n, **config):
        scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, **config)
        scheduler.set_timesteps(n, sigmas=base(n), mu=mu)
        return scheduler.sigmas[:-1]

    def ends(s, head, tail):
        near(s[:len(head)], head, 2e-7)
        near(s[len(s) - len(tail):], tail, 2e-7)

    def flux2_mu(tokens, n):
        m200, m10 = 0.00016927 * tokens + 0.45666666, 8.73809524e-05 * tokens + 1.89833333
        return m200 if tokens > 4300 else m200 + (n - 200) * (m200 - m10) / 190

    ends(euler(3, 4, False).sigmas[:-1], [1, .8576923, .6021505, .0089286], [])
    ends(euler(3, 28, False).sigmas[:-1], [1, .9873806, .9741078, .9601293], [.1998270, .1109057, .0089286])
    ends(euler(3, 40, False).sigmas[:-1], [1, .9913308, .9823557, .9730583], [.1465087, .0810458, .0089286])
    ends(euler(3, 50, False).sigmas[:-1], [1, .9931244, .9860570, .9787898], [.1205327, .0669002, .0089286])
    ends(euler(3, 28, True).sigmas[:-1], [1, .9878049, .9750000], [.1875, .1])
    ends(euler(1, 50, False).sigmas[:-1], [1, .9796122, .9592245], [.0213878, .001])
    near(FlowMatchEulerDiscreteScheduler(shift=3.0).sigma_min, .0029940)
    ends(dynamic(1.15, 4), [1, .9045308, .7595109, .5128441], [])
    ends(dynamic(1.15, 28), [1, .9884086, .9762225], [.1954546, .1047209])
    ends(dynamic(1.15, 50), [1, .9935795, .9869786], [.1162888, .0605503])
    for tokens, n, mu in ((4096, 50, 2.0233512), (4096, 28, 2.1514432), (4096, 4, 2.2911799), (1024, 4, 2.0306897),
                          (1024, 50, 1.7019562), (16384, 50, 3.2299863)):
        near(flux2_mu(tokens, n), mu)
    ends(dynamic(flux2_mu(4096, 4), 4), [1, .9673840, .9081439, .7672], [])
    ends(dynamic(flux2_mu(4096, 50), 50), [1, .9973091, .9945214], [.1337190])
    for tokens, head, middle, tail in ((4096, [1, .9897009, .9791915], .6600856, [.0584758, .02]),
                                       (6889, [1, .9909883, .9817680], .6893778, [.0637827, .02])):
        s = dynamic(.5 + (tokens - 256) * .4 / 7936, 50, shift_terminal=.02)
        ends(s, head, tail)
        near(s[25], middle, 2e-7)
    ends(euler(3, 8, True).sigmas[:-1], [1, .9545455, .9, .8333333, .75, .6428571, .5, .3], [])
    ends(euler(3, 9, True).sigmas[:-1], [1, .96, .9130435, .8571429, .7894737, .7058824, .6, .4615385, .2727273], [])


def flow(x, a, b):
    out = {}

    def velocity(x, s):
        return a.to(x.dtype) * x * s + b.to(x.dtype)

    for shift, n, given in ((1, 1, True), (1, 4, True), (3, 4, True), (3, 28, False)):
        scheduler = euler(shift, n, given)
        s = scheduler.sigmas.double()
        states = follow(x, range(n), lambda x, k: scheduler.step(
            velocity(x, scheduler.sigmas[k]), scheduler.timesteps[k], x).prev_sample)
        exact = follow(x.double(), range(n), lambda x, k: x + (s[k + 1] - s[k]) * velocity(x, s[k]))
        assert nmse(states, exact) < 1e-12
        name = f"euler.shift{shift}.{'given' if given else 'none'}.n{n}"
        out |= {f"{name}.x": states, f"{name}.x64": exact}

    for shift, n in ((1, 1), (1, 4), (3, 28)):
        scheduler = FlowMatchHeunDiscreteScheduler(shift=shift)
        scheduler.set_timesteps(n)
        unique = torch.cat([scheduler.sigmas[:-1:2], scheduler.sigmas[-1:]])
        s = unique.double()

        def interval(x, k):
            """Two evaluations, but one in the last interval, which ends at 0."""
            for evaluation in range(1 if k == n - 1 else 2):
                t = scheduler.timesteps[2 * k + evaluation]
                x = scheduler.step(velocity(x, unique[k + evaluation]), t, x).prev_sample
            return x

        def textbook(x, k):
            first, ds = velocity(x, s[k]), s[k + 1] - s[k]
            return x + ds * (first if k == n - 1 else (first + velocity(x + ds * first, s[k + 1])) / 2)

        states, exact = follow(x, range(n), interval), follow(x.double(), range(n), textbook)
        assert nmse(states, exact) < 1e-11  # diffusers multiplies and divides by sigma: digits lost where it is small
        name = f"heun.shift{shift}.n{n}"
        out |= {f"{name}.sigmas": unique, f"{name}.x": states, f"{name}.x64": exact}
    return out


# The original DiT's diffusion

BETA = np.linspace(1e-4, 0.02, 1000)
ABAR = np.cumprod(1 - BETA)


def kept_steps(spacing):
    """"ddimN": multiples of the smallest stride with N of them; counts: equal sections, the first ones a step longer"""
    if str(spacing).startswith("ddim"):
        count = int(spacing[4:])
        return next(list(range(0, 1000, i)) for i in range(1, 1000) if -(-1000 // i) == count)
    counts, kept, start = [int(count) for count in str(spacing).split(",")], [], 0
    for i, count in enumerate(counts):
        size = 1000 // len(counts) + (i < 1000 % len(counts))
        assert size >= count
        at = 0.0
        for _ in range(count):
            kept.append(start + round(at))
            at += (size - 1) / (count - 1) if count > 1 else 1
        start += size
    return sorted(set(kept))


def chain(spacing):
    kept = kept_steps(spacing)
    abar = ABAR[kept]
    before = np.append(1, abar[:-1])
    beta = 1 - abar / before
    pv = beta * (1 - before) / (1 - abar)
    logpv = np.log(np.append(pv[1:2], pv[1:]))
    return {"kept": np.array(kept), "beta": beta, "abar": abar, "pv": pv, "logpv": logpv, "abar_before": before}


def chains():
    out = {"chain.beta": BETA, "chain.abar": ABAR}
    for spacing in ("1", "2", "10", "100", "250", "ddim10", "ddim30", "ddim50", "10,15,20", "3,1,2"):
        name = f"chain.{spacing.replace(',', '-')}"
        out |= {f"{name}.{k}": v for k, v in chain(spacing).items() if k != "abar_before"}

    c = chain(250)
    near([ABAR[0], ABAR[499]], [.9999, .0785872429], 6e-11)
    near(ABAR[999], 4.03582977e-05, 6e-14)
    assert [*c["kept"][:8], *c["kept"][-4:]] == [*range(0, 32, 4), 987, 991, 995, 999] and len(c["kept"]) == 250
    near([c["beta"][0], c["beta"][1]], [1e-4, 5.990655645e-4], 6e-13)
    near([c["beta"][249], c["pv"][249]], [.077519345, .077519082], 6e-10)
    near(c["pv"][1], 8.570253441e-5, 6e-14)
    near([*c["logpv"][:2], np.log(c["beta"][249])], [-9.364628160, -9.364628160, -2.557227761], 6e-10)
    return out


def denoised(x, eps, abar):
    return x / math.sqrt(abar) - math.sqrt(1 / abar - 1) * eps


def ddim_step(x, eps, abar, before):
    return math.sqrt(before) * denoised(x, eps, abar) + math.sqrt(1 - before) * eps


def ancestral_step(x, eps, v, noise, c, k):
    beta, abar, before = c["beta"][k], c["abar"][k], c["abar_before"][k]
    mean = (beta * math.sqrt(before) * denoised(x, eps, abar) + (1 - before) * math.sqrt(1 - beta) * x) / (1 - abar)
    fraction = (v + 1) / 2
    return mean + (k > 0) * torch.exp((fraction * math.log(beta) + (1 - fraction) * c["logpv"][k]) / 2) * noise


def diffusion(x, a, b, c, noise):
    out = {}

    def eps(x, t):
        return a.to(x.dtype) * x + b.to(x.dtype) * float(t) / 1000

    for spacing in ("10", "ddim30", "ddim50"):  # the original's DDIM
        s = chain(spacing)
        steps = reversed(range(len(s["kept"])))
        out[f"original_ddim.{spacing}.x64"] = follow(x.double(), steps, lambda x, k: ddim_step(
            x, eps(x, s["kept"][k]), s["abar"][k], s["abar_before"][k]))

    for n in (50, 30, 4):  # diffusers' DDIM, as its DiT pipeline configures it
        scheduler = DDIMScheduler(clip_sample=False)
        scheduler.set_timesteps(n)
        states = follow(x, scheduler.timesteps, lambda x, t: scheduler.step(eps(x, t), t, x).prev_sample)
        assert list(scheduler.timesteps) == [k * (1000 // n) for k in reversed(range(n))]
        exact = follow(x.double(), scheduler.timesteps.tolist(), lambda x, t: ddim_step(
            x, eps(x, t), ABAR[t], ABAR[t - 1000 // n] if t >= 1000 // n else 1.0))
        assert nmse(states, exact) < 1e-9, nmse(states, exact)
        if n == 50:  # 50 divides 1000
            assert torch.equal(exact, out["original_ddim.ddim50.x64"])
        out |= {f"ddim.n{n}.timesteps": scheduler.timesteps, f"ddim.n{n}.x": states, f"ddim.n{n}.x64": exact}
    out["ddim.alphas_cumprod"] = scheduler.alphas_cumprod

    s = chain(10)  # ancestral sampling; step k = 9 takes noise[0], step 0 draws noise[9] and drops it
    exact = follow(x.double(), reversed(range(10)), lambda x, k: ancestral_step(
        x, eps(x, s["kept"][k]), c.double() * x, noise[9 - k].double(), s, k))
    out |= {"ancestral.n10.noise": noise, "ancestral.n10.x64": exact}

    scheduler = DDPMScheduler(variance_type="learned_range", clip_sample=False, timestep_spacing="linspace")
    scheduler.set_timesteps(10)
    assert list(scheduler.timesteps) == list(reversed(kept_steps(10)))
    draws = iter(noise)
    with patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: next(draws)):
        states = follow(x, scheduler.timesteps, lambda x, t: scheduler.step(
            torch.cat([eps(x, t), c * x], 1), t, x).prev_sample)
    assert nmse(states, exact) < 1e-11  # the same formula, its chain in float32
    out["ancestral.n10.x"] = states
    return out


def generate():
    random = Random(SEED)
    x, b = random.tensor(*SHAPE), random.tensor(*SHAPE)
    a, c = random.tensor(*SHAPE, scale=0.1, offset=0.9), random.tensor(*SHAPE, scale=0.5)
    constants_of_the_sheet()
    noise = random.tensor(10, *SHAPE)
    io = {"x": x, "a": a, "b": b, "c": c} | sigmas() | flow(x, a, b) | chains() | diffusion(x, a, b, c, noise)
    save("schedulers_io", io, __file__, SEED)
