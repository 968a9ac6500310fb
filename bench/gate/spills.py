#!/usr/bin/env python3
"""Vectors that the loops of micro-kernels move to and from memory for want of registers. There must be none.

    bench/gate/spills.py          what spills, with g++ -O2 and -O3, clang++ and the cross compiler for 64-bit ARM,
                                  as far as they are installed
    bench/gate/spills.py --all    all loops
"""

import argparse
import pathlib
import shutil
import sys
import tempfile

import loops

HERE = pathlib.Path(__file__).resolve().parent
# With these nothing spills. Others may choose registers less well, which is for them to improve.
KNOWN = ("g++ 12.", "clang++ 14.", "aarch64-linux-gnu-g++ 12.")
# Vectors that may be spilled all the same, and why.
TOLERATED = {
    "neon bf16 6x1": 5,  # moves in 81 instructions; 5 rows need none, but take more for a product
}


def compilers(native="g++"):
    """(compiler, optimisation) of those that are installed, `native` first."""
    clang = next((c for c in ("clang++", "clang++-14") if shutil.which(c)), None)
    wanted = [(native, "-O2"), (native, "-O3"), (clang, "-O2"), ("aarch64-linux-gnu-g++", "-O2")]
    return [(c, optimise) for c, optimise in wanted if c and shutil.which(c)]


def report(spilled):
    """Prints [(compiler, loop)] that spill; whether that is a failure."""
    failed = False
    for compiler, loop in spilled:
        if loop.spills > TOLERATED.get(loop.name, 0):
            print(f"SPILLS  {compiler:34} {loop}")
            failed |= compiler.startswith(KNOWN)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--include", default=HERE.parent.parent / "include", help="of the library")
    parser.add_argument("--eigen", default="/usr/include/eigen3")
    options = parser.parse_args()
    spilled = []
    with tempfile.TemporaryDirectory() as work:
        for compiler, optimise in compilers(options.compiler):
            title = f"{loops.version(compiler)} {optimise}"
            found = loops.read(compiler, optimise, options.include, options.eigen, pathlib.Path(work))
            print(f"{title}: {len(found)} loops")
            for loop in found if options.all else ():
                print(f"  {loop}")
            spilled += [(title, loop) for loop in found if loop.spills]
    if report(spilled):
        sys.exit(1)


if __name__ == "__main__":
    main()
