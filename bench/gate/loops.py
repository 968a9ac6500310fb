"""The loops of micro-kernels, out of a disassembly."""

import collections
import dataclasses
import pathlib
import platform
import re
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
FLAGS = ["-std=c++20"]  # what a user has
# Whose loops there must be, or the assembly was misread.
EXPECTED = {
    "x86": {"avx2 fp32", "avx512 fp32"}
    | {f"{isa} bf16" for isa in ("avx2", "avx512", "avx512bf16")}
    | {f"{isa} int8" for isa in ("avx2", "avxvnni", "avx512", "avx512vnni")},
    "arm": {"neon fp32", "neon bf16", "neonmmla bf16", "neon int8", "neondot int8", "neonmmla int8"},
}

# An instruction that multiplies vectors and adds, or multiplies what the next one adds.
PRODUCTS = re.compile(r"vfn?madd\w*[ps]s|vdpbf16ps|vpdpbusd|vpmaddwd|fmla|bfmmla|smmla|sdot|smull2?")
VECTOR = {"x86": re.compile(r"%[xyz]mm\d"), "arm": re.compile(r"\b[vqd]\d+\b")}
ADDRESS = {"x86": re.compile(r"\([^)]*\)"), "arm": re.compile(r"\[(?:x\d+|sp)[^]]*\]")}
NAME = re.compile(r"::(\w+)::multiply(?:_rows|_tile)?<(?:(\d+), (\d+), )?([\w: ]+)>\(")
TYPES = {"float": "fp32", "Eigen::bfloat16": "bf16", "signed char": "int8"}


@dataclasses.dataclass
class Loop:
    """What is in a loop, in instructions. `stack`: vectors to or from it; `stores`: vectors to anywhere."""

    isa: str
    type: str
    tile: str  # rows x strips, or "inlined" where the loop stands in the function that finds the tile
    instructions: int
    products: int
    loads: int  # of vectors and spread numbers, those within products included
    stores: int
    stack: int
    number: int = 1  # among those of one name

    @property
    def name(self):
        title = f"{self.isa} {self.type} {self.tile}"
        if self.tile == "inlined":
            title += f", {self.products} products"
        return title if self.number == 1 else f"{title} ({self.number})"

    def __str__(self):
        return (
            f"{self.name:34} {self.instructions:4} instructions, {self.products:3} products, {self.loads:3} loads, "
            f"{self.stores:3} stores, {self.stack:3} at the stack"
        )

    @property
    def spills(self):
        """A micro-kernel's loop writes nothing to memory, so a store is a spill whatever its address."""
        return max(self.stores, self.stack)


def functions(objdump, file):
    """(name, [(address, mnemonic, operands)]) of every function."""
    text = subprocess.run(
        [objdump, "-d", "-C", "--no-show-raw-insn", str(file)], check=True, capture_output=True, text=True
    ).stdout
    name, body = None, []
    for line in text.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            if name:
                yield name, body
            name, body = head[1], []
        elif part := re.match(r" *([0-9a-f]+):\t(?:\{\w+\} )?(\S+)\s*(.*)$", line):
            body.append((int(part[1], 16), part[2], part[3]))
    if name:
        yield name, body


def jump_target(mnemonic, operands):
    """Where an instruction may jump to, or None."""
    to = re.search(r"(?:^|[ ,])([0-9a-f]+) <", operands)
    return int(to[1], 16) if to and mnemonic[0] in "jbct" and mnemonic not in ("call", "bl") else None


def is_loop(body, place, first, last):
    """Whether body[last] is reached from body[first] without leaving what lies between."""
    seen, ahead = set(), [first]
    while ahead:
        at = ahead.pop()
        if at is None or not first <= at <= last or at in seen:
            continue
        seen.add(at)
        _, mnemonic, operands = body[at]
        ahead.append(place.get(jump_target(mnemonic, operands)))
        if mnemonic not in ("jmp", "ret", "b", "br"):
            ahead.append(at + 1)
    return last in seen


def inner_loops(body):
    """The loops that multiply and hold no other such loop, as runs of instructions."""
    place = {address: i for i, (address, _, _) in enumerate(body)}
    found = []
    for last, (address, mnemonic, operands) in enumerate(body):
        target = jump_target(mnemonic, operands)
        if target is None or target > address or target not in place:
            continue
        first = place[target]
        multiplies = any(PRODUCTS.fullmatch(m) for _, m, _ in body[first:last])
        if multiplies and is_loop(body, place, first, last):
            found.append((first, last))
    return [
        body[a : b + 1]
        for a, b in found
        if not any((a, b) != (c, d) and a <= c and d <= b for c, d in found)
    ]


def count(name, body, run):
    """The Loop of the instructions `run` of a function."""
    machine = "x86" if any("%r" in operands for _, _, operands in body) else "arm"
    framed = any(m == "mov" and o.startswith(("%rsp,%rbp", "x29, sp")) for _, m, o in body)
    bases = {"x86": "%rsp|%rbp" if framed else "%rsp", "arm": "sp|x29" if framed else "sp"}[machine]
    loads = stores = stack = 0
    for _, mnemonic, operands in run:
        address = ADDRESS[machine].search(operands)
        if not address or mnemonic.startswith(("prefetch", "prfm", "lea", "nop")):
            continue
        vectors = VECTOR[machine].search(operands.replace(address[0], ""))
        if not vectors:
            continue
        store = mnemonic.startswith("st") if machine == "arm" else operands.endswith(address[0])
        stores += store
        loads += not store
        stack += bool(re.search(rf"(?:{bases})\b", address[0]))
    isa, rows, strips, kind = NAME.search(name).groups()
    return Loop(
        isa,
        TYPES[kind],
        f"{rows}x{strips}" if "multiply_tile<" in name else "inlined",
        len(run),
        sum(bool(PRODUCTS.fullmatch(m)) for _, m, _ in run),
        loads,
        stores,
        stack,
    )


def read(compiler, optimise, include, eigen, work):
    """Every inner loop of every micro-kernel, as this compiler makes them."""
    target = work / f"{pathlib.Path(compiler).name}{optimise}.o"
    source = HERE / "micro_kernels.cpp"
    subprocess.run(
        [compiler, *FLAGS, optimise, f"-I{include}", "-isystem", eigen, "-c", source, "-o", target], check=True
    )
    arm = "aarch64" in compiler or platform.machine() == "aarch64"
    tool = "aarch64-linux-gnu-objdump" if "aarch64" in compiler else "objdump"
    found, names = [], collections.Counter()
    for name, body in functions(tool, target):
        for run in inner_loops(body) if NAME.search(name) else ():
            loop = count(name, body, run)
            names[loop.name] += 1
            loop.number = names[loop.name]
            found.append(loop)
    seen = {f"{loop.isa} {loop.type}" for loop in found}
    if missing := EXPECTED["arm" if arm else "x86"] - seen:
        raise SystemExit(f"No loops of {', '.join(sorted(missing))} were found in what {compiler} made.")
    return found


def version(compiler):
    """Its name and version."""
    text = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout.split("\n")[0]
    name = "clang++" if "clang" in text else pathlib.Path(compiler).name
    return f"{name} {re.findall(r'[0-9]+[.][0-9]+[.][0-9]+', text)[-1]}"
