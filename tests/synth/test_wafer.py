import csv

import numpy as np
import pytest

from layerscope.core.stage import StageAffine
from layerscope.errors import InputError
from layerscope.io import read
from layerscope.synth.wafer import Raster, synth_scan, write_scan

SMALL = Raster(grid=(2, 3), shape=(160, 220), overlap=0.2)


def test_neighbours_show_the_same_ground():
    scan = synth_scan(4, Raster(grid=(1, 2), shape=(200, 300), overlap=0.3), clutter=0)
    step = np.round(scan.corners_px[1]).astype(int) - np.round(scan.corners_px[0]).astype(int)
    first, second = (scan.image(i).layer_labels for i in (0, 1))
    assert step[1] == 210
    np.testing.assert_array_equal(first[:, 210:] > 0, second[:, :90] > 0)


def test_positions_are_the_centres_through_the_matrix():
    scan = synth_scan(5, Raster(grid=(2, 2), shape=(160, 220), rotation_deg=33, flip=True))
    affine = scan.raster.affine
    assert np.linalg.det(affine.matrix) < 0
    centres = scan.corners_px[:, ::-1] + np.array([110, 80])
    reported = np.array([(p.x_um, p.y_um) for p in scan.positions])
    np.testing.assert_allclose(scan.stage_um(centres), reported, atol=2e-3)


def test_stage_error_moves_images_but_not_what_the_stage_says():
    exact, missed = (
        synth_scan(6, Raster(grid=(2, 3), shape=(160, 220), error_um=e)) for e in (0.0, 4.0)
    )
    assert exact.positions == missed.positions
    moved = (missed.corners_px - missed.corners_px[0]) - (exact.corners_px - exact.corners_px[0])
    assert 3 < np.abs(moved).max() < 60


def test_same_seed_same_bytes_and_each_image_on_its_own():
    first, second = synth_scan(7, SMALL), synth_scan(7, SMALL)
    second.image(0)
    assert first.image(3).encoded == second.image(3).encoded
    assert first.image(3).encoded != first.image(4).encoded


def test_truth_counts_a_region_once_and_knows_what_leaves_the_scan():
    scan = synth_scan(8, SMALL)
    masks, flake_id, layers = scan.truth
    assert len(masks) == len(flake_id) == len(layers) == len(scan.complete) > 3
    seen = sum(len(scan.regions(i)[0]) for i in range(len(scan)))
    assert seen > len(masks)
    assert scan.complete.any()
    assert not scan.complete.all()


def test_written_scan_reads_back(tmp_path):
    scan = synth_scan(9, SMALL)
    paths = write_scan(scan, tmp_path)
    assert read(paths[0]).shape == (160, 220)
    with (tmp_path / "positions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["image"] for r in rows] == [p.name for p in paths]
    assert float(rows[1]["x_um"]) == scan.positions[1].x_um
    with (tmp_path / "sites_truth.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(scan.truth[0])


@pytest.mark.parametrize(
    "bad", [{"grid": (0, 3)}, {"shape": (10, 90)}, {"overlap": 0.9}, {"pixel_size_nm": 0.0}]
)
def test_impossible_scans_are_refused(bad):
    with pytest.raises(InputError, match="expected"):
        Raster(**bad)


def test_affine_round_trip():
    scan = synth_scan(1, SMALL, n_flakes=0)
    affine = StageAffine(np.array([[0.1, 0.3], [0.4, -0.1]]), "told")
    points = np.array([[0.0, 0.0], [110.0, 80.0], [7.5, 3.0]])
    stage = affine.to_stage_um(points, scan.positions[2], (160, 220))
    np.testing.assert_allclose(affine.to_pixels(stage, scan.positions[2], (160, 220)), points)
    np.testing.assert_allclose(stage[1], (scan.positions[2].x_um, scan.positions[2].y_um))
    assert affine.mirrored
