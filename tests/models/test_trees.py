"""Trees answer the same however they are asked: walked, by bits, from a file, by ONNX Runtime."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.errors import InputError, LayerscopeError, UnreadableFile
from layerscope.models import bit_forest
from layerscope.models.bit_forest import BitForest, suits
from layerscope.models.pixel_forest import PixelForest
from layerscope.models.protobuf import fields_of, integers, varint, varints
from layerscope.models.session import open_session
from layerscope.models.trees import LEAF, Trees, round_down
from layerscope.models.trees_file import forest_graph, read_forests


def random_trees(seed, trees=7, classes=3, features=5, depth=6):
    """Trees with pure leaves, grown at random; thresholds on a coarse grid, so that ties happen."""
    rng = np.random.default_rng(seed)
    rows, starts = [], [0]
    for _ in range(trees):
        first = len(rows)
        waiting = [(None, 0)]
        while waiting:
            parent, level = waiting.pop()
            at = len(rows)
            inner = level < depth and rng.random() < 0.8
            rows.append([int(rng.integers(features)) if inner else LEAF, 0.0, 0, 0, 0])
            if parent is not None:
                which = 2 if rows[parent][2] == 0 else 3
                rows[parent][which] = at
            if inner:
                rows[at][1] = float(np.float32(rng.integers(1, 8) / 8))
                waiting += [(at, level + 1), (at, level + 1)]
            else:
                rows[at][4] = int(rng.integers(classes))
        assert len(rows) > first
        starts.append(len(rows))
    feature, threshold, left, right, label = (np.array(c) for c in zip(*rows, strict=True))
    share = np.zeros((len(rows), classes), np.float32)
    leaf = feature == LEAF
    share[leaf, label[leaf]] = np.float32(1 / trees)
    return Trees(
        np.array(starts), feature.astype(np.int32), threshold.astype(np.float32),
        left.astype(np.int32), right.astype(np.int32), share, features,
    )  # fmt: skip


def rows_for(trees, n, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 9, (n, trees.features)) / 8).astype(np.float32)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 5), st.integers(1, 7))
def test_bits_vote_as_the_walk(seed, number, classes, depth):
    trees = random_trees(seed, number, classes, depth=depth)
    if not suits(trees):
        assert trees.splits == 0
        return
    rows = rows_for(trees, 130, seed)
    votes = BitForest(trees).votes(np.ascontiguousarray(rows.T))
    np.testing.assert_array_equal(votes.T, np.round(trees.probabilities(rows) * number))
    assert (votes.sum(axis=0) == number).all()


def test_blocks_and_groups_change_no_vote(monkeypatch):
    trees, wanted = random_trees(1, 40), None
    rows = rows_for(trees, 1000)
    for block, group, compared in ((65_536, 1024, 4), (128, 1024, 4), (192, 20, 1), (64, 1, 3)):
        monkeypatch.setattr(bit_forest, "BLOCK_PX", block)
        monkeypatch.setattr(bit_forest, "_GROUP_SPLITS", group)
        monkeypatch.setattr(bit_forest, "_COMPARED", compared)
        votes = BitForest(trees).votes(np.ascontiguousarray(rows.T))
        wanted = votes if wanted is None else wanted
        np.testing.assert_array_equal(votes, wanted)


def test_leaves_that_disagree_are_walked():
    trees = random_trees(2)
    share = trees.share.copy()
    leaf = np.flatnonzero(trees.feature == LEAF)[0]
    share[leaf] = np.float32(1 / 21)
    mixed = Trees(
        trees.starts, trees.feature, trees.threshold, trees.left, trees.right, share, 5
    )  # fmt: skip
    assert not suits(mixed)
    rows = rows_for(mixed, 300)
    found = PixelForest(mixed).probabilities(np.ascontiguousarray(rows.T))
    np.testing.assert_allclose(found, mixed.probabilities(rows), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_graph_is_read_back_and_answers_as_the_walk(classes):
    one, two = random_trees(3, 12, classes), random_trees(4, 7, classes, features=9)
    content = forest_graph([one, two], {"kept": "text"})
    for wanted, found in zip((one, two), read_forests(content), strict=True):
        assert wanted.features == found.features
        for name in ("starts", "feature", "threshold", "left", "right", "share"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), name)
    session = open_session(content)
    assert session.get_modelmeta().custom_metadata_map == {"kept": "text"}
    rows = rows_for(one, 200), rows_for(two, 200)
    names = ("features", "features_with_context")
    last, first = session.run(["probabilities", "context"], dict(zip(names, rows, strict=True)))
    np.testing.assert_allclose(first, one.probabilities(rows[0]), atol=1e-6)
    np.testing.assert_allclose(last, two.probabilities(rows[1]), atol=1e-6)


def test_onnx_agrees_that_it_is_onnx():
    onnx = pytest.importorskip("onnx")
    content = forest_graph([random_trees(5)])
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model)
    # The onnx package writes lists of integers one by one instead of packed: both are read.
    again = read_forests(model.SerializeToString())[0]
    np.testing.assert_array_equal(again.left, random_trees(5).left)


@given(st.data())
def test_no_damaged_graph_does_more_than_refuse(data):
    content = bytearray(forest_graph([random_trees(6, 2, depth=2)]))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (bytes(content), bytes(content[:cut])):
        with suppress(LayerscopeError):
            read_forests(damaged)


def test_what_is_no_tree_is_refused():
    trees = random_trees(7)
    back = trees.left.copy()
    back[np.flatnonzero(trees.feature != LEAF)[-1]] = 0
    with pytest.raises(InputError, match="after its parent"):
        Trees(trees.starts, trees.feature, trees.threshold, back, trees.right, trees.share, 5)
    twice = trees.left.copy()
    inner = np.flatnonzero(trees.feature != LEAF)[0]
    twice[inner] = trees.right[inner]
    with pytest.raises(InputError, match="same child"):
        Trees(trees.starts, trees.feature, trees.threshold, twice, trees.right, trees.share, 5)
    with pytest.raises(InputError, match="beyond 1"):
        Trees(trees.starts, trees.feature, trees.threshold, trees.left, trees.right, trees.share, 1)


@given(st.lists(st.integers(0, 2**62), max_size=30))
def test_integers_of_any_length_come_back(values):
    packed = varints(np.array(values, np.int64))
    assert integers(packed).tolist() == values
    if values:
        with pytest.raises(UnreadableFile):
            integers(packed + b"\x80")
        assert next(fields_of(varint(8) + varint(values[0])))[2] == values[0]


@given(st.floats(-1e30, 1e30))
def test_rounding_down_sends_every_float32_the_same_way(threshold):
    near = np.float32(threshold)
    rounded = round_down(np.array([threshold]))[0]
    for value in (
        near,
        np.nextafter(near, np.float32(1e38)),
        np.nextafter(near, np.float32(-1e38)),
    ):
        assert (float(value) <= threshold) == bool(value <= rounded)
