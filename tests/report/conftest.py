"""Runs made by hand: flakes of known layers on synthetic pictures, measured by the package."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from layerscope.core.calibration import Calibration, SetupCalibration
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import CropMasks, Detections, LayerPosterior, RegionSignal
from layerscope.core.run import ImageResult, RunResult
from layerscope.measure import measure

BACKGROUND = np.array([0.62, 0.44, 0.47])
LADDER = (
    np.array([0.035, 0.07, 0.105]) * -np.arange(1, 11)[:, None] * 0.97 ** np.arange(10)[:, None]
)


def _posterior(layers: np.ndarray, rng: np.random.Generator) -> LayerPosterior:
    sure = rng.uniform(0.7, 0.995, len(layers))
    probability = np.repeat((1 - sure)[:, None] / 11, 12, axis=1)
    column = np.where(layers > 0, layers - 1, np.where(layers == 0, 10, 11))
    probability[np.arange(len(layers)), column] = sure
    nm = np.where(layers > 0, 0.335 * layers, np.where(layers == 0, 12.0, np.nan))
    branches = tuple(() for _ in layers)
    return LayerPosterior(
        probability, layers, nm, nm * 0.9, nm * 1.2, branches, ("",) * len(layers)
    )


def _scene(n: int, shape: tuple[int, int], rng: np.random.Generator):
    layers = rng.choice(
        [1, 2, 3, 4, 5, 6, 0, -1], n, p=[0.3, 0.2, 0.15, 0.1, 0.05, 0.05, 0.1, 0.05]
    )
    truth = LADDER[np.where(layers > 0, layers, np.where(layers == 0, 10, 5)) - 1]
    truth = np.where((layers == -1)[:, None], np.array([0.1, 0.05, -0.2]), truth)
    picture = np.broadcast_to(BACKGROUND, (*shape, 3)).copy()
    crops, boxes = [], []
    for colour in truth:
        r = int(rng.integers(6, 28))
        y, x = int(rng.integers(0, shape[0] - 2 * r)), int(rng.integers(0, shape[1] - 2 * r))
        grid = np.indices((2 * r, 2 * r)) - r + 0.5
        crop = np.hypot(*grid) < r * (0.8 + 0.2 * np.cos(3 * np.arctan2(*grid)))
        boxes.append((y, x, y + 2 * r, x + 2 * r))
        crops.append(crop)
        picture[y : y + 2 * r, x : x + 2 * r][crop] = BACKGROUND * (1 + colour)
    picture += rng.normal(0, 0.006, picture.shape)
    masks = CropMasks(np.array(boxes, np.int64).reshape(-1, 4), tuple(crops), shape)
    level = BACKGROUND * (1 + truth + rng.normal(0, 0.006, (n, 3)))
    noise, base = np.full((n, 3), 0.002), np.broadcast_to(BACKGROUND, (n, 3))
    one = rng.uniform(0.8, 1, n)
    signal = RegionSignal(level, noise, base, noise, noise, np.full(n, 90), one, np.zeros(n))
    flags = rng.choice([0, 0, 0, 1, 16, 64], n).astype(np.int64)
    ids = np.arange(1, n + 1)
    found = Detections(masks, one, flags, ids, signal, _posterior(layers, rng))
    return np.clip(picture * 255, 0, 255).astype(np.uint8), found


def _calibration(status: str) -> Calibration:
    rng = np.random.default_rng(3)
    draws = np.array([90.0, 1.1, 0.03]) + rng.normal(0, 1, (200, 3)) * [2.0, 0.03, 0.01]
    reasons = () if status == "ok" else ("a rival ladder explains the colours as well",)
    setup = SetupCalibration(
        BACKGROUND, LADDER, 0.02 + 0.03 * np.abs(LADDER), draws, np.full(200, 1 / 200), status,
        reasons, 120, {"log_prior": -4.7, "median_z": 1.2},
    )  # fmt: skip
    names = ("oxide_nm", "tone_exponent", "flare")
    return Calibration("graphene", "SiO2(90nm)/Si", "linear", names, (setup,))


@pytest.fixture
def make_run() -> Callable[..., tuple[RunResult, dict[str, Micrograph]]]:
    """Factory ``(images, per_image, ...) -> run, micrographs by name``."""

    def make(images=1, per_image=12, *, scale=True, status="ok", names=None, shape=(300, 400)):
        rng = np.random.default_rng(7)
        pixel = PixelSize(384.4, 384.4, "user") if scale else None
        results, tables, pictures = [], [], {}
        for i in range(images):
            name = names[i] if names else f"chip_{i:03d}"
            rgb, found = _scene(per_image, shape, rng)
            pictures[name] = Micrograph(rgb, name=name, pixel_size=pixel)
            results.append(ImageResult(name, "", "ab" * 32, shape, pixel, BACKGROUND, 0, found))
            tables.append(measure(found, pixel_size=pixel, image=name))
        objects = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
        run = RunResult(tuple(results), objects, None)
        run = replace(run, calibration=_calibration(status) if status else None,
                      parameters={"material": "graphene", "substrate": "SiO2(90nm)/Si"},
                      provenance={"version": "0.1.0"})  # fmt: skip
        return run, pictures

    return make
