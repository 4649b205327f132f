"""How likely an outline is a particle: a small forest over what the outline looks like."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, IntArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.atomic import write_bytes
from layerscope.ops.outline_features import FEATURES

_ARRAYS = ("roots", "feature", "threshold", "left", "right", "value")
_FORM = "layerscope particle ranker 1"


@dataclass(frozen=True, eq=False)
class Ranker:
    """Decision trees that say how much of a true particle an outline overlaps.

    Attributes
    ----------
    roots : ndarray of int, (T,)
        First node of each tree.
    feature : ndarray of int, (N,)
        Column of `ops.outline_features.FEATURES` that a node asks for; -1: a leaf.
    threshold : ndarray of float32, (N,)
        To the left where the value is at most this.
    left, right : ndarray of int, (N,)
    value : ndarray of float32, (N,)
        Of a leaf: expected intersection over union with the particle, 0 to 1.
    about : mapping
        What it learned from, licences, held-out figures.
    """

    roots: IntArray
    feature: IntArray
    threshold: npt.NDArray[np.float32]
    left: IntArray
    right: IntArray
    value: npt.NDArray[np.float32]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        nodes = {len(getattr(self, name)) for name in _ARRAYS[1:]}
        if len(nodes) != 1 or not len(self.roots):
            raise InputError("a ranker needs a tree, and as many of everything as it has nodes")
        inner = self.feature >= 0
        below = np.concatenate([self.left[inner], self.right[inner]])
        own = np.tile(np.flatnonzero(inner), 2)
        # Children come after their parents: so a walk down ends, whatever a file says.
        if (below <= own).any() or below.max(initial=0) >= nodes.pop():
            raise InputError("a ranker's tree does not end: expected children after their parents")
        if self.feature.max() >= len(FEATURES):
            raise InputError(f"a ranker asks for feature {self.feature.max()} of {len(FEATURES)}")

    def score(self, features: FloatArray) -> FloatArray:
        """Expect an overlap (n,) with a particle, from `outline_features` (n, F)."""
        seen = features.astype(np.float32)
        total = np.zeros(len(seen))
        rows = np.arange(len(seen))
        for root in self.roots.tolist():
            node = np.full(len(seen), root)
            while (inner := self.feature[node] >= 0).any():
                asked = seen[rows, np.where(inner, self.feature[node], 0)]
                below = np.where(asked <= self.threshold[node], self.left[node], self.right[node])
                node = np.where(inner, below, node)
            total += self.value[node]
        return np.asarray(total / len(self.roots))


def write_ranker(ranker: Ranker, path: str | Path) -> None:
    """Write `ranker` as one file of plain arrays; the same ranker gives the same bytes."""
    stream = io.BytesIO()
    about = json.dumps({"form": _FORM, **ranker.about}, sort_keys=True)
    narrow = {n: getattr(ranker, n).astype(np.int32) for n in ("roots", "feature", "left", "right")}
    np.savez_compressed(
        stream, about=np.array(about), threshold=ranker.threshold, value=ranker.value,
        **narrow,
    )  # fmt: skip
    write_bytes(path, stream.getvalue())


def read_ranker(path: str | Path) -> Ranker:
    """Read a ranker.

    Raises
    ------
    UnreadableFile
        If the file is missing or is none.
    """
    name = Path(path).name
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            if about.pop("form", None) != _FORM:
                raise ValueError("another form")
            found = {n: stored[n] for n in _ARRAYS}
        integer = {n: found[n].astype(np.int64) for n in ("roots", "feature", "left", "right")}
        return Ranker(**{**found, **integer}, about=about)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, InputError) as reason:
        raise UnreadableFile(f"{name}: no ranker of particles ({reason})") from None


@cache
def shipped_ranker() -> Ranker:
    """Return the ranker that comes with the package."""
    return read_ranker(Path(str(resources.files("layerscope") / "data/models/particles.npz")))
