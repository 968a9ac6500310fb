#!/usr/bin/env python3
"""A gate without noise: instructions of fixed kernels against those recorded in counts.json.

    bench/gate/run.py             fails where one takes more than it did, and says which
    bench/gate/run.py --record    writes down what they take now, for this compiler
    bench/gate/run.py --only avx2 loops

Callgrind counts what runs in portable C++ and AVX2. What valgrind does not know (AVX-512 and its relatives,
AVX-VNNI) is counted by single steps where the machine has it. The loops of all micro-kernels, NEON's too where a
cross compiler is installed, are read in the assembly: there not one instruction may be new, and nothing may be
spilled (spills.py). Counts belong to one version of a compiler; with another they are only shown.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import loops
import spills

HERE = pathlib.Path(__file__).resolve().parent
RECORD = HERE / "counts.json"
MARGIN = 0.03  # of what runs; loops have none
GONE = "gone: record anew"
UNSUPPORTED = 3  # what `kernels` ends with where the machine lacks the instructions


def callgrind(program, isa, work):
    """{case: instructions}, or None where the machine cannot run it."""
    out = work / f"callgrind.{isa}"
    valgrind = ["valgrind", "-q", "--tool=callgrind", "--toggle-collect=counted", "--dump-after=counted"]
    run = subprocess.run(
        [*valgrind, f"--callgrind-out-file={out}", program, "callgrind", isa],
        env={"PATH": os.environ["PATH"], "LD_BIND_NOW": "1"},
        capture_output=True,
        text=True,
    )
    if run.returncode == UNSUPPORTED:
        return None
    if run.returncode != 0:
        raise SystemExit(f"valgrind ended with {run.returncode} on {isa}:\n{run.stderr}")
    counts = {}
    for number, name in enumerate(run.stdout.splitlines(), 1):
        dump = out.with_name(f"{out.name}.{number}").read_text()
        counts[name] = int(re.search(r"^totals: (\d+)$", dump, re.MULTILINE)[1])
    return counts


def step(program, isa, work):
    """The same, an instruction at a time."""
    run = subprocess.run(
        [program, "step", isa],
        env={"PATH": os.environ["PATH"], "LD_BIND_NOW": "1"},
        capture_output=True,
        text=True,
    )
    if run.returncode in (2, UNSUPPORTED):  # 2: not on this system
        return None
    if run.returncode != 0:
        raise SystemExit(f"kernels ended with {run.returncode} on {isa}:\n{run.stderr}")
    return {name: int(count) for name, count in (line.split("\t") for line in run.stdout.splitlines())}


DYNAMIC = {
    "portable": callgrind,
    "avx2": callgrind,
    "neon": callgrind,
    "avxvnni": step,
    "avx512": step,
    "avx512vnni": step,
    "avx512bf16": step,
}


def measure(native, groups, include, eigen, jobs):
    """{compiler and version: {group: {case: instructions}}}, and the loops that spill."""
    found, spilled = {}, []
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        work = pathlib.Path(folder)
        compilers = spills.compilers(native) if "loops" in groups else []
        readings = [
            (c, optimise, pool.submit(loops.read, c, optimise, include, eigen, work)) for c, optimise in compilers
        ]
        program = work / "kernels"
        isas = [isa for isa in DYNAMIC if isa in groups]
        if isas:
            flags = [*loops.FLAGS, "-O2", f"-I{include}", "-isystem", eigen]
            subprocess.run([native, *flags, HERE / "kernels.cpp", "-o", program], check=True)
        runs = [(isa, pool.submit(DYNAMIC[isa], program, isa, work)) for isa in isas]
        for isa, run in runs:
            counts = run.result()
            print(f"{isa:11} {f'{len(counts)} cases' if counts else 'not on this machine'}", flush=True)
            if counts:
                found.setdefault(loops.version(native), {})[isa] = counts
        for compiler, optimise, reading in readings:
            title, result = f"{loops.version(compiler)} {optimise}", reading.result()
            print(f"{'loops':11} {len(result)} by {title}", flush=True)
            spilled += [(title, loop) for loop in result if loop.spills]
            if optimise == "-O2" and "clang" not in compiler:
                counts = {loop.name: loop.instructions for loop in result}
                found.setdefault(loops.version(compiler), {})["loops"] = counts
    return found, spilled


def compare(found, recorded):
    """A line for every difference, and whether one of them is a failure."""
    lines, failed = [], False
    for compiler, groups in found.items():
        known = recorded.get(compiler)
        if known is None:
            print(f"Nothing is recorded for {compiler}: its counts are only shown.")
        for group, counts in groups.items():
            old = (known or {}).get(group, {})
            margin = 0 if group == "loops" else MARGIN
            for name in sorted(old.keys() | counts.keys()):
                was, now = old.get(name), counts.get(name)
                verdict = None
                if known is None:
                    verdict = ""
                elif was is None:
                    verdict = "new: record it"
                elif now is None:
                    verdict = GONE
                elif now > was * (1 + margin):
                    verdict = "GREW"
                elif now < was * (1 - margin):
                    verdict = "smaller: record anew"
                if verdict is not None:
                    failed |= verdict in ("GREW", GONE)
                    change = f"{100 * now / was - 100:+7.1f} %" if was and now else ""
                    lines.append(
                        f"{group:11} {name:38} {was or '-':>10} {now or '-':>10} {change:>10}  {verdict}".rstrip()
                    )
    if lines:
        print(f"\n{'':11} {'instructions of':38} {'recorded':>10} {'now':>10} {'change':>10}")
        print("\n".join(lines))
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write counts.json")
    parser.add_argument("--only", nargs="+", choices=[*DYNAMIC, "loops"], default=[*DYNAMIC, "loops"])
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--include", default=HERE.parent.parent / "include", help="of the library")
    parser.add_argument("--eigen", default="/usr/include/eigen3")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        raise SystemExit("This needs valgrind (Debian: apt-get install valgrind).")
    found, spilled = measure(options.compiler, options.only, options.include, options.eigen, options.jobs)

    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if options.record:
        for compiler, groups in found.items():  # what this machine cannot run stays as it was
            recorded.setdefault(compiler, {}).update(groups)
        RECORD.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
        print(f"Recorded for {', '.join(found)}.")
    more = compare(found, recorded)
    spills_too = spills.report(spilled)
    if more:
        print("\nFAILED: more instructions than recorded. If it is to be so: bench/gate/run.py --record")
    if spills_too:
        print("\nFAILED: registers run out in a loop. Lower panel_rows, or see what keeps them occupied.")
    if more or spills_too:
        sys.exit(1)
    print("No kernel takes more instructions than recorded, and no loop spills.")


if __name__ == "__main__":
    main()
