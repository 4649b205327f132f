"""The value that a whole run returns; the report, the files and the notebook show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from layerscope.core.calibration import Calibration
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import Detections, FloatArray
from layerscope.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, str], None]
"""Called with images done, images in all, and the name of the last one."""

_VIEWS = Registry("view", {"notebook": "layerscope.report:html_repr"})


@dataclass(frozen=True)
class ImageResult:
    """What was found on one image; the pixels are not kept, `path` reads them again.

    Attributes
    ----------
    name : str
        Unique in the run; names its output files.
    path : str
        Where it was read; empty for an image made in memory.
    sha256 : str
    shape : tuple of int
        Height and width in pixels.
    pixel_size : PixelSize or None
    background : ndarray, (3,)
        Level of the bare substrate at the image centre, fraction of the white level.
    setup : int
        Index of the setup (exposure, lamp, substrate) that the image belongs to.
    detections : Detections
    notes : tuple of str
        Warnings for the user, one line each.
    """

    name: str
    path: str
    sha256: str
    shape: tuple[int, int]
    pixel_size: PixelSize | None
    background: FloatArray
    setup: int
    detections: Detections
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """An input that could not be analysed, and why, in one line."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class TaskResult:
    """One image, analysed; what a task found on it follows.

    Attributes
    ----------
    name : str
        Unique in the run; names its output files.
    path : str
        Where it was read; empty for an image made in memory.
    sha256 : str
    micrograph : Micrograph
        As analysed.
    notes : tuple of str
        Warnings for the user, one line each.
    """

    name: str
    path: str
    sha256: str
    micrograph: Micrograph
    notes: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, eq=False)
class DoubtedResult(TaskResult):
    """One image, analysed, and whether a person should look at it.

    Attributes
    ----------
    doubts : tuple of str
        Why, one line each; empty: there is no reason.
    """

    doubts: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, eq=False)
class TaskRun:
    """Everything that a run of a task found, without the pictures; its other tables follow.

    Attributes
    ----------
    images : pandas.DataFrame
        One row per image, sorted by name.
    failures : tuple of Failure
    parameters : mapping
        What the run was asked to do.
    provenance : mapping
        Versions, and card and hash of a model; no clock.
    """

    images: pd.DataFrame
    failures: tuple[Failure, ...] = field(default=(), kw_only=True)
    parameters: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    provenance: Mapping[str, Any] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class RunResult:
    """Everything that one run found.

    Attributes
    ----------
    images : tuple of ImageResult
        Sorted by name.
    objects : pandas.DataFrame
        One row per region, unit in each column name, sorted by image and region.
    calibration : Calibration or None
    failures : tuple of Failure
    parameters : mapping
        What the run was asked to do, resolved.
    provenance : mapping
        Versions, host-independent; no clock, so that the same input gives the same bytes.
    """

    images: tuple[ImageResult, ...]
    objects: pd.DataFrame
    calibration: Calibration | None
    failures: tuple[Failure, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """Show the result in a notebook."""
        html: str = _VIEWS["notebook"](self)
        return html
