#!/usr/bin/env python3
"""Runs every contender on every case, alternating, and prints the table (README.md)."""
import argparse
import json
import os
import platform
import select
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from worker import ACTIVATIONS, numbers

HERE = Path(__file__).resolve().parent
DTYPES = ("fp32", "bf16", "int8")
PATIENCE = 1500  # seconds for one answer: some peers compile or quantise for long


def block_flop(n, d):
    """As bench/flop.hpp: projections and MLP of 4 d over n tokens, and attention among them"""
    return 24 * n * d * d + 4 * n * n * d


def xl2_flop(side):
    n, d = side * side // 4, 1152
    return 28 * (block_flop(n, d) + 12 * d * d) + 2 * n * d * 4 * 12 + 2 * d * (256 + d) + 4 * d * d


FLOP = {
    "gemm": lambda m, k, n: 2 * m * k * n,
    "chain": lambda n: 28 * 24 * n * 1152**2,
    "xl2": xl2_flop,
    "sd3": lambda image, text: block_flop(image + text, 1536),
    "flux_double": lambda image, text: block_flop(image + text, 3072),
    "flux_single": lambda image, text: block_flop(image + text, 3072),
    "attention": lambda n, heads, d: 4 * n * n * heads * d,
}

# title -> (kind, sizes, dtypes)
SECTIONS = {
    "gemm": {
        "XL/2 qkv, 256 x 1152 x 3456": ("gemm", (256, 1152, 3456), DTYPES),
        "XL/2 out, 256 x 1152 x 1152": ("gemm", (256, 1152, 1152), DTYPES),
        "XL/2 mlp up, 256 x 1152 x 4608": ("gemm", (256, 1152, 4608), DTYPES),
        "XL/2 mlp down, 256 x 4608 x 1152": ("gemm", (256, 4608, 1152), DTYPES),
        "SD3 mlp up, 1024 x 1536 x 6144": ("gemm", (1024, 1536, 6144), DTYPES),
        "SD3 qkv, 1178 x 1536 x 4608": ("gemm", (1178, 1536, 4608), DTYPES),
        "FLUX out, 4096 x 3072 x 3072": ("gemm", (4096, 3072, 3072), DTYPES),
        "the products of XL/2 at 256, 28 x 4": ("chain", (256,), DTYPES),
    },
    "xl2": {
        "DiT-XL/2, 256 x 256": ("xl2", (32,), DTYPES),
        "DiT-XL/2, 512 x 512": ("xl2", (64,), DTYPES),
    },
    "blocks": {
        "SD3-medium joint block, 1178 tokens": ("sd3", (1024, 154), DTYPES),
        "SD3-medium joint block, 4250 tokens": ("sd3", (4096, 154), DTYPES),
        "FLUX.1 double block, 1536 tokens": ("flux_double", (1024, 512), DTYPES),
        "FLUX.1 single block, 1536 tokens": ("flux_single", (1024, 512), DTYPES),
        "FLUX.1 double block, 4608 tokens": ("flux_double", (4096, 512), ("bf16", "int8")),
        "FLUX.1 single block, 4608 tokens": ("flux_single", (4096, 512), ("bf16", "int8")),
    },
    "attention": {
        "XL/2 at 512, 1024 x 16 x 72": ("attention", (1024, 16, 72), ("fp32", "bf16")),
        "SD3 at 512, 1178 x 24 x 64": ("attention", (1178, 24, 64), ("fp32", "bf16")),
        "SD3 at 1024, 4250 x 24 x 64": ("attention", (4250, 24, 64), ("fp32", "bf16")),
        "FLUX at 512, 1536 x 24 x 128": ("attention", (1536, 24, 128), ("fp32", "bf16")),
    },
}

# What each peer is asked to run: (name, dtypes -> variants). Of several variants the best one counts.
PEERS = {
    "PyTorch": {"fp32": ("eager", "compile"), "bf16": ("eager", "compile"), "int8": ("dynamic",)},
    "OpenVINO": {"fp32": ("-",), "bf16": ("-",), "int8": ("-",)},
    "oneDNN": {"fp32": ("-",), "bf16": ("-",), "int8": ("-",)},
    "OpenBLAS": {"fp32": ("nt", "nn")},
    "Eigen": {"fp32": ("nt", "nn")},
    "ggml": {"fp32": ("f32",), "bf16": ("bf16", "f16"), "int8": ("q8_0",)},
}


class Worker:
    """A contender's process, which answers one line to each line"""

    def __init__(self, command, threads, log):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "OMP_", "MKL_", "ATEN_"))}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, stderr=log, env=environment)
        self.versions = self.process.stdout.readline().strip()

    def ask(self, line):
        """(seconds, None) or (None, why not)"""
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                self.process.kill()
                return None, f"no answer within {PATIENCE} s"
            verdict, _, rest = self.process.stdout.readline().strip().partition(" ")
        except OSError:
            verdict, rest = "", ""
        if verdict == "ok":
            return float(rest), None
        return None, rest or "its process ended"

    def alive(self):
        return bool(self.versions) and self.process.poll() is None

    def quit(self):
        try:
            self.process.stdin.close()
            self.process.wait(timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()


def cpu():
    info = {}
    try:
        for line in subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout.splitlines():
            name, _, value = line.partition(":")
            info[name.strip()] = value.strip()
    except (OSError, subprocess.CalledProcessError):
        return {"model": platform.processor() or platform.machine(), "flags": ""}
    wanted = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_bf16", "avx512_vnni", "avx512_fp16", "amx_bf16",
              "amx_int8", "asimd", "bf16", "i8mm", "sve")
    flags = info.get("Flags", "").split()
    keys = ("Model name", "CPU family", "Model", "CPU(s)", "L1d cache", "L2 cache", "L3 cache", "Hypervisor vendor")
    return {"model": ", ".join(f"{k} {info[k]}" for k in keys if k in info),
            "flags": " ".join(f for f in wanted if f in flags)}


def error_of(file, reference):
    """Squared difference over squared size, None where there is nothing to compare"""
    try:
        a = np.fromfile(file, np.float32).astype(np.float64)
    except OSError:
        return None
    if reference is None or not a.size or a.size < reference.size:
        return None
    a = a[:reference.size]
    return float(np.square(a - reference).sum() / np.square(reference).sum())


class Comparison:
    def __init__(self, arguments):
        self.arguments = arguments
        self.work = Path(arguments.work)
        (self.work / "cache").mkdir(parents=True, exist_ok=True)
        self.log = open(self.work / "workers.log", "w", encoding="utf-8")
        self.workers, self.missing = {}, {}
        self.deadline = time.monotonic() + 60 * arguments.minutes

    def start(self):
        threads, programs = self.arguments.threads, self.work / "bin"
        commands = {f"dit {dtype}": [programs / f"dit_{dtype}", threads] for dtype in DTYPES}
        commands |= {"PyTorch": [sys.executable, HERE / "torch_worker.py", threads],
                     "OpenVINO": [sys.executable, HERE / "openvino_worker.py", threads, self.work / "cache"]}
        commands |= {name: [programs / name.lower(), threads] for name in ("oneDNN", "OpenBLAS", "Eigen", "ggml")}
        for name, command in commands.items():
            if self.arguments.only and name.split()[0] not in self.arguments.only + ["dit"]:
                continue
            if not Path(command[0]).exists():
                self.missing[name] = "not installed, or it did not compile"
                continue
            worker = Worker(command, threads, self.log)
            if worker.alive():
                self.workers[name] = worker
            else:
                self.missing[name] = "does not start (not installed?)"

    def quit(self):
        for worker in self.workers.values():
            worker.quit()

    def contenders(self, dtype):
        """[(name, worker, variant)]"""
        found = []
        if f"dit {dtype}" in self.workers and self.arguments.rounds:  # dit keeps nothing from one run to the next
            found = [("dit", self.workers[f"dit {dtype}"], "-")]
        for name, variants in PEERS.items():
            if name in self.workers:
                found += [(name, self.workers[name], v) for v in variants.get(dtype, ())]
        return found

    def peak(self, dtype):
        """GFLOP/s, or None"""
        worker = self.workers.get(f"dit {dtype}")
        seconds = worker.ask(f"prepare - peak {dtype} -")[0] if worker else None
        return 1e-9 / seconds if seconds else None

    def case(self, title, kind, sizes, dtype):
        args = self.arguments
        flop, began = FLOP[kind](*sizes), time.monotonic()
        out = self.work / "output"
        out.mkdir(exist_ok=True)
        rows = []
        for name, worker, variant in self.contenders(dtype):
            key = f"{kind} {dtype} {variant} " + " ".join(map(str, sizes))
            file = out / f"{name}_{variant}.f32"
            file.unlink(missing_ok=True)
            seconds, why = worker.ask(f"prepare {file} {key}")
            rows.append({"contender": name, "variant": variant, "worker": worker, "key": key, "file": file,
                         "first": seconds, "absent": why, "times": []})
        self.check(rows, kind, sizes, dtype)
        best = {}
        for row in rows:
            if row["first"]:
                best[row["contender"]] = min(row["first"], best.get(row["contender"], 1e9))
        running = [r for r in rows if r["first"] and r["first"] <= 1.15 * best[r["contender"]]]
        peaks = []
        for _ in range(args.rounds):
            peaks.append(self.peak(dtype))
            for row in running:
                time.sleep(0.02)  # threads of the one before may still be spinning
                seconds, row["absent"] = row["worker"].ask("run " + row["key"])
                if seconds:
                    row["times"].append(seconds)
        for worker in {id(r["worker"]): r["worker"] for r in rows}.values():
            worker.ask("clear")
        peak = max((p for p in peaks if p), default=None)
        for row in rows:
            if row["times"]:
                row["seconds"] = statistics.median(row["times"])
                row["spread"] = statistics.median(abs(t - row["seconds"]) for t in row["times"]) / row["seconds"]
                row["gflops"] = flop / row["seconds"] / 1e9
                row["share"] = row["gflops"] / peak if peak else None
        ours = next((r["seconds"] for r in rows if r["contender"] == "dit" and r["times"]), None)
        for row in rows:
            row["ratio"] = row["seconds"] / ours if row["times"] and ours else None
            for private in ("worker", "file", "key"):
                del row[private]
        print(f"{title}, {dtype}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        return {"case": title, "kind": kind, "sizes": sizes, "dtype": dtype, "flop": flop, "peak_gflops": peak,
                "contenders": rows}

    def check(self, rows, kind, sizes, dtype):
        """How far each output is from the reference: the exact product, or else PyTorch's in fp32, which fp32's turn
        leaves behind for the others"""
        reference, kept = None, self.work / "cache" / f"reference_{kind}_{'_'.join(map(str, sizes))}.f32"
        if kind == "gemm":
            m, k, n = min(sizes[0], 64), *sizes[1:]  # some rows are enough
            x, w = (a.astype(np.float64) for a in (numbers(m, k, scale=ACTIVATIONS), numbers(n, k)))
            reference = (x @ w.T).ravel()
        else:
            torch = next((r["file"] for r in rows if r["contender"] == "PyTorch" and r["variant"] == "eager"), None)
            if dtype == "fp32" and torch and torch.exists():
                kept.write_bytes(torch.read_bytes())
            if kept.exists():
                reference = np.fromfile(kept, np.float32).astype(np.float64)
        for row in rows:
            row["nmse"] = error_of(row["file"], reference) if row["first"] else None

    def run(self, section):
        """Every case of a section, as long as there is time; the results are kept in a file"""
        results, skipped = [], []
        cases = [(title, *rest, dtype) for title, (*rest, dtypes) in SECTIONS[section].items()
                 for dtype in dtypes if dtype in self.arguments.dtypes]
        for title, kind, sizes, dtype in cases:
            if self.arguments.case and self.arguments.case not in title:
                continue
            if time.monotonic() > self.deadline:
                skipped.append(f"{title}, {dtype}")
                continue
            results.append(self.case(title, kind, sizes, dtype))
            if not self.arguments.rounds:
                continue
            stored = {"section": section, "machine": self.machine(), "missing": self.missing, "skipped": skipped,
                      "results": results}
            (self.work / f"{section}.json").write_text(json.dumps(stored, indent=1), encoding="utf-8")

    def machine(self):
        built = self.work / "versions.txt"
        return {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), **cpu(),
                "threads": self.arguments.threads, "rounds": self.arguments.rounds, "kernel": platform.release(),
                "versions": sorted({w.versions for w in self.workers.values()}),
                "built with": built.read_text(encoding="utf-8").splitlines() if built.exists() else []}


def cell(row):
    if row is None:
        return "-"
    if not row["times"]:
        return "absent"
    text = f"{1e3 * row['seconds']:.4g} ms"
    if row["share"]:
        text += f", {100 * row['share']:.0f} %"
    if row["contender"] != "dit" and row["ratio"]:
        text += f", **{row['ratio']:.2f}x**"
    return text + (f" ({row['variant']})" if row["variant"] not in ("-", "nt", "nn") else "")


def best_rows(case):
    """contender -> its fastest variant, or one that says why there is none"""
    rows = {}
    for row in case["contenders"]:
        known = rows.get(row["contender"])
        if not known or (row["times"] and (not known["times"] or row["seconds"] < known["seconds"])):
            rows[row["contender"]] = row
    return rows


def markdown(stored):
    """The tables of one section"""
    machine = stored["machine"]
    yield f"## {stored['section']}"
    yield ""
    yield f"{machine['date']}; {machine['model']}; {machine['flags']}; Linux {machine['kernel']}"
    yield ""
    yield f"{machine['threads']} threads, medians of {machine['rounds']} alternating rounds. " \
          + "; ".join(machine["versions"] + machine["built with"])
    for dtype in DTYPES:
        cases = [c for c in stored["results"] if c["dtype"] == dtype]
        if not cases:
            continue
        there = {row["contender"] for case in cases for row in case["contenders"] if row["times"]}
        names = [name for name in ("dit", *PEERS) if name in there]
        yield ""
        yield f"| {dtype}: time, share of the peak, **time / dit's** | peak, GFLOP/s | " + " | ".join(names) + " |"
        yield "|---" * (len(names) + 2) + "|"
        for case in cases:
            rows = best_rows(case)
            peak = f"{case['peak_gflops']:.0f}" if case["peak_gflops"] else "-"
            yield f"| {case['case']} | {peak} | " + " | ".join(cell(rows.get(n)) for n in names) + " |"
        errors = {}
        for case in cases:
            for row in case["contenders"]:
                if row.get("nmse") is not None:
                    name = row["contender"] + (f" {row['variant']}" if row["variant"] != "-" else "")
                    errors[name] = max(row["nmse"], errors.get(name, 0))
        if not errors:
            continue
        yield ""
        yield "Largest squared error over squared size: " + ", ".join(f"{n} {e:.1e}" for n, e in errors.items()) + "."
    reasons = {f"{n}: {why}" for n, why in stored["missing"].items()}
    for case in stored["results"]:
        reasons |= {f"{r['contender']} {r['variant']}, {case['kind']} {case['dtype']}: {r['absent']}"
                    for r in case["contenders"] if r["absent"] and r["absent"] != "not measured"}
    reasons |= {f"{case}: no time left" for case in stored["skipped"]}
    if reasons:
        yield ""
        yield "Absent: " + "; ".join(sorted(reasons)) + "."
    yield ""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=[*SECTIONS], help=f"of {', '.join(SECTIONS)}; all", metavar="what")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5, help="5; 0: models are converted and compiled, no more")
    parser.add_argument("--minutes", type=float, default=12, help="no case is begun after that; 12")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--only", nargs="+", help="these peers only")
    parser.add_argument("--case", help="only cases whose title has this")
    parser.add_argument("--work", required=True, help="folder of the programs, converted models and results")
    parser.add_argument("--output", help="the table, as a file as well")
    parser.add_argument("--table", action="store_true", help="runs nothing: the table of what was run before")
    arguments = parser.parse_args()
    if unknown := set(arguments.what) - set(SECTIONS):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if not arguments.table:
        comparison = Comparison(arguments)
        comparison.start()
        try:
            for section in arguments.what:
                comparison.run(section)
        finally:
            comparison.quit()
        if not arguments.rounds:
            return
    files = [Path(arguments.work) / f"{section}.json" for section in arguments.what]
    lines = [line for f in files if f.exists() for line in markdown(json.loads(f.read_text(encoding="utf-8")))]
    print("\n".join(lines))
    if arguments.output:
        Path(arguments.output).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
