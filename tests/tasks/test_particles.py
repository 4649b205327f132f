"""From pixels to particles: holes of the support neither fake nor cut them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders.particle_scenes import dark_discs, disc, flake_over_hole, pixels_of

from layerscope.core.results import CropMasks, Flag
from layerscope.errors import InputError, UnreadableFile
from layerscope.io import read
from layerscope.io.annotations import read_instances
from layerscope.measure.scores_overlap import mask_iou
from layerscope.models.particle_ranker import read_ranker, shipped_ranker, write_ranker
from layerscope.ops.outline_features import FEATURES, outline_features
from layerscope.ops.outlines import find_outlines
from layerscope.ops.scale import mask_annotations
from layerscope.tasks.particle_segmentation import (
    SearchSettings,
    grey_of,
    segment_particles,
)
from layerscope.tasks.particle_sources import ClassNames, PictureSource
from layerscope.tasks.particles import (
    Likely,
    Separation,
    aggregates_of,
    covered_holes,
    separate_particles,
)

ANY = Separation(sure=0.0)


@given(st.floats(0.4, 0.84), st.floats(0.86, 1.0))
def test_an_island_that_is_nowhere_sure_is_no_particle(doubtful, certain):
    """The level of a class is set for pixels; film somewhat like a flake passes it."""
    named, probability = np.zeros((80, 120), bool), np.full((80, 120), 0.1)
    for column, level in ((5, doubtful), (45, certain), (85, doubtful)):
        named[20:50, column : column + 30] = True
        probability[20:50, column : column + 30] = level
    probability[25:28, 90:100] = certain  # 30 px: less than the smallest particle
    pixels, likely = pixels_of(named, np.zeros_like(named)), Likely(probability)
    found = separate_particles(pixels, likely=likely)
    assert len(found) == 1
    assert found.masks.boxes[0].tolist() == [20, 45, 50, 75]
    assert found.provenance["unsure_left_out"] == 2
    assert not found.pixels.objects[:, :40].any()
    assert len(separate_particles(pixels, likely=likely, separation=ANY)) == 3
    assert len(separate_particles(pixels)) == 3
    small = Separation(min_area_px=20)
    assert len(separate_particles(pixels, likely=likely, separation=small)) == 2


@pytest.mark.parametrize("overlap", [True, False])
def test_a_flake_over_a_hole_is_one_particle_of_its_whole_area(overlap):
    flake, holes, grey = flake_over_hole()
    named = flake if overlap else flake & ~holes  # what is seen through it is often a hole only
    particles = separate_particles(pixels_of(named, holes), grey)
    assert len(particles) == 1
    assert particles.masks.area_px.tolist() == [flake.sum()]


def test_a_perforated_flake_is_not_filled_where_the_beam_shows_vacuum():
    flake, holes, _ = flake_over_hole()
    torn = flake & ~holes
    clean = np.where(holes, 1.0, 0.7) * np.where(torn, 0.5, 1.0)
    grey = (clean + np.random.default_rng(1).normal(0, 0.01, flake.shape)).astype(np.float32)
    assert not covered_holes(pixels_of(torn, holes), grey).any()
    assert covered_holes(pixels_of(torn, holes)).any()  # without a picture nobody can tell


def test_a_bare_hole_is_never_a_particle():
    flake, holes, grey = flake_over_hole()
    bare = holes & ~flake
    particles = separate_particles(pixels_of(flake, holes), grey)
    assert not (particles.masks.labels() > 0)[bare].any()


def test_a_flake_that_covers_a_hole_in_part_is_followed_by_its_shadow():
    flake, _, _ = flake_over_hole()
    holes = disc(flake.shape, 80, 100, 25) | disc(flake.shape, 40, 170, 18)
    clean = np.where(holes, 1.0, 0.7) * np.where(flake, 0.6, 1.0)
    grey = (clean + np.random.default_rng(2).normal(0, 0.01, flake.shape)).astype(np.float32)
    found = covered_holes(pixels_of(flake & ~holes, holes), grey)
    truth = flake & holes
    assert (found & truth).sum() / (found | truth).sum() > 0.9
    assert not covered_holes(pixels_of(flake & ~holes, holes)).any()


def test_a_hole_at_the_border_of_the_picture_is_not_taken_as_covered():
    flake, holes = np.ones((60, 60), bool), disc((60, 60), 0, 30, 12)
    flake &= ~holes
    assert not covered_holes(pixels_of(flake, holes)).any()


def test_small_spots_are_left_out_and_the_border_is_flagged():
    mask = np.zeros((60, 60), bool)
    mask[0:20, 5:25] = mask[40:45, 40:45] = True
    particles = separate_particles(pixels_of(mask, np.zeros_like(mask)))
    assert len(particles) == 1
    assert particles.flags.tolist() == [int(Flag.TOUCHES_BORDER)]
    with pytest.raises(InputError, match="min_area_px 0"):
        Separation(min_area_px=0)


def test_touching_discs_are_split_and_belong_to_one_aggregate():
    mask = disc((80, 120), 40, 35, 20) | disc((80, 120), 40, 72, 20) | disc((80, 120), 40, 109, 8)
    whole = separate_particles(pixels_of(mask, np.zeros_like(mask)))
    parted = separate_particles(
        pixels_of(mask, np.zeros_like(mask)), separation=Separation(split=True)
    )
    assert (len(whole), len(parted)) == (2, 3)
    assert parted.aggregate.tolist() == [1, 1, 2]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(6, 50), st.integers(6, 50)), min_size=1, max_size=6))
def test_aggregates_are_the_islands_of_grown_masks(centres):
    masks = CropMasks.from_dense([disc((60, 60), y, x, 5) for y, x in centres], (60, 60))
    found = aggregates_of(masks)
    far = [abs(a[0] - b[0]) + abs(a[1] - b[1]) > 20 for a in centres for b in centres]
    same = [i == j for i in found for j in found]
    near = [np.hypot(a[0] - b[0], a[1] - b[1]) <= 9 for a in centres for b in centres]
    assert all(s for s, n in zip(same, near, strict=True) if n)
    assert sorted(set(found.tolist())) == list(range(1, max(found) + 1))
    if len(centres) == 2 and far[1]:
        assert found.tolist() == [1, 2]


@pytest.mark.parametrize("invert", [False, True])
def test_discs_are_found_whatever_their_polarity(invert):
    image, truth = dark_discs()
    if invert:
        image = image.after("invert", data=255 - image.data)
    masks, score, sign = segment_particles(image)
    marked = CropMasks.from_dense(truth, image.shape)
    overlap = mask_iou(masks, marked)
    assert (overlap.max(axis=0) > 0.8).sum() >= 11
    assert len(masks) <= 14
    assert set(sign[overlap.max(axis=1) > 0.8].tolist()) == {1 if invert else -1}
    assert ((score >= 0.5) & (score <= 1)).all()


def test_bright_bodies_of_a_tem_picture_are_holes():
    image, _ = dark_discs()
    data = image.data.copy()
    data[disc(image.shape, 128, 160, 20)] = 250
    particles = PictureSource().find(image.after("hole", data=data))
    assert particles.pixels.holes[128, 160]
    assert not (particles.masks.labels() > 0)[128, 160]


def test_what_is_burnt_in_holds_no_particle():
    image, _ = dark_discs()
    excluded = np.zeros(image.shape, bool)
    excluded[:, :160] = True
    masks, _, _ = segment_particles(image.after("bar", excluded=excluded))
    assert len(masks)
    assert masks.boxes[:, 1].min() >= 155
    nothing = image.after("all", excluded=np.ones(image.shape, bool))
    assert len(segment_particles(nothing)[0]) == 0


def test_a_flat_picture_has_no_particle():
    image, _ = dark_discs()
    assert len(segment_particles(image.after("flat", data=np.full_like(image.data, 90)))[0]) == 0


def test_large_pictures_are_searched_small_and_answered_large():
    image, truth = dark_discs()
    large = image.after("repeat", data=image.data.repeat(4, 0).repeat(4, 1))
    masks, _, _ = segment_particles(large, SearchSettings(side_px=320))
    marked = CropMasks.from_dense([t.repeat(4, 0).repeat(4, 1) for t in truth], large.shape)
    assert (mask_iou(masks, marked).max(axis=0) > 0.75).sum() >= 11


def test_features_do_not_follow_brightness_and_contrast():
    image, _ = dark_discs()
    grey = grey_of(image)
    counted = np.ones(grey.shape, bool)
    outlines = find_outlines(grey, counted, smallest_px=30).take(np.arange(40))
    before = outline_features(grey, counted, outlines)
    column = [FEATURES.index(n) for n in ("solidity", "roundness", "inner_level")]
    after = outline_features((0.5 * grey + 0.2).astype(np.float32), counted, outlines)
    np.testing.assert_allclose(after[:, column], before[:, column], atol=0.06)


REAL = Path(__file__).parents[3] / "shared" / "data" / "tem" / "em_particles"


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data")
def test_a_published_picture_without_its_bar():
    image = mask_annotations(read(REAL / "images" / "027f25010a.png"))
    labels = read_instances(REAL / "instances" / "027f25010a.png")
    masks, _, _ = segment_particles(image)
    overlap = mask_iou(masks, labels)
    assert (overlap.max(axis=0) > 0.7).all()
    assert len(masks) <= len(labels) + 1


def test_a_ranker_is_read_back_as_it_was_written(tmp_path):
    ranker = shipped_ranker()
    write_ranker(ranker, tmp_path / "a.npz")
    again = read_ranker(tmp_path / "a.npz")
    rows = np.random.default_rng(0).normal(size=(30, len(FEATURES)))
    np.testing.assert_array_equal(again.score(rows), ranker.score(rows))
    assert again.about["licence"] == "MIT"
    assert again.about["ap50_held_out"]["outlines by forest"] > 0.75
    write_ranker(again, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_damaged_ranker_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(UnreadableFile, match="no ranker"):
        read_ranker(tmp_path / "a.npz")
    node, real = np.array([0, -1]), np.zeros(2, np.float32)
    below = np.array([0, 0]), np.array([1, 0])  # the root's left child is the root: no end
    nodes = {"roots": np.array([0]), "feature": node, "threshold": real, "value": real}
    about = np.array('{"form": "layerscope particle ranker 1"}')
    np.savez(tmp_path / "b.npz", about=about, left=below[0], right=below[1], **nodes)
    with pytest.raises(UnreadableFile, match="child must come after"):
        read_ranker(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", about=about, left=below[0][:1], right=below[1], **nodes)
    with pytest.raises(UnreadableFile, match="as many of everything"):
        read_ranker(tmp_path / "c.npz")


@pytest.mark.thorough
def test_a_taught_ranker_tells_discs_from_noise():
    from layerscope.training.particles import RankerSettings, grow_ranker, rank_picture

    pictures = []
    for seed in (1, 2, 3):
        image, truth = dark_discs(seed, shape=(128, 160), number=5)
        marked = CropMasks.from_dense(truth, image.shape)
        pictures.append(
            rank_picture(grey_of(image), np.ones(image.shape, bool), marked, smallest_px=30)
        )
    ranker = grow_ranker(pictures[:2], RankerSettings(trees=5))
    score = ranker.score(pictures[2].features)
    good, bad = pictures[2].overlap > 0.7, pictures[2].overlap < 0.1
    assert score[good].mean() > score[bad].mean() + 0.4


def test_classes_are_told_by_name_or_by_what_they_are():
    assert ClassNames().split(("support", "flake", "hole")) == ([1], [2])
    assert ClassNames(("gfm",), ("void",)).split(("gfm", "void", "dirt")) == ([0], [1])
    with pytest.raises(InputError, match="class"):
        ClassNames(("sheet",)).split(("gfm", "hole"))
    with pytest.raises(InputError, match="give --objects"):
        ClassNames().split(("support", "hole"))
