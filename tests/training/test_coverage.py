"""Models of coverage: what the study published, honest patches, a file that answers pictures."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import InputError, UnknownName, UnreadableFile
from layerscope.models.file import read_model
from layerscope.tasks.coverage import find_coverage
from layerscope.tasks.coverage.learned import ask
from layerscope.training import coverage_models
from layerscope.training.coverage import train_coverage
from layerscope.training.coverage_interval import calibrate_interval
from layerscope.training.coverage_models import COVERAGE_MODELS
from layerscope.training.coverage_patches import (
    Pictures,
    copies_of,
    coverage_of,
    draw_places,
    error_figures,
    turned_anew,
)
from layerscope.training.coverage_scenes import asked_for, synthetic_films
from layerscope.training.coverage_settings import CoverageSettings

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from layerscope.training.coverage_fit import mislead  # noqa: E402

PUBLISHED = ("cnn-sc", "cnn-sc-star", "mlp-i", "mlp-m", "cnn-i", "cnn-m", "seg18-i", "seg18-m",
             "seg50", "seg101")  # fmt: skip


def picture(seed, share, side=300):
    """Bright squares on a dark ground; the mask is exact."""
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random((10, 10)).ravel())
    cells = np.zeros(100, np.uint8)
    cells[order[: round(100 * share)]] = 1
    mask = np.kron(cells.reshape(10, 10), np.ones((side // 10, side // 10), np.uint8))
    grey = 60 + 120 * mask + rng.normal(0, 8, mask.shape)
    return grey.clip(0, 255).astype(np.uint8), mask


def squares(n):
    pairs = [picture(k, (k + 0.5) / n) for k in range(n)]
    examples = tuple(
        Example.from_arrays(f"p{k}", image, mask, group=f"g{k}")
        for k, (image, mask) in enumerate(pairs)
    )
    return DataSet(examples, ("substrate", "film"))


def test_all_ten_models_are_there_with_the_published_numbers():
    assert tuple(COVERAGE_MODELS)[:10] == PUBLISHED
    cnn, mlp, seg = (COVERAGE_MODELS[n] for n in ("cnn-i", "mlp-m", "seg50"))
    assert (cnn.learning_rate, cnn.batch, cnn.epochs, cnn.size_px) == (2.25e-5, 32, 4500, 224)
    assert cnn.goals == {"train_mae": 0.033, "valid_mae": 0.020}
    assert (mlp.batch, mlp.epochs, mlp.goals, mlp.weights) == (
        16, 3500, {"train_mae": 0.030}, "micronet",
    )  # fmt: skip
    assert (seg.learning_rate, seg.batch, seg.size_px, seg.patience) == (1e-4, 6, 512, 30)
    assert (seg.loss_parameters["bce"], seg.loss_parameters["dice"]) == (0.7, 0.3)
    assert COVERAGE_MODELS["cnn-sc"].on_the_fly
    assert not COVERAGE_MODELS["cnn-sc-star"].on_the_fly


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 0.95))
def test_a_patch_has_no_invented_pixel_and_its_own_coverage(seed, share):
    image, mask = picture(seed, share)
    pictures = Pictures([image[:, :, None]], [mask])
    rng = np.random.default_rng(seed)
    for place in draw_places(pictures, 96, 3, rng):
        for moved in (place, turned_anew(place, image.shape, 96, rng), copies_of(place)[3]):
            patch, film = pictures.cut(moved, 96)
            assert moved.fits(image.shape, 96)
            assert not np.any(film == IGNORE)
            inner = np.abs(patch[:, :, 0] - 120 / 255) > 0.1  # off the blurred rims
            assert np.mean((patch[:, :, 0] > 120 / 255)[inner] == (film > 0)[inner]) > 0.97
            assert coverage_of(film) == pytest.approx(np.mean(patch > 120 / 255), abs=0.06)


def test_pictures_without_room_for_a_patch_are_refused():
    image, mask = picture(0, 0.5, side=60)
    with pytest.raises(InputError, match="holds no labelled patch of 200 px"):
        draw_places(Pictures([image[:, :, None]], [mask]), 200, 1, np.random.default_rng(0))


def test_figures_of_error():
    figures = error_figures(np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.5, 0.8]))
    assert figures["rmse"] == pytest.approx(np.sqrt(0.02 / 3))
    assert figures["r2"] == pytest.approx(1 - 0.02 / 0.18)
    assert "r2" not in error_figures(np.array([0.1]), np.array([0.2]))


@pytest.fixture(scope="module")
def regressor(tmp_path_factory):
    """CNNsc for two epochs: its number says little, but it must say it of real area only."""
    path = tmp_path_factory.mktemp("coverage") / "sc.onnx"
    told = []
    done = train_coverage(
        squares(4), path, CoverageSettings("cnn-sc-star", minutes=0, epochs=2), tell=told.append
    )
    return path, done, told


@pytest.fixture(scope="module")
def robust(tmp_path_factory):
    path = tmp_path_factory.mktemp("coverage") / "robust.onnx"
    with pytest.MonkeyPatch.context() as patch:
        small = replace(COVERAGE_MODELS["robust"], size_px=64, batch=4)
        patch.setitem(coverage_models.COVERAGE_MODELS, "robust", small)
        train_coverage(squares(4), path, CoverageSettings("robust", minutes=0, epochs=1))
    return path


def test_a_file_says_how_it_was_made_and_tried(regressor):
    path, done, told = regressor
    card = read_model(path).card
    assert (card.task, card.output, card.settings["model"]) == (
        "coverage", "fraction", "cnn-sc-star",
    )  # fmt: skip
    assert card.settings["origin"] == "starts from scratch"
    assert card.metrics["held_out_images"] >= 1
    assert card.metrics == done.card.metrics
    assert path.with_suffix(".safetensors").is_file()
    assert any("starts from scratch" in line for line in told)


def test_an_interval_is_not_measured_on_what_taught_the_model(robust):
    before = robust.read_bytes()
    with pytest.raises(InputError, match="taught the model"):
        calibrate_interval(robust, squares(4))
    assert robust.read_bytes() == before


def test_pictures_that_taught_nothing_give_the_card_an_interval(robust, tmp_path):
    path = tmp_path / "robust.onnx"
    path.write_bytes(robust.read_bytes())
    card = calibrate_interval(path, synthetic_films(20, 5, sides_px=(64,)))
    assert read_model(path).card == card
    assert card.metrics["interval_images"] == 20
    assert card.metrics["interval_reach"] > 0


def test_a_regressor_counts_real_area_only(regressor):
    """A constant answer per tile must come back as that constant, whatever the size."""
    model = read_model(regressor[0])
    for shape in ((300, 300), (300, 517), (701, 333)):
        image = np.full((*shape, 1), 0.5, np.float32)
        found = ask(model, image, np.ones(shape, bool))
        one = float(np.clip(model.logits(np.full((1, 1, 224, 224), 0.5, np.float32))[0, 0], 0, 1))
        assert found.fraction == pytest.approx(one, abs=1e-5)
        assert found.film.shape == shape


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["regressor", "robust"])
def test_a_border_that_is_not_counted_changes_nothing(request, name):
    made = request.getfixturevalue(name)
    model = read_model(made[0] if name == "regressor" else made)
    image = picture(80, 0.4)[0][:, :, None].astype(np.float32) / 255
    valid = np.zeros((360, 420), bool)
    valid[20:320, 50:350] = True
    wide = np.ones((360, 420, 1), np.float32)
    wide[20:320, 50:350] = image
    alone = ask(model, image, np.ones((300, 300), bool))
    assert ask(model, wide, valid).fraction == pytest.approx(alone.fraction, abs=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_scale_changes_little(robust, ratio):
    import cv2

    image, mask = picture(77, 0.4)
    scaled = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    one, two = (
        find_coverage(Micrograph(i, Modality.SEM), method=str(robust), film="bright")
        for i in (image, scaled)
    )
    assert abs(one.fraction - mask.mean()) < 0.05
    assert abs(one.fraction - two.fraction) < 0.02


def test_padding_and_size_change_little(robust):
    image, _ = picture(78, 0.3)
    wide = np.concatenate([image, image[:, ::-1]], axis=1)
    one, two = (
        find_coverage(
            Micrograph(i, Modality.AFM, PixelSize(10, 10, "test")), method=str(robust)
        ).fraction
        for i in (image, wide)
    )
    assert abs(one - two) < 0.02


def test_heights_are_asked_as_pictures_and_checked_by_terraces(robust):
    _, mask = picture(79, 0.5)
    noise = np.random.default_rng(0).normal(0, 0.03, mask.shape)
    scan = Micrograph((0.7 * mask + noise).astype(np.float32), Modality.AFM, None, "nm")
    found = find_coverage(scan, method=str(robust))
    assert found.method == "robust.onnx"
    assert found.by_method["terraces"] == pytest.approx(0.5, abs=0.02)
    low, high = np.percentile(scan.data, (0.5, 99.5))
    shown = (255 * np.clip((scan.data - low) / (high - low), 0, 1)).astype(np.uint8)
    seen = find_coverage(Micrograph(shown, Modality.SEM), method=str(robust), film="bright")
    assert found.fraction == pytest.approx(seen.fraction, abs=0.01)


def test_synthetic_films_are_exact_and_repeatable():
    one, two = synthetic_films(2, 5, sides_px=(64,)), synthetic_films(2, 5, sides_px=(64,))
    for a, b in zip(one.examples, two.examples, strict=True):
        assert np.array_equal(a.read_image(), b.read_image())
        assert np.array_equal(a.label_map(), b.label_map())
    assert asked_for("synthetic:40") == 40
    assert asked_for("scans") == 0
    with pytest.raises(InputError, match="synthetic:1"):
        asked_for("synthetic:0")


def test_a_misled_picture_keeps_its_grey_and_repeats():
    x = np.random.default_rng(0).random((6, 4, 16, 16), np.float32)
    one, two = (mislead(x, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.array_equal(one[:, :2], x[:, :2])
    changed = np.any(one[:, 2:] != x[:, 2:], axis=(2, 3))
    assert 0 < changed.mean() < 1
    for i, k in np.argwhere(changed):
        order = np.argsort(x[i, 0].ravel())
        assert np.all(np.diff(one[i, 2 + k].ravel()[order]) >= 0)


def test_what_cannot_be_trained_or_asked_is_refused(tmp_path, regressor):
    with pytest.raises(UnknownName, match="cnn-sc"):
        CoverageSettings("cnn")
    with pytest.raises(InputError, match="--tune is for"):
        CoverageSettings("seg50", tune=3)
    with pytest.raises(InputError, match="give minutes or epochs"):
        CoverageSettings("robust", minutes=0)
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        train_coverage(squares(2), tmp_path / "a.pt")
    image = Micrograph(picture(0, 0.5)[0], Modality.SEM)
    with pytest.raises(UnreadableFile, match="cannot read model"):
        find_coverage(image, method=str(tmp_path / "none.onnx"))
