import numpy as np
import pytest

from layerscope.synth.geometry import SMALLEST_TERRACE_PX, cleave_flake, fill, outline


def make_flakes(count=40, **options):
    rng = np.random.default_rng(5)
    made = [cleave_flake(rng, 40.0, 2, **options) for _ in range(count)]
    return [flake for flake in made if flake.size]


def test_flakes_are_cropped_and_thin_ones_stay_on_the_ladder():
    flakes = make_flakes()
    assert len(flakes) > 35
    for flake in flakes:
        assert flake[0].any()
        assert flake[-1].any()
        assert flake[:, 0].any()
        assert flake[:, -1].any()
        # A fold triples a terrace of at most ten layers.
        assert set(np.unique(flake)) <= {0, *range(2, 11), *range(12, 31, 3)}


def test_terraces_are_no_specks():
    from scipy import ndimage

    for flake in make_flakes(20):
        for value in np.unique(flake[flake > 0]):
            label, n = ndimage.label(flake == value)
            assert np.bincount(label.ravel())[1:].min() >= SMALLEST_TERRACE_PX, n


def test_many_flakes_have_terraces_and_steps_of_one_layer_are_commonest():
    flakes = make_flakes(80)
    kinds = [np.unique(f[f > 0]) for f in flakes]
    steps = np.concatenate([np.diff(k) for k in kinds if len(k) > 1])
    assert sum(len(k) > 1 for k in kinds) > len(kinds) / 3
    assert np.bincount(steps).argmax() == 1


def test_thick_side():
    flakes = make_flakes(20, thick_layers=100)
    assert np.mean([100 in f or 300 in f for f in flakes]) > 0.9


def test_edges_prefer_sixty_degrees():
    rng = np.random.default_rng(2)
    angles, lengths = [], []
    for _ in range(60):
        edge = np.diff(outline(rng, 100.0, 0.0), axis=0)
        length = np.hypot(*edge.T)
        straight = length > 30
        angle = np.degrees(np.arctan2(edge[straight, 1], edge[straight, 0]))
        longest = angle[np.argmax(length[straight])] if straight.any() else 0.0
        angles.extend((angle - longest + 5) % 60 - 5)
        lengths.extend(length[straight])
    near = np.abs(np.array(angles)) < 5
    # Random directions would put one sixth of the length there.
    assert np.array(lengths)[near].sum() > 0.35 * np.sum(lengths)


def test_fill_has_the_polygon_area():
    square = np.array([[0.0, 0], [30, 0], [30, 20], [0, 20]])
    assert fill(square).sum() == pytest.approx(600, rel=0.1)


def test_same_seed_same_flake():
    one = cleave_flake(np.random.default_rng(9), 50.0, 3)
    two = cleave_flake(np.random.default_rng(9), 50.0, 3)
    np.testing.assert_array_equal(one, two)
