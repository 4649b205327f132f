"""Sizes, edges, beam and figures of particles."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders.particle_scenes import disc, flake_over_hole, pixels_of

from layerscope.core.micrograph import PixelSize
from layerscope.core.particles import POPULATION_COLUMNS, PixelClasses
from layerscope.core.results import CropMasks
from layerscope.errors import InputError
from layerscope.measure.particle_population import (
    Field,
    fit_lognormal,
    summarise_particles,
    weighted_quantiles,
    wilson,
)
from layerscope.measure.particle_signal import ThicknessLimits, measure_beam
from layerscope.measure.particles import (
    measure_particles,
    particle_columns,
    particle_glossary,
    particle_measurements,
)
from layerscope.tasks.particles import gather_particles, separate_particles

SIZE = PixelSize(100, 100, "test")


def bodies(*masks):
    every = np.any(masks, axis=0)
    return separate_particles(PixelClasses(every, ~every & False, np.ones(every.shape, bool)))


def rectangle(shape, top, left, height, width):
    mask = np.zeros(shape, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_lateral_size_is_the_mean_of_the_longest_extent_and_the_width_across_it():
    particles = bodies(rectangle((100, 200), 20, 30, 40, 120))
    row = measure_particles(particles, None, pixel_size=SIZE)[0].iloc[0]
    length = np.hypot(40, 120)
    across = 2 * 40 * 120 / length  # both other corners lie off the diagonal, on opposite sides
    assert row["feret_max_um"] == pytest.approx(0.1 * length)
    assert row["feret_orthogonal_um"] == pytest.approx(0.1 * across)
    assert row["lateral_size_um"] == pytest.approx(0.05 * (length + across))
    assert row["lateral_aspect"] == pytest.approx(length / across)


def test_a_disc_is_smooth_and_a_star_is_not():
    rows, columns = np.indices((240, 240)) - 120.0
    angle, radius = np.arctan2(rows, columns), np.hypot(rows, columns)
    star = radius < 70 + 25 * np.sin(12 * angle)
    smooth, rough = (
        measure_particles(bodies(mask), None, pixel_size=None)[0].iloc[0]
        for mask in (radius < 70, star)
    )
    assert smooth["edge_roughness"] == pytest.approx(1, abs=0.03)
    assert smooth["edge_dimension"] < 1.06
    assert rough["edge_roughness"] > 1.5
    assert rough["edge_dimension"] > smooth["edge_dimension"] + 0.05
    assert smooth["lateral_size_px"] == pytest.approx(140, rel=0.02)


@pytest.mark.parametrize("m", particle_measurements(), ids=lambda m: m.name)
def test_doubling_the_pixel_size(m):
    particles = bodies(rectangle((80, 90), 5, 5, 30, 50), disc((80, 90), 60, 70, 12))
    once = measure_particles(particles, None, pixel_size=SIZE)[0]
    twice = measure_particles(particles, None, pixel_size=PixelSize(200, 200, "test"))[0]
    for column, unit in m.columns.items():
        factor = 1 if unit.startswith("px") else 2**m.dimension
        np.testing.assert_allclose(twice[column], factor * once[column], rtol=1e-12)


def test_every_column_is_described_and_nothing_gives_the_same_columns():
    table = measure_particles(bodies(disc((60, 60), 30, 30, 10)), None, pixel_size=None)[0]
    nothing = measure_particles(bodies(np.zeros((60, 60), bool)), None, pixel_size=SIZE)[0]
    assert len(nothing) == 0
    assert table.dtypes.equals(nothing.dtypes)
    assert list(table.columns) == particle_glossary()["column"].tolist()
    assert particle_glossary()["meaning"].str.endswith(".").all()
    assert "scale_unknown" in table["flags"][0]
    um = [c.name for c in particle_columns() if c.unit.startswith("um")]
    assert table[um].isna().all().all()


@pytest.mark.parametrize("through", [0.5, 0.9, 0.98])
def test_transmission_is_the_same_over_support_and_over_vacuum(through):
    flake, holes, grey = flake_over_hole(through)
    beam = measure_beam(separate_particles(pixels_of(flake, holes)), grey)
    assert beam.reference == "support and vacuum"
    assert abs(beam.transmission[0] - through) < 3 * beam.transmission_se[0] + 0.002
    expected = {0.5: "thick", 0.9: "medium", 0.98: "thin"}[through]
    assert beam.thickness_class == (expected,)


def test_a_body_brighter_than_what_is_behind_it_has_no_thickness_class():
    flake, holes, grey = flake_over_hole(1.4)
    assert measure_beam(separate_particles(pixels_of(flake, holes)), grey).thickness_class == (
        "unknown",
    )
    with pytest.raises(InputError, match="two rising"):
        ThicknessLimits(0.5, 0.1)


def test_folds_are_dark_ridges_inside():
    flake, holes, _ = flake_over_hole(0.8)
    particles = separate_particles(pixels_of(flake, holes & ~flake))
    plain = np.where(holes & ~flake, 1.0, 0.7) * np.where(flake, 0.8, 1.0)
    noise = np.random.default_rng(0).normal(0, 0.01, flake.shape)
    smooth = (plain + noise).astype(np.float32)
    folded = smooth.copy()
    folded[60:100, 84:87] *= 0.7
    before, after = (measure_beam(particles, g) for g in (smooth, folded))
    assert (before.folds[0], after.folds[0]) == (0, 1)
    assert 0.01 < after.fold_share[0] < 0.1


def test_texture_entropy_counts_grey_values():
    flake, holes, grey = flake_over_hole()
    particles = separate_particles(pixels_of(flake, holes))
    flat = measure_beam(particles, np.where(flake, 0.4, grey).astype(np.float32))
    busy = np.where(flake, np.random.default_rng(0).uniform(0.3, 1, grey.shape), grey)
    assert flat.texture_entropy[0] == pytest.approx(0)
    assert measure_beam(particles, busy.astype(np.float32)).texture_entropy[0] > 5


def test_a_lognormal_is_found_again_with_its_intervals():
    held = 0
    for seed in range(60):
        sizes = np.exp(np.random.default_rng(seed).normal(-0.7, 0.4, 40))
        fit = fit_lognormal(sizes)
        held += fit["mu"].low <= -0.7 <= fit["mu"].high
        held += fit["sigma"].low <= 0.4 <= fit["sigma"].high
    assert 108 <= held <= 120  # 95 % of 120, and what 60 draws may stray
    uniform = fit_lognormal(np.random.default_rng(0).uniform(0.01, 1, 300))
    assert uniform["p"].value < 0.01
    assert np.isnan(fit_lognormal(np.ones(7))["mu"].value)
    assert fit_lognormal(np.ones(9))["mu"].interval == "none: all sizes are the same"


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=30), st.floats(0.5, 3))
def test_quantiles_of_equal_weights_scale(values, factor):
    array = np.array(values)
    weights = np.full(len(array), factor)
    low, middle, high = weighted_quantiles(array, weights, [0.25, 0.5, 0.75])
    assert array.min() <= low <= middle <= high <= array.max()
    scaled = weighted_quantiles(2 * array, weights, [0.5])
    assert scaled[0] == pytest.approx(2 * middle)


def test_wilson_holds_the_share():
    assert wilson(0, 10).low == 0
    assert wilson(10, 10).high == 1
    share = wilson(3, 10)
    assert (round(share.low, 3), round(share.high, 3)) == (0.108, 0.603)  # Newcombe (1998)


def test_the_border_rule_gives_back_the_density_of_the_plane():
    """Discs strewn over a plane, seen through a frame: large ones are cut, counts are right."""
    rng = np.random.default_rng(3)
    seen, plain, fields = [], 0, []
    shape = (120, 120)
    for _ in range(60):
        masks = [
            disc(shape, *rng.uniform(-40, 160, 2), 16) for _ in range(rng.poisson(4))
        ]  # density 4 per 200 x 200
        every = np.any(masks, axis=0) if masks else np.zeros(shape, bool)
        there = [m for m in masks if m.any()]
        pixels = PixelClasses(every, np.zeros(shape, bool), np.ones(shape, bool))
        particles = gather_particles(
            CropMasks.from_dense(there, shape), np.ones(len(there)), pixels
        )
        table = measure_particles(particles, None, pixel_size=None, image="a")[0]
        seen.append(table)
        plain += int((~table["touches_border"]).sum())
        fields.append(Field.of(particles, None, "a"))
    every = pd.concat([t for t in seen if len(t)], ignore_index=True)
    figures = summarise_particles(every, fields, image="all").set_index("quantity")
    density = figures.loc["density"]
    assert density["low"] < 1e-4 < density["high"]
    assert density["value"] == pytest.approx(1e-4, rel=0.2)
    assert plain / (60 * 120 * 120) < 0.7e-4  # without the rule
    assert figures.loc["lateral_size_median", "value"] == pytest.approx(33, abs=0.8)
    assert list(summarise_particles(every, fields, image="all").columns) == [
        c.name for c in POPULATION_COLUMNS
    ]


def test_coverage_and_porosity_are_those_of_the_masks():
    flake, holes, _ = flake_over_hole()
    particles = separate_particles(pixels_of(flake, holes))
    field = Field.of(particles, None, "a")
    table = measure_particles(particles, None, pixel_size=None, image="a")[0]
    figures = summarise_particles(table, [field], image="a").set_index("quantity")["value"]
    assert figures["coverage"] == pytest.approx(flake.mean())
    bare = ~flake
    assert figures["porosity"] == pytest.approx((holes & bare).sum() / bare.sum())
