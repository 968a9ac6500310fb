#!/usr/bin/env python3
"""Judges pictures of scenes against their captions by looking at pixels: no network, nothing learned.

    python evaluate_scenes.py --write-captions captions.txt                        300, with combinations held out from training
    dit_scenes --captions captions.txt --columns 1 --samples samples.safetensors   tensor `samples` [n, 3, 32, 32] in [-1, 1]
    python evaluate_scenes.py --captions captions.txt --samples samples.safetensors
    python evaluate_scenes.py --model models/scenes.safetensors                    generate with PyTorch from this checkpoint
    python evaluate_scenes.py --truth 2000                                         the judge itself: pictures rendered by rule

A picture is cut into connected components that differ from the background. A component's colour is the nearest of the palette, its
shape the template of largest overlap at its bounding box, its size the side of that template; places and relations are told by the
centres of the boxes. The caption's objects are matched to components so that most of what it says holds. An object is right if its
colour, its shape, its size if said, its place if said, and every relation it stands in hold.
"""
import argparse
import functools
import itertools
import random
import re

import numpy as np
from scipy import ndimage

from train_scenes import (BACKGROUND, COLOURS, FILLERS, PLACES, RELATIONS, SHAPES, SIDES, SIZE, Scene, Thing, arrange, held_out,
                          random_scene, render)

FOREGROUND = 0.2  # distance from the background's colour, of a way of sqrt(3) from black to white
LEAST_PIXELS = 6  # of a component; what is smaller is a speck
LEAST_OVERLAP = 0.6  # of a component with the best template; what is less has no shape


# --------------------------------------------------------------------------------------------------------------- captions

def parse(caption):
    """The scene that a caption describes; the inverse of str(scene)."""
    words = [w for w in re.findall(r"\w+", caption.lower()) if w not in FILLERS | {"and"}]
    things, said, relations = [], {"size": "", "colour": ""}, []
    while words:
        word = words.pop(0)
        if word in SIDES:
            said["size"] = word
        elif word in COLOURS:
            said["colour"] = word
        elif word in SHAPES:
            things.append(Thing(said["colour"], word, said["size"]))
            said = {"size": "", "colour": ""}
        elif word in ("top", "bottom"):
            things[-1].place = f"{word} {words.pop(0)}"
        elif word in RELATIONS:
            relations.append((word, 0, len(things)))
        else:
            raise ValueError(f"'{word}' in '{caption}' means nothing here")
    return Scene(things, relations)


def held_out_scenes(count, seed=0):
    """Scenes of two or three objects, with a pair that no training picture held."""
    rng = random.Random(f"held out {seed}")
    scenes = [random_scene(rng, unseen=True, least=2) for _ in range(count)]
    assert all(any(held_out(a, b) for a, b in itertools.combinations(s.things, 2)) for s in scenes)
    return scenes


# ---------------------------------------------------------------------------------------------------------------- looking

@functools.lru_cache(maxsize=None)
def templates(x, y, side, fine=8):
    """[6, 20, 20]: how much of each pixel the shapes cover, in a box whose corner is (x, y) from that of pixel (2, 2)."""
    at = (np.arange(20 * fine) + 0.5) / fine - 2
    u, v = (2 * (at - p) / side - 1 for p in (x, y))
    inside = np.stack([shape(u[None, :], v[:, None]) for shape in SHAPES.values()])
    return inside.reshape(len(SHAPES), 20, fine, 20, fine).mean((2, 4))


@functools.lru_cache(maxsize=None)
def candidates(side):
    """All boxes around a bounding box of `side` whole pixels: [k, 3] as (x, y, side), and their templates [k, 6, 20, 20]."""
    steps = np.arange(-0.25, 1.01, 0.25)
    boxes = [(x, y, s) for s in np.arange(side - 1.5, side + 0.51, 0.25) for x in steps for y in steps if s >= 5]
    return np.array(boxes), np.stack([templates(*b) for b in boxes])


def look(image):
    """The components of a picture [3, 32, 32] in [-1, 1]: dicts of colour, shape, side and centre (x, y)."""
    pixels = (np.clip(image, -1, 1).transpose(1, 2, 0) + 1) / 2 - BACKGROUND
    distance = np.linalg.norm(pixels, axis=2)
    eight = np.ones((3, 3))
    labels, count = ndimage.label(distance > FOREGROUND, eight)
    found = []
    for mine in (labels == label for label in range(1, count + 1)):
        if mine.sum() < LEAST_PIXELS:
            continue
        inner = mine & (distance >= np.quantile(distance[mine], 0.6))  # not the edge, which is half background
        paint = np.median(pixels[inner], axis=0)
        colour = min(COLOURS, key=lambda name: np.linalg.norm(COLOURS[name] - BACKGROUND - paint))

        coverage = np.where(ndimage.binary_dilation(mine, eight), np.clip(pixels @ paint / (paint @ paint), 0, 1), 0)
        y, x = (np.flatnonzero((coverage > 0.15).any(axis)) for axis in (1, 0))
        window = np.pad(coverage, 20)[18 + y[0]:38 + y[0], 18 + x[0]:38 + x[0]]
        boxes, shapes = candidates(int(np.clip(max(np.ptp(x), np.ptp(y)) + 1, 6, 15)))
        overlap = np.minimum(shapes, window).sum((2, 3)) / np.maximum(shapes, window).sum((2, 3))
        best, shape = np.unravel_index(overlap.argmax(), overlap.shape)
        left, top, side = boxes[best]
        found.append(dict(colour=colour, shape=list(SHAPES)[shape] if overlap[best, shape] >= LEAST_OVERLAP else "none",
                          side=side, centre=np.array([x[0] + left, y[0] + top]) + side / 2))
    return found


# ---------------------------------------------------------------------------------------------------------------- judging

def size_of(component):
    return "small" if component["side"] < 10.75 else "large"


def stands(word, a, b):
    """Is a <word> b? The centres are further apart along the word's axis than across it, and at least five pixels."""
    d, axis = b["centre"] - a["centre"], np.array(RELATIONS[word])
    return d @ axis >= 5 and d @ axis > abs(d @ axis[::-1])


def right_attributes(thing, component):
    """What holds of a thing, by name, for the component it is matched to (None: for a missing one)."""
    if component is None:
        return dict(colour=False, shape=False, size=not thing.size, place=not thing.place)
    quadrant = tuple(int(c >= SIZE / 2) for c in component["centre"])
    return dict(colour=component["colour"] == thing.colour, shape=component["shape"] == thing.shape,
                size=thing.size in ("", size_of(component)), place=not thing.place or PLACES[thing.place] == quadrant)


def judge(image, scene):
    """What holds of every thing (dicts of colour, shape, size, place and relation: true or false), and the number of components."""
    found = look(image)
    best, most = None, -1
    for match in itertools.permutations(found + [None] * len(scene.things), len(scene.things)):
        verdict = [right_attributes(t, c) | {"relation": True} for t, c in zip(scene.things, match)]
        for word, i, j in scene.relations:
            if match[i] is None or match[j] is None or not stands(word, match[i], match[j]):
                verdict[i]["relation"] = verdict[j]["relation"] = False
        # whole objects first, then single attributes
        merit = sum(100 * all(v.values()) + 3 * v["colour"] + 2 * v["shape"] + sum(v.values()) for v in verdict)
        if merit > most:
            best, most = verdict, merit
    return best, len(found)


def evaluate(images, scenes):
    """Shares in 0..1 over all objects, and of whole pictures."""
    if not np.isfinite(images).all():
        raise SystemExit("the pictures contain NaN or infinity")
    verdicts, counts = zip(*(judge(i, s) for i, s in zip(images, scenes)))
    things = [(t, v, bool(s.relations)) for s, vs in zip(scenes, verdicts) for t, v in zip(s.things, vs)]
    share = lambda values: float(np.mean(values)) if len(values) else float("nan")
    return {
        "objects": len(things),
        "right": share([all(v.values()) for _, v, _ in things]),
        "colour": share([v["colour"] for _, v, _ in things]),
        "shape": share([v["shape"] for _, v, _ in things]),
        "size": share([v["size"] for t, v, _ in things if t.size]),
        "place": share([v["place"] for t, v, _ in things if t.place]),
        "relation": share([v["relation"] for _, v, related in things if related]),
        "count": share([c == len(s.things) for c, s in zip(counts, scenes)]),
        "pictures": share([c == len(s.things) and all(all(v.values()) for v in vs)
                           for c, s, vs in zip(counts, scenes, verdicts)]),
    }


def shuffled(scenes):
    """Every picture against another caption: the next one."""
    return scenes[1:] + scenes[:1]


NAMES = {"right": "**objects right in everything that is said**", "colour": "... colour", "shape": "... shape",
         "size": "... size, where said", "place": "... place, where said", "relation": "... relations, where it stands in any",
         "count": "pictures with the right number of objects", "pictures": "pictures without any fault"}


def report(images, scenes):
    rng = random.Random(0)
    truth = render(scenes, [arrange(rng, s) for s in scenes]).numpy()
    columns = [evaluate(images, scenes), evaluate(images, shuffled(scenes)), evaluate(truth, scenes),
               evaluate(truth, shuffled(scenes))]
    rows = [f"| {name} | " + " | ".join(f"{c[key]:.1%}" for c in columns) + " |" for key, name in NAMES.items()]
    return "\n".join([f"{len(scenes)} captions, {columns[0]['objects']} objects", "",
                      "| | samples | samples, shuffled captions | rendered truth | rendered truth, shuffled captions |",
                      "|---|---|---|---|---|", *rows])


def generate(path, scenes, steps, guidance, shift, seed):
    import torch
    from train_scenes import load, sample, tokens
    noise = torch.randn(len(scenes), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return sample(load(path), noise, torch.tensor([tokens(str(s)) for s in scenes]), steps, guidance, shift).numpy()


def truth(count, seed):
    """Pictures of training scenes and of held-out ones, rendered by rule."""
    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(count)] + held_out_scenes(count, seed)
    return render(scenes, [arrange(rng, s) for s in scenes]).numpy(), scenes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", help="a text file, one caption a line; else --count held-out ones")
    parser.add_argument("--count", type=int, default=300)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--write-captions", metavar="FILE", help="write --count held-out captions and stop")
    source.add_argument("--samples", help="safetensors with `samples` [n, 3, 32, 32] in [-1, 1], in the captions' order")
    source.add_argument("--model", help="generate with PyTorch from this checkpoint")
    source.add_argument("--truth", type=int, metavar="N", help="judge 2 N pictures rendered by rule")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=3)
    parser.add_argument("--shift", type=float, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.captions:
        with open(args.captions) as file:
            scenes = [parse(line) for line in file if line.strip()]
    else:
        scenes = held_out_scenes(args.count)
    if args.write_captions:
        with open(args.write_captions, "w") as file:
            file.writelines(f"{s}\n" for s in scenes)
    elif args.truth:
        images, scenes = truth(args.truth, args.seed)
        for image, scene in zip(images, scenes):
            assert parse(str(scene)) == scene, str(scene)
            verdict, count = judge(image, scene)
            if count != len(scene.things) or not all(all(v.values()) for v in verdict):
                print(scene, verdict, count)
        print(evaluate(images, scenes))
    elif args.samples:
        from safetensors.numpy import load_file
        print(report(load_file(args.samples)["samples"], scenes))
    else:
        print(report(generate(args.model, scenes, args.steps, args.guidance, args.shift, args.seed), scenes))
