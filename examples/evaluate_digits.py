#!/usr/bin/env python3
"""Judges generated digits: are they recognised, are they new, are they varied?

    python evaluate_digits.py --samples samples.safetensors        tensors `samples` [n, 1, 8, 8] in [-1, 1] and `labels` [n]
    python evaluate_digits.py --samples samples.npy --labels labels.npy
    python evaluate_digits.py --model models/digits.safetensors --guidance 1.25 --steps 50

Everything is measured on pixels of 0..16, the scale of the real data. Beside each number stands the same number for the held-out
real digits, which neither the model nor the judge was trained on.
"""
import argparse

import numpy as np
import torch
from safetensors.numpy import load_file
from sklearn.svm import SVC

from train_digits import CLASSES, load, real_digits, sample


def pixels(images):
    return np.clip((np.asarray(images, np.float64).reshape(len(images), -1) + 1) * 8, 0, 16)


def distances(a, b):
    return np.sqrt(np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T, 0))


def variance(x):
    """Total variance: the mean squared distance to the mean image."""
    return ((x - x.mean(0)) ** 2).sum(1).mean()


def judge(x):
    return SVC(gamma=0.001).fit(*x)


def evaluate(samples, labels):
    """Returns a dict of numbers; `samples` in [-1, 1]."""
    new, real, held = [(pixels(x), np.asarray(y).astype(int).ravel()) for x, y in
                       ((samples, labels), real_digits(held_out=False), real_digits(held_out=True))]
    if not np.isfinite(new[0]).all():
        raise SystemExit("the samples contain NaN or infinity")

    # Recognised: an SVM trained on the real training digits. And the reverse: an SVM trained on samples alone.
    svm = judge(real)
    seen = svm.predict(new[0])
    count = min(len(new[0]), len(real[0]))
    result = {
        "samples": len(new[0]),
        "recognised": (seen == new[1]).mean(),
        "recognised, held-out real": svm.score(*held),
        "recognised per class": [float((seen[new[1] == c] == c).mean()) for c in range(CLASSES)],
        "trained on samples": judge(new).score(*held) if len(set(new[1])) == CLASSES else np.nan,
        "trained on as many real": judge((real[0][:count], real[1][:count])).score(*held),
    }

    # New: distance to the nearest training digit, of samples and of held-out digits.
    near, near_held = (np.sort(distances(x, real[0]), axis=1)[:, :2] for x in (new[0], held[0]))
    result["nearest"] = np.percentile(near[:, 0], [0, 5, 25, 50, 75, 95])
    result["nearest, held-out real"] = np.percentile(near_held[:, 0], [0, 5, 25, 50, 75, 95])
    result["nearest, ratio of medians"] = np.median(near[:, 0]) / np.median(near_held[:, 0])
    result["closer than any held-out"] = (near[:, 0] < near_held[:, 0].min()).mean()
    result["copies"] = (near[:, 0] < near[:, 1] / 3).mean()
    result["copies, held-out real"] = (near_held[:, 0] < near_held[:, 1] / 3).mean()
    result["nearest is held-out"] = (distances(new[0], held[0]).min(1) < near[:, 0]).mean()
    result["nearest is held-out, expected"] = len(held[0]) / (len(held[0]) + len(real[0]))

    # Varied: the total variance within each class, over that of the real training digits.
    ratio = lambda x: [float(variance(x[0][x[1] == c]) / variance(real[0][real[1] == c])) for c in range(CLASSES)]
    result["variance ratio"], result["variance ratio, held-out real"] = ratio(new), ratio(held)
    return result


def report(r):
    row = lambda values, form="{:.2f}": " ".join(form.format(v) for v in values)
    return "\n".join([
        "| measure | samples | held-out real digits |",
        "|---|---|---|",
        f"| recognised as their class by an SVM (RBF) trained on real digits | **{r['recognised']:.1%}** of {r['samples']}"
        f" | {r['recognised, held-out real']:.1%} |",
        f"| recognised, per class 0..9 | {row(r['recognised per class'])} | |",
        f"| held-out real digits recognised by an SVM trained on these samples alone | {r['trained on samples']:.1%}"
        f" | {r['trained on as many real']:.1%} (trained on as many real ones) |",
        f"| distance to the nearest training digit: min, 5, 25, 50, 75, 95 % | {row(r['nearest'], '{:.1f}')}"
        f" | {row(r['nearest, held-out real'], '{:.1f}')} |",
        f"| ... ratio of the medians | **{r['nearest, ratio of medians']:.2f}** | 1 |",
        f"| ... closer than any held-out digit | {r['closer than any held-out']:.1%} | 0 % |",
        f"| copies: nearest training digit three times closer than the second | **{r['copies']:.1%}** | {r['copies, held-out real']:.1%} |",
        f"| nearest real digit is one the model never saw | {r['nearest is held-out']:.1%}"
        f" | {r['nearest is held-out, expected']:.1%} if it had learned nothing by heart |",
        f"| variance within the class over the training digits', 0..9 | {row(r['variance ratio'])}"
        f" | {row(r['variance ratio, held-out real'])} |",
        f"| ... mean, least | **{np.mean(r['variance ratio']):.2f}**, {min(r['variance ratio']):.2f}"
        f" | {np.mean(r['variance ratio, held-out real']):.2f}, {min(r['variance ratio, held-out real']):.2f} |",
    ])


def generate(path, per_class, steps, guidance, seed):
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    noise = torch.randn(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return sample(load(path), noise, labels, steps, guidance).numpy(), labels.numpy()


def read(samples, labels):
    if samples.endswith(".safetensors"):
        file = load_file(samples)
        return file["samples"], file["labels"]
    return np.load(samples), np.load(labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--samples", help=".safetensors, or .npy together with --labels")
    source.add_argument("--model", help="generate with PyTorch from this checkpoint")
    parser.add_argument("--labels", help=".npy of the labels")
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=1.25)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.samples:
        if args.samples.endswith(".npy") and not args.labels:
            parser.error("an .npy of samples needs --labels")
        print(report(evaluate(*read(args.samples, args.labels))))
    else:
        print(report(evaluate(*generate(args.model, args.per_class, args.steps, args.guidance, args.seed))))
