"""torch.randn on the CPU: one seed one stream, several draws from one generator, and both of its float32 roads.

From 16 numbers on, float32 goes through vectorised log, sin and cos on any machine with AVX2 (randn_io), through the C
library on the others (randn_scalar_io); they differ in the last bits. Below 16, and in float64, there is one road.
"""
import os
import subprocess
import sys

from store import save, torch

SEEDS = (0, 1, 42, 2**40 + 12345, 2**63 - 1)
SIZES = (1, 2, 3, 7, 15, 16, 17, 23, 31, 32, 33, 40, 100, 1003)
CHAIN = (5, 20, 16, 3, 33)


def draws():
    """Every draw under its name, by the road of this process."""
    out, generator = {}, torch.Generator()

    def draw(name, n, seed=None, dtype=torch.float32):
        if seed is not None:
            generator.manual_seed(seed)
        out[name] = torch.randn(n, generator=generator, dtype=dtype)

    for seed in SEEDS:
        for n in SIZES:
            draw(f"randn_s{seed}_n{n}", n, seed)
            torch.manual_seed(seed)  # the default generator gives the same numbers
            assert torch.equal(torch.randn(n), out[f"randn_s{seed}_n{n}"])
    for n in (1, 2, 5, 15, 16, 17, 40):
        draw(f"randn64_s42_n{n}", n, 42, torch.float64)
    for dtype, name in ((torch.float32, "chain"), (torch.float64, "chain64")):
        for k, n in enumerate(CHAIN):
            draw(f"{name}_s7_{k}", n, 7 if k == 0 else None, dtype)
    generator.manual_seed(12345)  # only the low 32 bits of a seed count
    assert torch.equal(torch.randn(100, generator=generator), out[f"randn_s{2**40 + 12345}_n100"])
    return out


def generate():
    save("randn_io", draws(), __file__, SEEDS)
    # torch chooses its road once, when it starts: the other one takes another process
    subprocess.run([sys.executable, "-B", __file__], env=os.environ | {"ATEN_CPU_CAPABILITY": "default"}, check=True)


if __name__ == "__main__":
    differ = {name: x for name, x in draws().items() if x.dtype == torch.float32 and len(x) >= 16}
    save("randn_scalar_io", differ, __file__, SEEDS)
