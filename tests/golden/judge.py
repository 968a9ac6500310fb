#!/usr/bin/env python3
"""Writes digits_judge.safetensors: the judge of examples/evaluate_digits.py, scikit-learn's SVC(gamma=0.001) trained on the real
training digits, and the real digits that it never saw.

    support    [n, 64]   u8, the support vectors, class by class, grey values of 0..16
    of_class   [10]      int64, how many of each class
    dual       [9, n]    float64, sklearn's dual_coef_
    intercept  [45]      float64, of the classes 0 and 1, 0 and 2, ... 8 and 9
    held_out   [360, 64] u8
    labels     [360]     int64
    seen_as    [360]     int64, what the judge makes of them
"""
import hashlib
import sys
from pathlib import Path

import numpy as np
import sklearn
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "examples"))
from evaluate_digits import judge, pixels  # noqa: E402
from train_digits import real_digits  # noqa: E402


def write(path):
    real, held = [(pixels(x), y.numpy()) for x, y in (real_digits(held_out=False), real_digits(held_out=True))]
    svm = judge(real)
    tensors = dict(support=svm.support_vectors_.astype(np.uint8), of_class=svm.n_support_.astype(np.int64),
                   dual=svm.dual_coef_, intercept=svm.intercept_, held_out=held[0].astype(np.uint8),
                   labels=held[1].astype(np.int64), seen_as=svm.predict(held[0]).astype(np.int64))
    assert (tensors["support"] == svm.support_vectors_).all() and svm._gamma == 0.001
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path,
              dict(sklearn=sklearn.__version__, gamma="0.001", generator="tests/golden/judge.py",
                   generator_sha256=hashlib.sha256(Path(__file__).read_bytes()).hexdigest()))


if __name__ == "__main__":
    write(HERE / "digits_judge.safetensors")
