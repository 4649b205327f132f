"""A person paints, a forest answers: the same however it is asked, and right where it is easy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.errors import InputError
from layerscope.labelling.classifier import PaintSettings, read_classifier
from layerscope.labelling.doubt import DOUBTS, doubt, margin
from layerscope.labelling.feature_cache import FeatureCache
from layerscope.labelling.learning import choose_pixels, fit_pixels, fold_pixels
from layerscope.labelling.painting import PaintSession
from layerscope.labelling.scribbles import ERASER, check_scribbles, count_labels, paint
from layerscope.models.file import read_model
from layerscope.ops.pixel_features import pixel_features
from layerscope.ops.tiles import Window

FEW = PaintSettings(trees=11, quick_trees=5, jobs=1)
CLASSES = ("dark", "bright", "rough")


def picture(seed=0, shape=(150, 330)):
    """Three bands: dark, bright, and rough of the mean of both."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 0.02, shape)
    third = shape[1] // 3
    image[:, :third] += 0.3
    image[:, third : 2 * third] += 0.7
    image[:, 2 * third :] += 0.5 + rng.choice([-0.2, 0.2], (shape[0], shape[1] - 2 * third))
    truth = np.minimum(np.arange(shape[1]) // third, 2)
    return np.clip(image, 0, 1).astype(np.float32), np.broadcast_to(truth, shape)


def strokes(truth, rows=(20, 100)):
    labels = np.zeros(truth.shape, np.uint8)
    for row in rows:
        labels[row : row + 2] = truth[row] + 1
    labels[:, ::7] = 0
    return labels


@pytest.fixture(scope="module")
def painted():
    image, truth = picture()
    session = PaintSession(image, CLASSES, FEW)
    session.scribble(strokes(truth), 0, 0)
    return image, truth, session


def test_a_session_answers_as_its_classifier(painted):
    image, truth, session = painted
    window = Window(10, 40, 120, 310)
    answer = session.answer(window)
    wanted = session.classifier().probabilities(image)[10:120, 40:310]
    np.testing.assert_array_equal(answer.probabilities, wanted)
    assert (answer.probabilities.argmax(axis=2) == truth[10:120, 40:310]).mean() > 0.97
    np.testing.assert_allclose(answer.uncertainty, margin(wanted))


def test_a_coarse_answer_is_near_the_full_one(painted):
    _, truth, session = painted
    whole = Window(0, 0, *truth.shape)
    rough = session.answer(whole, coarse=True).probabilities
    assert rough.shape == (*truth.shape, 3)
    np.testing.assert_allclose(rough.sum(axis=2), 1, atol=1e-5)
    assert (rough.argmax(axis=2) == truth).mean() > 0.9


def test_what_is_kept_changes_no_answer(painted):
    """Windows in any order, tiles forgotten and computed again: the same bits."""
    image, truth, session = painted
    whole = session.answer(Window(0, 0, *truth.shape)).probabilities
    other = PaintSession(image, CLASSES, FEW)
    other.scribble(strokes(truth), 0, 0)
    for window in (Window(100, 250, 150, 330), Window(0, 0, 30, 30), Window(60, 10, 140, 300)):
        part = other.answer(window).probabilities
        np.testing.assert_array_equal(
            part, whole[window.top : window.bottom, window.left : window.right]
        )


def test_undo_takes_back_and_erasing_too(painted):
    image, truth, _ = painted
    session = PaintSession(image, CLASSES, FEW)
    session.undo()
    first = strokes(truth)
    session.scribble(first, 0, 0)
    before = session.answer(Window(0, 0, 40, 40)).probabilities
    session.scribble(np.full((9, 200), 2, np.uint8), 50, 60)
    session.scribble(np.full((9, 200), ERASER, np.uint8), 50, 60)
    np.testing.assert_array_equal(session.labels, np.where(truth < 9, first, 0))
    np.testing.assert_array_equal(session.answer(Window(0, 0, 40, 40)).probabilities, before)
    session.undo()
    assert (session.labels[50:59, 60:260] == 2).all()
    session.undo()
    np.testing.assert_array_equal(session.labels, first)
    session.undo()
    assert not session.labels.any()
    with pytest.raises(InputError, match="fewer than two classes"):
        session.answer(Window(0, 0, 10, 10))


def test_a_window_beyond_the_image_is_refused(painted):
    with pytest.raises(InputError, match="window"):
        painted[2].answer(Window(0, 0, 10, 1000))


@pytest.mark.parametrize("autocontext", [False, True])
def test_the_file_answers_as_the_classifier(tmp_path, autocontext):
    image, truth = picture(1, (140, 160))
    settings = PaintSettings(trees=9, autocontext=autocontext, jobs=1)
    found = fit_pixels([image], [strokes(truth, (10, 70))], CLASSES, settings, check=True)
    card = found.save(tmp_path / "m.onnx")
    assert card.task == "phases"
    assert len(found.stages) == 1 + autocontext
    wanted = found.probabilities(image)
    np.testing.assert_array_equal(read_classifier(tmp_path / "m.onnx").probabilities(image), wanted)
    model = read_model(tmp_path / "m.onnx")
    np.testing.assert_array_equal(model.predict(image), wanted)
    assert (wanted.argmax(axis=2) == truth).mean() > 0.9
    assert 0.5 < card.metrics["balanced_accuracy"] <= 1
    assert card.metrics["held_out_by"] == "stroke"
    found.save(tmp_path / "again.onnx", "m")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_a_second_forest_learns_what_it_could_not_have_known():
    """Its context is that of held-out parts: no painted pixel's own forest said it."""
    image, truth = picture(2, (140, 160))
    labels = strokes(truth, (10, 70))
    noise = np.random.default_rng(0).permuted(labels[labels > 0])
    labels[labels > 0] = noise  # nothing can be learned: out of fold the answers are of no use
    settings = PaintSettings(trees=25, autocontext=True, jobs=1)
    found = fit_pixels([image], [labels], CLASSES, settings)
    second = found.stages[1]
    looked = second.feature[second.feature >= 0]
    # In fold the context would tell every class, and be what the first questions are about.
    roots = second.feature[second.starts[:-1]]
    assert (roots >= 0).all()
    assert (looked % 4 > 0).mean() < 0.95


def test_classes_and_sizes_must_fit():
    image, truth = picture()
    labels = strokes(truth)
    with pytest.raises(InputError, match="3 for 2 classes"):
        fit_pixels([image], [labels], ("a", "b"), FEW)
    with pytest.raises(InputError, match="on an image of"):
        fit_pixels([image[:100]], [labels], CLASSES, FEW)
    with pytest.raises(InputError, match="fewer than two"):
        fit_pixels([image], [np.where(labels == 1, labels, 0).astype(np.uint8)], CLASSES, FEW)
    with pytest.raises(InputError, match="uint8"):
        check_scribbles(labels.astype(int), 3)
    for wrong in ({"trees": 0}, {"features": "none"}, {"most_pixels": 1}):
        with pytest.raises(InputError):
            PaintSettings(**wrong)


@given(st.integers(0, 10_000), st.integers(10, 900), st.integers(1, 4))
def test_chosen_pixels_are_painted_and_the_rare_ones_stay(seed, most, number):
    rng = np.random.default_rng(seed)
    maps = [
        rng.choice(4, (30, 25), p=[0.5, 0.4, 0.09, 0.01]).astype(np.uint8) for _ in range(number)
    ]
    chosen = choose_pixels(maps, 3, most, seed)
    values = np.concatenate([m.ravel()[i] for m, i in zip(maps, chosen, strict=True)])
    said = count_labels(maps, 3)
    kept = np.bincount(values, minlength=4)
    assert kept[0] == 0
    assert kept.sum() == min(most, said.sum())
    for k in np.flatnonzero(kept[1:] < said):
        assert kept[k + 1] >= kept[1:].max() - 3
    more = maps[0].copy()
    more[:2] = 1
    again = choose_pixels([more, *maps[1:]], 3, 10_000, seed)[0]
    assert set(again) == set(np.flatnonzero(more))


def test_whole_images_are_held_out_where_there_are_enough():
    image, truth = picture(shape=(40, 60))
    labels = strokes(truth, (5, 20))
    from layerscope.labelling.learning import _painted

    three = fold_pixels(_painted([image] * 3, [labels] * 3, 3, FEW))
    assert [set(part) for part in three] == [{0}, {1}, {2}]
    labels[:, 5:15] = 0
    one = _painted([image], [labels], 3, FEW)[0]
    (parts,) = fold_pixels([one])
    assert set(one.strokes[one.classes == 0]) == {1, 2, 3, 4}  # two rows, a gap in each
    assert set(parts[one.classes == 0]) == {0, 1, 2}
    for number in range(1, 5):
        here = (one.classes == 0) & (one.strokes == number)
        assert len(set(parts[here])) == 1


@given(st.integers(-40, 40), st.integers(-40, 40), st.integers(0, 99))
def test_painting_is_what_numpy_says_inside(top, left, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (20, 30)).astype(np.uint8)
    patch = rng.choice([0, 1, 2, ERASER], (15, 18)).astype(np.uint8)
    found, wanted = paint(labels, patch, top, left), labels.copy()
    for y, x in np.ndindex(patch.shape):
        if 0 <= top + y < 20 and 0 <= left + x < 30 and patch[y, x]:
            wanted[top + y, left + x] = 0 if patch[y, x] == ERASER else patch[y, x]
    np.testing.assert_array_equal(found, wanted)


def test_features_are_those_of_the_whole_image():
    image = np.random.default_rng(0).random((300, 280, 1)).astype(np.float32)
    for features in ("scales", "wide"):
        cache = FeatureCache(image, features)
        wanted = pixel_features(image, features)
        index = np.array([0, 5, 280 * 255 + 255, 280 * 256 + 256, 280 * 300 - 1])
        found = cache.rows(index)
        np.testing.assert_allclose(found, wanted.reshape(len(wanted), -1)[:, index].T, atol=2e-5)
        for tile, planes in cache.tiles(Window(250, 250, 260, 260)):
            np.testing.assert_allclose(
                planes, wanted[:, tile.top : tile.bottom, tile.left : tile.right], atol=2e-5
            )


def test_forgotten_tiles_are_computed_again():
    image = np.random.default_rng(0).random((64, 3000, 1)).astype(np.float32)
    small = FeatureCache(image, "scales", kept_bytes=0)
    index = np.arange(0, 3000, 100)
    first = small.rows(index)
    list(small.tiles(Window(0, 0, 64, 3000)))
    np.testing.assert_array_equal(small.rows(index), first)


@given(st.integers(0, 1000), st.integers(2, 6))
def test_doubt_is_none_where_all_agree_and_full_where_none_do(seed, classes):
    rng = np.random.default_rng(seed)
    votes = rng.multinomial(100, np.full(classes, 1 / classes), (4, 5)) / np.float32(100)
    votes[0, 0], votes[0, 1] = np.eye(classes)[0], np.full(classes, 1 / classes)
    p = votes.astype(np.float32)
    for kind in DOUBTS:
        unsure = doubt(p, kind)
        assert unsure.shape == (4, 5)
        assert unsure.min() >= -1e-6
        assert unsure.max() <= 1 + 1e-6
        assert unsure[0, 0] == pytest.approx(0, abs=1e-6)
        assert unsure[0, 1] == pytest.approx(unsure.max(), abs=1e-6)
    ordered = np.sort(p, axis=-1)
    np.testing.assert_allclose(doubt(p), 1 - (ordered[..., -1] - ordered[..., -2]), atol=1e-6)
