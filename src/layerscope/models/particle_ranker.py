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

from layerscope.core.results import FloatArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.atomic import write_bytes
from layerscope.models.trees import Trees
from layerscope.ops.outline_features import FEATURES

_FORM = "layerscope particle ranker 1"


@dataclass(frozen=True, eq=False)
class Ranker:
    """Decision trees that say how much of a true particle an outline overlaps.

    Attributes
    ----------
    trees : Trees
        Over `ops.outline_features.FEATURES`. A leaf's share is the intersection over union with the
        particle that it expects, 0 to 1; the ranker's is the mean over the trees.
    about : mapping
        What it learned from, licences, held-out figures.
    """

    trees: Trees
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.trees.features != len(FEATURES) or self.trees.classes != 1:
            raise InputError(
                f"a ranker over {self.trees.features} features with {self.trees.classes} answers;"
                f" expected {len(FEATURES)} and 1"
            )

    def score(self, features: FloatArray) -> FloatArray:
        """Expect an overlap (n,) with a particle, from `outline_features` (n, F)."""
        total = self.trees.probabilities(features.astype(np.float32))[:, 0]
        return np.asarray(total / len(self.trees))


def write_ranker(ranker: Ranker, path: str | Path) -> None:
    """Write `ranker` as one file of plain arrays; the same ranker gives the same bytes."""
    stream, trees = io.BytesIO(), ranker.trees
    about = json.dumps({"form": _FORM, **ranker.about}, sort_keys=True)
    np.savez_compressed(
        stream, about=np.array(about), threshold=trees.threshold, value=trees.share[:, 0],
        roots=trees.starts[:-1].astype(np.int32), feature=trees.feature, left=trees.left,
        right=trees.right,
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
            nodes = {n: stored[n] for n in ("feature", "threshold", "left", "right")}
            starts = np.append(stored["roots"], len(nodes["feature"])).astype(np.int64)
            share = stored["value"][:, None]
        return Ranker(Trees(starts, **nodes, share=share, features=len(FEATURES)), about)
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile, InputError) as reason:
        raise UnreadableFile(f"{name}: no ranker of particles ({reason})") from None


@cache
def shipped_ranker() -> Ranker:
    """Return the ranker that comes with the package."""
    return read_ranker(Path(str(resources.files("layerscope") / "data/models/particles.npz")))
