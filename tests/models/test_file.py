"""Model files: what is refused, and that a window, a pad or a turn never changes a number."""

import hashlib
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx")

import model_files
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError, UnreadableFile
from layerscope.models.file import read_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder):
    return read_model(model_files.write(folder / "tiny.onnx"))


def with_card(model, **fields):
    members = tuple(replace(m, card=replace(m.card, **fields)) for m in model.members)
    return replace(model, card=members[0].card, members=members)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def by_hand(image):
    """The tiny network in numpy, double precision; image (H, W), sides multiples of 4."""
    w = {k: v.astype(float) for k, v in model_files.weights().items()}
    height, width = image.shape
    cells = image.reshape(height // 4, 4, width // 4, 4).transpose(0, 2, 1, 3)
    a = np.maximum(np.einsum("yxij,kij->kyx", cells, w["down"][:, 0]), 0)
    padded = np.pad(a, ((0, 0), (1, 1), (1, 1)))
    d = sum(
        np.einsum(
            "kyx,ok->oyx", padded[:, i : i + a.shape[1], j : j + a.shape[2]], w["wide"][:, :, i, j]
        )
        for i in range(3)
        for j in range(3)
    )
    f = np.einsum("kyx,ok->oyx", np.maximum(d, 0), w["head"][:, :, 0, 0])
    at = [np.clip((np.arange(n) + 0.5) / 4 - 0.5, 0, n // 4 - 1) for n in image.shape]
    low = [
        np.minimum(np.floor(t).astype(int), n // 4 - 2)
        for t, n in zip(at, image.shape, strict=True)
    ]
    part = [t - i for t, i in zip(at, low, strict=True)]
    rows = f[:, low[0]] * (1 - part[0])[:, None] + f[:, low[0] + 1] * part[0][:, None]
    logits = rows[:, :, low[1]] * (1 - part[1]) + rows[:, :, low[1] + 1] * part[1]
    raised = np.exp(logits - logits.max(0))
    return (raised / raised.sum(0)).transpose(1, 2, 0)


def test_the_answer_is_the_networks(model):
    image = noise(40, 48)
    found = model.predict(image)
    assert found.shape == (40, 48, 2)
    assert found.dtype == np.float32
    assert np.abs(found - by_hand(image)).max() < 1e-5


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 190), st.integers(1, 190), st.integers(64, 150), st.integers(0, 9))
def test_windows_never_change_a_number(model, height, width, tile_px, seed):
    image = noise(height, width, seed=seed)
    whole = with_card(model, tile_px=512).predict(image)
    assert np.abs(with_card(model, tile_px=tile_px).predict(image) - whole).max() < 1e-5


def test_too_small_a_margin_would_be_seen(model):
    image = noise(190, 190)
    whole = model.predict(image)
    cut = with_card(model, tile_px=64, margin_px=0).predict(image)
    assert np.abs(cut - whole).max() > 1e-3


def test_windows_of_a_network_that_looks_too_far_stay_small(model, monkeypatch):
    """Its windows are blended: exact ones would be larger than any memory."""
    far = with_card(model, tile_px=96, margin_px=60)
    sizes = []
    ask = type(far.members[0]).run
    monkeypatch.setattr(
        type(far.members[0]), "run", lambda self, b: (sizes.append(b.shape[2:]), ask(self, b))[1]
    )
    image = noise(190, 260)
    found = far.predict(image)
    assert max(max(s) for s in sizes) <= 96
    apart = np.abs(found - model.predict(image))
    assert apart.mean() < 1e-3


def test_a_pad_never_changes_a_number(model):
    """An image padded by hand, the way the model does it, gets the same answer."""
    image = noise(41, 47)
    padded = np.pad(image, ((0, 3), (0, 1)), mode="symmetric")
    assert np.array_equal(model.predict(image), model.predict(padded)[:41, :47])


def test_a_network_that_looks_everywhere_is_blended_without_a_seam(folder):
    path = model_files.write(folder / "pooled.onnx", model_files.graph(pooled=True), margin_px=None)
    pooled = read_model(path)
    y, x = np.mgrid[:300, :330] / 330
    image = (0.3 + 0.2 * np.sin(5 * x + 3 * y) + 0.1 * noise(300, 330)).astype(np.float32)
    whole = pooled.predict(image)
    tiled = with_card(pooled, tile_px=128).predict(image)
    assert np.isfinite(tiled).all()
    apart = np.abs(tiled - whole)
    assert 1e-5 < apart.max() < 0.2
    steps = np.abs(np.diff(tiled - whole, axis=1)).max(axis=(0, 2))
    assert steps.max() < 12 * np.median(steps)


def test_maps_of_a_lower_resolution_are_brought_to_the_images(folder):
    path = model_files.write(folder / "half.onnx", model_files.graph(scale=2), margin_px=12)
    half = read_model(path)
    image = noise(150, 170)
    whole = half.predict(image)
    assert whole.shape == (150, 170, 2)
    assert np.abs(with_card(half, tile_px=64).predict(image) - whole).max() < 1e-5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_any_camera(model, dtype):
    image = noise(32, 32)
    steps = 255 if dtype == np.uint8 else 65535
    stored = np.rint(image * steps).astype(dtype) if dtype != np.float64 else image.astype(dtype)
    assert np.abs(model.predict(stored) - model.predict(image)).max() < 0.05


def test_grey_and_colour(model, folder):
    image = noise(32, 36)
    colour = np.repeat(image[..., None], 3, axis=2)
    assert np.abs(model.predict(colour) - model.predict(image)).max() < 1e-5
    path = model_files.write(folder / "rgb.onnx", model_files.graph(3), channels=3)
    rgb = read_model(path)
    assert np.array_equal(rgb.predict(image), rgb.predict(colour))
    with pytest.raises(InputError, match="2 channels"):
        rgb.predict(noise(32, 32, 2))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.full((9, 9), 2.0), "0 to 1"),
        (np.full((9, 9), np.nan), "0 to 1"),
        (np.zeros((9, 9), np.int32), "int32"),
        (np.zeros(9), "shape"),
        (np.zeros((0, 4)), "shape"),
    ],
)
def test_what_is_no_image_is_refused(model, image, said):
    with pytest.raises(InputError, match=said):
        model.predict(image)


def test_resampled_to_the_trained_pixel_size(model):
    """An image of half the pixel size is seen at the trained one."""
    sized = with_card(model, pixel_size_nm=(100.0, 150.0))
    image = noise(40, 44)
    fine = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    there = model.predict(image)
    found = sized.predict(fine, 50.0)
    assert found.shape == (80, 88, 2)
    centre = (slice(2, -2), slice(2, -2))
    back = found.reshape(40, 2, 44, 2, 2).mean(axis=(1, 3))
    assert np.abs(back - there)[centre].mean() < 0.1 * there.std() + 0.02
    assert np.abs(found.sum(axis=2) - 1).max() < 1e-5
    assert np.array_equal(sized.predict(image, 120.0), there)
    assert np.array_equal(sized.predict(image), there)
    with pytest.raises(InputError, match="coarser"):
        sized.predict(image, 2000.0)
    with pytest.raises(InputError, match="positive"):
        sized.predict(image, -1.0)


def test_an_ensemble_is_the_mean_and_tells_its_spread(folder):
    paths = [
        model_files.write(folder / f"seed{s}.onnx", model_files.graph(seed=s)) for s in range(3)
    ]
    image = noise(30, 34)
    single = np.stack([read_model(p).predict(image) for p in paths])
    together = read_model(paths)
    mean, spread = together.predict_with_spread(image)
    assert np.allclose(together.predict(image), single.mean(0), atol=1e-6)
    assert np.allclose(mean, single.mean(0), atol=1e-6)
    assert np.allclose(spread, single.std(0), atol=1e-6)
    assert together.sha256 not in {read_model(p).sha256 for p in paths}
    with pytest.raises(InputError, match="one answer"):
        read_model(paths[0]).predict_with_spread(image)


def test_models_of_different_classes_are_no_ensemble(folder):
    one = model_files.write(folder / "one.onnx")
    other = model_files.write(folder / "other.onnx", classes=("bare", "hole"))
    with pytest.raises(InputError, match="other classes"):
        read_model([one, other])
    with pytest.raises(InputError, match="one or more"):
        read_model([])


def test_a_turned_image_gets_a_turned_answer(folder):
    turned = read_model(model_files.write(folder / "turned.onnx"), turned=True)
    image = noise(40, 44)
    maps, spread = turned.predict_with_spread(image)
    for way in (np.rot90, np.flipud, np.fliplr, np.transpose):
        wanted = way(maps) if way is not np.transpose else maps.transpose(1, 0, 2)
        assert np.abs(turned.predict(np.ascontiguousarray(way(image))) - wanted).max() < 1e-5
    assert spread.max() > 0.01


def test_the_hash_is_that_of_the_file(model):
    assert model.sha256 == hashlib.sha256(model.path.read_bytes()).hexdigest()


def pickled(path):
    path.write_bytes(pickle.dumps({"a": 1}))


def checkpoint(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))


REFUSED = {
    "missing.onnx": (lambda path: None, "cannot read"),
    "pickle.pt": (pickled, "pickle"),
    "checkpoint.pth": (checkpoint, "pickle"),
    "empty.onnx": (lambda path: path.write_bytes(b""), "truncated"),
    "words.onnx": (lambda path: path.write_text("a model, honestly"), "another type"),
    "no_card.onnx": (lambda path: model_files.write(path, said=""), "without a card"),
    "no_json.onnx": (lambda path: model_files.write(path, said="{"), "no JSON"),
    "newer.onnx": (
        lambda path: model_files.write(
            path, said='{"format": "layerscope-model", "version": 99}'
        ),
        "version 99",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_of_ours_is_refused_in_one_line(tmp_path, name):
    make, said = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(UnreadableFile, match=said) as told:
        read_model(tmp_path / name)
    assert name in str(told.value)
    assert "\n" not in str(told.value)


def test_a_truncated_model_is_refused_wherever_it_ends(model, tmp_path):
    content = model.path.read_bytes()
    for end in np.linspace(1, len(content) - 1, 40).astype(int):
        cut = tmp_path / "cut.onnx"
        cut.write_bytes(content[:end])
        with pytest.raises(UnreadableFile):
            read_model(cut)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_graph_that_reads_other_files_is_refused(tmp_path, monkeypatch, absolute):
    """Weights outside of the file could be any file of the user."""
    from onnx import TensorProto

    made = model_files.graph()
    (tmp_path / "weights.bin").write_bytes(made.graph.initializer[0].raw_data)
    first = made.graph.initializer[0]
    first.ClearField("raw_data")
    first.data_location = TensorProto.EXTERNAL
    entry = first.external_data.add()
    monkeypatch.chdir(tmp_path)
    entry.key, entry.value = "location", f"{tmp_path}/weights.bin" if absolute else "weights.bin"
    with pytest.raises(UnreadableFile):
        read_model(model_files.write(tmp_path / "outside.onnx", made))
