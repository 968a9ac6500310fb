"""Regenerates every golden file: python3 tests/golden/generate.py"""
import sys

sys.dont_write_bytecode = True

import article
import autoencoders
import diffusers_dit
import diffusers_flux
import diffusers_mmdit
import flow_sampling
import noise
import official_dit
import operations
import schedules

if __name__ == "__main__":
    for script in (noise, operations, official_dit, diffusers_dit, article, schedules, diffusers_mmdit, diffusers_flux,
                   flow_sampling, autoencoders):
        script.generate()
