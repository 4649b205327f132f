"""Inputs drawn from labelled pictures: objects stay where they are seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.examples import DataSet, Example, Instance
from layerscope.errors import InputError
from layerscope.ops.augmentation import NO_AUGMENTATION
from layerscope.training.yolo_pictures import (
    NOISY,
    Drawing,
    batches,
    draw_input,
    draw_move,
    read_pictures,
)

PLAIN = Drawing(64, augmentation=NOISY, mosaic=0.5)


def data_of(n=2, shape=(90, 120), seed=3):
    """Dark pictures, each with a bright disc of class 1 and a bright bar of class 2."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    examples = []
    for k in range(n):
        cy, cx = rng.uniform(25, 60, 2)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < 15**2
        bar = (np.abs(y - 80) < 6) & (np.abs(x - 60) < 40)
        bar &= ~disc
        image = np.full((*shape, 3), 30, np.uint8)
        image[disc | bar] = 230
        objects = []
        for name, mask in ((1, disc), (2, bar)):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
            objects.append(Instance(name, box, mask[box[0] : box[2], box[1] : box[3]]))
        examples.append(Example.from_arrays(f"p{k}", image, objects))
    return DataSet(tuple(examples), ("background", "disc", "bar"))


def compared(drawing, seed):
    """Cells of 4 x 4 px that are bright, cells that masks cover, cells that are on an edge."""
    pictures = read_pictures(data_of(), drawing)
    image, marked = draw_input(pictures, drawing, np.random.default_rng(seed))
    cells = image.mean(axis=2).reshape(16, 4, 16, 4).mean(axis=(1, 3))
    union = marked.masks.max(axis=0) if len(marked.classes) else np.zeros((16, 16))
    edge = ((union > 0.02) & (union < 0.98)) | ((cells > 0.47) & (cells < 0.87))
    return cells > 0.6, union > 0.5, edge, marked


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_masks_and_boxes_lie_on_what_is_seen(seed):
    drawing = Drawing(64, mosaic=0.5, augmentation=NO_AUGMENTATION)
    seen, union, edge, marked = compared(drawing, seed)
    assert not (union & ~seen & ~edge).any()
    for box, mask in zip(marked.boxes, marked.masks, strict=True):
        y, x = np.nonzero(mask > 0)
        np.testing.assert_allclose(
            [4 * x.min(), 4 * y.min(), 4 * x.max() + 4, 4 * y.max() + 4], box, atol=4
        )


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_what_is_whole_in_the_input_is_marked_whole(seed):
    drawing = Drawing(64, zoom=(0.6, 0.7), mosaic=0.0, augmentation=NO_AUGMENTATION)
    seen, union, edge, marked = compared(drawing, seed)
    assert sorted(marked.classes) == [0, 1]
    assert not ((union != seen) & ~edge).any()


@given(st.integers(0, 10**6), st.integers(20, 300), st.integers(20, 300))
def test_moves_keep_shapes_and_magnify_within_the_range(seed, height, width):
    matrix = draw_move(np.random.default_rng(seed), (height, width), (64, 64), (0.6, 1.7))
    turn = matrix[:, :2]
    scale = np.sqrt(abs(np.linalg.det(turn)))
    assert scale / (64 / max(height, width)) * (1 + 1e-9) >= 0.6
    assert scale / (64 / max(height, width)) <= 1.7 * (1 + 1e-9)
    np.testing.assert_allclose(turn @ turn.T, scale**2 * np.eye(2), atol=1e-9)


def test_batches_depend_on_the_step_alone_and_differ():
    pictures = read_pictures(data_of(), PLAIN)
    batch = batches(pictures, PLAIN, 3, 7)
    images, packed = batch(5)
    assert images.shape == (3, 3, 64, 64)
    assert packed.shape[0] == 3
    again = batches(pictures, PLAIN, 3, 7)(5)
    assert np.array_equal(images, again[0])
    assert np.array_equal(packed, again[1])
    assert not np.array_equal(images, batch(6)[0])
    assert images.min() >= 0
    assert images.max() <= 1


def test_large_pictures_are_kept_no_larger_than_needed():
    (big,) = read_pictures(data_of(1, (600, 800)), Drawing(64))
    assert [max(x.shape) for x in big.levels] == [100, 50]
    assert {x.dtype for x in big.levels} == {np.dtype(np.uint8)}
    assert big.shape == (600, 800)


def test_pictures_of_other_kinds_are_drawn_alike():
    data = data_of(1)
    image = data.examples[0].read_image()
    grey = Example.from_arrays("g", image[..., :1], data.examples[0].instances)
    share = Example.from_arrays("f", (image / 255).astype(np.float32), grey.instances)
    drawn = []
    for example in (data.examples[0], grey, share):
        pictures = read_pictures(DataSet((example,), data.classes), PLAIN)
        drawn.append(draw_input(pictures, PLAIN, np.random.default_rng(4))[0])
    np.testing.assert_allclose(drawn[0], drawn[1])
    np.testing.assert_allclose(drawn[0], drawn[2], atol=0.02)
    contrast = Drawing(64, normalisation="contrast")
    (picture,) = read_pictures(data, contrast)
    assert {x.dtype for x in picture.levels} == {np.dtype(np.float32)}
    assert abs(np.median(picture.levels[0])) < 0.05


def test_what_cannot_be_learned_is_refused():
    data = data_of(1)
    image = data.examples[0].read_image()
    boxes = Example.from_arrays("b", image, [Instance(1, (0, 0, 5, 5))])
    classes = Example.from_arrays("c", image, np.zeros(image.shape[:2], np.uint8))
    empty = Example.from_arrays("e", image, [])
    for example, said in ((boxes, "outlines"), (classes, "told apart"), (empty, "marked")):
        with pytest.raises(InputError, match=said):
            read_pictures(DataSet((example,), data.classes), PLAIN)
    with pytest.raises(InputError):
        Drawing(100)
    with pytest.raises(InputError):
        Drawing(64, zoom=(2, 1))
