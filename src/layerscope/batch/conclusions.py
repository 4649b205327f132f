"""What only the whole set can say, from the finished ``find`` parts: setups and calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerscope import __version__
from layerscope.batch.ledger import Entry
from layerscope.batch.parts import part_path, read_found
from layerscope.batch.plan import ALGORITHM, Plan
from layerscope.batch.seal import digest, seal, unseal
from layerscope.batch.settings import given_file
from layerscope.batch.work import CALIBRATION
from layerscope.core.calibration import Calibration
from layerscope.core.results import FloatArray, IntArray, RegionSignal
from layerscope.finding import Found
from layerscope.io.atomic import write_bytes
from layerscope.io.calibration import write_calibration
from layerscope.ops.setups import number_setups
from layerscope.physics.calibration import calibrate
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack
from layerscope.tasks.layers import DARKEST_LEVEL, is_clean

_FILE = "setups.json"

_MAX_SIGNALS = 4000
"""Regions per setup given to the fit, spread evenly over the scan; it chooses some hundreds."""


@dataclass(frozen=True)
class Setups:
    """Setup of every image, and the hash of what counts their layers.

    Attributes
    ----------
    numbers : tuple of int
        By number of the image; -1 for one that failed.
    calibration_sha256 : str
    """

    numbers: tuple[int, ...]
    calibration_sha256: str


def settle_setups(plan: Plan, found: Mapping[int, Entry], *, into: Path | None = None) -> Setups:
    """Group the images into setups and calibrate them; reuses what an earlier session settled.

    Parameters
    ----------
    plan : Plan
    found : mapping of int to Entry
        The finished ``find`` part of every chunk, or of those to go by.
    into : Path, optional
        Where to write calibration and setups, if not into the run folder.
    """
    parts = [found[c].part_sha256 for c in sorted(found)]
    key = digest([__version__, ALGORITHM, plan.settings.as_json(), parts])
    where = into or plan.folder
    known = load_setups(where, key)
    if known is not None and known.calibration_sha256 == counting_hash(plan, where):
        return known
    levels, signals, of_image = _gather(plan, sorted(found))
    numbers = np.full(len(plan.inputs), -1, np.int64)
    numbers[list(levels)] = number_setups(np.array([*levels.values()]).reshape(-1, 3))
    if not (plan.settings.calibration or plan.settings.head):
        calibration = _calibrated(plan, numbers, levels, signals, of_image)
        write_calibration(where / CALIBRATION, calibration)
    setups = Setups(tuple(numbers.tolist()), counting_hash(plan, where))
    document = {"key": key, "calibration": setups.calibration_sha256, "setups": numbers.tolist()}
    write_bytes(where / _FILE, seal(document).encode())
    return setups


def load_setups(folder: Path, key: str | None = None) -> Setups | None:
    """Setups as they were settled last; None if there are none, or of other parts than asked."""
    try:
        document = unseal((folder / _FILE).read_bytes())
        numbers = tuple(int(n) for n in document["setups"])
        return Setups(numbers, document["calibration"]) if key in (None, document["key"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def counting_hash(plan: Plan, where: Path | None = None) -> str:
    """Hash of the calibration or head that layers are counted with; empty if there is none yet."""
    given = plan.settings.calibration or plan.settings.head
    path = given_file(plan.folder, given) if given else (where or plan.folder) / CALIBRATION
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _gather(
    plan: Plan, chunks: Sequence[int]
) -> tuple[dict[int, FloatArray], RegionSignal, IntArray]:
    """Background of every image; signals of clean regions, and the image that each is on."""
    levels: dict[int, FloatArray] = {}
    signals, of_image = [], []
    for chunk in chunks:
        rows = read_found(part_path(plan.folder, "find", chunk), masks=False)
        for item, row in zip(plan.chunk(chunk), rows, strict=True):
            if not isinstance(row, Found):
                continue
            levels[item.number] = row.background.level
            clean = np.flatnonzero(is_clean(row.detections))
            signals.append(row.detections.signal.take(clean))
            of_image.append(np.full(len(clean), item.number))
    return levels, RegionSignal.concatenate(signals), np.concatenate([np.zeros(0, int), *of_image])


def _calibrated(
    plan: Plan,
    numbers: IntArray,
    levels: Mapping[int, FloatArray],
    signals: RegionSignal,
    of_image: IntArray,
) -> Calibration:
    settings = plan.settings
    per_setup, backgrounds = [], []
    for setup in range(int(numbers.max(initial=-1)) + 1):
        members = np.flatnonzero(numbers == setup).tolist()
        rows = np.flatnonzero(numbers[of_image] == setup)
        per_setup.append(signals.take(rows[_thinned(len(rows))]))
        level = np.median([levels[i] for i in members], axis=0)
        backgrounds.append(np.maximum(level, DARKEST_LEVEL))
    return calibrate(
        per_setup,
        backgrounds,
        load(settings.material),
        Stack.parse(settings.substrate),
        tone=settings.tone_curve,
        oxide_sd_nm=settings.oxide_sd_nm,
        max_layers=settings.max_layers,
        na=settings.na,
    )


def _thinned(n: int) -> IntArray:
    if n <= _MAX_SIGNALS:
        return np.arange(n)
    return np.linspace(0, n - 1, _MAX_SIGNALS).round().astype(np.int64)
