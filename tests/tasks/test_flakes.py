"""Flakes from micrographs that the test makes, and from real ones where they are at hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import Flag
from layerscope.errors import InputError
from layerscope.io import read
from layerscope.ops.optical import flat_field_from_reference
from layerscope.tasks.flakes import find_flakes

BARE = np.array([0.51, 0.44, 0.61])
POLYGON = np.array([[60, 40], [150, 60], [170, 140], [90, 180], [40, 110]])
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "optical"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is absent")


def paint(contrast, polygon, at):
    mask = np.zeros(contrast.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.asarray(polygon, np.int32)], 1)
    contrast[mask > 0] = at
    return mask > 0


def photograph(contrast, *, psf=1.2, noise=0.006, seed=0, vignette=0.0, bare=BARE):
    """Light of the scene through a blurring objective onto a noisy camera, fraction of white."""
    image = bare * (1 + cv2.GaussianBlur(contrast, (0, 0), psf))
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in contrast.shape[:2]), indexing="ij")
    image = image * (1 - vignette * (x**2 + y**2) / 2)[..., None]
    shot = np.sqrt(np.maximum(image, 0) / bare)
    return image + np.random.default_rng(seed).normal(0, noise, image.shape) * shot


def eight_bit(image, **more):
    return Micrograph(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), **more)


def empty(shape=(300, 420)):
    return np.zeros((*shape, 3))


def iou(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


@pytest.fixture
def monolayer():
    """A 10 % flake on 300 x 420 px and its true mask."""
    contrast = empty()
    return contrast, paint(contrast, POLYGON, [-0.07, -0.14, -0.10])


def test_one_flake_is_found_whole(monolayer):
    contrast, truth = monolayer
    found, background = find_flakes(eight_bit(photograph(contrast)))
    assert len(found) == 1
    assert iou(found.masks.dense(0), truth) > 0.95
    assert found.score[0] > 0.8
    assert found.flags[0] == 0
    assert background.level == pytest.approx(BARE, abs=0.004)
    measured = found.signal.level / found.signal.background - 1
    assert measured[0] == pytest.approx([-0.07, -0.14, -0.10], abs=0.004)
    assert found.signal.uniformity[0] > 0.95
    assert found.provenance["task"] == "flakes"


def test_contrast_error_is_honest(monolayer):
    """Over 12 photographs the level scatters as its standard error says."""
    contrast, _ = monolayer
    signals = [find_flakes(eight_bit(photograph(contrast, seed=s)))[0].signal for s in range(12)]
    levels = np.array([s.level[0] for s in signals])
    claimed = np.mean([s.level_se[0] for s in signals], axis=0)
    assert (levels.std(axis=0) < 1.5 * claimed).all()


@pytest.mark.parametrize("vignette", [0.1, 0.25])
def test_vignette_corners_are_no_flakes(monolayer, vignette):
    contrast, truth = monolayer
    found, _ = find_flakes(eight_bit(photograph(contrast, vignette=vignette)))
    assert len(found) == 1
    assert iou(found.masks.dense(0), truth) > 0.93


@pytest.mark.parametrize("psf", [1.0, 2.0, 3.0])
def test_blurred_rim_of_a_thick_flake_is_no_flake(psf):
    contrast = empty()
    truth = paint(contrast, POLYGON, [0.7, 0.9, 0.45])
    found, _ = find_flakes(eight_bit(photograph(contrast, psf=psf)))
    good = [i for i in range(len(found)) if not found.flags[i] & Flag.EDGE_STRIP]
    assert len(good) == 1
    assert iou(found.masks.dense(good[0]), truth) > 0.9


@pytest.mark.parametrize(
    "colour", [[0.5, 0.3, 0.2], [-0.6, -0.5, -0.4], [-0.08, 0.0, 0.09], [0, 0, -0.12]]
)
def test_any_sign_of_contrast(colour):
    contrast = empty()
    truth = paint(contrast, POLYGON, colour)
    found, _ = find_flakes(eight_bit(photograph(contrast)))
    assert len(found) == 1
    assert iou(found.masks.dense(0), truth) > 0.93


def test_hole_stays_a_hole(monolayer):
    contrast, truth = monolayer
    hole = paint(contrast, [[90, 90], [120, 90], [120, 120], [90, 120]], 0.0)
    found, _ = find_flakes(eight_bit(photograph(contrast)))
    assert len(found) == 1
    assert iou(found.masks.dense(0), truth & ~hole) > 0.93
    assert not found.masks.dense(0)[100:110, 100:110].any()


def test_terraces_share_a_flake_and_others_do_not():
    contrast = empty()
    one = paint(contrast, [[40, 60], [110, 60], [110, 160], [40, 160]], [-0.07, -0.14, -0.10])
    two = paint(contrast, [[110, 60], [180, 60], [180, 160], [110, 160]], [-0.15, -0.27, -0.2])
    paint(contrast, [[260, 150], [380, 150], [380, 250], [260, 250]], [-0.07, -0.14, -0.10])
    found, _ = find_flakes(eight_bit(photograph(contrast)))
    assert len(found) == 3
    assert found.flake_id.tolist() == [1, 1, 2]
    assert max(iou(found.masks.dense(i), one) for i in range(3)) > 0.9
    assert max(iou(found.masks.dense(i), two) for i in range(3)) > 0.9


def test_a_thin_scratch_is_dropped_or_flagged(monolayer):
    contrast, _ = monolayer
    paint(contrast, [[220, 40], [222, 40], [400, 260], [398, 260]], [-0.3, -0.3, -0.3])
    found, _ = find_flakes(eight_bit(photograph(contrast)))
    sure = found[(found.score > 0.5) & (found.flags == 0)]
    assert len(sure) == 1


def test_soft_shadow_is_dropped_or_flagged(monolayer):
    contrast, _ = monolayer
    y, x = np.indices(contrast.shape[:2])
    contrast += -0.15 * np.exp(-((y - 200) ** 2 + (x - 320) ** 2) / (2 * 25**2))[..., None]
    found, _ = find_flakes(eight_bit(photograph(contrast)))
    sure = found[(found.score > 0.5) & (found.flags == 0)]
    assert len(sure) == 1


def test_turned_and_mirrored_images_give_the_same_regions(monolayer):
    contrast, _ = monolayer
    paint(contrast, [[260, 150], [380, 170], [370, 250], [260, 260]], [0.3, 0.4, 0.2])
    image = photograph(contrast)
    straight = find_flakes(eight_bit(image))[0]
    for turn in (lambda a: np.rot90(a), lambda a: a[::-1], lambda a: a[:, ::-1]):
        other = find_flakes(eight_bit(np.ascontiguousarray(turn(image))))[0]
        assert len(other) == len(straight) == 2
        for i in range(2):
            mask = turn(straight.masks.dense(i))
            assert max(iou(mask, other.masks.dense(k)) for k in range(2)) > 0.96


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.3])
def test_exposure_does_not_matter(monolayer, factor):
    contrast, truth = monolayer
    found, background = find_flakes(eight_bit(photograph(contrast, bare=BARE * factor)))
    assert len(found) == 1
    assert iou(found.masks.dense(0), truth) > 0.93
    assert background.level == pytest.approx(BARE * factor, rel=0.01)


def test_bit_depths_agree(monolayer):
    contrast, _ = monolayer
    image = np.clip(photograph(contrast), 0, 1)
    eight = find_flakes(eight_bit(image))[0]
    for data, white in (
        ((image * 4095).round().astype(np.uint16), 4095.0),
        (image.astype(np.float32), 1.0),
    ):
        other = find_flakes(Micrograph(data, white_level=white))[0]
        assert len(other) == 1
        assert iou(other.masks.dense(0), eight.masks.dense(0)) > 0.97
        assert other.signal.level == pytest.approx(eight.signal.level, abs=0.002)


def test_grey_image(monolayer):
    contrast, truth = monolayer
    grey = np.round(photograph(contrast).mean(axis=2) * 255).astype(np.uint8)
    found, _ = find_flakes(Micrograph(grey))
    assert len(found) == 1
    assert iou(found.masks.dense(0), truth) > 0.93


def test_large_image_is_refined_at_full_resolution():
    contrast = empty((1201, 1923))
    truth = paint(contrast, POLYGON * 4 + 31, [-0.07, -0.14, -0.10])
    found, _ = find_flakes(eight_bit(photograph(contrast, psf=1.5)))
    assert len(found) == 1
    assert iou(found.masks.dense(0), truth) > 0.97
    assert found.provenance["binning"] == 2
    assert found.masks.shape == (1201, 1923)


def test_flat_field_gives_the_contrast_under_a_strong_vignette(monolayer):
    contrast, truth = monolayer
    flat = flat_field_from_reference(eight_bit(photograph(empty(), vignette=0.5, seed=1)))
    image = eight_bit(photograph(contrast, vignette=0.5))
    found, _ = find_flakes(image, flat_field=flat)
    assert len(found) == 1
    assert iou(found.masks.dense(0), truth) > 0.93
    measured = found.signal.level / found.signal.background - 1
    assert measured[0] == pytest.approx([-0.07, -0.14, -0.10], abs=0.006)


def test_film_over_most_of_the_field():
    contrast = empty()
    contrast[:] = [-0.2, -0.3, -0.1]
    paint(contrast, [[0, 0], [130, 0], [130, 300], [0, 300]], 0.0)
    found, background = find_flakes(eight_bit(photograph(contrast)), substrate_level=BARE)
    assert background.level == pytest.approx(BARE, rel=0.03)
    largest = int(np.argmax(found.masks.area_px))
    measured = found.signal.level[largest] / found.signal.background[largest] - 1
    assert measured == pytest.approx([-0.2, -0.3, -0.1], abs=0.02)
    assert found.flags[largest] & Flag.TOUCHES_BORDER


def test_excluded_and_missing_pixels(monolayer):
    contrast, truth = monolayer
    image = photograph(contrast)
    image[260:290, 300:400] = 1.0
    excluded = np.zeros(image.shape[:2], bool)
    excluded[255:295, 295:405] = True
    found, _ = find_flakes(eight_bit(image, excluded=excluded))
    assert len(found) == 1
    broken = photograph(contrast).astype(np.float32)
    broken[10:20, 200:260] = np.nan
    found, _ = find_flakes(Micrograph(broken, white_level=1.0))
    assert len(found) == 1
    assert iou(found.masks.dense(0), truth) > 0.93


def test_saturated_flakes_say_so():
    contrast = empty()
    paint(contrast, POLYGON, [1.5, 1.5, 1.5])
    found, _ = find_flakes(eight_bit(photograph(contrast)))
    assert found.flags[np.argmax(found.masks.area_px)] & Flag.SATURATED


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1), (2, 3, 3), (7, 500, 3), (64, 64)])
@pytest.mark.parametrize("value", [0, 130, 255])
def test_nothing_to_find(shape, value):
    found, _ = find_flakes(Micrograph(np.full(shape, value, np.uint8)))
    assert len(found) == 0
    assert found.masks.shape == shape[:2]


@pytest.mark.parametrize("seed", range(3))
def test_empty_field_has_no_flake(seed):
    image = photograph(empty((600, 800)), seed=seed, vignette=0.1)
    assert len(find_flakes(eight_bit(image))[0]) == 0


def test_same_input_same_answer(monolayer):
    image = eight_bit(photograph(monolayer[0]))
    before = image.data.copy()
    one, two = find_flakes(image)[0], find_flakes(image)[0]
    assert (one.masks.labels() == two.masks.labels()).all()
    assert one.signal.level.tobytes() == two.signal.level.tobytes()
    assert (image.data == before).all()


def test_parameters_are_checked(monolayer):
    with pytest.raises(InputError, match="min_area_px"):
        find_flakes(eight_bit(photograph(monolayer[0])), min_area_px=0)


@needs_real
def test_marked_graphene_flakes_are_found():
    """36 flakes of 1 to 4 layers over 200 px are marked in five micrographs; the bar is 90 %."""
    found = []
    for path in sorted((REAL / "exfoliated/graphene/images").glob("*.jpg")):
        image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        truth = cv2.imread(str(path.parents[1] / "instances" / f"{path.stem}.png"), -1)
        detections, _ = find_flakes(Micrograph(image))
        labels = detections.masks.labels()
        for value in np.unique(truth)[1:]:
            mask = truth == value
            if np.count_nonzero(mask) > 200:
                near = [k for k in np.unique(labels[mask]) if k]
                found.append(max((iou(mask, labels == k) for k in near), default=0) >= 0.5)
    assert len(found) == 36
    assert np.mean(found) >= 0.9


@needs_real
def test_opposite_exposures_of_real_substrates_are_confident():
    for path in sorted((REAL / "exfoliated/mose2/images").glob("*.jpg")):
        image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        detections, background = find_flakes(Micrograph(image))
        assert background.confident
        assert len(detections) < 60


@needs_real
def test_marked_graphene_is_found_without_a_flag_that_leaves_it_out():
    left_out = int(Flag.RESIDUE | Flag.EDGE_STRIP | Flag.OUT_OF_FOCUS)
    best = []
    for path in sorted((REAL / "exfoliated/graphene/images").glob("*.jpg")):
        truth = cv2.imread(str(path.parents[1] / "instances" / f"{path.stem}.png"), -1)
        found, _ = find_flakes(read(path))
        labels = found[(found.flags & left_out) == 0].masks.labels()
        for value in np.unique(truth)[1:]:
            mask = truth == value
            if np.count_nonzero(mask) > 200:
                number = np.bincount(labels[mask])
                number[0] = 0
                best.append(iou(labels == number.argmax(), mask) if number.any() else 0.0)
    assert np.mean(np.array(best) >= 0.5) >= 0.9
