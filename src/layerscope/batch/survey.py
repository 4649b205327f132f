"""What a sample of the images says before the first is analysed: the light and the substrate.

Both are properties of the set, so they are settled once and written down; from then on what is
found on an image depends on its bytes and this file alone, whoever analyses it and when.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.batch.settings import GIVEN, Settings
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import FloatArray
from layerscope.errors import InputError, LayerscopeError
from layerscope.io import read
from layerscope.io.atomic import write_bytes
from layerscope.io.sources import Source
from layerscope.ops.illumination import FlatField, flat_field_from_reference, flat_field_of_scan
from layerscope.ops.optical import Background
from layerscope.ops.setups import Substrates
from layerscope.pipeline import find_in

SAMPLE = 48
"""Images looked at: the flat field's own noise is then 0.2 %, and it takes a few seconds."""

_FILE = "survey.json"


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
    """

    flat_field: FlatField | None
    substrates: Substrates
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, sources: Sequence[Source], settings: Settings, folder: Path) -> Survey:
        """Look at images spread evenly over the scan; those that cannot be read are passed over.

        Parameters
        ----------
        sources : sequence of Source
        settings : Settings
        folder : Path
            The run folder, which holds the files that the user gave.
        """
        sample = [sources[i] for i in _spread(len(sources), SAMPLE)]
        flat_field, notes = _flat_field(sample, settings, folder)
        backgrounds = list(_backgrounds(sample, settings, flat_field))
        return cls(flat_field, Substrates.of(backgrounds), notes)

    def save(self, folder: Path) -> None:
        """Write it to the run folder."""
        flat = self.flat_field
        document = {
            "notes": list(self.notes),
            "substrates": {
                "log_level": _rounded(self.substrates.log_level),
                "support": _rounded(self.substrates.support),
            },
            "flat_field": flat and {"source": flat.source, "gain": _rounded(flat.gain)},
        }
        write_bytes(folder / _FILE, (json.dumps(document, ensure_ascii=False) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> tuple[Survey, str]:
        """Read it, with the hash that parts made with it carry.

        Raises
        ------
        InputError
            If it is missing or damaged.
        """
        try:
            content = (folder / _FILE).read_bytes()
            document = json.loads(content)
            return _survey_of(document), hashlib.sha256(content).hexdigest()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder / _FILE}: missing or damaged ({error})") from None

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether the run folder has a survey that can be read."""
        try:
            cls.load(folder)
        except InputError:
            return False
        return True


def _survey_of(document: Any) -> Survey:
    flat = document["flat_field"]
    field = FlatField(np.array(flat["gain"], np.float32), flat["source"]) if flat else None
    known = document["substrates"]
    substrates = Substrates(
        np.array(known["log_level"], float).reshape(-1, 3), np.array(known["support"], float)
    )
    return Survey(field, substrates, tuple(document["notes"]))


def _rounded(values: FloatArray | Any) -> Any:
    return np.round(np.asarray(values, float), 7).tolist()


def _spread(n: int, wanted: int) -> list[int]:
    """Numbers of `wanted` images spread evenly over `n`."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, wanted)).round()}) if n else []


def _readable(sample: Sequence[Source], max_pixels: int) -> Iterator[Micrograph]:
    for source in sample:
        try:
            yield read(source.path, max_pixels=max_pixels)
        except LayerscopeError:
            continue


def _flat_field(
    sample: Sequence[Source], settings: Settings, folder: Path
) -> tuple[FlatField | None, tuple[str, ...]]:
    if settings.flat_field == "image":
        return None, ("flat field: fitted to each image, as asked",)
    if settings.flat_field != "scan":
        reference = read(folder / GIVEN / settings.flat_field)
        return flat_field_from_reference(reference), ("flat field: the reference image given",)
    try:
        field = flat_field_of_scan(_readable(sample, settings.max_pixels))
    except InputError as error:
        return None, (f"flat field: fitted to each image, because {error}",)
    return field, (f"flat field: {field.source}",)


def _backgrounds(
    sample: Sequence[Source], settings: Settings, flat_field: FlatField | None
) -> Iterator[Background]:
    optics = settings.optics(flat_field)
    for source in sample:
        try:
            yield find_in(
                source,
                scale=settings.scale,
                optics=optics,
                wanted=settings.wanted,
                max_pixels=settings.max_pixels,
            ).background
        except LayerscopeError:
            continue
