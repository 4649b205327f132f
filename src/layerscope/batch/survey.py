"""What a sample of the images says before the first is analysed: the light and the substrate.

Both are properties of the set, so they are settled once and written down; from then on what is
found on an image depends on its bytes and this file alone, whoever analyses it and when.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from layerscope import __version__
from layerscope.batch.plan import ALGORITHM, Input, Plan
from layerscope.batch.seal import digest, seal, unseal
from layerscope.batch.settings import given_file
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import FloatArray
from layerscope.errors import InputError, LayerscopeError
from layerscope.finding import Found, find_in
from layerscope.io import read
from layerscope.io.atomic import write_bytes
from layerscope.io.mosaic import is_mosaic
from layerscope.io.sources import Source
from layerscope.ops.illumination import FlatField, flat_field_from_reference, flat_field_of_scan
from layerscope.ops.setups import Substrates

SAMPLE = 48
"""Images looked at: the flat field's own noise is then 0.2 %, and it takes a few seconds."""

_FILE = "survey.json"
_VERSIONS = [__version__, ALGORITHM]


@dataclass(frozen=True, eq=False)
class Survey:
    """The light and the substrates of a scan.

    Attributes
    ----------
    flat_field : FlatField or None
        None: the light is fitted to each image.
    substrates : Substrates
    notes : tuple of str
        What was decided and why, one line each.
    sample : mapping of str to str
        Paths and hashes of the images that it was made from.
    """

    flat_field: FlatField | None
    substrates: Substrates
    notes: tuple[str, ...] = ()
    sample: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, plan: Plan, *, skip: Container[int] = (), on_image: Callable[[int], None] | None = None
    ) -> Survey:
        """Look at images spread evenly over the scan; those that cannot be read are passed over.

        Parameters
        ----------
        plan : Plan
        skip : collection of int
            Images that must not be touched.
        on_image : callable, optional
            Called with an image's number before it is touched.
        """
        spread = [plan.inputs[i] for i in _spread(len(plan.inputs), SAMPLE)]
        sample = _Sample([i for i in spread if i.number not in skip], plan, on_image)
        flat_field, notes = _flat_field(sample)
        seen = list(sample.found(flat_field))
        substrates = Substrates.of([f.background for f in seen])
        return cls(flat_field, substrates, notes, {f.source.path: f.sha256 for f in seen})

    def save(self, folder: Path) -> None:
        """Write it to the run folder."""
        flat = self.flat_field
        document = {
            "made_with": _VERSIONS,
            "notes": list(self.notes),
            "substrates": {
                "log_level": _rounded(self.substrates.log_level),
                "support": _rounded(self.substrates.support),
            },
            "flat_field": flat and {"source": flat.source, "gain": _rounded(flat.gain)},
            "sample": dict(self.sample),
        }
        write_bytes(folder / _FILE, (seal(document) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> tuple[Survey, str]:
        """Read it, with the hash that parts made with it carry.

        Raises
        ------
        InputError
            If it is missing, damaged or made by another version.
        """
        try:
            document = unseal((folder / _FILE).read_bytes())
            if document["made_with"] != _VERSIONS:
                raise ValueError(f"made by version {document['made_with'][0]}")
            return _survey_of(document), digest([document["substrates"], document["flat_field"]])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder / _FILE}: missing or damaged ({error}); 'layerscope scan' makes it again"
            ) from None

    @classmethod
    def stands(cls, folder: Path) -> bool:
        """Whether the run folder has a survey, and of images most of which are what they were.

        One image that was replaced does not change the light; a folder filled with another chip
        does.
        """
        try:
            sample = cls.load(folder)[0].sample
        except InputError:
            return False
        changed = sum(_sha256(path) not in ("", sha256) for path, sha256 in sample.items())
        return 2 * changed <= len(sample)


def _survey_of(document: Any) -> Survey:
    flat = document["flat_field"]
    gain = FlatField(np.array(flat["gain"], np.float32), flat["source"]) if flat else None
    known = document["substrates"]
    substrates = Substrates(
        np.array(known["log_level"], float).reshape(-1, 3), np.array(known["support"], float)
    )
    return Survey(gain, substrates, tuple(document["notes"]), document["sample"])


def _sha256(path: str) -> str:
    """Hash of a file; empty where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


def _rounded(values: FloatArray | Any) -> Any:
    return np.round(np.asarray(values, float), 7).tolist()


def _spread(n: int, wanted: int) -> list[int]:
    """Numbers of `wanted` images spread evenly over `n`."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, wanted)).round()}) if n else []


class _Sample:
    """The images looked at; those that fail are passed over, since `find` will name them."""

    def __init__(self, inputs: Sequence[Input], plan: Plan, on_image: Callable[[int], None] | None):
        self._inputs, self.plan = inputs, plan
        self._on_image = on_image or (lambda _: None)

    def micrographs(self) -> Iterator[Micrograph]:
        """Read them."""
        for source in self._touched():
            with suppress(LayerscopeError, MemoryError):
                yield read(source.path, max_pixels=self.plan.settings.max_pixels)

    def found(self, flat_field: FlatField | None) -> Iterator[Found]:
        """Look for flakes on them in this light."""
        settings = self.plan.settings
        for source in self._touched():
            try:
                yield find_in(
                    source,
                    scale=settings.scale,
                    optics=settings.optics(flat_field),
                    wanted=settings.wanted,
                    max_pixels=settings.max_pixels,
                )
            except Exception:  # whatever it is, `find` meets it again and names it
                continue

    def _touched(self) -> Iterator[Source]:
        for item in self._inputs:
            self._on_image(item.number)
            if not is_mosaic(item.path):  # they have surveys of their own
                yield item.source


def _flat_field(sample: _Sample) -> tuple[FlatField | None, tuple[str, ...]]:
    settings, folder = sample.plan.settings, sample.plan.folder
    if settings.flat_field == "image":
        return None, ("flat field: fitted to each image, as asked",)
    if settings.flat_field != "scan":
        reference = read(given_file(folder, settings.flat_field))
        return flat_field_from_reference(reference), ("flat field: the reference image given",)
    try:
        found = flat_field_of_scan(sample.micrographs())
    except InputError as error:
        return None, (f"flat field: fitted to each image, because {error}",)
    return found, (f"flat field: {found.source}",)
