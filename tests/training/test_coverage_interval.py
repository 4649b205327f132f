"""The interval of a model of coverage: what held-out errors say of a new picture."""

import numpy as np
import pytest

from layerscope.tasks.coverage.learned import LEAST_UNSURE, Answer
from layerscope.training.coverage_interval import FEWEST, interval_metrics

NO_FILM = np.zeros((1, 1), np.float32)


def answers_of(error, unsure):
    """Answers that are wrong by `error` where the truth is one half."""
    return [Answer(0.5 + e, NO_FILM, u) for e, u in zip(error, unsure, strict=True)]


def test_95_of_100_new_pictures_lie_within_the_interval_whatever_the_tails():
    rng = np.random.default_rng(3)
    unsure = rng.uniform(0, 0.2, 20_000)
    error = 0.05 * rng.standard_t(1, unsure.size) * (unsure + LEAST_UNSURE)  # no finite variance
    held = []
    for k in range(100):
        old, new = slice(200 * k, 200 * k + 100), slice(200 * k + 100, 200 * (k + 1))
        found = interval_metrics(answers_of(error[old], unsure[old]), [0.5] * 100)
        half = found["interval_reach"] * (unsure[new] + LEAST_UNSURE)
        held.append(np.mean(np.abs(error[new]) <= half))
    assert np.mean(held) == pytest.approx(96 / 101, abs=0.01)


def test_19_pictures_are_bounded_by_their_worst_and_18_by_nothing():
    error = np.linspace(-0.02, 0.09, FEWEST)
    found = interval_metrics(answers_of(error, np.zeros(FEWEST)), [0.5] * FEWEST)
    assert found == {"interval_reach": 9.0, "interval_images": FEWEST}
    assert interval_metrics(answers_of(error[1:], error[1:]), [0.5] * (FEWEST - 1)) == {}
