#!/usr/bin/env python3
"""What it costs to compile dit: processor seconds, peak memory and object size of one translation unit each.

Prints a markdown table. Eigen is found in /usr/include/eigen3 or where --eigen says.
    bench/compile_cost.py --compilers g++ clang++ --runs 3
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import tempfile

INCLUDE = pathlib.Path(__file__).resolve().parent.parent / "include"

UNITS = {
    "Eigen and its Tensor alone": """
        #include <Eigen/Core>
        #include <unsupported/Eigen/CXX11/Tensor>
    """,
    "`dit/dit.hpp`, unused": """
        #include "dit/dit.hpp"
    """,
    "one `DiTBlock`": """
        #include "dit/nn/dit_block.hpp"
        using Block = dit::DiTBlock<dit::BlockConfig{.width = 1152, .heads = 16, .mlp = 4608}>;
        void run(const Block& block, dit::Tokens<float, 1152> x, dit::Tokens<float, 1152> c, dit::Workspace& workspace) {
          block(x, c, workspace);
        }
    """,
    "DiT-XL/2 forward": """
        #include "dit/models/dit.hpp"
        void run(const dit::DiT<dit::dit_xl_2>& model, dit::View<const float, 4> x, std::span<const float> t,
                 std::span<const int> y, dit::View<float, 4> out, dit::Workspace& workspace) {
          model(x, t, y, out, workspace);
        }
    """,
    "the same in int8": """
        #include "dit/models/dit.hpp"
        void run(const dit::DiT<dit::dit_xl_2, dit::int8>& model, dit::View<const float, 4> x, std::span<const float> t,
                 std::span<const int> y, dit::View<float, 4> out, dit::Workspace& workspace) {
          model(x, t, y, out, workspace);
        }
    """,
    "the same, the kernels elsewhere": """
        #include "dit/kernels/extern.hpp"
        #include "dit/models/dit.hpp"
        void run(const dit::DiT<dit::dit_xl_2, dit::int8>& model, dit::View<const float, 4> x, std::span<const float> t,
                 std::span<const int> y, dit::View<float, 4> out, dit::Workspace& workspace) {
          model(x, t, y, out, workspace);
        }
    """,
    "all kernels": """
        #define DIT_KERNELS
        #include "dit/kernels/extern.hpp"
    """,
    "what is compiled once: `dit/dit.cpp`": """
        #include "dit/dit.cpp"
    """,
    "DiT-S/2: load, guided Euler sampler": """
        #include "dit/dit.hpp"
        dit::Tensor<float, 4> run(const char* file, const dit::Tensor<float, 4>& noise, dit::Workspace& workspace) {
          const auto model = dit::load<dit::DiT<dit::dit_s_2>>(file);
          dit::Conditioned both(model, {207, 1000}, workspace);
          dit::BatchedGuidance field(std::ref(both), dit::Guidance{4});
          return dit::sample(noise, dit::Schedule::uniform(50), field).x;
        }
    """,
    "the same, `dit/extern.hpp` before it": """
        #include "dit/extern.hpp"
        #include "dit/dit.hpp"
        dit::Tensor<float, 4> run(const char* file, const dit::Tensor<float, 4>& noise, dit::Workspace& workspace) {
          const auto model = dit::load<dit::DiT<dit::dit_s_2>>(file);
          dit::Conditioned both(model, {207, 1000}, workspace);
          dit::BatchedGuidance field(std::ref(both), dit::Guidance{4});
          return dit::sample(noise, dit::Schedule::uniform(50), field).x;
        }
    """,
}


def measure(compiler, flags, source, work):
    """Processor seconds, peak MB, object KB of one compilation."""
    unit, target = work / "unit.cpp", work / "unit.o"
    unit.write_text(source)
    process = subprocess.Popen([compiler, "-std=c++20", *flags, "-c", str(unit), "-o", str(target)])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{compiler} does not compile:\n{source}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, target.stat().st_size / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compilers", nargs="+", default=["g++", "clang++"])
    parser.add_argument("--runs", type=int, default=3, help="the quickest of them counts")
    parser.add_argument("--eigen", default="/usr/include/eigen3")
    parser.add_argument("--optimize", default="-O2")
    options = parser.parse_args()
    compilers = [c for c in options.compilers if shutil.which(c)]
    flags = [options.optimize, f"-I{INCLUDE}", "-isystem", options.eigen]

    print("| translation unit | " + " | ".join(f"{c}: s | MB | object KB" for c in compilers) + " |")
    print("|---|" + "---:|---:|---:|" * len(compilers))
    with tempfile.TemporaryDirectory() as folder:
        for name, source in UNITS.items():
            row = []
            for compiler in compilers:
                runs = [measure(compiler, flags, source, pathlib.Path(folder)) for _ in range(options.runs)]
                row += ["{:.1f} | {:.0f} | {:.0f}".format(*min(runs))]
            print(f"| {name} | " + " | ".join(row) + " |", flush=True)
    for compiler in compilers:
        print("\n" + subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout.splitlines()[0])


if __name__ == "__main__":
    main()
