"""Laws that the domains table obeys on any film."""

import numpy as np
from films import coverage_of
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.micrograph import PixelSize
from layerscope.measure.domain_columns import domain_measurements
from layerscope.measure.domain_summary import summarise_film
from layerscope.measure.domains import (
    MIN_AREA_PX,
    find_domains,
    measure_domains,
)
from layerscope.ops.instances import label_islands
from layerscope.synth.surface import synth_surface

NM = PixelSize(10.0, 10.0, "test")


@st.composite
def films(draw):
    """Layer numbers of a synthetic film of 96 x 112 pixels."""
    seed, coverage = draw(st.integers(0, 500)), draw(st.floats(0.05, 0.5))
    return synth_surface(seed, shape=(96, 112), coverage=coverage, max_layers=2).layers


def table_of(levels, size=NM, *, split=True):
    heights = levels.astype(float)
    return measure_domains(find_domains(coverage_of(levels), split=split), heights, pixel_size=size)


def summary_of(levels):
    coverage = coverage_of(levels)
    found = find_domains(coverage, split=False)
    # Padded films are cut nowhere: no weight is needed, and no chance comes in.
    table = measure_domains(found, None, pixel_size=NM, border="excluded")
    rows = summarise_film(table, found, coverage, pixel_size=NM, border="excluded")
    return rows.set_index(["layer", "quantity"])["value"]


@settings(max_examples=10, deadline=None)
@given(levels=films(), factor=st.floats(0.1, 30))
def test_columns_grow_with_the_pixel_by_their_dimension(levels, factor):
    one, other = table_of(levels), table_of(levels, PixelSize(10 * factor, 10 * factor, "test"))
    for m in domain_measurements():
        for name, unit in m.columns.items():
            grown = 1.0 if unit.startswith("px") else factor**m.dimension
            np.testing.assert_allclose(other[name], one[name] * grown, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(other["volume_um3"], one["volume_um3"] * factor**2)
    np.testing.assert_allclose(other["nearest_centre_um"], one["nearest_centre_um"] * factor)


@settings(max_examples=10, deadline=None)
@given(levels=films(), way=st.sampled_from(["quarter turn", "mirrored"]))
def test_turned_and_mirrored_films_have_the_same_shapes(levels, way):
    other = np.rot90(levels) if way == "quarter turn" else levels[:, ::-1]
    # Without parting: a watershed breaks ties by the order of pixels.
    before, after = (table_of(np.ascontiguousarray(x), split=False) for x in (levels, other))
    assert len(before) == len(after)
    for name in ("area_px", "feret_max_px", "border_weight", "volume_px2_nm", "nearest_centre_px"):
        np.testing.assert_allclose(np.sort(after[name]), np.sort(before[name]), rtol=1e-6)
    for name, off in (("triangularity", 0.01), ("facetting", 1e-9), ("hexagonality", 1e-9)):
        np.testing.assert_allclose(np.sort(after[name]), np.sort(before[name]), atol=off)
    edges = [summary_of(np.ascontiguousarray(x))["1", "edge_density"] for x in (levels, other)]
    np.testing.assert_allclose(*edges, rtol=1e-9)


@settings(max_examples=8, deadline=None)
@given(levels=films())
def test_tiling_keeps_densities(levels):
    padded = np.pad(levels, 3)
    one, nine = summary_of(padded), summary_of(np.tile(padded, (3, 3)))
    for quantity in ("coverage", "density", "mean_area", "triangularity"):
        np.testing.assert_allclose(nine["1", quantity], one["1", quantity], rtol=1e-9)
    # Test lines end at the frame: those near it are fewer.
    np.testing.assert_allclose(nine["1", "edge_density"], one["1", "edge_density"], rtol=0.05)
    assert nine["1", "count"] == 9 * one["1", "count"]


@settings(max_examples=8, deadline=None)
@given(levels=films())
def test_domains_tell_the_film_apart_without_overlap(levels):
    found = find_domains(coverage_of(levels))
    for k in range(1, int(levels.max()) + 1):
        masks = found.detections.masks.take(np.flatnonzero(found.level == k))
        painted = sum(
            (masks.dense(i).astype(int) for i in range(len(masks))), np.zeros(levels.shape, int)
        )
        film = levels >= k
        assert np.max(painted, initial=0) <= 1
        assert not ((painted > 0) & ~film).any()
        island = label_islands(film)
        large = np.bincount(island.ravel()) >= MIN_AREA_PX
        np.testing.assert_array_equal(painted > 0, film & large[island])
