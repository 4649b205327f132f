"""A tile never changes a number, whatever is computed from the whole image before."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx")

import model_files
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.models import pixel_forest
from layerscope.models.file import read_model
from layerscope.models.tiling import sees_whole
from layerscope.ops.normalisation import NORMALISATIONS


def noise(height, width, channels, seed):
    """Brighter to one side, so that a tile has other statistics than the image."""
    rng = np.random.default_rng(seed)
    level = np.linspace(0.2, 0.9, width)[None, :, None]
    pixels = level + rng.normal(0, 0.08, (height, width, channels))
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiling")
    return {
        c: read_model(
            model_files.write(
                folder / f"{c}.onnx", model_files.graph(channels=c), channels=c,
                pixel_size_nm=(10.0, 10.0),
            )
        )
        for c in (1, 3)
    }  # fmt: skip


def changed(model, **fields):
    members = tuple(replace(m, card=replace(m.card, **fields)) for m in model.members)
    return replace(model, card=members[0].card, members=members)


@pytest.mark.parametrize("name", tuple(NORMALISATIONS))
@settings(max_examples=3)
@given(
    st.sampled_from([1, 3]), st.integers(64, 110), st.integers(70, 150), st.integers(64, 90),
    st.sampled_from([None, 10.0, 13.0]), st.integers(0, 99),
)  # fmt: skip
def test_a_tile_never_changes_a_number(models, name, channels, height, width, tile_px, nm, seed):
    image = noise(height, width, channels, seed)
    model = changed(models[channels], normalisation=name, tile_px=1024)
    whole = model.predict(image, nm)
    tiled = changed(model, tile_px=tile_px).predict(image, nm)
    np.testing.assert_allclose(tiled, whole, atol=2e-5)
    assert np.ptp(whole) > 0.01


def test_a_tile_that_is_normalised_by_itself_would_be_seen(models):
    """The law can fail: a window of the picture, asked alone, gives other numbers."""
    image = noise(96, 160, 1, 0)
    model = changed(models[1], normalisation="standard")
    alone = model.predict(image[:, :80])[32:64, 16:48]
    assert np.abs(alone - model.predict(image)[32:64, 16:48]).max() > 0.01


@settings(max_examples=20)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(64, 200),
       st.one_of(st.none(), st.integers(0, 90)))  # fmt: skip
def test_what_is_exact_is_told(height, width, tile_px, margin_px):
    """One window, or windows whose margins fit three times."""
    fits = -(-height // 4) * 4 * -(-width // 4) * 4 <= tile_px**2
    narrow = margin_px is not None and 3 * margin_px <= tile_px
    assert sees_whole((height, width), 4, margin_px, tile_px) == (fits or narrow)


def test_a_network_that_looks_everywhere_says_where_it_is_blended(models):
    image = noise(90, 120, 1, 3)
    far = changed(models[1], margin_px=None)
    assert far.is_exact(image.shape[:2])
    small = changed(far, tile_px=64)
    assert not small.is_exact(image.shape[:2])
    assert small.is_exact((60, 60))
    assert not small.is_exact((60, 60), 13.0)  # 78 px at the size that it was trained at
    assert models[1].is_exact((5000, 5000))


@pytest.mark.parametrize("features", ["scales", "wide"])
@pytest.mark.parametrize("name", ["standard", "clahe", "contrast"])
def test_windows_of_a_forest_change_no_number(name, features, monkeypatch, tmp_path):
    from layerscope.ops.normalisation import as_unit, normalise
    from layerscope.ops.pixel_features import pixel_features

    image = normalise(name, as_unit(noise(150, 200, 3, 1)))
    seen = []

    class Forest:
        class trees:
            features, classes = 160, 2

        def probabilities(self, planes):
            seen.append(planes.shape[1])
            return planes[[0, -1]].T

    whole = pixel_forest.forest_maps(image, (Forest(),), features)
    monkeypatch.setattr(pixel_forest, "_WINDOW_VALUES", 1)
    tiled = pixel_forest.forest_maps(image, (Forest(),), features)
    assert max(seen[1:]) <= 64 * 64 < seen[0]
    # Shares of a pixel on every eighth are added up from another side: the last bit may differ.
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-6 if features == "wide" else 0)
    planes = pixel_features(image, features)
    np.testing.assert_array_equal(whole, np.moveaxis(planes[[0, -1]], 0, 2))
