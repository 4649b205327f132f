"""Options in groups: frozen dataclasses, the fields of which a command shows as its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from layerscope.cli.options import (
    AsJson,
    HeadFile,
    KeepResidue,
    KnownCalibration,
    Layers,
    MagnificationTable,
    MaxLayers,
    MaxPixels,
    MinArea,
    ModelFile,
    Na,
    Objective,
    OxideSd,
    PixelSizeText,
    Quiet,
    Report,
    ScaleBar,
    Tone,
    scale_text,
    tone_of,
    wanted_of,
)

if TYPE_CHECKING:
    from layerscope.finding import Optics, Scale, Wanted
    from layerscope.ops.illumination import FlatField


@dataclass(frozen=True)
class ScaleOptions:
    """Where the pixel size comes from."""

    pixel_size: PixelSizeText = None
    objective: Objective = None
    magnification_table: MagnificationTable = None
    scale_bar: ScaleBar = None

    def scale(self) -> Scale:
        """Where each image may have it from."""
        from layerscope.finding import Scale

        return Scale(self.pixel_size, self.objective, self.table, self.scale_bar)

    @property
    def table(self) -> str | None:
        """Name of the magnification table."""
        return str(self.magnification_table) if self.magnification_table else None

    def told(self) -> str | None:
        """Pixel size of all images, as told or as the table says of the objective."""
        return scale_text(self.pixel_size, self.objective, self.magnification_table)


@dataclass(frozen=True)
class OpticsOptions:
    """What is known about the microscope."""

    tone: Tone = None
    na: Na = 0.45
    oxide_sd: OxideSd = 10.0

    def optics(self, flat_field: FlatField | None = None) -> Optics:
        """All of it, with the light's shape where that is known."""
        from layerscope.finding import Optics

        return Optics(tone_of(self.tone), self.na, self.oxide_sd, flat_field)


@dataclass(frozen=True)
class FindingOptions:
    """What finds, counts and chooses regions."""

    calibration: KnownCalibration = None
    head: HeadFile = None
    finder: Annotated[
        str, typer.Option(help="Of flakes: classical, network or both; a --model means network.")
    ] = ""
    model: ModelFile = None
    min_area: MinArea = None
    layers: Layers = None
    max_layers: MaxLayers = 10
    max_pixels: MaxPixels = 200_000_000
    keep_residue: KeepResidue = False

    @property
    def flake_finder(self) -> str:
        """Name of the finder."""
        return self.finder or ("network" if self.model else "classical")

    def wanted(self) -> Wanted:
        """Which flakes to keep."""
        return wanted_of(self.min_area, self.layers, self.keep_residue)


@dataclass(frozen=True)
class Telling:
    """How a command says what came out."""

    report: Report = True
    as_json: AsJson = False
    quiet: Quiet = False


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let typer see, in place of each dataclass that `command` takes, the fields of it."""

    @wraps(command)
    def flat(**given: Any) -> None:
        _filled(command, given)

    flat.__signature__ = inspect.Signature(list(_shown(command)))  # type: ignore[attr-defined]
    return flat


def _shown(taker: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """Parameters of a function or dataclass; of dataclasses among them their own."""
    for name, kind in _taken(taker).items():
        if _is_group(kind):
            yield from _shown(kind)
        else:
            parameter = inspect.signature(taker).parameters[name]
            yield parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)


def _filled(taker: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """Call a function or dataclass with what it takes of `given`."""
    return taker(**{
        name: _filled(kind, given) if _is_group(kind) else given[name]
        for name, kind in _taken(taker).items()
    })  # fmt: skip


def _taken(taker: Callable[..., Any]) -> dict[str, Any]:
    """Name and type of each parameter."""
    kinds = get_type_hints(taker, include_extras=True)
    return {name: kinds[name] for name in inspect.signature(taker).parameters}


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)
