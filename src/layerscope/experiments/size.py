"""How large the network must be."""

from __future__ import annotations

from collections.abc import Iterator

from layerscope.experiments.learning import judge, learn, recipe_for
from layerscope.experiments.study import Effort, Study, Trial, World

NETWORKS = ("light-n", "light-s", "light-m")


def run_size(world: World, seed: int, effort: Effort) -> Iterator[Trial]:
    """Train each size from scratch on all target images, with the same steps."""
    n, test = len(world.classes), world.test(seed, effort)
    target = world.target(seed, effort)
    recipe = recipe_for(target)
    for network in NETWORKS:
        learned = learn(
            target, n, effort, recipe=recipe, steps=effort.steps, seed=seed, network=network
        )
        figures = judge(learned, test, n) | {"parameters": float(learned.parameters)}
        yield Trial(network, figures)


SIZE = Study(
    "size",
    "Does a larger network answer better when it may take the same number of steps?",
    run_size,
    (("light-s", "light-n"), ("light-m", "light-s")),
    notes=("A step of light-s costs some 2.3 times that of light-n, one of light-m 5 times.",),
    has_source=False,
)
