"""How many particles islands stand for: intervals that hold, cards that keep what was learned."""

import numpy as np
import pytest

from layerscope.core.examples import IGNORE
from layerscope.core.results import CropMasks
from layerscope.errors import InputError
from layerscope.tasks.particle_counts import IslandModel, Matched, island_features, sure_levels
from layerscope.training.held_out_islands import HeldOutImage, first_islands, learn_islands


def images_of(rng, number, islands=5.0):
    """Images whose islands are particles by a logistic law, and a fifth more."""
    out = []
    for _ in range(number):
        n = rng.poisson(islands)
        features = np.column_stack([rng.normal(0, 2, n), -np.abs(rng.normal(0, 2, n))])
        odds = 1.5 + 0.5 * features[:, 0] + 1.2 * features[:, 1]
        particle = rng.random(n) < 1 / (1 + np.exp(-odds))
        out.append(Matched(features, particle, int(rng.poisson(0.2 * particle.sum()))))
    return out


def true_of(image):
    return int(image.particle.sum()) + image.more


def test_the_interval_of_a_set_holds_the_truth_in_nine_of_ten_cases_and_more():
    """Seven images teach, twelve others are counted; 95 % is aimed at, and measured."""
    rng, held, bias = np.random.default_rng(11), [], []
    for _ in range(60):
        model, others = IslandModel.fit(images_of(rng, 7)), images_of(rng, 12)
        total = model.count(others[0].features)
        for other in others[1:]:
            total = total + model.count(other.features)
        expected, low, high = total.interval()
        true = sum(map(true_of, others))
        held.append(low <= true <= high)
        bias.append(expected / true)
    assert np.mean(held) >= 0.88
    assert np.mean(bias) == pytest.approx(1, abs=0.06)


def test_what_was_learned_is_kept_by_a_card_and_damage_is_not_used():
    rng = np.random.default_rng(0)
    model, other = IslandModel.fit(images_of(rng, 7)), images_of(rng, 1)[0]
    kept = model.as_metrics()
    again = IslandModel.from_metrics(kept)
    assert again.count(other.features).interval() == pytest.approx(
        model.count(other.features).interval(), rel=1e-4
    )
    np.testing.assert_allclose(
        again.probability(other.features), model.probability(other.features), rtol=1e-4
    )
    for key, value in (
        ("features", ["area"]), ("weights", [1.0]), ("weights", "none"), ("spread", 0.5),
        ("covariance", [[0.0] * 3] * 3), ("first", -1), ("weights", [np.nan] * 3),
    ):  # fmt: skip
        assert IslandModel.from_metrics({**kept, key: value}) is None
    assert IslandModel.from_metrics(None) is None


def test_without_held_out_images_a_sure_large_island_is_likely_and_film_is_not():
    known = IslandModel.fit([])
    sure, film = known.probability(np.array([[2.0, 0.0], [-1.0, -3.0]]))
    assert sure > 0.7
    assert film < 0.1
    with pytest.raises(InputError, match="islands"):
        IslandModel.fit([Matched(np.zeros((9, 2)), np.ones(8, bool), 0)])


def test_no_island_is_no_particle_and_more_images_narrow_the_interval():
    rng = np.random.default_rng(5)
    few, many = IslandModel.fit(images_of(rng, 5)), IslandModel.fit(images_of(rng, 200))
    assert many.count(np.zeros((0, 2))).interval() == (0, 0, 0)
    others = np.concatenate([one.features for one in images_of(rng, 40)])
    wide, narrow = (m.count(others).interval() for m in (few, many))
    assert narrow[2] - narrow[1] < 0.7 * (wide[2] - wide[1])


def boxes_of(*boxes, shape=(80, 160)):
    labels = np.zeros(shape, np.int32)
    for i, (top, left, bottom, right) in enumerate(boxes, start=1):
        labels[top:bottom, left:right] = i
    return labels


def test_a_particle_is_put_to_the_island_that_holds_most_of_it():
    true = boxes_of((10, 10, 40, 40), (10, 60, 40, 80), (10, 84, 40, 104), (50, 120, 70, 150))
    found = boxes_of((10, 10, 40, 22), (10, 24, 40, 40), (10, 60, 40, 104), (69, 149, 80, 160))
    first = first_islands(CropMasks.from_labels(found), CropMasks.from_labels(true))
    assert first.tolist() == [1, 2, 2, -1]  # a broken one, two that grew together, a grazed one
    none = CropMasks.empty((80, 160))
    assert first_islands(none, CropMasks.from_labels(true)).tolist() == [-1] * 4


def test_sure_levels_are_those_that_enough_pixels_reach():
    masks = CropMasks.from_labels(boxes_of((0, 0, 10, 10), (20, 20, 24, 25)))
    probability = np.zeros((80, 160), np.float32)
    probability[:10, :10] = np.linspace(0, 0.99, 100).reshape(10, 10)
    probability[20:24, 20:25] = np.linspace(0.5, 0.69, 20).reshape(4, 5)
    assert sure_levels(masks, probability, 50) == pytest.approx([0.5, 0.6])
    features = island_features(masks, probability, 50)
    assert features[:, 1] == pytest.approx([0, np.log(0.2)])
    probability[20:24, 20:25] = 0.9  # now it is sure, and the other one larger than usual
    assert island_features(masks, probability, 50)[:, 1].tolist() == [0, 0]
    assert island_features(CropMasks.empty((80, 160)), probability, 50).shape == (0, 2)


def test_held_out_images_tell_sure_islands_from_film():
    """Each image: a sure flake, film somewhat like one, and a flake where nobody could say."""
    told = []
    for k in range(6):
        truth = np.zeros((80, 160, 2), np.uint8)
        truth[10:40, 10:40, 0] = 1
        truth[50:75, 110:150, 0] = IGNORE
        probability = np.full(truth.shape, 0.1, np.float16)
        probability[10:40, 10:40, 0] = 0.95
        probability[10:40, 60 : 80 + k, 0] = 0.6
        probability[50:75, 110:150, 0] = 0.6
        told.append(HeldOutImage(np.full((80, 160), 0.5, np.float32), probability, truth))
    learned = learn_islands(told, {"flake": 0.5, "hole": 0.5})
    assert list(learned) == ["flake"]
    model = IslandModel.from_metrics(learned["flake"])
    assert (model.first, model.more, model.images) == (6, 0, 6)
    masks = CropMasks.from_labels(boxes_of((10, 10, 40, 40), (10, 60, 40, 81)))
    sure, film = model.probability(island_features(masks, told[0].probability[..., 0], 50))
    assert sure > 0.8
    assert film < 0.3
    assert learn_islands(told, {"hole": 0.5, "vacuum": 0.5}) == {}
