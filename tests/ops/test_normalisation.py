"""Normalisations: their formulas, and what every entry of the registry keeps."""

import numpy as np
import pytest

from layerscope.errors import InputError, UnknownName
from layerscope.ops.denoising import noise_of
from layerscope.ops.normalisation import NORMALISATIONS, as_unit, normalise


def picture(channels=3, seed=0):
    """Bare substrate with a gradient and a flake."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:120, :160].astype(np.float32) / 160
    image = np.stack([0.4 + 0.1 * c + 0.05 * x - 0.03 * y for c in range(channels)], axis=2)
    image[40:70, 50:90] *= 0.8
    return np.clip(image + rng.normal(0, 0.004, image.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(NORMALISATIONS))
def test_every_entry(name, channels):
    image = picture(channels)
    before = image.copy()
    found = normalise(name, image)
    assert found.dtype == np.float32
    assert found.shape == image.shape
    assert found.flags.c_contiguous
    assert np.isfinite(found).all()
    assert np.array_equal(image, before)
    assert np.array_equal(found, normalise(name, image))
    assert np.isfinite(normalise(name, np.zeros((64, 64, channels), np.float32))).all()


@pytest.mark.parametrize(
    "name", ["standard", "percentile", "contrast", "minmax", "stretched_clahe", "nlm"]
)
def test_these_do_not_see_the_exposure(name):
    """Half the light gives the same network input."""
    image = picture()
    half = (image * 0.5).astype(np.float32)
    inner = (slice(5, -5), slice(5, -5))
    assert np.abs(normalise(name, half) - normalise(name, image))[inner].max() < 0.02


def test_standard_and_imagenet():
    image = picture()
    found = normalise("standard", image)
    assert np.abs(found.mean(axis=(0, 1))).max() < 1e-4
    assert np.abs(found.std(axis=(0, 1)) - 1).max() < 1e-4
    plain = normalise("imagenet", image)
    assert plain[3, 4, 1] == pytest.approx((image[3, 4, 1] - 0.456) / 0.224, rel=1e-5)


def test_contrast_is_against_the_local_substrate():
    found = normalise("contrast", picture())
    assert np.abs(found[50:60, 60:80].mean(axis=(0, 1)) + 0.2).max() < 0.01
    assert np.abs(np.median(found[5:30], axis=(0, 1))).max() < 0.01


def test_clahe_is_opencvs_and_keeps_the_hue():
    import cv2

    grey = picture(1)
    levels = np.rint(grey[..., 0] * 65535).astype(np.uint16)
    wanted = cv2.createCLAHE(2.0, (8, 8)).apply(levels) / 65535
    assert np.abs(normalise("clahe", grey)[..., 0] - wanted).max() < 1e-6
    assert normalise("clahe", picture()).std() > picture().std()


def test_stretched_clahe_is_opencvs_and_takes_hot_pixels_off():
    import cv2

    grey = picture(1)
    hot = grey.copy()
    hot[::40, ::40] = 1.0
    low, high = np.percentile(grey, [0.5, 99.5])
    levels = np.rint(np.clip((grey[..., 0] - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    wanted = cv2.createCLAHE(2.0, (8, 8)).apply(levels) / 255
    assert np.abs(normalise("stretched_clahe", grey)[..., 0] - wanted).max() < 1e-6
    cold = np.ones(hot.shape, bool)
    cold[::40, ::40] = False
    change = np.abs(normalise("stretched_clahe", hot) - normalise("stretched_clahe", grey))[cold]
    assert np.median(change) < 0.05
    assert np.ptp(normalise("minmax", hot)[cold]) < 0.5  # what the hot pixels leave of the range


def chessboard(noise, seed=0):
    y, x = np.mgrid[:128, :128]
    clean = (0.4 + 0.2 * ((x // 32 + y // 32) % 2)).astype(np.float32)
    return clean, np.clip(clean + np.random.default_rng(seed).normal(0, noise, clean.shape), 0, 1)


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.08])
def test_noise_is_measured_beside_edges(noise):
    assert noise_of(chessboard(noise)[1].astype(np.float32)) == pytest.approx(noise, rel=0.07)
    assert noise_of(chessboard(0)[0]) == 0


@pytest.mark.parametrize(("name", "left"), [("gaussian", 0.6), ("median", 0.6), ("nlm", 0.35)])
def test_denoising_brings_the_picture_nearer_to_the_clean_one(name, left):
    clean, noisy = chessboard(0.05)
    found = normalise(name, noisy[..., None].astype(np.float32))[..., 0]
    # Stretched after it: compare up to gain and offset.
    gain, offset = np.polyfit(found.ravel(), clean.ravel(), 1)
    rms = float(np.sqrt(np.mean((gain * found + offset - clean) ** 2)))
    assert rms < left * 0.05
    assert (found.min(), found.max()) == (0, 1)


def test_cameras_meet_at_the_same_numbers():
    image = picture()
    eight = np.rint(image * 255).astype(np.uint8)
    assert np.array_equal(as_unit(eight), eight.astype(np.float32) / 255)
    assert np.abs(as_unit(np.rint(image * 65535).astype(np.uint16)) - image).max() < 1e-4
    assert as_unit(image[..., 0]).shape == (120, 160, 1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UnknownName, match="imagenet"):
        normalise("imagenets", picture())
    for name in ("imagenet", "contrast"):
        with pytest.raises(InputError, match="4 channels"):
            normalise(name, picture(4))
