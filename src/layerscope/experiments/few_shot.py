"""How many labelled images are enough."""

from __future__ import annotations

from collections.abc import Iterator

from layerscope.experiments.learning import judge, learn, recipe_for
from layerscope.experiments.study import Effort, Study, Trial, World
from layerscope.experiments.transfer import ARMS, SCRATCH

SHOTS = (1, 3, 5, 10)


def run_few_shot(world: World, seed: int, effort: Effort) -> Iterator[Trial]:
    """Train on the first 1, 3, 5 and 10 target images, from scratch and from another material."""
    n, test = len(world.classes), world.test(seed, effort)
    target = world.target(seed, effort)
    recipe = recipe_for(target)
    begun = None
    if "other" in world.sources:
        source = world.source(seed, "other", effort)
        begun = learn(source, n, effort, recipe=recipe, steps=effort.source_steps, seed=seed)
    for shots in [s for s in SHOTS if s <= len(target)]:
        few = target.first(shots)
        for arm, start in ((SCRATCH, None), (ARMS["other"], begun)):
            if start is None and arm != SCRATCH:
                continue
            learned = learn(
                few, n, effort, recipe=recipe, steps=effort.steps, seed=seed, start=start
            )
            yield Trial(arm, judge(learned, test, n), setting=shots)


FEW_SHOT = Study(
    "few-shot",
    "How does the answer improve with 1, 3, 5 and 10 labelled images?",
    run_few_shot,
    ((ARMS["other"], SCRATCH),),
    "labelled images of the target",
    (
        "The images of a smaller set are among those of the larger.",
        "Where class names say no layer numbers there is no synthetic source, and one arm only.",
    ),
)
