"""The path from micrographs of a growth to a table of its crystals: the page to read first for it.

    each image:  read -> pixel size, burnt-in bar left out -> crystals, touching ones parted
                 -> shapes, facets -> core and shell, materials -> figures with intervals
    whole set:   one table of images, one of crystals

Every image stands for itself: nothing is fitted to the set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope import __version__
from layerscope.core.crystals import (
    CRYSTAL_COLUMNS,
    CRYSTAL_IMAGE_COLUMNS,
    CrystalResult,
    CrystalRun,
)
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.run import Failure, Progress
from layerscope.errors import InputError
from layerscope.io import MAX_PIXELS
from layerscope.io.sources import Source, name_sources
from layerscope.measure.crystals import measure_crystals, summarise_crystals
from layerscope.measure.number_density import BORDER
from layerscope.models.yolo import YoloModel, read_yolo
from layerscope.ops.quieting import quieted
from layerscope.physics.sheets import Sheets
from layerscope.physics.thin_film import Stack
from layerscope.tasks.crystals import Crystals, find_crystals
from layerscope.tasks.image_by_image import (
    FromFiles,
    each,
    image_facts,
    notes_of,
    stacked,
    table_of,
)
from layerscope.tasks.lateral import Heterostructure, Setup, find_lateral
from layerscope.tasks.learned_crystals import find_crystals_learned

if TYPE_CHECKING:
    import pandas as pd

_MANY_CUT = 0.4
_FEWEST = 5


@dataclass(frozen=True)
class Settings(FromFiles):
    """What is told beside the images.

    Attributes
    ----------
    materials : tuple of str
        That may have grown; empty: shapes only, and second layers by their colour.
    substrate : str or None
        For example ``"SiO2(285nm)/Si"``; needed with materials.
    na : float
        Numerical aperture of the objective.
    pixel_size, objective, magnification_table, scale_bar_length : str or None
        As in `ops.scale.resolve_pixel_size`.
    min_area_px : int
        Smallest crystal.
    min_area_um2 : float
        Counts instead where it is above 0 and the pixel size is known.
    split : bool
        Part crystals that touch.
    border : str
        How crystals that the border cuts are counted; a name in `measure.number_density.BORDER`.
    max_pixels : int
    model : str or None
        Model file that finds the crystals and names them, see `models.yolo`.
    """

    materials: tuple[str, ...] = ()
    substrate: str | None = None
    na: float = 0.45
    pixel_size: str | None = None
    objective: str | None = None
    magnification_table: str | None = None
    scale_bar_length: str | None = None
    min_area_px: int = 150
    min_area_um2: float = 0.0
    split: bool = True
    border: str = "weighted"
    max_pixels: int = MAX_PIXELS
    model: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no image could make right, before any image is read."""
        if self.materials and self.substrate is None:
            raise InputError("materials are told by their colour on a substrate: give --substrate")
        if self.border not in BORDER:
            raise InputError(f"border {self.border!r}: expected one of {', '.join(BORDER)}")
        if self.min_area_px < 1 or self.min_area_um2 < 0:
            raise InputError("smallest crystal: expected a positive area")
        if self.pixel_size is not None:
            PixelSize.parse(self.pixel_size)
        _ = self.setup

    @property
    def setup(self) -> Setup | None:
        """Materials and substrate, where both are told."""
        if not self.materials or self.substrate is None:
            return None
        return Setup(self.materials, Stack.parse(self.substrate), self.na)


def run_crystals(
    images: Iterable[str | os.PathLike[str] | Micrograph],
    settings: Settings | None = None,
    *,
    on_result: Callable[[CrystalResult], None] | None = None,
    progress: Progress | None = None,
) -> CrystalRun:
    """Find and measure the grown crystals of optical micrographs.

    Parameters
    ----------
    images : iterable of path or Micrograph
        Files, folders of them, or micrographs in memory.
    settings : Settings, optional
    on_result : callable, optional
        Given every image's `CrystalResult` with its pixels, which the run itself does not keep.
    progress : callable, optional
        Called with images done, images in all, and the name of the last one.

    Returns
    -------
    CrystalRun
        A bad image is no error: it is listed in its `failures`.
    """
    settings = settings or Settings()
    rows: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    failures: list[Failure] = []
    model = read_yolo(settings.model) if settings.model else None
    analysed = partial(analyse, settings=settings, model=model)
    for result, row in each(name_sources(images), analysed, failures, progress):
        rows.append(row)
        tables.append(result.table)
        if on_result is not None:
            on_result(result)
    named = {"model": model.name, "model_sha256": model.sha256} if model else {}
    return CrystalRun(
        table_of(rows, CRYSTAL_IMAGE_COLUMNS),
        stacked(tables, CRYSTAL_COLUMNS),
        failures=tuple(failures),
        parameters={"task": "crystals", **asdict(settings)},
        provenance={"version": __version__, "schema": 1, **named},
    )


def analyse(
    source: Source, settings: Settings, model: YoloModel | None = None
) -> tuple[CrystalResult, dict[str, Any]]:
    """Read one image, find its crystals and measure them.

    Parameters
    ----------
    source : Source
    settings : Settings
    model : YoloModel, optional
        Finds the crystals and names them; None: the colours of the image do.

    Returns
    -------
    result : CrystalResult
    row : dict
        Of the images table.

    Raises
    ------
    LayerscopeError
        If it cannot be read.
    """
    image = settings.prepare(source)
    # Without a model crystals are told from noise as it is; colours of their parts are not.
    quiet = image if _stands_noise(model) else quieted(image)
    found, names = _find(image if model is None else quiet, settings, model)
    image, size = quiet, image.pixel_size
    lateral = find_lateral(image, found, settings.setup)
    table = measure_crystals(
        found.domains, found.shapes, pixel_size=size, image=source.name, border=settings.border
    )
    table = table.assign(**{"class": names}, **_lateral_columns(lateral, size))
    figures = summarise_crystals(table, found.domains, pixel_size=size, border=settings.border)
    result = CrystalResult(
        source.name, source.path, image.sha256, image, found.domains.detections.masks,
        tuple(h.core for h in lateral), found.domains.levels > 0, table,
        doubts=_doubts(found, table), notes=_notes(image),
    )  # fmt: skip
    facts = image_facts(result, result.doubts, float(found.domains.valid.mean()))
    return result, {"image": source.name, **figures, **facts}


def _find(
    image: Micrograph, settings: Settings, model: YoloModel | None
) -> tuple[Crystals, pd.Series[Any]]:
    """Crystals, and the class of each; empty without a model."""
    import pandas as pd

    smallest = _smallest(settings, image.pixel_size)
    if model is None:
        found = find_crystals(image, min_area_px=smallest, split=settings.split)
        return found, pd.Series([""] * len(found), dtype="str")
    named = find_crystals_learned(image, model, min_area_px=smallest)
    return named.crystals, pd.Series(named.classes, dtype="str")


def _stands_noise(model: YoloModel | None) -> bool:
    """Whether a model was taught noisy images: those are given to it as they are."""
    return model is not None and model.card is not None and bool(model.card.settings.get("noisy"))


def _smallest(settings: Settings, size: PixelSize | None) -> int:
    if size is None or settings.min_area_um2 <= 0:
        return settings.min_area_px
    return max(1, round(settings.min_area_um2 / (size.x_nm * size.y_nm * 1e-6)))


def _lateral_columns(
    lateral: Sequence[Heterostructure], size: PixelSize | None
) -> dict[str, pd.Series[Any]]:
    """Columns of materials and cores."""
    import pandas as pd

    um = size.um if size else np.nan
    columns: dict[str, pd.Series[Any]] = {
        "material": pd.Series([_whole(h) for h in lateral], dtype="str"),
        "layers": pd.Series([_layers(h.shell_sheets) for h in lateral], dtype="Int64"),
        "core_certain": pd.Series([h.sure for h in lateral], dtype="bool"),
    }
    cored = [np.isfinite(h.core_share) for h in lateral]
    for name, piles in (
        ("core_material", [h.core_sheets for h in lateral]),
        ("shell_material", [h.shell_sheets for h in lateral]),
    ):
        texts = [_material(p) if c else "" for p, c in zip(piles, cored, strict=True)]
        columns[name] = pd.Series(texts, dtype="str")
    columns["core_share"] = pd.Series([h.core_share for h in lateral], dtype="float64")
    columns["second_layer_share"] = pd.Series([h.top_share for h in lateral], dtype="float64")
    columns["twist_deg"] = pd.Series([h.twist_deg for h in lateral], dtype="float64")
    for stem, lengths in (
        ("ring_width", [h.ring_width_px for h in lateral]),
        ("interface_length", [h.interface_px for h in lateral]),
        ("interface_width", [h.sharpness_px for h in lateral]),
    ):
        columns[f"{stem}_px"] = pd.Series(lengths, dtype="float64")
        columns[f"{stem}_um"] = pd.Series(np.array(lengths, float) * um, dtype="float64")
    return columns


def _whole(one: Heterostructure) -> str:
    """``MoS2``, stacked ``MoS2/WS2`` from the substrate up, or core-shell ``MoS2-MoSe2``."""
    shell = _material(one.shell_sheets)
    if not np.isfinite(one.core_share):
        return shell
    core = _material(one.core_sheets)
    return f"{core}-{shell}" if core and shell else ""


def _material(sheets: Sheets | None) -> str:
    """Materials of a pile from the substrate up; of a core with a layer on it, all of them."""
    return "/".join(name for name, _ in sheets) if sheets else ""


def _layers(sheets: Sheets | None) -> int | None:
    return sum(n for _, n in sheets) if sheets else None


def _doubts(found: Crystals, table: pd.DataFrame) -> tuple[str, ...]:
    n, cut = len(table), int(found.domains.cut.sum())
    doubts = []
    if not found.background.confident:
        doubts.append("which colour is the bare substrate is not certain")
    if n >= _FEWEST and cut > _MANY_CUT * n:
        doubts.append(f"{cut} of {n} crystals are cut by the border: take larger fields")
    unsure = int((table["shape_score"] < 0.5).sum())
    if n >= _FEWEST and unsure > 0.5 * n:
        doubts.append(f"the shape of {unsure} of {n} crystals is hardly sure")
    both = int((~table["core_certain"]).sum())
    if both:
        doubts.append(f"{both} crystals: core or second layer; colour alone does not tell")
    return tuple(doubts)


def _notes(image: Micrograph) -> tuple[str, ...]:
    notes = notes_of(image)
    if any(step.name == "quieted" for step in image.history):
        notes.append("strong noise was taken out first: edges are less sure")
    if image.pixel_size is None:
        notes.append("no pixel size: lengths and areas in px only, no density")
    return tuple(notes)
