"""What every measurement promises, run for each entry of the registry."""

from dataclasses import replace

import numpy as np
import pytest

from layerscope.core.micrograph import PixelSize
from layerscope.core.results import CropMasks, Detections
from layerscope.errors import InputError
from layerscope.measure import MEASUREMENTS, glossary, measure, measurement, table_columns
from layerscope.ops.tone import tone_curve

SIZE = PixelSize(100, 100, "test")


def scene():
    """Three flakes in 120 x 150: a triangle with a hole, a bar and a blob at the border."""
    y, x = np.mgrid[:120, :150]
    labels = np.zeros((120, 150), np.int32)
    labels[(y > 20) & (x > 15) & (x + 1.3 * y < 120)] = 1
    labels[30:36, 25:31] = 0
    labels[(np.abs(x - 0.4 * y - 70) < 6) & (y > 30) & (y < 100)] = 2
    labels[(y - 90) ** 2 + (x - 149) ** 2 < 500] = 3
    return labels


@pytest.fixture
def found(make_detections):
    return make_detections(scene(), numbers=[1, 0, 3])


@pytest.mark.parametrize("name", list(MEASUREMENTS))
def test_doubling_the_pixel_size(found, name):
    m = MEASUREMENTS[name]
    once = measure(found, pixel_size=SIZE)
    twice = measure(found, pixel_size=PixelSize(200, 200, "test"))
    for column, unit in m.columns.items():
        factor = 1 if unit.startswith("px") else 2**m.dimension
        np.testing.assert_allclose(twice[column], factor * once[column], rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in MEASUREMENTS if MEASUREMENTS[n].rotation_invariant])
def test_a_quarter_turn_changes_nothing(found, make_detections, name):
    turned = make_detections(np.rot90(scene()).copy(), numbers=[1, 0, 3])
    # Labels keep their values, hence rows their order; the signal is the same for both.
    tolerance = 0.03 if "inscribed" in name else 0.015 if name == "perimeter" else 1e-9
    if name == "circularity":
        tolerance = 0.03
    for column in MEASUREMENTS[name].columns:
        before = measure(found, pixel_size=SIZE)[column]
        after = measure(turned, pixel_size=SIZE)[column]
        np.testing.assert_allclose(after, before, rtol=tolerance)


@pytest.mark.parametrize("name", list(MEASUREMENTS))
def test_only_what_needs_the_signal_sees_it(found, make_detections, name):
    m = MEASUREMENTS[name]
    other = make_detections(scene(), numbers=[1, 0, 3], seed=1)
    other = replace(other, signal=replace(other.signal, uniformity=np.full(3, 0.5)))
    if "signal" not in m.needs:
        for column in m.columns:
            np.testing.assert_array_equal(
                measure(found, pixel_size=SIZE)[column], measure(other, pixel_size=SIZE)[column]
            )


@pytest.mark.parametrize("name", list(MEASUREMENTS))
def test_square_pixels_are_the_limit_of_others(found, name):
    m = MEASUREMENTS[name]
    nearly = PixelSize(100 * (1 + 1e-9), 100, "test")
    for column in m.columns:
        np.testing.assert_allclose(
            measure(found, pixel_size=nearly)[column],
            measure(found, pixel_size=SIZE)[column],
            rtol=2e-3 if "inscribed" not in name else 0.04,
            atol=1e-6,
        )


def test_every_column_is_described(found):
    table, described = measure(found, pixel_size=SIZE), glossary()
    assert list(table.columns) == described["column"].tolist()
    assert len(set(table.columns)) == len(table.columns)
    assert (described["meaning"].str.len() > 12).all()
    assert described["meaning"].str.endswith(".").all()
    for name, unit in zip(described["column"], described["unit"], strict=True):
        suffix = {"px": "_px", "um": "_um", "um2": "_um2", "deg": "_deg", "nm": "_nm"}.get(unit, "")
        assert name.endswith(suffix)


def test_dtypes_are_declared(found):
    import pandas as pd

    table = measure(found, pixel_size=SIZE)
    for column in table_columns():
        expected = pd.Series([], dtype=column.dtype).dtype
        assert table[column.name].dtype == expected, column.name


@pytest.mark.parametrize("pixel_size", [None, SIZE, PixelSize(200, 100, "test")])
def test_nothing_found_gives_the_same_columns(found, pixel_size):
    table = measure(Detections.empty((40, 50)), pixel_size=pixel_size, image="empty")
    assert len(table) == 0
    assert table.dtypes.equals(measure(found, pixel_size=pixel_size).dtypes)


def test_without_a_pixel_size_micrometres_are_missing(found):
    table = measure(found, pixel_size=None)
    um = [c.name for c in table_columns() if c.unit.startswith("um")]
    assert len(um) > 10
    assert table[um].isna().all().all()
    assert table["flags"].str.contains("scale_unknown").all()
    assert table["area_px"].tolist() == found.masks.area_px.tolist()


def test_identity_and_layers(found):
    table = measure(found, pixel_size=SIZE, image="a.jpg", setup=2)
    assert table["image"].tolist() == ["a.jpg"] * 3
    assert table["setup"].tolist() == [2] * 3
    assert table["region_id"].tolist() == [1, 2, 3]
    assert table["n_layers"].tolist() == ["1", "thick", "3"]
    assert table["layers_probability"].tolist() == pytest.approx([0.9] * 3)
    assert table["p_1L"].tolist() == pytest.approx([0.9, 0.1 / 11, 0.1 / 11])
    assert table["thickness_branches_nm"][0] == "0.235 to 0.435 (1.00)"
    assert table["touches_border"].tolist() == [False, False, True]
    assert table["flags"].tolist() == ["", "", "touches_border"]
    assert table[["bbox_top_px", "bbox_right_px"]].iloc[2].tolist() == [68, 150]


def test_contrast_follows_the_tone_curve(found):
    linear = measure(found, pixel_size=None)
    gamma = measure(found, pixel_size=None, tone=tone_curve("gamma:2"))
    np.testing.assert_allclose(1 + gamma["contrast_g"], (1 + linear["contrast_g"]) ** 2)
    assert (linear["contrast_r_se"] > 0).all()


def test_inputs_are_not_changed(found):
    before = [c.copy() for c in found.masks.crops]
    measure(found, pixel_size=PixelSize(200, 100, "test"))
    for crop, same in zip(found.masks.crops, before, strict=True):
        np.testing.assert_array_equal(crop, same)


def test_a_measurement_is_one_function(found):
    @measurement(unit="um", dimension=1)
    def half_perimeter(region):
        """Half the length of the outline."""
        return region.perimeter / 2

    assert half_perimeter.columns == {"half_perimeter_px": "px", "half_perimeter_um": "um"}
    assert half_perimeter.description == "Half the length of the outline."


@pytest.mark.parametrize(
    ("unit", "dimension", "needs"),
    [("um", 2, ("mask",)), ("furlong", 1, ("mask",)), ("", 0, ("x",))],
)
def test_contradictory_declarations_are_refused(unit, dimension, needs):
    with pytest.raises(InputError):
        measurement(unit=unit, dimension=dimension, needs=needs)


def test_a_measurement_needs_a_docstring():
    with pytest.raises(InputError, match="no docstring"):

        @measurement(unit="", dimension=0)
        def mute(region):
            return 0.0


def test_loose_boxes_and_views_measure_like_tight_ones(make_detections):
    labels = scene()
    tight = make_detections(labels)
    loose = CropMasks(
        np.array([[0, 0, 120, 150]] * 3), tuple(labels == k for k in (1, 2, 3)), labels.shape
    )
    a, b = measure(tight, pixel_size=SIZE), measure(make_detections(loose), pixel_size=SIZE)
    for column in ("area_px", "perimeter_um", "centroid_x_px", "feret_min_px"):
        np.testing.assert_allclose(a[column], b[column])
    np.testing.assert_allclose(
        a["inscribed_circle_diameter_px"], b["inscribed_circle_diameter_px"], atol=0.6
    )


def test_an_empty_mask_is_named(make_detections):
    crops = (np.ones((2, 2), bool), np.zeros((2, 2), bool))
    masks = CropMasks(np.array([[0, 0, 2, 2], [3, 3, 5, 5]]), crops, (9, 9))
    with pytest.raises(InputError, match="region 2 has no pixel"):
        measure(make_detections(masks), pixel_size=None)
