"""The path of a micrograph through a trained pixel classifier, from files to areas of phases.

    each image:  read -> pixel size, burnt-in bar left out -> class of every pixel -> areas
    whole set:   one table of images, one of areas

Every image stands for itself: nothing is fitted to the set, so that one bad image spoils no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.io import MAX_PIXELS

if TYPE_CHECKING:
    from layerscope.core.segmentation import PhaseResult, PhaseRun
    from layerscope.io.sources import Source
    from layerscope.models.file import Model

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Scale:
    """What is told of the images beside their files.

    Attributes
    ----------
    pixel_size : str or None
        For example ``"0.52nm"``, where the file has none.
    max_pixels : int
    """

    pixel_size: str | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        """Refuse what no image could make right, before any image is read."""
        if self.pixel_size is not None:
            PixelSize.parse(self.pixel_size)


def run_phases(
    images: Iterable[str | os.PathLike[str] | Micrograph],
    model: Model,
    scale: Scale | None = None,
    *,
    on_result: Callable[[PhaseResult], None] | None = None,
    progress: Progress | None = None,
) -> PhaseRun:
    """Give every pixel of each image its class, and measure the areas of the classes.

    Parameters
    ----------
    images : iterable of path or Micrograph
        Files, folders of them, or micrographs in memory.
    model : Model
        From `models.file.read_model`, of the task ``phases``.
    scale : Scale, optional
    on_result : callable, optional
        Given every image's `PhaseResult` with its pixels, which the run itself does not keep.
    progress : callable, optional
        Called with images done, images in all, and the name of the last one.

    Returns
    -------
    PhaseRun
        A bad image is no error: it is listed in its `failures`.
    """
    raise NotImplementedError


def segment(source: Source, model: Model, scale: Scale) -> PhaseResult:
    """Read and segment one image.

    Raises
    ------
    LayerscopeError
        If it cannot be read, or the model does not suit it.
    """
    raise NotImplementedError
