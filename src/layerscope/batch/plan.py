"""What is to be done, frozen when a scan begins: settings, images, chunks.

The plan is the only thing that drivers, workers and shards share. Images keep their number for
good; images that appear later are appended, so that finished chunks stay finished.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from layerscope import __version__
from layerscope.batch.seal import digest, seal, unseal
from layerscope.batch.settings import Settings
from layerscope.core.stage import StagePosition
from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes
from layerscope.io.sources import Source, printable

ALGORITHM = 1
"""Raised whenever the same image with the same settings would give other numbers: parts of an
earlier algorithm are made anew."""

CHUNK_IMAGES = 32
"""Images per unit of work: one to a few seconds, so that a crash loses little and the cost of a
part (a file, a ledger entry, a message) is below a hundredth."""

_PLAN, _INPUTS = "scan.json", "inputs.jsonl"


class DamagedPlan(InputError):
    """The files of a plan are not what was written."""


@dataclass(frozen=True)
class Input:
    """One image of the scan."""

    number: int
    name: str
    path: str
    position: StagePosition | None = None

    @property
    def source(self) -> Source:
        """The image as the pipeline knows it."""
        return Source(self.name, self.path)


@dataclass(frozen=True)
class Plan:
    """A scan: its folder, its settings and its images.

    Attributes
    ----------
    folder : Path
    settings : Settings
    inputs : tuple of Input
        In the order of their numbers.
    chunk_images : int
    """

    folder: Path
    settings: Settings
    inputs: tuple[Input, ...]
    chunk_images: int = CHUNK_IMAGES

    @property
    def n_chunks(self) -> int:
        """Units of work per stage."""
        return -(-len(self.inputs) // self.chunk_images)

    def chunk(self, number: int) -> tuple[Input, ...]:
        """Images of one unit of work."""
        return self.inputs[number * self.chunk_images : (number + 1) * self.chunk_images]

    def find_key(self, number: int, survey: str) -> str:
        """Hash what decides the content of a ``find`` part, besides the bytes of its images.

        Parameters
        ----------
        number : int
            Of the chunk.
        survey : str
            Hash of the survey.
        """
        names = [i.name for i in self.chunk(number)]
        versions = [__version__, ALGORITHM]
        return digest([versions, self.settings.find_key(), survey, names])

    def measure_key(self, found: str, calibration: str, setups: Sequence[int]) -> str:
        """Hash what decides the content of a ``measure`` part.

        Parameters
        ----------
        found : str
            Hash of the ``find`` part.
        calibration : str
            Hash of the calibration, or of the head.
        setups : sequence of int
            Setup of each image.
        """
        versions = [__version__, ALGORITHM]
        return digest([versions, self.settings.as_json(), found, calibration, list(setups)])

    def extended(self, sources: Iterable[Source]) -> Plan:
        """Return the same plan with images that it does not know yet appended, by name.

        Paths are made absolute: the scan may be resumed from another folder.
        """
        known = {i.path for i in self.inputs}
        taken = {i.name for i in self.inputs}
        absolute = (replace(s, path=os.path.abspath(s.path)) for s in sources)
        new = [s for s in absolute if s.path not in known]
        added = []
        for number, source in enumerate(new, len(self.inputs)):
            name = _free_name(printable(source.name), taken)
            taken.add(name)
            added.append(Input(number, name, source.path))
        return replace(self, inputs=(*self.inputs, *added)) if added else self

    def placed(self, positions: Mapping[str, StagePosition]) -> Plan:
        """Return the same plan with these stage positions, by path; the others keep theirs."""
        known = {os.path.abspath(path): position for path, position in positions.items()}
        new = [replace(i, position=known.get(i.path, i.position)) for i in self.inputs]
        return self if new == list(self.inputs) else replace(self, inputs=tuple(new))

    def save(self) -> None:
        """Write the plan; the last of its files to appear makes it valid."""
        lines = [seal(_input_json(i)) for i in self.inputs]
        document = {
            "version": __version__,
            "chunk_images": self.chunk_images,
            "images": len(self.inputs),
            "settings": self.settings.as_json(),
        }
        # Images first: a crash in between leaves more lines than the plan counts, which is right.
        write_bytes(self.folder / _INPUTS, ("\n".join(lines) + "\n").encode())
        write_bytes(self.folder / _PLAN, (seal(document, indent=1) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path) -> Plan:
        """Read the plan of a run folder.

        Raises
        ------
        InputError
            If there is none, or it is damaged.
        """
        where = Path(folder)
        if not cls.exists(where):
            raise InputError(f"{where} is no scan: it has no {_PLAN}; begin one with 'scan'")
        try:
            document = unseal((where / _PLAN).read_bytes())
            lines = (where / _INPUTS).read_bytes().splitlines()
            inputs = tuple(_input_of(unseal(line)) for line in lines)
            if [i.number for i in inputs] != list(range(len(inputs))):
                raise ValueError("images are missing from it")
            if len(inputs) < document["images"]:
                raise ValueError(f"{len(inputs)} of {document['images']} images are left in it")
            settings = Settings.from_json(document["settings"])
            return cls(where, settings, inputs, document["chunk_images"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedPlan(
                f"{where}: {_PLAN} or {_INPUTS} is damaged ({error}); give the whole 'scan' "
                "command again, which keeps what is done"
            ) from None

    @classmethod
    def exists(cls, folder: str | Path) -> bool:
        """Whether a scan was begun there."""
        return (Path(folder) / _PLAN).exists()

    def require_same(self, asked: Settings) -> None:
        """Refuse to go on with other settings: numbers of two kinds would stand in one table.

        Raises
        ------
        InputError
            Names what differs.
        """
        own, other = self.settings.as_json(), asked.as_json()
        changed = [f"{k} {own[k]!r} -> {other[k]!r}" for k in own if own[k] != other[k]]
        if changed:
            raise InputError(
                f"{self.folder} holds a scan with other settings ({'; '.join(changed)}): "
                "give another -o, or delete that folder"
            )


def _free_name(name: str, taken: set[str]) -> str:
    k, free = 1, name
    while free in taken:
        k += 1
        free = f"{name}-{k}"
    return free


def _input_json(item: Input) -> dict[str, Any]:
    document: dict[str, Any] = {"number": item.number, "name": item.name, "path": item.path}
    if item.position is not None:
        document["position"] = asdict(item.position)
    return document


def _input_of(document: dict[str, Any]) -> Input:
    at = document.get("position")
    position = StagePosition(**at) if at else None
    return Input(int(document["number"]), document["name"], document["path"], position)
