"""Whether a network can learn a material of which nobody has labelled an image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from layerscope.errors import InputError
from layerscope.experiments.labelled import Labelled
from layerscope.experiments.learning import Batch, Change, Recipe, judge, learn, prepare, recipe_for
from layerscope.experiments.repaint import Paintbox, repaint
from layerscope.experiments.study import Effort, Study, Trial, World

PLAIN = "plain transfer"
COLOURS = "colour-space augmentation"
PAINTED = "re-rendered from physics"
BOTH = "re-rendered and augmented"
CEILING = "trained on labelled target images"

_EXPONENT = (0.4, 2.5)
_COPIES = 3
"""Times that each source image is painted, by another microscope each."""


def shift_colours(exponent: tuple[float, float], *, swap: bool) -> Change:
    """Change of contrasts (N, 3, S, S): each channel to a power of its own, channels swapped."""

    def change(x: Batch, rng: np.random.Generator) -> Batch:
        low, high = np.log(exponent)
        power = np.exp(rng.uniform(low, high, (len(x), x.shape[1], 1, 1))).astype(np.float32)
        out = np.maximum(1 + x, 1e-3) ** power - 1
        if swap:
            out = np.stack([sample[rng.permutation(len(sample))] for sample in out])
        return np.asarray(np.clip(out, -1, 12), np.float32)

    return change


def run_adaptation(world: World, seed: int, effort: Effort) -> Iterator[Trial]:
    """Train on labelled images of another material, in five ways, and judge on the target."""
    if world.ranges is None:
        raise InputError(
            f"classes {', '.join(world.classes)}: the names say no layer numbers, which "
            "re-rendering needs; name them e.g. '1 layer', '3-5 layers'"
        )
    n, test = len(world.classes), world.test(seed, effort)
    target, source = world.target(seed, effort), world.source(seed, "other", effort)
    if source.channels != 3:
        raise InputError("adaptation needs colour images; these are grey")
    recipe = recipe_for(source)
    ready = prepare(source, recipe.normalisation)
    painted = _painted(ready, world, seed)
    wide, narrow = shift_colours(_EXPONENT, swap=True), shift_colours((0.8, 1.25), swap=False)
    ways: tuple[tuple[str, Labelled, Change | None], ...] = (
        (PLAIN, ready, None),
        (COLOURS, ready, wide),
        (PAINTED, painted, None),
        (BOTH, painted, narrow),
        (CEILING, prepare(target, recipe.normalisation), None),
    )
    for arm, images, change in ways:
        seen = Recipe(recipe.normalisation, recipe.augmentation, change)
        learned = learn(
            images, n, effort, recipe=seen, steps=effort.source_steps, seed=seed, prepared=True
        )
        yield Trial(arm, judge(learned, test, n))


def _painted(ready: Labelled, world: World, seed: int) -> Labelled:
    box, ranges = Paintbox(world.material, world.substrate), world.ranges or ()
    rng = np.random.default_rng([seed, 0x9A1])
    copies = [repaint(ready, ranges, box, rng) for _ in range(_COPIES)]
    return Labelled(
        tuple(i for c in copies for i in c.images), tuple(m for c in copies for m in c.labels)
    )


ADAPTATION = Study(
    "adaptation",
    "Without any labelled image of the target: does it help to vary colours, or to re-render the "
    "source in the target's colours?",
    run_adaptation,
    ((COLOURS, PLAIN), (PAINTED, PLAIN), (BOTH, PLAIN), (PAINTED, COLOURS), (CEILING, PAINTED)),
    notes=(
        "All ways took the same number of steps; only the last saw labelled target images.",
        "Re-rendering knows the material and the nominal oxide of the target, not its camera.",
    ),
)
