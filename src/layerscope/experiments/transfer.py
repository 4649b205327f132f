"""Whether it helps to start from a network that has seen other flakes."""

from __future__ import annotations

from collections.abc import Iterator

from layerscope.errors import InputError
from layerscope.experiments.learning import judge, learn, recipe_for
from layerscope.experiments.study import Effort, Study, Trial, World

SCRATCH = "from scratch"
ARMS = {"same": "from the same material", "other": "from another material"}
_LABELLED = 3


def run_transfer(world: World, seed: int, effort: Effort) -> Iterator[Trial]:
    """Judge networks without any target image, then fine-tuned on three of them."""
    if not world.sources:
        raise InputError(
            f"classes {', '.join(world.classes)}: the names say no layer numbers, so that no "
            "synthetic source can be drawn; name them e.g. '1 layer', or give --source"
        )
    n, test = len(world.classes), world.test(seed, effort)
    few = world.target(seed, effort).first(_LABELLED)
    recipe = recipe_for(few)
    scratch = learn(few, n, effort, recipe=recipe, steps=effort.steps, seed=seed)
    yield Trial(SCRATCH, judge(scratch, test, n), setting=len(few))
    for kind in world.sources:
        source = world.source(seed, kind, effort)
        begun = learn(source, n, effort, recipe=recipe, steps=effort.source_steps, seed=seed)
        yield Trial(ARMS[kind], judge(begun, test, n), setting=0)
        tuned = learn(few, n, effort, recipe=recipe, steps=effort.steps, seed=seed, start=begun)
        yield Trial(ARMS[kind], judge(tuned, test, n), setting=len(few))


TRANSFER = Study(
    "transfer",
    "Does a network that has seen flakes of the same or of another material start better?",
    run_transfer,
    (
        (ARMS["same"], SCRATCH),
        (ARMS["other"], SCRATCH),
        (ARMS["same"], ARMS["other"]),
    ),
    "labelled images of the target",
    (
        "At 0 images the network is used as the source left it; from scratch there is none.",
        "Transferred networks took the steps on the source on top of those on the target.",
    ),
)
