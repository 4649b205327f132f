"""What a network stands: noise, defocus, another lamp, another magnification."""

from __future__ import annotations

from collections.abc import Iterator

from layerscope.experiments.learning import MOVES, Recipe, judge, learn, recipe_for
from layerscope.experiments.perturbation import PERTURBATIONS
from layerscope.experiments.study import Effort, Study, Trial, World
from layerscope.ops.augment import Augmentation

PLAIN = "colours as they are"
AUGMENTED = "colours, noise and blur varied in training"
NORMALISED = "contrast to the substrate"


def run_noise(world: World, seed: int, effort: Effort) -> Iterator[Trial]:
    """Train three ways on clean target images, judge on test images with each trouble."""
    n, test = len(world.classes), world.test(seed, effort)
    target = world.target(seed, effort)
    recipes = {
        PLAIN: Recipe("unit", MOVES),
        AUGMENTED: Recipe("unit", Augmentation()),
        NORMALISED: recipe_for(target),
    }
    for arm, recipe in recipes.items():
        learned = learn(target, n, effort, recipe=recipe, steps=effort.steps, seed=seed)
        for trouble in PERTURBATIONS:
            for level in trouble.levels:
                harmed = trouble.applied(test, level, seed)
                yield Trial(arm, judge(learned, harmed, n), trouble.name, level)


NOISE = Study(
    "noise",
    "How much does an answer suffer from noise, defocus, another lamp, another magnification?",
    run_noise,
    ((NORMALISED, PLAIN), (AUGMENTED, PLAIN)),
    notes=(
        "All networks were trained on clean images at one magnification; that with varied colours "
        "saw 0.5 to 2 times that magnification, noise up to 4 % and blur up to 1.5 px.",
        "Grey images are brought to one mean and spread instead of contrast to the substrate.",
    ),
    has_source=False,
)
