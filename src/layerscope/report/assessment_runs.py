"""The run folders that an assessment is made of, read back from their files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError, UnreadableFile
from layerscope.report.columns import numbers, words

if TYPE_CHECKING:
    import pandas as pd

KINDS: Mapping[str, tuple[str, ...]] = {
    "phases": ("images", "areas"),
    "particles": ("images", "particles", "population"),
    "categories": ("images", "categories"),
}
"""Kinds of runs, and the tables in their folders."""

_MOST_BYTES = 500_000_000


@dataclass(frozen=True, eq=False)
class RunFolder:
    """One run, as its folder says.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    path : Path
    document : mapping
        ``run.json``, whole.
    tables : mapping of str to pandas.DataFrame
    hashes : tuple of (str, str)
        Name and SHA-256 of each file that was read.
    """

    kind: str
    path: Path
    document: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    hashes: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Folder and kind, for people."""
        return f"{self.path.name} ({self.kind})"

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Settings of the run."""
        return self._mapping("parameters")

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Versions, model and hash."""
        return self._mapping("provenance")

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Input and reason."""
        found = self.document.get("failures")
        rows = found if isinstance(found, list) else []
        return [(str(r.get("path", "")), str(r.get("reason", ""))) for r in rows]

    def _mapping(self, name: str) -> Mapping[str, Any]:
        found = self.document.get(name)
        return found if isinstance(found, Mapping) else {}

    def picture(self, image: str) -> Path | None:
        """Overlay of an image, if the run left one."""
        rows = self.document.get("images")
        stems = {str(r.get("image")): r.get("files") for r in rows} if rows else {}
        path = self.path / "overlays" / f"{stems.get(image) or image}.png"
        return path if path.is_file() else None


@dataclass(frozen=True, eq=False)
class AssessedImage:
    """One image and where it stands in each run.

    Attributes
    ----------
    name : str
    sha256 : str
        Empty for an image that no file held.
    path : str
    shape : tuple of int
        Height and width, px.
    pixel_size_nm : float
        NaN if unknown.
    scale_source : str
    in_run : mapping of int to str
        Position of a run to the name of the image there.
    doubts, notes : tuple of str
        Each with the kind of the run that says it.
    """

    name: str
    sha256: str
    path: str
    shape: tuple[int, int]
    pixel_size_nm: float
    scale_source: str
    in_run: Mapping[int, str]
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ImageSet:
    """All images of all runs, joined by what their files hold.

    Attributes
    ----------
    runs : tuple of RunFolder
    images : tuple of AssessedImage
        Sorted by name.
    conflicts : tuple of str
        Names that stand for different files in different runs, one line each.
    """

    runs: tuple[RunFolder, ...]
    images: tuple[AssessedImage, ...]
    conflicts: tuple[str, ...] = field(default=())

    def of_kind(self, kind: str) -> RunFolder | None:
        """Return the run of a kind, if there is one."""
        return next((run for run in self.runs if run.kind == kind), None)


def read_runs(folders: Sequence[str | Path]) -> ImageSet:
    """Read run folders of one set of images.

    Parameters
    ----------
    folders : sequence of path
        At most one of each kind.

    Raises
    ------
    UnreadableFile
        If a folder is no run, or a table of it is damaged.
    InputError
        If two runs are of one kind.
    """
    runs = sorted((read_run(Path(f)) for f in folders), key=lambda r: [*KINDS].index(r.kind))
    kinds = [run.kind for run in runs]
    twice = next((k for k in kinds if kinds.count(k) > 1), None)
    if twice is not None:
        raise InputError(
            f"{kinds.count(twice)} runs of {twice}: a report joins different kinds of runs of one "
            "set of images; make a report of each"
        )
    return _joined(tuple(runs))


def read_run(folder: Path) -> RunFolder:
    """Read one run folder.

    Raises
    ------
    UnreadableFile
        If it is none, or a table is damaged or missing.
    """
    content = _content(folder / "run.json")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise UnreadableFile(f"{folder / 'run.json'}: no JSON; the run may be unfinished") from None
    parameters = document.get("parameters") if isinstance(document, Mapping) else None
    kind = str(parameters.get("task", "")) if isinstance(parameters, Mapping) else ""
    if kind not in KINDS:
        raise UnreadableFile(f"{folder}: a run of {kind or 'flakes'}; expected {', '.join(KINDS)}")
    tables, hashes = {}, [("run.json", hashlib.sha256(content).hexdigest())]
    for name in KINDS[kind]:
        path = folder / f"{name}.parquet"
        table = _content(path)
        tables[name] = _table(path, table)
        hashes.append((path.name, hashlib.sha256(table).hexdigest()))
    return RunFolder(kind, folder, document, tables, tuple(hashes))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UnreadableFile(f"{path}: over {_MOST_BYTES // 10**6} MB")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFile(
            f"{path}: {error.strerror}; expected the folder that 'layerscope run -o' made"
        ) from None


def _table(path: Path, content: bytes) -> pd.DataFrame:
    import io

    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError):
        raise UnreadableFile(f"{path}: damaged; run the analysis again") from None


def _joined(runs: tuple[RunFolder, ...]) -> ImageSet:
    """Join images of equal bytes; of images without a file those of equal names."""
    found: dict[str, list[tuple[int, int]]] = {}
    for k, run in enumerate(runs):
        table = run.tables["images"]
        for i, (name, sha) in enumerate(zip(words(table, "image"), _shas(table), strict=True)):
            found.setdefault(sha or f"name:{name}", []).append((k, i))
    images = [_image(key, places, runs) for key, places in found.items()]
    images.sort(key=lambda image: (image.name, image.sha256))
    names: dict[str, set[str]] = {}
    for image in images:
        for name in image.in_run.values():
            names.setdefault(name, set()).add(image.sha256)
    conflicts = tuple(
        f"{name}: {len(shas)} different files have this name; they are not joined"
        for name, shas in sorted(names.items())
        if len(shas) > 1
    )
    return ImageSet(runs, tuple(images), conflicts)


def _shas(table: pd.DataFrame) -> list[str]:
    return words(table, "sha256") if "sha256" in table else [""] * len(table)


def _image(key: str, places: Sequence[tuple[int, int]], runs: Sequence[RunFolder]) -> AssessedImage:
    rows = [(k, runs[k].tables["images"].iloc[[i]]) for k, i in places]
    first = rows[0][1]
    scaled = [r for _, r in rows if np.isfinite(numbers(r, "pixel_size_nm")[0])]
    told = words(scaled[0], "pixel_size_source") if scaled else []
    return AssessedImage(
        words(first, "image")[0],
        "" if key.startswith("name:") else key,
        words(first, "path")[0] if "path" in first else "",
        (int(numbers(first, "height_px")[0]), int(numbers(first, "width_px")[0])),
        float(numbers(scaled[0], "pixel_size_nm")[0]) if scaled else float("nan"),
        told[0] if told else "",
        {k: words(r, "image")[0] for k, r in rows},
        tuple(_said(rows, runs, "doubts")),
        tuple(_said(rows, runs, "notes")),
    )


def _said(
    rows: Sequence[tuple[int, pd.DataFrame]], runs: Sequence[RunFolder], column: str
) -> Iterator[str]:
    for k, row in rows:
        text = words(row, column)[0] if column in row else ""
        if text:
            yield f"{runs[k].kind}: {text}"


def rows_of(run: RunFolder, table: str, image: AssessedImage, position: int) -> pd.DataFrame:
    """Rows of a table of a run that are of one image; none where it was not in that run."""
    frame = run.tables[table]
    return frame[frame["image"] == image.in_run.get(position, "\0")]


def read_overlay(path: Path) -> npt.NDArray[np.uint8]:
    """Picture (H, W, 3) of a run.

    Raises
    ------
    UnreadableFile
        If it is damaged.
    """
    import cv2

    found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if found is None:
        raise UnreadableFile(f"{path}: not a readable picture; run the analysis again")
    return np.ascontiguousarray(found[..., ::-1])
