"""The Python contenders' half of the conversation with compare.py; worker.hpp is the same in C++."""
import statistics
import sys
import time

import numpy as np

PERIOD = 1048573
ACTIVATIONS = 20


def _table():
    with np.errstate(over="ignore"):
        h = np.arange(PERIOD, dtype=np.uint32) * np.uint32(0x9E3779B1)
        h = (h ^ (h >> np.uint32(15))) * np.uint32(0x85EBCA77)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE3D)
        h ^= h >> np.uint32(16)
    return ((h >> np.uint32(8)).astype(np.float32) * np.float32(2**-24) - np.float32(0.5)) * np.float32(0.1)


TABLE = _table()


def numbers(*shape, scale=1):
    """The same numbers as peers::numbers"""
    return np.resize(TABLE * np.float32(scale), shape)


def named(name, *shape):
    """A model's tensor: it starts at a place of its own in the table, as after peers::start"""
    h = 2166136261
    for c in name.encode():
        h = (h ^ c) * 16777619 & 0xFFFFFFFF
    return np.resize(np.roll(TABLE, -(h % PERIOD)), shape)


class Absent(Exception):
    """A case that this contender cannot run"""


def timed(run):
    start = time.perf_counter()
    out = run()
    return time.perf_counter() - start, out


def median_time(run):
    times = []
    while sum(times) < 0.1 and len(times) < 1000:
        times.append(timed(run)[0])
    return statistics.median(times)


def serve(versions, make):
    """make(kind, dtype, variant, sizes) -> (run, output); output(run()) is a float32 array"""
    answers, jobs = sys.stdout, {}
    sys.stdout = sys.stderr  # the libraries may print
    print(versions, file=answers, flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        answer = "ok 0"
        try:
            if verb == "clear":
                jobs.clear()
                make("clear", None, None, None)
            else:
                file = words.pop(0) if verb == "prepare" else None
                key = " ".join(words)
                if verb == "prepare":
                    kind, dtype, variant, *sizes = words
                    run, output = make(kind, dtype, variant, [int(n) for n in sizes])
                    jobs[key] = run
                    result = run()  # the first run may compile
                    if file != "-":
                        output(result).astype(np.float32).tofile(file)
                    del result
                answer = f"ok {median_time(jobs[key]):.9g}"
        except Absent as reason:
            answer = f"absent {reason}"
        except Exception as error:  # a peer's failure is a line of the table
            answer = "absent " + " ".join(f"{type(error).__name__}: {error}".split())[:200]
        print(answer, file=answers, flush=True)
