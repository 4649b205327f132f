"""Image after image: how runs of all tasks read, go on past a bad file, and make their tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from layerscope.core.columns import Column
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.run import Failure, Progress, TaskResult
from layerscope.errors import LayerscopeError
from layerscope.io import read
from layerscope.io.sources import Source
from layerscope.models.file import Model
from layerscope.ops.scale import as_magnifications, mask_annotations, resolve_pixel_size

if TYPE_CHECKING:
    import pandas as pd

Result = TypeVar("Result")


class FromFiles:
    """What the settings of a task say of the images beside their files.

    Attributes
    ----------
    pixel_size, objective, magnification_table, scale_bar_length : str or None
        As in `ops.scale.resolve_pixel_size`; a task that does not ask for one has None.
    max_pixels : int
        Larger images are refused.
    """

    pixel_size: str | None
    objective: str | None = None
    magnification_table: str | None
    scale_bar_length: str | None = None
    max_pixels: int

    def check_scale(self) -> None:
        """Refuse what no image could make right, before any image is read.

        Raises
        ------
        InputError
            If the pixel size is none, or the table of magnifications cannot be read.
        """
        if self.pixel_size is not None:
            PixelSize.parse(self.pixel_size)
        as_magnifications(self.magnification_table)

    def prepare(self, source: Source) -> Micrograph:
        """Read one image, find its pixel size, and leave out what is burnt into it.

        Raises
        ------
        LayerscopeError
            If it cannot be read.
        """
        image = source.micrograph or read(source.path, max_pixels=self.max_pixels)
        scaled = resolve_pixel_size(
            image,
            pixel_size=self.pixel_size,
            objective=self.objective,
            magnification_table=self.magnification_table,
            scale_bar_length=self.scale_bar_length,
        )
        return mask_annotations(scaled)


def each(
    sources: Sequence[Source],
    analyse: Callable[[Source], Result],
    failures: list[Failure],
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Analyse image after image; one that cannot be is added to `failures`, and the rest goes on.

    Parameters
    ----------
    sources : sequence of Source
    analyse : callable
        Of one source; raises `LayerscopeError` where it cannot.
    failures : list of Failure
        Added to.
    progress : callable, optional
    """
    for i, source in enumerate(sources, 1):
        try:
            result = analyse(source)
        except LayerscopeError as error:
            failures.append(Failure(source.path, str(error)))
        else:
            yield result
        if progress is not None:
            progress(i, len(sources), source.name)


def notes_of(image: Micrograph) -> list[str]:
    """Warnings of what read the image and found its scale."""
    return [str(note) for note in image.metadata.get("notes", ())]


def image_facts(result: TaskResult, doubts: Sequence[str], valid_share: float) -> dict[str, Any]:
    """Cells of `core.columns.IMAGE_FACTS` in the row of an image."""
    image, size = result.micrograph, result.micrograph.pixel_size
    return {
        "doubts": "; ".join(doubts),
        "height_px": image.shape[0],
        "width_px": image.shape[1],
        "valid_share": valid_share,
        "pixel_size_nm": size.um * 1e3 if size else np.nan,
        "pixel_size_source": size.source if size else "",
        "notes": "; ".join(result.notes),
        "path": result.path,
        "sha256": result.sha256,
    }


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> pd.DataFrame:
    """Table of `columns` with a row each."""
    import pandas as pd

    return pd.DataFrame(
        {c.name: pd.Series([r[c.name] for r in rows], dtype=c.dtype) for c in columns}
    )


def stacked(tables: Sequence[pd.DataFrame], columns: Sequence[Column] = ()) -> pd.DataFrame:
    """All rows of `tables`; without any, an empty table of `columns`."""
    import pandas as pd

    filled = [t for t in tables if len(t)]
    return pd.concat(filled, ignore_index=True) if filled else table_of((), columns)


def model_record(model: Model) -> dict[str, Any]:
    """Hash and card of a model, for the record of a run."""
    return {"model_sha256": model.sha256, "model": json.loads(model.card.to_json())}
