"""Regenerates every golden file: python3 tests/golden/generate.py"""
import sys

sys.dont_write_bytecode = True

import article
import diffusers_dit
import noise
import official_dit
import operations
import schedules

if __name__ == "__main__":
    for script in (noise, operations, official_dit, diffusers_dit, article, schedules):
        script.generate()
