"""Shapes with answers in closed form."""

import numpy as np
import pytest

from layerscope.core.micrograph import PixelSize
from layerscope.measure import measure


@pytest.fixture
def row_of(make_detections):
    """Row of the table for one mask."""

    def row_of(mask, pixel_size=None):
        labels = np.pad(np.asarray(mask, np.int32), 3)
        return measure(make_detections(labels), pixel_size=pixel_size).iloc[0]

    return row_of


def rectangle(width, height, angle_deg=0.0, offset=(0.0, 0.0), squeeze=1.0):
    """Pixels whose centres lie in a turned rectangle; `squeeze` shrinks x before drawing."""
    n = int(1.5 * max(width, height)) + 8
    y, x = np.mgrid[:n, : int(n / squeeze)].astype(float)
    y, x = y - n / 2 - offset[0], (x - n / squeeze / 2 - offset[1]) * squeeze
    t = np.radians(angle_deg)
    # Counter-clockwise as seen, with y pointing down.
    u, v = x * np.cos(t) - y * np.sin(t), x * np.sin(t) + y * np.cos(t)
    return (np.abs(u) <= width / 2) & (np.abs(v) <= height / 2)


def disc(radius, offset=(0.0, 0.0)):
    n = int(2 * radius) + 6
    y, x = np.mgrid[:n, :n] - n / 2.0
    return (y - offset[0]) ** 2 + (x - offset[1]) ** 2 <= radius**2


def test_an_upright_rectangle_is_exact(row_of):
    row = row_of(np.ones((40, 60), bool))
    assert row.area_px == 2400
    assert (row.centroid_y_px, row.centroid_x_px) == (3 + 19.5, 3 + 29.5)
    assert row.feret_max_px == pytest.approx(np.hypot(40, 60))
    assert row.feret_min_px == pytest.approx(40)
    assert row.orientation_deg == pytest.approx(0)
    assert row.aspect_ratio == pytest.approx(1.5)
    assert row.solidity == pytest.approx(1)
    assert row.hole_count == 0
    assert row.inscribed_circle_diameter_px == pytest.approx(40, abs=0.3)
    assert row.inscribed_rectangle_length_px == pytest.approx(60, rel=0.01)
    assert row.inscribed_rectangle_width_px == pytest.approx(40, rel=0.01)
    assert row.inscribed_rectangle_angle_deg == pytest.approx(0, abs=1e-6)
    assert (row.inscribed_rectangle_y_px, row.inscribed_rectangle_x_px) == pytest.approx(
        (22.5, 32.5), abs=0.5
    )


def test_one_pixel(row_of):
    row = row_of(np.ones((1, 1), bool))
    assert row.area_px == 1
    assert row.feret_max_px == pytest.approx(np.sqrt(2))
    assert row.feret_min_px == pytest.approx(1)
    assert row.aspect_ratio == pytest.approx(1)
    assert row.circularity == pytest.approx(1)


@pytest.mark.parametrize("radius", [20, 40, 100])
@pytest.mark.parametrize("offset", [(0, 0), (0.3, 0.7)])
def test_discs(row_of, radius, offset):
    row = row_of(disc(radius, offset))
    assert row.perimeter_px == pytest.approx(2 * np.pi * radius, rel=0.02)
    assert row.circularity == pytest.approx(1, abs=0.04)
    assert row.equivalent_diameter_px == pytest.approx(2 * radius, rel=0.01)
    assert row.inscribed_circle_diameter_px == pytest.approx(2 * radius, abs=1.3)
    # The largest rectangle in a disc is the square of side r sqrt(2).
    room = row.inscribed_rectangle_length_px * row.inscribed_rectangle_width_px
    assert room == pytest.approx(2 * radius**2, rel=0.03, abs=2.5 * radius)


@pytest.mark.parametrize("angle", [0, 10, 22.5, 30, 45, 71, 90])
@pytest.mark.parametrize(("width", "height"), [(60, 60), (80, 30), (200, 50)])
def test_turned_rectangles(row_of, width, height, angle):
    row = row_of(rectangle(width, height, angle, (0.21, 0.4)))
    assert row.area_px == pytest.approx(width * height, rel=0.02)
    assert row.perimeter_px == pytest.approx(2 * (width + height), rel=0.03)
    assert row.feret_max_px == pytest.approx(np.hypot(width, height), abs=1.5)
    assert row.feret_min_px == pytest.approx(height, abs=1.5)
    assert row.inscribed_circle_diameter_px == pytest.approx(height, abs=1.5)
    room = row.inscribed_rectangle_length_px * row.inscribed_rectangle_width_px
    assert 0.91 < room / (width * height) <= 1.02
    if width > height:
        assert row.aspect_ratio == pytest.approx(width / height, rel=0.05)
        assert (row.orientation_deg - angle + 90) % 180 == pytest.approx(90, abs=1)
        assert (row.inscribed_rectangle_angle_deg - angle + 90) % 180 == pytest.approx(90, abs=4)


@pytest.mark.parametrize("angle", [0, 15, 40, 77])
def test_the_best_rectangle_in_a_triangle_is_half_of_it(row_of, angle):
    t = np.radians(angle + np.array([0, 120, 240]))
    corners = 120 + 100 * np.stack([np.cos(t), np.sin(t)], axis=1)
    y, x = np.mgrid[:240, :240]
    inside = np.ones((240, 240), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
    row = row_of(inside)
    room = row.inscribed_rectangle_length_px * row.inscribed_rectangle_width_px
    assert room == pytest.approx(inside.sum() / 2, rel=0.05)
    assert row.inscribed_circle_diameter_px == pytest.approx(100, rel=0.03)


def test_the_rectangle_lies_inside(row_of):
    rng = np.random.default_rng(4)
    for _ in range(10):
        mask = disc(25 + 10 * rng.random())
        cut = rng.integers(8, 40, 2)
        mask[cut[0] : cut[0] + 12, cut[1] :] = False
        row = row_of(mask)
        t = np.radians(row.inscribed_rectangle_angle_deg)
        u = np.linspace(-0.5, 0.5, 60) * (row.inscribed_rectangle_length_px - 1)
        v = np.linspace(-0.5, 0.5, 60)[:, None] * (row.inscribed_rectangle_width_px - 1)
        x = row.inscribed_rectangle_x_px + u * np.cos(t) + v * np.sin(t) - 3
        y = row.inscribed_rectangle_y_px - u * np.sin(t) + v * np.cos(t) - 3
        assert mask[np.rint(y).astype(int), np.rint(x).astype(int)].mean() > 0.99


def test_a_crack_is_not_stepped_over(row_of):
    for size in (100, 900):
        mask = np.ones((size, size), bool)
        mask[:, size // 2] = False
        mask[size // 2, size // 2] = True
        row = row_of(mask)
        room = row.inscribed_rectangle_length_px * row.inscribed_rectangle_width_px
        assert room == pytest.approx(size**2 / 2, rel=0.05)
        assert row.inscribed_circle_diameter_px == pytest.approx(size / 2, rel=0.02)


def test_a_film_full_of_holes_has_room_somewhere(row_of):
    mask = np.ones((700, 900), bool)
    mask[::20, ::20] = False
    mask[300:360, 400:500] = True
    row = row_of(mask)
    assert row.hole_count > 1400
    assert row.inscribed_circle_diameter_px == pytest.approx(79, abs=8)
    assert row.inscribed_rectangle_width_px >= 55


def test_a_thin_strip_has_its_rectangle(row_of):
    row = row_of(rectangle(900, 24, 33))
    assert row.inscribed_rectangle_length_px == pytest.approx(900, rel=0.08)
    assert row.inscribed_rectangle_width_px == pytest.approx(24, rel=0.12)


def test_huge_regions_are_reduced_but_right(row_of):
    row = row_of(rectangle(1100, 700, 20))
    assert row.inscribed_circle_diameter_px == pytest.approx(700, rel=0.01)
    assert row.inscribed_rectangle_length_px == pytest.approx(1100, rel=0.03)
    assert row.inscribed_rectangle_width_px == pytest.approx(700, rel=0.03)


def test_holes_count_and_take_away_area(row_of):
    mask = np.ones((30, 50), bool)
    mask[5:10, 5:10] = mask[15:20, 30:40] = False
    row = row_of(mask)
    assert row.hole_count == 2
    assert row.area_px == 1500 - 25 - 50
    assert row.solidity == pytest.approx(1425 / 1500)
    assert row.perimeter_px == pytest.approx(160, rel=0.01)
    assert row.cleanliness == pytest.approx(0.9 * 1425 / 1500)


def test_an_l_shape(row_of):
    mask = np.ones((40, 40), bool)
    mask[10:, 10:] = False
    row = row_of(mask)
    assert row.inscribed_circle_diameter_px == pytest.approx(2 * 10 / (1 + np.sqrt(0.5)), abs=0.6)
    assert row.inscribed_rectangle_length_px == pytest.approx(40, abs=0.6)
    assert row.inscribed_rectangle_width_px == pytest.approx(10, abs=0.6)
    assert row.solidity == pytest.approx(700 / (1600 - 450))


@pytest.mark.parametrize("angle", [0, 27, 60])
def test_pixels_that_are_not_square(row_of, angle):
    tall = PixelSize(200, 100, "test")
    row = row_of(rectangle(60, 30, angle, (0.21, 0.4), squeeze=0.5), tall)
    assert row.area_um2 == pytest.approx(60 * 30 * 0.04, rel=0.02)
    assert row.feret_max_um == pytest.approx(np.hypot(60, 30) * 0.2, abs=0.3)
    assert row.feret_min_um == pytest.approx(30 * 0.2, abs=0.4)
    assert row.perimeter_um == pytest.approx(180 * 0.2, rel=0.04)
    assert row.aspect_ratio == pytest.approx(2, rel=0.03)
    assert (row.orientation_deg - angle + 90) % 180 == pytest.approx(90, abs=2)
    assert row.inscribed_circle_diameter_um == pytest.approx(6, abs=0.4)
    assert row.inscribed_rectangle_length_um == pytest.approx(12, rel=0.08)
    assert row.inscribed_rectangle_width_um == pytest.approx(6, rel=0.12)
    assert row.centroid_x_um == pytest.approx(row.centroid_x_px * 0.1)
    assert row.centroid_y_um == pytest.approx(row.centroid_y_px * 0.2)


def test_the_image_border_is_an_edge(make_detections):
    row = measure(make_detections(np.ones((20, 30), np.int32)), pixel_size=None).iloc[0]
    assert row.inscribed_circle_diameter_px == pytest.approx(20, abs=0.3)
    assert row.touches_border
    assert row["flags"] == "touches_border|scale_unknown"


def nearest_by_brute_force(labels, flake_id, spacing):
    """Distance between pixel squares, every pixel against every other."""
    gaps = []
    for flake in flake_id:
        own = np.argwhere(np.isin(labels, np.flatnonzero(flake_id == flake) + 1))
        other = np.isin(labels, np.flatnonzero(flake_id != flake) + 1)
        apart = np.abs(own[:, None] - np.argwhere(other)[None]) - 1
        gaps.append(np.hypot(*(np.maximum(apart, 0) * spacing).reshape(-1, 2).T).min())
    return gaps


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.2, 0.1)])
def test_nearest_flake_against_brute_force(make_detections, spacing):
    rng = np.random.default_rng(7)
    labels = np.zeros((70, 90), np.int32)
    for value in range(1, 9):
        y, x = rng.integers(0, 60), rng.integers(0, 80)
        labels[y : y + rng.integers(2, 10), x : x + rng.integers(2, 10)] = value
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    flake_id = np.array([1, 1, 2, 3, 3, 4, 5, 6])[: labels.max()]
    found = make_detections(labels, flake_id=flake_id)
    size = PixelSize(spacing[0] * 1e3, spacing[1] * 1e3, "test")
    table = measure(found, pixel_size=size)
    expected = nearest_by_brute_force(labels, flake_id, spacing)
    np.testing.assert_allclose(table.nearest_flake_distance_um, expected, atol=1e-12)


def test_a_flake_alone_has_no_neighbour(make_detections):
    labels = np.zeros((20, 20), np.int32)
    labels[2:6, 2:6], labels[2:6, 6:9] = 1, 2
    table = measure(make_detections(labels, flake_id=[4, 4]), pixel_size=None)
    assert table.nearest_flake_distance_px.isna().all()
