"""Laws of random patches: label and image move together and nothing is invented."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.examples import IGNORE
from layerscope.errors import InputError
from layerscope.ops.augment import (
    NO_AUGMENTATION,
    Augmentation,
    augment,
    join_mosaic,
    mirror,
    paste_objects,
    recolour,
    take_patch,
)

GEOMETRY = Augmentation().only_geometry()
SEEDS = st.integers(0, 2**31)


def scene(seed, shape=(90, 120)):
    """Image in which each class of the label map has its own grey, in patches of 6 px."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (-(-shape[0] // 6), -(-shape[1] // 6)))
    labels = np.kron(coarse, np.ones((6, 6), int))[: shape[0], : shape[1]].astype(np.uint8)
    image = np.repeat((labels / 4.0)[:, :, None], 3, axis=2).astype(np.float32)
    return image, labels


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(24, 100))
def test_label_and_image_move_together(seed, size):
    image, labels = scene(seed)
    patch, moved = augment(image, labels, size, np.random.default_rng(seed), GEOMETRY)
    assert patch.shape == (size, size, 3)
    assert moved.shape == (size, size)
    assert patch.dtype == np.float32
    assert moved.dtype == np.uint8
    known = moved != IGNORE
    difference = np.abs(patch[..., 0] - moved / 4.0)[known]
    # Away from an edge the grey is that of the class; on it between those of the two.
    pure = np.isin(np.round(patch[..., 0][known], 5), (0.0, 0.25, 0.5))
    assert np.mean(difference[pure] > 0.01) < 0.02
    assert difference.mean() < 0.08


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(4, 160), st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_no_class_appears_that_was_not_there_and_outside_is_unlabelled(seed, size, shape):
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 2, 7, IGNORE], np.uint8), shape)
    image = rng.random((*shape, 1), np.float32)
    patch, moved = augment(image, labels, size, rng, GEOMETRY)
    assert set(np.unique(moved)) <= {*np.unique(labels), IGNORE}
    assert patch.min() >= -1e-6
    assert patch.max() <= 1 + 1e-6


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0.5, 2.0), st.floats(-3.2, 3.2))
def test_a_patch_that_fits_lies_in_the_picture(seed, scale, turn):
    image, labels = scene(seed, (200, 210))
    a = Augmentation(scale=(scale, scale), turn_degrees=(np.degrees(turn),) * 2).only_geometry()
    _, moved = augment(image, labels, 64, np.random.default_rng(seed), a)
    assert not (moved == IGNORE).any()


@pytest.mark.parametrize("turn", [0.0, 0.6, np.pi / 2])
def test_where_the_picture_ends_labels_end(turn):
    """Oracle: the share of a disc-like patch that lies outside, counted from geometry."""
    image, labels = np.ones((50, 50, 1), np.float32), np.ones((50, 50), np.uint8)
    _, moved = take_patch(image, labels, 100, (25.0, 25.0), 1.0, turn)
    y, x = np.mgrid[:100, :100] - 49.5
    inside_x = np.abs(np.cos(turn) * x - np.sin(turn) * y) < 24.5
    inside_y = np.abs(np.sin(turn) * x + np.cos(turn) * y) < 24.5
    assert (moved[inside_x & inside_y] == 1).all()
    far = (np.abs(np.cos(turn) * x - np.sin(turn) * y) > 25.5) | (
        np.abs(np.sin(turn) * x + np.cos(turn) * y) > 25.5
    )
    assert (moved[far] == IGNORE).all()


def test_without_augmentation_a_patch_is_the_pixels_themselves():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (70, 80, 3), dtype=np.uint8)
    labels = (image[..., 0] > 100).astype(np.uint8)
    for size in (31, 32):
        patch, moved = augment(image, labels, size, np.random.default_rng(size), NO_AUGMENTATION)
        whole = np.rint(patch * 255).astype(np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))
        found = np.argwhere((windows == whole.transpose(2, 0, 1)).all((2, 3, 4)))
        assert len(found) == 1
        top, left = found[0]
        assert (moved == labels[top : top + size, left : left + size]).all()


def test_quarter_turn_of_a_square_is_exact():
    rng = np.random.default_rng(3)
    image = rng.random((64, 64, 2), np.float32)
    labels = rng.integers(0, 5, (64, 64)).astype(np.uint8)
    patch, moved = take_patch(image, labels, 64, (32.0, 32.0), 1.0, np.pi / 2)
    turned = [k for k in (1, 3) if np.allclose(patch, np.rot90(image, k), atol=1e-6)]
    assert len(turned) == 1
    assert (moved == np.rot90(labels, turned[0])).all()


@given(SEEDS, st.booleans(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_flips_are_involutions(seed, columns, rows):
    pixels = np.random.default_rng(seed).random((9, 7, 3))
    once = mirror(pixels, columns=columns, rows=rows)
    assert (mirror(once, columns=columns, rows=rows) == pixels).all()
    assert columns or rows or (once == pixels).all()


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_the_same_seed_gives_the_same_patch_and_inputs_stay(seed):
    image, labels = scene(seed)
    before = image.copy(), labels.copy()
    one, other = (
        augment(image, labels, 40, np.random.default_rng(seed), Augmentation()) for _ in "ab"
    )
    assert (one[0] == other[0]).all()
    assert (one[1] == other[1]).all()
    assert (image == before[0]).all()
    assert (labels == before[1]).all()
    assert one[0].min() >= 0
    assert one[0].max() <= 1


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_patch_holds_the_pixel_that_it_shall_hold(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((100, 130), np.uint8)
    row, column = int(rng.integers(3, 97)), int(rng.integers(3, 127))
    labels[row - 3 : row + 4, column - 3 : column + 4] = 1
    image = np.zeros((100, 130, 1), np.float32)
    _, moved = augment(image, labels, 32, rng, GEOMETRY, near=(row, column))
    assert (moved == 1).any()


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_an_upright_patch_holds_a_corner_without_leaving_the_picture(seed):
    labels = np.zeros((350, 360), np.uint8)
    labels[0, 0] = labels[-1, -1] = 1
    image = np.zeros((350, 360, 1), np.float32)
    for corner in ((0, 0), (349, 359)):
        rng = np.random.default_rng(seed)
        _, moved = augment(image, labels, 300 + seed % 2, rng, NO_AUGMENTATION, near=corner)
        assert (moved == 1).sum() == 1
        assert not (moved == IGNORE).any()


def test_float_labels_keep_their_values_and_have_no_value_outside():
    labels = np.arange(30 * 30 * 5, dtype=np.float32).reshape(30, 30, 5)
    image = np.zeros((30, 30, 1), np.float32)
    _, moved = augment(image, labels, 48, np.random.default_rng(1), GEOMETRY)
    inside = ~np.isnan(moved)
    assert inside.any()
    assert not inside.all()
    assert np.isin(moved[inside], labels).all()
    assert (moved[..., 1] - moved[..., 0])[inside[..., 0]] == pytest.approx(1)


def test_recolouring_gives_each_channel_one_gain():
    image = np.full((16, 16, 3), 0.4, np.float32)
    a = Augmentation(gamma=(1, 1), brightness=(0, 0), colour_share=1, blur_share=0, noise_share=0,
                     salt_pepper_share=0)  # fmt: skip
    gains = np.array([recolour(image, np.random.default_rng(i), a)[0, 0] / 0.4 for i in range(200)])
    assert gains.min() >= 0.7 - 1e-6
    assert gains.max() <= 1.3 + 1e-6
    assert gains.std(axis=0) == pytest.approx(0.6 / np.sqrt(12), rel=0.15)
    assert np.abs(np.corrcoef(gains.T)[np.triu_indices(3, 1)]).max() < 0.25


def test_recolouring_never_whites_out_a_bright_background():
    image = np.full((16, 16, 3), 0.85, np.float32)
    image[4:8, 4:8] = 0.8
    a = Augmentation(gamma=(1, 1), brightness=(0, 0), colour_share=1, blur_share=0, noise_share=0,
                     salt_pepper_share=0)  # fmt: skip
    for i in range(30):
        out = recolour(image, np.random.default_rng(i), a)
        assert (out[0, 0] - out[5, 5] > 0.03).all()


def test_noise_and_blur_have_the_size_that_is_said():
    grey = np.full((200, 200, 1), 0.5, np.float32)
    off = {"colour_share": 0, "blur_share": 0, "noise_share": 0, "salt_pepper_share": 0}
    noisy = recolour(
        grey, np.random.default_rng(0), Augmentation(noise=(0.03, 0.03), **off | {"noise_share": 1})
    )
    assert noisy.std() == pytest.approx(0.03, rel=0.02)
    dotted = recolour(
        grey,
        np.random.default_rng(0),
        Augmentation(salt_pepper=(0.1, 0.1), **off | {"salt_pepper_share": 1}),
    )
    assert np.isin(dotted, (0.0, 1.0)).mean() == pytest.approx(0.1 * (1 - 0.05), rel=0.1)
    spot = np.zeros((41, 41, 1), np.float32)
    spot[20, 20] = 1
    soft = recolour(
        spot, np.random.default_rng(0), Augmentation(blur_px=(2, 2), **off | {"blur_share": 1})
    )
    y = np.arange(41) - 20
    assert np.sqrt((soft[..., 0].sum(1) * y**2).sum() / soft.sum()) == pytest.approx(2, rel=0.02)


def test_the_cost_follows_the_patch_and_not_the_picture():
    def cost_s(side):
        image, labels = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8)
        best = np.inf
        for seed in range(20):
            started = time.process_time()
            augment(image, labels, 64, np.random.default_rng(seed), GEOMETRY)
            best = min(best, time.process_time() - started)
        return best

    assert cost_s(2400) < 3 * cost_s(300) + 1e-4


def test_shrinking_does_not_alias():
    """A pattern finer than the new pixel becomes grey, not a coarser pattern."""
    stripes = np.tile(np.array([0, 255], np.uint8), 200)[None, :, None].repeat(400, 0)
    patch, _ = take_patch(stripes, np.zeros((400, 400), np.uint8), 100, (200.3, 200.3), 0.55, 0.2)
    assert patch.std() < 0.12


def test_pasted_objects_keep_their_contrast():
    donor = np.full((20, 20, 3), 0.4, np.float32)
    donor[5:9, 5:9] = 0.3
    marks = np.zeros((20, 20), np.uint8)
    marks[5:9, 5:9] = 2
    here = np.full((20, 20, 3), 0.8, np.float32), np.zeros((20, 20), np.uint8)
    image, labels = paste_objects(here, (donor, marks))
    assert image[6, 6] == pytest.approx(0.6)
    assert (labels == marks).all()
    assert (here[0] == 0.8).all()
    nothing = paste_objects(here, here)
    assert nothing[0] is here[0]


def test_a_mosaic_is_made_of_its_parts():
    parts = [
        (np.full((8, 8, 1), k / 4, np.float32), np.full((8, 8), k, np.uint8)) for k in range(4)
    ]
    image, labels = join_mosaic(parts, (3, 5))
    assert labels[0, 0] == 0
    assert labels[0, 5] == 1
    assert labels[3, 0] == 2
    assert labels[3, 5] == 3
    assert (image[..., 0] == labels / 4).all()


@pytest.mark.parametrize(
    "given",
    [
        {"scale": (0, 1)},
        {"scale": (2, 1)},
        {"noise": (-1, 0)},
        {"paste_share": 1.5},
        {"gamma": (np.nan, 1)},
    ],
)
def test_impossible_ranges_are_refused(given):
    with pytest.raises(InputError, match=next(iter(given))):
        Augmentation(**given)


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(InputError, match="labels of"):
        augment(
            np.zeros((5, 5, 1), np.float32), np.zeros((5, 6), np.uint8), 3, np.random.default_rng(0)
        )
