"""Laws that every shape obeys, on random blobs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.micrograph import PixelSize
from layerscope.measure import MEASUREMENTS, measure

SIZE = PixelSize(250, 250, "test")
INVARIANT_EXACT = [
    column
    for m in MEASUREMENTS.values()
    if m.rotation_invariant and not m.name.startswith("inscribed") and m.name != "perimeter"
    for column in m.columns
    if m.name != "circularity"
]


@st.composite
def label_images(draw):
    """Up to four overlapping boxes with distinct labels, on 40 x 50 pixels."""
    labels = np.zeros((40, 50), np.int32)
    for value in range(1, draw(st.integers(1, 4)) + 1):
        top, left = draw(st.integers(0, 34)), draw(st.integers(0, 44))
        height, width = draw(st.integers(2, 20)), draw(st.integers(2, 20))
        labels[top : top + height, left : left + width] = value
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def table_of(make_detections, labels):
    return measure(make_detections(labels), pixel_size=SIZE)


@settings(max_examples=25, deadline=None)
@given(labels=label_images())
def test_quarter_turns(make_detections, labels):
    before = table_of(make_detections, labels)
    after = table_of(make_detections, np.rot90(labels).copy())
    for column in INVARIANT_EXACT:
        np.testing.assert_allclose(after[column], before[column], rtol=1e-9, err_msg=column)


@settings(max_examples=25, deadline=None)
@given(labels=label_images(), shift=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_moving_moves_positions_only(make_detections, labels, shift):
    before = table_of(make_detections, labels)
    after = table_of(make_detections, np.pad(labels, ((shift[0], 3), (shift[1], 3))))
    np.testing.assert_allclose(after["centroid_y_px"], before["centroid_y_px"] + shift[0])
    np.testing.assert_allclose(after["centroid_x_px"], before["centroid_x_px"] + shift[1])
    for m in MEASUREMENTS.values():
        for column in m.columns:
            if not m.name.endswith(("_y", "_x")):
                np.testing.assert_allclose(after[column], before[column], atol=1e-6, err_msg=column)


@settings(max_examples=25, deadline=None)
@given(labels=label_images(), seed=st.integers(0, 99))
def test_relabelling_permutes_rows(make_detections, labels, seed):
    found = make_detections(labels)
    order = np.random.default_rng(seed).permutation(len(found))
    before, after = measure(found, pixel_size=SIZE), measure(found[order], pixel_size=SIZE)
    for column in before.columns.drop("region_id"):
        assert after[column].tolist() == before[column][order].tolist() or (
            after[column].isna().all() and before[column].isna().all()
        ), column


@settings(max_examples=25, deadline=None)
@given(labels=label_images())
def test_order_of_sizes(make_detections, labels):
    t = table_of(make_detections, labels)
    slack = 1 + 1e-9
    assert (t["feret_min_px"] <= t["feret_max_px"] * slack).all()
    assert (t["inscribed_circle_diameter_px"] <= t["feret_min_px"] * slack).all()
    assert (t["inscribed_rectangle_width_px"] <= t["inscribed_rectangle_length_px"] * slack).all()
    assert (t["equivalent_diameter_px"] <= t["feret_max_px"] * slack).all()
    assert t["solidity"].between(0, 1).all()
    assert t["circularity"].between(0, 1).all()
    assert (t["aspect_ratio"] >= 1).all()
    room = t["inscribed_rectangle_length_px"] * t["inscribed_rectangle_width_px"]
    # Half a pixel all round is the tolerance of the rectangle.
    assert (room <= t["area_px"] + 0.5 * t["perimeter_px"]).all()


@settings(max_examples=15, deadline=None)
@given(labels=label_images(), factor=st.integers(2, 3))
def test_finer_pixels_measure_the_same(make_detections, labels, factor):
    coarse = table_of(make_detections, labels)
    fine_size = PixelSize(250 / factor, 250 / factor, "test")
    enlarged = np.kron(labels, np.ones((factor, factor), np.int32))
    fine = measure(make_detections(enlarged), pixel_size=fine_size)
    for column in ("area_um2", "feret_max_um", "feret_min_um", "nearest_flake_distance_um"):
        np.testing.assert_allclose(fine[column], coarse[column], rtol=1e-9, atol=1e-9)
    for column in ("solidity", "aspect_ratio", "hole_count"):
        np.testing.assert_allclose(fine[column], coarse[column], rtol=1e-9)
