"""A mosaic searched tile by tile gives what one window as large as the mosaic gives."""

from __future__ import annotations

import tracemalloc
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import CropMasks, Flag
from layerscope.errors import InputError
from layerscope.io import read
from layerscope.io.mosaic import Mosaic
from layerscope.synth import synth_flakes
from layerscope.tasks.flakes import find_flakes
from layerscope.tasks.mosaic import find_flakes_tiled, find_in_tile, stitch, survey_mosaic

BARE = np.array([0.51, 0.44, 0.61])
ONE, TWO = np.array([-0.07, -0.14, -0.10]), np.array([-0.14, -0.27, -0.19])
SMALL = {"tile_px": 256, "halo_px": 128}


def assert_identical(found, expected):
    assert np.array_equal(found.masks.boxes, expected.masks.boxes)
    assert all(
        np.array_equal(a, b) for a, b in zip(found.masks.crops, expected.masks.crops, strict=True)
    )
    for name in ("score", "flags", "flake_id"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    for f in fields(found.signal):
        same = np.array_equal(getattr(found.signal, f.name), getattr(expected.signal, f.name))
        assert same, f.name
    assert found.provenance == expected.provenance


def photograph(contrast, *, seed=0, **more):
    image = BARE * (1 + cv2.GaussianBlur(contrast, (0, 0), 1.2))
    image = image + np.random.default_rng(seed).normal(0, 0.006, image.shape)
    return Micrograph(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), **more)


def scene(shape=(600, 800)):
    return np.zeros((*shape, 3))


@pytest.fixture(scope="module", params=[1, 5])
def rendered(request):
    """A micrograph with uneven light, residue and flakes, of odd size, and its answer in one go."""
    image = synth_flakes(request.param, shape=(1190, 1901), n_flakes=14).micrograph
    return image, find_flakes_tiled(Mosaic.of(image), tile_px=2048)


@pytest.mark.parametrize(
    "tiling", [SMALL, {"tile_px": 512}, {"tile_px": 1024}, {"tile_px": 320, "halo_px": 600}]
)
def test_tiled_is_the_whole_to_the_last_bit(rendered, tiling):
    image, (whole, background) = rendered
    assert len(whole) > 30
    found, again = find_flakes_tiled(Mosaic.of(image), **tiling)
    assert_identical(found, whole)
    assert np.array_equal(again.surface, background.surface)


@pytest.mark.parametrize("binning", [1, 4])
def test_tiled_is_the_whole_at_other_binnings(binning):
    image = synth_flakes(2, shape=(520, 780), n_flakes=9).micrograph
    whole, _ = find_flakes_tiled(Mosaic.of(image), binning=binning, tile_px=1024, halo_px=512)
    assert len(whole) > 5
    found, _ = find_flakes_tiled(Mosaic.of(image), binning=binning, tile_px=256, halo_px=256)
    assert_identical(found, whole)


def test_one_field_as_mosaic_is_the_field():
    image = synth_flakes(3, shape=(1200, 1920), n_flakes=14).micrograph
    found, _ = find_flakes_tiled(Mosaic.of(image), **SMALL)
    alone, _ = find_flakes(image)
    assert np.array_equal(found.masks.boxes, alone.masks.boxes)
    assert found.signal.level == pytest.approx(alone.signal.level, abs=1e-6)


def test_real_images_tiled_are_the_whole(shared_data):
    paths = sorted((shared_data / "optical" / "exfoliated").rglob("*.jpg"))[::9]
    assert paths
    for path in paths:
        mosaic = Mosaic.of(read(path))
        whole, _ = find_flakes_tiled(mosaic, tile_px=2048)
        assert_identical(find_flakes_tiled(mosaic, **SMALL)[0], whole)


def test_order_and_place_of_the_tiles_change_nothing(rendered):
    image, (whole, _) = rendered
    mosaic = Mosaic.of(image)
    survey = survey_mosaic(mosaic, **SMALL)
    order = np.random.default_rng(0).permutation(len(survey.tiles()))
    tiles = [survey.tiles()[i] for i in order]
    assert_identical(stitch([find_in_tile(mosaic, t, survey) for t in tiles], tiles), whole)


def test_a_flake_on_four_corners_is_counted_once():
    contrast = scene()
    contrast[220:300, 210:310] = ONE  # the cores meet at 256, 256
    mosaic = Mosaic.of(photograph(contrast))
    survey = survey_mosaic(mosaic, **SMALL)
    parts = [find_in_tile(mosaic, t, survey) for t in survey.tiles()]
    assert [len(p) for p in parts] == [1] + [0] * (len(parts) - 1)
    assert stitch(parts, survey.tiles()).flags.tolist() == [0]


@pytest.mark.parametrize("whole_px", [4096, 128])
def test_two_flakes_a_pixel_apart_across_a_seam_stay_two(whole_px):
    contrast = scene()
    contrast[200:330, 180:256], contrast[200:330, 257:330] = ONE, TWO
    mosaic = Mosaic.of(photograph(contrast))
    found, _ = find_flakes_tiled(mosaic, whole_px=whole_px, **SMALL)
    assert_identical_masks(found, find_flakes_tiled(mosaic, tile_px=1024)[0])
    assert len(found) == 2
    assert found.flake_id.tolist() == [1, 1]


def assert_identical_masks(found, expected):
    assert np.array_equal(found.masks.labels(), expected.masks.labels())


def ring(contrast, centre, outer, inner):
    y, x = np.ogrid[: contrast.shape[0], : contrast.shape[1]]
    r = np.hypot(y - centre[0], x - centre[1])
    contrast[(r < outer) & (r >= inner)] = ONE


@pytest.mark.parametrize("whole_px", [4096, 128])
def test_a_ring_larger_than_a_tile_is_joined(whole_px):
    """Looked at whole, or, as if it were too large for that, in pieces."""
    contrast = scene((800, 900))
    ring(contrast, (400, 450), 330, 290)
    contrast[380:420, 430:470] = TWO  # inside of it, in other hands
    mosaic = Mosaic.of(photograph(contrast))
    found, _ = find_flakes_tiled(mosaic, whole_px=whole_px, **SMALL)
    assert len(found) == 2
    whole, _ = find_flakes_tiled(mosaic, tile_px=1024)
    assert_identical_masks(found, whole)
    assert found.signal.level == pytest.approx(whole.signal.level, abs=0.002)
    assert found.flags.tolist() == whole.flags.tolist() == [0, 0]


def test_pieces_of_flakes_too_large_to_be_seen_whole_agree_with_the_whole(rendered):
    image, (whole, _) = rendered
    found, _ = find_flakes_tiled(Mosaic.of(image), tile_px=512, halo_px=256, whole_px=256)
    assert abs(len(found) - len(whole)) <= 1
    exact = {tuple(b) for b in whole.masks.boxes.tolist()}
    same = sum(tuple(b) in exact for b in found.masks.boxes.tolist())
    assert same >= 0.95 * len(whole)


def test_only_the_border_of_the_mosaic_cuts_flakes():
    contrast = scene()
    contrast[100:180, :60] = contrast[-50:, 500:560] = contrast[250:262, 200:300] = ONE
    for whole_px in (4096, 128):
        found, _ = find_flakes_tiled(Mosaic.of(photograph(contrast)), whole_px=whole_px, **SMALL)
        cut = (found.flags & Flag.TOUCHES_BORDER) > 0
        assert cut.tolist() == [True, False, True]


def test_what_no_field_covers_is_left_out():
    contrast = scene()
    contrast[100:180, 100:200] = contrast[300:380, 395:470] = ONE
    image = photograph(contrast)
    image.data[:, 600:], image.data[290:400, 460:] = 0, 0
    mosaic = Mosaic.of(image)
    found, _ = find_flakes_tiled(mosaic, **SMALL)
    assert len(found) == 2
    assert ((found.flags & Flag.TOUCHES_EXCLUDED) > 0).tolist() == [False, True]
    assert (found.masks.boxes[:, 3] <= 600).all()
    assert_identical(found, find_flakes_tiled(mosaic, tile_px=1024)[0])


def test_each_field_of_a_mosaic_may_have_its_own_light():
    """Nine fields with 8 % vignetting each: faint flakes are found in all, corners are not."""
    contrast, expected = np.zeros((3000, 4200, 3), np.float32), []
    light = np.zeros((3000, 4200, 1), np.float32)
    y, x = np.meshgrid(np.linspace(-1, 1, 1000), np.linspace(-1, 1, 1400), indexing="ij")
    field = 1 - 0.08 * (x**2 + y**2) / 2
    for row in range(3):
        for column in range(3):
            top, left = row * 1000, column * 1400
            light[top : top + 1000, left : left + 1400, 0] = field * (1 + 0.01 * (row - column))
            contrast[top + 400 : top + 460, left + 600 : left + 680] = ONE
            expected.append([top + 400, left + 600, top + 460, left + 680])
    noise = np.random.default_rng(0).normal(0, 0.006, contrast.shape).astype(np.float32)
    image = np.clip(BARE * (1 + contrast) * light + noise, 0, 1) * 255
    found, background = find_flakes_tiled(Mosaic.of(Micrograph(np.round(image).astype(np.uint8))))
    assert background.confident
    assert len(found) == 9
    assert np.abs(found.masks.boxes - expected).max() <= 2
    measured = found.signal.level / found.signal.background - 1
    assert measured == pytest.approx(np.tile(ONE, (9, 1)), abs=0.008)


class Endless:
    """Rows of one field repeated downwards without end, made when they are asked for."""

    def __init__(self, data):
        self.data = data

    def part(self, top, left, bottom, right):
        rows = np.arange(top, bottom) % len(self.data)
        return self.data[rows, left:right]

    def close(self):
        """Nothing is open."""


def test_memory_does_not_grow_with_the_mosaic():
    contrast = scene((1024, 1024))
    contrast[300:380, 200:300] = contrast[700:760, 500:640] = ONE
    pixels = Endless(photograph(contrast).data)
    peaks, counts = [], []
    for height in (4096, 10240):
        mosaic = Mosaic("endless", "", (height, 1024), 255.0, pixels)
        tracemalloc.start()
        found, _ = find_flakes_tiled(mosaic, tile_px=512)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        counts.append(len(found))
    assert counts == [8, 20]
    # The surface of the substrate does: 12 bytes for every 64 pixels, twice, and 5 for weights.
    assert peaks[1] - peaks[0] < 6144 * 1024 * (2 * 12 + 5) / 64 + 1e6


def test_bit_depth_does_not_matter_for_tiling():
    data = synth_flakes(4, shape=(520, 780), n_flakes=9).micrograph.data
    for image in (
        Micrograph(data.astype(np.uint16) * 257, white_level=65535.0),
        Micrograph((data / 255).astype(np.float32), white_level=1.0),
        Micrograph(np.ascontiguousarray(data[..., 1])),
    ):
        whole, _ = find_flakes_tiled(Mosaic.of(image), tile_px=1024)
        assert len(whole) > 3
        assert_identical(find_flakes_tiled(Mosaic.of(image), **SMALL)[0], whole)


def test_an_empty_mosaic_gives_an_empty_answer():
    found, _ = find_flakes_tiled(Mosaic.of(photograph(scene())), **SMALL)
    assert (len(found), found.masks.shape) == (0, (600, 800))
    assert found.provenance["task"] == "flakes"


@pytest.mark.parametrize(
    "wrong",
    [{"binning": 3}, {"tile_px": 100}, {"halo_px": 32}, {"whole_px": 64}, {"min_area_px": 0}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        survey_mosaic(Mosaic.of(photograph(scene())), **wrong)


def test_a_mosaic_too_small_is_refused():
    with pytest.raises(InputError, match="use find_flakes"):
        survey_mosaic(Mosaic.of(photograph(scene((20, 90)))))


def test_crops_of_a_result_are_masks_of_the_mosaic(rendered):
    image, (whole, _) = rendered
    assert isinstance(whole.masks, CropMasks)
    assert whole.masks.shape == image.shape
    assert replace(whole, layers=None).masks.area_px.min() >= 200
