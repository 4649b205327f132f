"""Summaries of a run, against sums that one can do by hand and known coverage."""

import numpy as np
import pandas as pd
import pytest

from layerscope.errors import InputError
from layerscope.measure import size_distribution, summarise_population
from layerscope.measure.population import _count, _median, _total, bootstrap


def table(image, n_layers, area_um2):
    return pd.DataFrame(
        {
            "image": image,
            "flake_id": np.arange(len(image)),
            "n_layers": n_layers,
            "area_um2": np.asarray(area_um2, float),
            "area_px": np.asarray(area_um2, float) * 4,
        }
    )


def pick(summary, n_layers, quantity):
    rows = summary[(summary["n_layers"] == n_layers) & (summary["quantity"] == quantity)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_figures_by_hand():
    objects = table(list("aabbb"), ["1", "2", "1", "thick", "1"], [4, 6, 8, 100, 10])
    areas = dict.fromkeys("abc", 1000.0)
    summary = summarise_population(objects, image_names=tuple("abc"), imaged_area_um2=areas)
    assert list(dict.fromkeys(summary["n_layers"])) == ["all", "1", "2", "thick"]
    assert pick(summary, "1", "count")["value"] == 3
    assert pick(summary, "1", "total_area")["value"] == 22
    assert pick(summary, "1", "median_area")["value"] == 8
    assert pick(summary, "all", "density")["value"] == pytest.approx(5 / 3000 * 1e6)
    assert pick(summary, "1", "total_area")["unit"] == "um2"
    assert pick(summary, "1", "count")["interval"] == "none: 3 images, fewer than 5"
    assert summary["low"].isna().all()


def test_without_scale_areas_are_in_pixels_and_density_says_why():
    objects = table(["a"] * 6, ["1"] * 6, [np.nan] * 6).assign(area_px=2.0)
    summary = summarise_population(objects, image_names=("a",), imaged_area_um2={})
    total = pick(summary, "1", "total_area")
    assert (total["value"], total["unit"]) == (12, "px")
    assert pick(summary, "1", "density")["interval"] == "none: area of a unknown, no pixel size"


def test_one_image_draws_flakes():
    objects = table(["a"] * 8, ["1"] * 8, np.arange(1, 9))
    row = pick(summarise_population(objects, image_names=("a",)), "all", "median_area")
    assert row["interval"] == "95 %, bootstrap over 8 flakes"
    assert row["low"] < 4.5 < row["high"]


def test_images_without_flakes_count():
    objects = table(list("abcdef"), ["1"] * 6, [1] * 6)
    names = tuple("abcdefghijkl")
    row = pick(summarise_population(objects, image_names=names), "1", "count")
    assert row["low"] < 6 < row["high"]


def test_no_objects():
    summary = summarise_population(table([], [], []), image_names=tuple("abcdef"))
    assert pick(summary, "all", "count")["value"] == 0
    assert pick(summary, "all", "median_area")["interval"] == "none: no value"


def test_the_order_of_rows_and_images_does_not_matter():
    rng = np.random.default_rng(1)
    image = rng.choice(list("abcdefg"), 60)
    objects = table(image, rng.choice(["1", "2", "unknown"], 60), rng.uniform(1, 9, 60))
    one = summarise_population(objects, image_names=tuple("abcdefg"))
    shuffled = objects.sample(frac=1, random_state=3)
    two = summarise_population(shuffled, image_names=tuple("gfedcba"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-12)


def test_strange_images_are_refused():
    with pytest.raises(InputError, match="'z'"):
        summarise_population(table(["z"], ["1"], [1]), image_names=("a",))


def test_weighted_figures_are_those_of_repeated_values():
    rng = np.random.default_rng(2)
    for n in (1, 2, 7):
        values, weights = rng.uniform(0, 1, n), rng.integers(0, 4, (50, n)).astype(float)
        weights[:, 0] += 1
        drawn = [np.repeat(values, w.astype(int)) for w in weights]
        np.testing.assert_allclose(_median(values, weights), [np.median(d) for d in drawn])
        np.testing.assert_allclose(_total(values, weights), [d.sum() for d in drawn])
        np.testing.assert_allclose(_count(values, weights), [len(d) for d in drawn])


def test_the_interval_of_a_sum_is_as_wide_as_theory_says():
    rng = np.random.default_rng(3)
    groups = [rng.normal(10, 2, 1) for _ in range(50)]
    found = bootstrap(groups, _total, unit="images")
    spread = np.std(np.concatenate(groups)) * np.sqrt(50)
    assert (found.high - found.low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.08)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(150):
        groups = [rng.exponential(5, rng.poisson(3)) for _ in range(25)]
        estimate = bootstrap(groups, _total, unit="images", draws=400)
        hits += estimate.low <= 25 * 3 * 5 <= estimate.high
    assert 0.87 <= hits / 150 <= 0.99


def test_size_distribution():
    objects = table(["a"] * 5, ["1", "1", "2", "1", "2"], [1, 10, 10, 100, 100])
    sizes = size_distribution(objects, bins=2)
    assert sizes["count"].tolist() == [1, 2, 0, 2]
    assert sizes["low"].tolist() == pytest.approx([1, 10, 1, 10])
    assert sizes["count"].sum() == 5
    assert len(size_distribution(objects[:0])) == 0
    assert size_distribution(objects[:1], bins=3)["count"].sum() == 1
    with pytest.raises(InputError, match="no column 'mass'"):
        size_distribution(objects, column="mass")
