"""The smoothing of a forest's answer is chosen on what it has not seen, and taken if it wins."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn")

from layerscope.core.examples import IGNORE
from layerscope.errors import InputError
from layerscope.models.card import ModelCard
from layerscope.models.file import read_model
from layerscope.models.forest import ForestSettings, write_forest
from layerscope.ops.guided import guided_maps
from layerscope.training import forest_smoothing
from layerscope.training.choice import Candidate
from layerscope.training.forest_smoothing import RADII_PX, try_smoothing
from layerscope.training.forest_trial import grow_final, grow_folds, sample_images, try_forest
from layerscope.training.labelled import LabelledImages
from layerscope.training.splits import grouped_folds

CANDIDATE = Candidate("forest", "standard", "scales")
SMALL = ForestSettings(10)


def discs(number, noise, seed=0):
    """Bright discs in noise; pixels alone say little, their surroundings much."""
    images, labels = [], []
    for i in range(number):
        rng = np.random.default_rng([seed, i])
        y, x = np.mgrid[:72, :88]
        mask = np.zeros((72, 88), np.uint8)
        for _ in range(3):
            mask[np.hypot(y - rng.uniform(10, 62), x - rng.uniform(10, 78)) < 13] = 1
        image = 0.4 + 0.2 * mask + rng.normal(0, noise, mask.shape)
        mask[:2] = IGNORE
        images.append(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)[..., None])
        labels.append(mask)
    names = tuple(f"i{i}" for i in range(number))
    return LabelledImages(names, names, tuple(images), tuple(labels), ("bare", "disc"))


def tried(data):
    drawn = sample_images(data, CANDIDATE, 2000)
    folds = grouped_folds(data.groups, 2)
    grown = grow_folds(drawn, folds, SMALL)
    return drawn, folds, grown


def test_specks_are_smoothed_and_the_gain_is_held_out():
    data = discs(4, 0.6)
    drawn, folds, grown = tried(data)
    found = try_smoothing(data, CANDIDATE, folds, grown)
    assert found is not None
    radius = found.candidate.smoothing_px
    assert radius in RADII_PX[1:]
    assert "smoothed over" in str(found.candidate)
    assert found.score() > try_forest(drawn, folds, SMALL, grown).score() + 0.01
    assert sorted(a.image for a in found.answers) == [0, 1, 2, 3]
    again = try_smoothing(data, CANDIDATE, folds, grown)
    assert again.score() == found.score()


def test_what_gains_nothing_is_not_smoothed():
    data = discs(4, 0.01)
    _, folds, grown = tried(data)
    assert try_smoothing(data, CANDIDATE, folds, grown) is None


@pytest.mark.parametrize("features", ["scales", "wide"])
def test_an_area_is_answered_as_in_the_whole_image(features, monkeypatch):
    candidate = replace(CANDIDATE, features=features)
    data = discs(2, 0.2)
    drawn = sample_images(data, candidate, 1000)
    forest = grow_final(drawn, SMALL)
    whole = np.random.default_rng(0).normal(size=(300, 320, 1)).astype(np.float32)
    everything = forest_smoothing._maps(forest, whole, (slice(0, 300), slice(0, 320)), features, 2)
    area = (slice(93, 193), slice(120, 211))
    part = forest_smoothing._maps(forest, whole, area, features, 2)
    assert part.shape == (100, 91, 2)
    assert np.mean(np.abs(part - everything[area]) > 1e-6) < 0.001  # a threshold may be met


def test_areas_hold_a_labelled_pixel_and_lie_inside():
    labels = np.full((50, 200), IGNORE, np.uint8)
    labels[44, 190] = 1
    for side in (20, 60, 300):
        rows, columns = forest_smoothing._area(labels, side, np.random.default_rng(0))
        assert labels[rows, columns].min() == 1
        assert rows.stop - rows.start == min(side, 50)
        assert columns.stop - columns.start == min(side, 200)


def test_the_file_answers_smoothed(tmp_path):
    pytest.importorskip("onnx")
    data = discs(2, 0.3)
    drawn = sample_images(data, CANDIDATE, 1000)
    forest = grow_final(drawn, SMALL)
    card = ModelCard(
        "m", "phases", "classes", data.classes, channels=1, normalisation="standard",
        input="pixel_features", features="scales",
    )  # fmt: skip
    told = {}
    for radius in (0, 4):
        path = tmp_path / f"{radius}.onnx"
        write_forest(forest, replace(card, smoothing_px=radius), path, drawn.checked[0].features)
        told[radius] = read_model(path)
        assert told[radius].card.smoothing_px == radius
    image = data.images[0]
    unit = image.astype(np.float32) / 255
    wanted = guided_maps(told[0].predict(image), (unit - unit.mean()) / unit.std(), 4)
    np.testing.assert_allclose(told[4].predict(image), wanted, atol=1e-4)
    with pytest.raises(InputError, match="smoothing_px"):
        replace(card, smoothing_px=-1)
    with pytest.raises(InputError, match="pixel features only"):
        ModelCard("m", "phases", "classes", ("a", "b"), smoothing_px=2)
