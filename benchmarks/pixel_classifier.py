"""The pixel classifier: how fast it answers, and how well it learns from five real images.

    python benchmarks/pixel_classifier.py                 # all, some minutes
    python benchmarks/pixel_classifier.py --quick         # small image, two draws
    python benchmarks/pixel_classifier.py --only speed    # or: painting, hrtem

``painting``: a person paints strokes in the visible 1024 x 1024 px of a 2048 x 2048 image.
``speed``: the whole image with 49 features and 100 trees, beside the same filters in scipy and
scikit-learn's own forest, both from the same painted pixels in the same run.
``hrtem``: contamination on graphene (../shared/data/tem/graphene_hrtem), learned from five images
of five sessions, judged on all images of the other sessions.

Wall and processor time are both told: of a busy machine only the second means something.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

from layerscope.labelling.learning import choose_pixels, fit_pixels
from layerscope.labelling.painting import PaintSession, PaintSettings
from layerscope.models.trees import trees_of
from layerscope.ops.normalisation import as_unit, normalise
from layerscope.ops.pixel_features import pixel_features
from layerscope.ops.tiles import Window
from layerscope.synth.em import CLASSES, synth_em

HRTEM = Path(__file__).resolve().parents[2] / "shared/data/tem/graphene_hrtem"
APART = 3  # every third pixel along a row and a column is judged
SIGMAS = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)


def timed(what: str, work: Callable):
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"  {what:48s} wall {wall:7.2f} s   processor {cpu:7.2f} s", flush=True)
    return result, cpu, wall


def stroke(truth: np.ndarray, inside: Window, k: int, rng: np.random.Generator, length: int):
    """Paint along a line through a pixel of class k, wherever the line is of that class."""
    part = truth[inside.top : inside.bottom, inside.left : inside.right]
    y, x = np.nonzero(part == k)
    if not len(y):
        return None
    i, angle = rng.integers(len(y)), rng.random() * 2 * np.pi
    drawn = np.zeros(part.shape, np.uint8)
    end = int(x[i] + length * np.cos(angle)), int(y[i] + length * np.sin(angle))
    cv2.line(drawn, (int(x[i]), int(y[i])), end, k + 1, 5)
    return np.where(part == k, drawn, 0).astype(np.uint8)


def scene(size: int):
    """A synthetic micrograph with all three classes in its middle."""
    inside = Window(size // 4, size // 4, size // 4 + size // 2, size // 4 + size // 2)
    for seed in range(50):
        drawn = synth_em(seed, shape=(size, size))
        part = drawn.label_map[inside.top : inside.bottom, inside.left : inside.right]
        if (np.bincount(part.ravel(), minlength=3)[:3] > part.size // 25).all():
            return drawn.micrograph.data, drawn.label_map, inside
    raise SystemExit("no scene with three classes")


def paint(size: int, strokes: int):
    image, truth, inside = scene(size)
    print(f"painting, {size} x {size} px, {size // 2} x {size // 2} visible")
    rng, session = np.random.default_rng(0), PaintSession(image, CLASSES)
    for k in range(3):
        session.scribble(stroke(truth, inside, k, rng, 120), inside.top, inside.left)
    timed("first answer, coarse", lambda: session.answer(inside, coarse=True))
    timed("first answer, full", lambda: session.answer(inside))
    for number in range(strokes):
        patch = stroke(truth, inside, number % 3, rng, 120)
        session.scribble(patch, inside.top, inside.left)
        timed(f"stroke {number + 1}, coarse", lambda: session.answer(inside, coarse=True))
        found = timed(f"stroke {number + 1}, full", lambda: session.answer(inside))[0]
    right = (
        found.probabilities.argmax(axis=2)
        == truth[inside.top : inside.bottom, inside.left : inside.right]
    )
    print(
        f"  {np.count_nonzero(session.labels)} painted px; {right.mean():.1%} of the window right"
    )
    return image, session.labels


def scipy_features(channel: np.ndarray) -> np.ndarray:
    """The same 49 features by scipy alone, written from their definition."""

    def both(plane, kernel_x, kernel_y):
        across = ndimage.correlate1d(plane, kernel_x, axis=1, mode="mirror")
        return ndimage.correlate1d(across, kernel_y, axis=0, mode="mirror")

    def kernel(sigma, order, window):
        x = np.arange(-max(1, int(window * sigma + 0.5)), max(1, int(window * sigma + 0.5)) + 1.0)
        g = np.exp(-(x**2) / (2 * sigma**2)) * (1, x, x**2 / sigma**2 - 1)[order]
        g = g - g.mean() if order else g
        return g * (1, 1, 2)[order] / (g * x**order).sum()

    def eigen(xx, xy, yy):
        middle, apart = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        return [middle + apart, middle - apart]

    found: dict[str, list] = {n: [] for n in ("g", "l", "m", "d", "t", "h")}
    for sigma in SIGMAS:
        before = kernel(sigma if sigma <= 1 else (sigma**2 - 1) ** 0.5, 0, 3.5)
        smooth, s = both(channel, before, before), min(sigma, 1.0)
        k0, k1, k2 = (kernel(s, n, 2.0) for n in range(3))
        found["g"].append(both(smooth, k0, k0))
        if sigma < 0.7:
            continue
        xx, yy, xy = both(smooth, k2, k0), both(smooth, k0, k2), both(smooth, k1, k1)
        x, y = both(smooth, k1, k0), both(smooth, k0, k1)
        inner, outer = kernel(0.66 * s, 0, 2.0), kernel(0.5 * s, 0, 2.0)
        found["l"].append(xx + yy)
        found["m"].append(np.hypot(x, y))
        found["d"].append(found["g"][-1] - both(smooth, inner, inner))
        found["t"] += eigen(*(both(p, outer, outer) for p in (x * x, x * y, y * y)))
        found["h"] += eigen(xx, xy, yy)
    return np.stack([plane for planes in found.values() for plane in planes])


def compare(image: np.ndarray, labels: np.ndarray) -> None:
    settings = replace(PaintSettings(), normalisation="unit", jobs=1)
    classifier = fit_pixels([image], [labels], CLASSES, settings)
    print(f"whole image, {classifier.stages[0].splits} questions in 100 trees")
    ours, cpu, wall = timed("ours", lambda: classifier.probabilities(image))
    pixels = normalise("unit", as_unit(image))[:, :, 0]
    planes, f_cpu, f_wall = timed("scipy, features", lambda: scipy_features(pixels))
    (index,) = choose_pixels([labels], len(CLASSES), settings.most_pixels, settings.seed)
    flat = planes.reshape(len(planes), -1)

    def grown(seed: int) -> RandomForestClassifier:
        forest = RandomForestClassifier(settings.trees, random_state=seed)
        return forest.fit(np.ascontiguousarray(flat[:, index].T), labels.ravel()[index] - 1)

    def ask(forest: RandomForestClassifier) -> np.ndarray:
        step = 200_000
        parts = [flat[:, i : i + step].T for i in range(0, flat.shape[1], step)]
        found = np.concatenate([forest.predict_proba(p).argmax(axis=1) for p in parts])
        return forest.classes_[found].reshape(image.shape[:2])

    forest = grown(settings.seed)
    theirs, p_cpu, p_wall = timed("scikit-learn, one thread", lambda: ask(forest))
    same_trees = replace(classifier, stages=(trees_of(forest, len(CLASSES)),))
    same = (same_trees.probabilities(image).argmax(axis=2) == theirs).mean()
    faster = (f_cpu + p_cpu) / cpu, (f_wall + p_wall) / wall
    print(f"  faster by {faster[0]:.1f} (processor), {faster[1]:.1f} (wall)")
    print(f"  same class on {same:.4%}: the trees that scikit-learn grew, on our features, by bits")
    print(f"  same class on {(ours.argmax(axis=2) == theirs).mean():.2%}: trees grown by either")
    other = (ask(grown(settings.seed + 1)) == theirs).mean()
    print(f"  same class on {other:.2%}: two forests of scikit-learn that differ in their seed")


def hrtem(draws: int) -> None:
    if not HRTEM.is_dir():
        print(f"hrtem: no {HRTEM}")
        return
    paths = sorted((HRTEM / "images").glob("*.png"))
    session = np.array(["_".join(p.name.split("_")[:2]) for p in paths])
    images = [cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) for p in paths]
    masks = [cv2.imread(str(HRTEM / "masks" / p.name), cv2.IMREAD_GRAYSCALE) > 127 for p in paths]
    print(f"hrtem: 5 of {len(paths)} images, of {len(set(session))} sessions")
    cases = [
        ("masks", "scales", False), ("masks", "wide", False), ("strokes", "scales", False),
        ("strokes", "wide", False), ("strokes", "wide", True),
    ]  # fmt: skip
    seen = {name: [seen_of(image, name) for image in images] for name in ("scales", "wide")}
    scores: dict[tuple, list[float]] = {case: [] for case in cases}
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        chosen = rng.permutation(sorted(set(session)))[:5]
        train = [int(rng.choice(np.flatnonzero(session == s))) for s in chosen]
        others = [i for i in range(len(paths)) if session[i] not in set(chosen)]
        whole = [masks[i].astype(np.uint8) + np.uint8(1) for i in train]
        taught = {"masks": whole, "strokes": [strokes_of(w - 1, rng) for w in whole]}
        for case in cases:
            settings = PaintSettings(features=case[1], autocontext=case[2])
            found = fit_pixels(
                [images[i] for i in train], taught[case[0]], ("clean", "dirt"), settings
            )
            told = [said_of(found, images[i], seen[case[1]][i]) for i in others]
            scores[case].append(dice(told, [masks[i][::APART, ::APART] for i in others]))
        print(f"  draw {draw}: " + "  ".join(f"{s[-1]:.3f}" for s in scores.values()), flush=True)
    for (taught_by, features, context), values in scores.items():
        name = f"{taught_by}, {features}{', autocontext' if context else ''}"
        spread = f"sd {np.std(values, ddof=1):.3f}, least {min(values):.3f}" if draws > 1 else ""
        print(f"  {name:32s} Dice {np.mean(values):.3f}  {spread}")


def strokes_of(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Four strokes in each class."""
    labels, everything = np.zeros(truth.shape, np.uint8), Window(0, 0, *truth.shape)
    for k in (0, 1) * 4:
        drawn = stroke(truth, everything, k, rng, 60)
        if drawn is not None:
            labels = np.where(drawn > 0, drawn, labels)
    return labels


def seen_of(image: np.ndarray, features: str) -> np.ndarray:
    """Features (F, n) of the pixels that are judged."""
    pixels = normalise(PaintSettings().normalisation, as_unit(image))
    planes = pixel_features(pixels, features)[:, ::APART, ::APART]
    return np.ascontiguousarray(planes.reshape(len(planes), -1))


def said_of(classifier, image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Pixels (n,) that are said to be of the second class."""
    if len(classifier.stages) == 1:
        return classifier.forests[0].probabilities(seen).argmax(axis=1) == 1
    return (classifier.probabilities(image)[::APART, ::APART].argmax(axis=2) == 1).ravel()


def dice(told: list, masks: list) -> float:
    said, true = np.concatenate(told), np.concatenate([m.ravel() for m in masks])
    return float(2 * (said & true).sum() / (said.sum() + true.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--only", choices=("painting", "speed", "hrtem"))
    asked = parser.parse_args()
    if asked.only != "hrtem":
        image, labels = paint(512 if asked.quick else 2048, 2 if asked.quick else 6)
        if asked.only != "painting":
            compare(image, labels)
    if asked.only in (None, "hrtem"):
        hrtem(2 if asked.quick else asked.draws)


if __name__ == "__main__":
    main()
