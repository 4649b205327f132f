"""Runs and scans made by hand.

Runs: flakes of known layers on synthetic pictures, measured by the package. Scans: tables of a
wafer with clusters of flakes, a drifting lamp, dirty and failed images, as large as asked.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from layerscope.core.calibration import Calibration, SetupCalibration
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import CropMasks, Detections, LayerPosterior, RegionSignal
from layerscope.core.run import ImageResult, RunResult
from layerscope.core.scan import ScanResult
from layerscope.core.stage import StageAffine
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


ANSWERS = np.array(["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "thick", "unknown"])
SHARE = [0.05, 0.07, 0.06, 0.05, 0.04, 0.03, 0.02, 0.02, 0.01, 0.01, 0.44, 0.2]
SIZE, UM = (1200, 1920), 0.3844
FAILURES = {
    "failed_decode": "{}: truncated: 48 213 of 262 144 bytes",
    "failed_unusable": "{}: the substrate is black; expose longer, or crop the image",
    "failed_timeout": "{}: took longer than 60 s",
}


def _made_scan(n=60, per_image=8, *, seed=5, positions=True, um=UM, failed=0.03, status="ok",
              names=None, paths=None, turned_deg=0.7, flip=False):  # fmt: skip
    """A scan of `n` images in a snake over a round wafer; `failed` is a share."""
    rng = np.random.default_rng(seed)
    names = names or [f"chip7_{i:05d}" for i in range(n)]
    affine = _affine(turned_deg, flip, um or UM) if positions else None
    images = _images(rng, names, um, failed, affine, paths)
    good = ~images["status"].str.startswith("failed").to_numpy()
    objects = _objects(rng, images, good, per_image, um)
    images["regions"] = images["image"].map(objects["image"].value_counts()).fillna(0)
    images["regions"] = images["regions"].astype("Int64").where(good)
    images.loc[good & (images["regions"] == 0), "status"] = "ok_empty"
    sites = _sites(rng, objects, images, affine)
    parameters = {"material": "graphene", "substrate": "SiO2(90nm)/Si", "flat_field": "scan",
                  "max_layers": 10, "head": None, "min_area_px": 200}  # fmt: skip
    provenance = {"version": "0.1.0", "schema": 1}
    calibration = _calibration(status) if status else None
    return ScanResult(images, objects, sites, calibration, affine, parameters, provenance)


def _affine(turned_deg, flip, um):
    a = np.deg2rad(turned_deg)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return StageAffine(turn @ np.diag([1, -1 if flip else 1]) * um, "412 overlaps", 0.31, 412)


def _snake(n):
    """Places on a round wafer, row by row, back and forth: (n, 2) columns, rows."""
    radius = 1.0
    while True:
        ys = np.arange(-int(radius * 1.6), int(radius * 1.6) + 1)
        rows = [[(x, y) for x in range(-int(np.sqrt(max(radius**2 - (y / 1.6) ** 2, 0))),
                                       int(np.sqrt(max(radius**2 - (y / 1.6) ** 2, 0))) + 1)]
                for y in ys]  # fmt: skip
        if sum(map(len, rows)) >= n:
            break
        radius += 0.5
    return np.array([p for k, row in enumerate(rows) for p in row[:: 1 if k % 2 else -1]])[:n]


def _images(rng, names, um, failed, affine, paths):
    n = len(names)
    t = np.linspace(0, 1, max(n, 2))[:n]
    level = BACKGROUND * (1 + 0.03 * t[:, None] ** 2 + rng.normal(0, 0.002, (n, 3)))
    noise = 0.006 * np.exp(rng.normal(0, 0.03, n))
    dirty = rng.random(n) < 3 / max(n, 30)
    level[dirty] *= 0.93
    noise[dirty] *= 1.8
    bad = rng.random(n) < failed
    kinds = rng.choice(list(FAILURES), n, p=[0.8, 0.15, 0.05])
    status = np.where(bad, kinds, "ok")
    reason = [FAILURES.get(s, "").format(i) for s, i in zip(status, names, strict=True)]
    places = np.full((n, 2), np.nan)
    if affine is not None:
        pitch = np.array([SIZE[1], SIZE[0]]) * 0.9
        places = (_snake(n) * pitch) @ affine.matrix.T + [52000, 31000] + rng.normal(0, 1, (n, 2))
    hide = np.where(bad, np.nan, 1.0)
    return pd.DataFrame(
        {
            "image": names,
            "path": paths or [f"/data/chip7/{i}.jpg" for i in names],
            "status": status,
            "reason": reason,
            "sha256": np.where(bad, "", "ab" * 32),
            "height_px": pd.array(np.where(bad, None, SIZE[0]), "Int64"),
            "width_px": pd.array(np.where(bad, None, SIZE[1]), "Int64"),
            "pixel_size_um": np.nan if um is None else um * hide,
            "pixel_size_source": "" if um is None else np.where(bad, "", "user"),
            "setup": pd.array(np.where(bad, None, 0), "Int64"),
            **{f"background_{c}": level[:, k] * hide for k, c in enumerate("rgb")},
            "noise": noise * hide,
            "stage_x_um": places[:, 0],
            "stage_y_um": places[:, 1],
            "stage_z_um": (3100 + 9 * t + rng.normal(0, 0.5, n)) if affine is not None else np.nan,
            "notes": "",
        }
    )


def _objects(rng, images, good, per_image, um):
    n = len(images)
    rate = per_image * np.exp(0.9 * np.sin(np.arange(n) / 37.0) + rng.normal(0, 0.4, n))
    counts = np.where(good, rng.poisson(rate), 0)
    of, total = np.repeat(np.arange(n), counts), int(counts.sum())
    region = np.concatenate([np.arange(1, c + 1) for c in counts] or [[]]).astype(np.int64)
    flake = (region + 1) // 2  # two terraces each
    probability = rng.dirichlet([0.15] * 12, total) * 0.15
    column = rng.choice(12, total, p=SHARE)
    probability[np.arange(total), column] += 0.85
    top, left = rng.integers(0, SIZE[0] - 90, total), rng.integers(0, SIZE[1] - 90, total)
    circle = np.clip(np.exp(rng.normal(2.2, 0.55, total)), 2, 80)
    area = circle**2 * rng.uniform(1.2, 4, total)
    scale = np.nan if um is None else um
    flags = np.where(top < 5, "touches_border", rng.choice(["", "", "", "low_contrast",
                     "out_of_focus"], total, p=[0.4, 0.3, 0.2, 0.08, 0.02]))  # fmt: skip
    table = pd.DataFrame(
        {
            "image": images["image"].to_numpy()[of],
            "setup": 0,
            "region_id": region,
            "flake_id": flake,
            "n_layers": ANSWERS[probability.argmax(axis=1)] if total else np.array([], str),
            "layers_probability": probability.max(axis=1) if total else np.array([]),
            "score": rng.uniform(0.6, 1, total),
            "flags": flags,
            "bbox_top_px": top,
            "bbox_left_px": left,
            "bbox_bottom_px": top + np.ceil(1.6 * circle).astype(int),
            "bbox_right_px": left + np.ceil(1.6 * circle).astype(int),
            "area_px": area,
            "area_um2": area * scale**2,
            "feret_max_px": circle * 1.6,
            "feret_max_um": circle * 1.6 * scale,
            "inscribed_circle_diameter_px": circle,
            "inscribed_circle_diameter_um": circle * scale,
            "uniformity": rng.uniform(0.8, 1, total),
        }
    )
    columns = [f"p_{a}" if not a.isdigit() else f"p_{a}L" for a in ANSWERS]
    return table.assign(**dict(zip(columns, probability.T, strict=True)))


def _sites(rng, objects, images, affine):
    keep = objects[rng.random(len(objects)) > 0.15].reset_index(drop=True)  # repeats in overlaps
    place = np.full((len(keep), 2), np.nan)
    z = np.nan
    if affine is not None:
        row = pd.Series(np.arange(len(images)), images["image"])[keep["image"]].to_numpy()
        centre = keep[["bbox_left_px", "bbox_top_px"]].to_numpy(float) + 20
        offset = (centre - [SIZE[1] / 2, SIZE[0] / 2]) @ affine.matrix.T
        place = images[["stage_x_um", "stage_y_um"]].to_numpy()[row] + offset
        z = images["stage_z_um"].to_numpy()[row]
    pairs = keep["image"].astype(str) + ":" + keep["flake_id"].astype(str)
    own = ["image", "region_id", "n_layers", "layers_probability", "score", "area_px", "area_um2",
           "inscribed_circle_diameter_px", "inscribed_circle_diameter_um", "feret_max_px",
           "feret_max_um", "flags"]  # fmt: skip
    return keep[own].assign(
        site_id=np.arange(1, len(keep) + 1),
        flake_id=pd.factorize(pairs)[0] + 1,
        stage_x_um=place[:, 0],
        stage_y_um=place[:, 1],
        stage_z_um=z,
        views=rng.integers(1, 3, len(keep)),
        members="",
        complete=keep["flags"] != "touches_border",
    )


@pytest.fixture(scope="session")
def make_scan() -> Callable[..., ScanResult]:
    """Factory ``(n images, regions per image, ...) -> scan``."""
    return _made_scan
