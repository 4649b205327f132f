"""From detections to the objects table: a plain DataFrame, one row per region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.columns import BOX, Column, glossary_of
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import THICK, Detections, Flag, FloatArray, LayerPosterior
from layerscope.errors import InputError
from layerscope.measure.catalog import MEASUREMENTS
from layerscope.measure.declare import Measurement
from layerscope.measure.region import Scene
from layerscope.ops.tone import ToneCurve, tone_curve

if TYPE_CHECKING:
    import pandas as pd

Columns = Mapping[str, npt.NDArray[Any]]
"""Column name -> values, text as objects."""

_DTYPES = {"str": object, "bool": bool, "int64": np.int64, "float64": np.float64}

MAX_LAYERS = 10
"""Layer columns of a table whose detections carry no posterior."""


_IDENTITY = (
    Column("image", "", "str", "Name of the image."),
    Column("setup", "", "int64", "Images with the same exposure, lamp and substrate share it."),
    Column("region_id", "", "int64", "Number of the region in its image, from 1."),
    Column("flake_id", "", "int64", "Number of the flake; touching terraces share it."),
    Column("n_layers", "", "str", "Layers: 1, 2, ... or thick or unknown."),
    Column("layers_probability", "", "float64", "Probability of that answer."),
    Column("thickness_nm", "nm", "float64", "Most probable thickness."),
    Column("thickness_low_nm", "nm", "float64", "Lower end of its 95 % interval."),
    Column("thickness_high_nm", "nm", "float64", "Upper end of its 95 % interval."),
    Column("thickness_branches_nm", "nm", "str", "Every range the colour allows, with its weight."),
    Column("layers_withheld", "", "str", "Why no absolute layer number is given, or empty."),
    Column("score", "", "float64", "Confidence, 0 to 1, that this is a crystal and not residue."),
    Column("flags", "", "str", "Quality flags, joined by |."),
    Column("touches_border", "", "bool", "Cut by the image border: sizes are lower bounds."),
)


def measure(
    detections: Detections,
    *,
    pixel_size: PixelSize | None,
    image: str = "",
    tone: ToneCurve | None = None,
    setup: int = 0,
) -> pd.DataFrame:
    """Measure every region.

    Parameters
    ----------
    detections : Detections
    pixel_size : PixelSize or None
        None leaves the columns in micrometres empty (NaN) and flags each row `scale_unknown`.
        Pixels that are not square are measured in micrometres directly, not by scaling pixels.
    image : str
        Name of the image, for the first column.
    tone : ToneCurve, optional
        How levels become light, for the contrasts. Default linear.
    setup : int
        Index of the image's setup.

    Returns
    -------
    pandas.DataFrame
        One row per region, unit in each column name; `glossary` explains the columns. No regions
        give no rows, with the same columns and dtypes.

    Raises
    ------
    InputError
        If a region has no pixel.
    """
    return table_of(
        [measure_columns(detections, pixel_size=pixel_size, image=image, tone=tone, setup=setup)]
    )


def measure_columns(
    detections: Detections,
    *,
    pixel_size: PixelSize | None,
    image: str = "",
    tone: ToneCurve | None = None,
    setup: int = 0,
) -> Columns:
    """Measure every region, as arrays by column name; parameters as for `measure`.

    A scan collects these and makes one table of many images with `table_of`: a DataFrame of its own
    costs an image 3 ms.
    """
    if not detections.masks.area_px.all():
        empty = int(np.argmin(detections.masks.area_px)) + 1
        raise InputError(f"region {empty} has no pixel: leave empty masks out of the detections")
    columns = _identity(detections, pixel_size, image, setup)
    columns |= measured_columns(
        detections, pixel_size, MEASUREMENTS.values(), tone or tone_curve("linear")
    )
    columns |= _probabilities(detections.layers, len(detections))
    order = table_columns(_max_layers(detections.layers))
    return {c.name: np.asarray(columns[c.name], _DTYPES[c.dtype]) for c in order}


def table_of(parts: Sequence[Columns]) -> pd.DataFrame:
    """One table of the regions of one or more images, in the order of `parts`.

    Parameters
    ----------
    parts : sequence of mapping
        What `measure_columns` returned, at least one, all with the same columns.

    Raises
    ------
    InputError
        If there are no parts, or their columns differ.
    """
    import pandas as pd

    names = list(parts[0]) if parts else []
    if not names or any(list(part) != names for part in parts):
        raise InputError("parts of one table: expected one or more, with the same columns")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    # Plain arrays: a Series per column costs 3 ms.
    return pd.DataFrame(
        {n: pd.Series(v, dtype="str") if v.dtype == object else v for n, v in columns.items()},
        copy=False,
    )


@cache
def table_columns(max_layers: int = MAX_LAYERS) -> tuple[Column, ...]:
    """Every column of the table, in order, with unit, dtype and meaning."""
    measured = (c for m in MEASUREMENTS.values() for c in columns_of(m))
    return (*_IDENTITY, *BOX, *measured, *_probability_columns(max_layers))


def glossary(max_layers: int = MAX_LAYERS) -> pd.DataFrame:
    """Name, unit and meaning of every column of the objects table.

    Parameters
    ----------
    max_layers : int
        Longest ladder step with a probability column of its own.

    Returns
    -------
    pandas.DataFrame
        Columns ``column``, ``unit``, ``meaning``, in the table's order.
    """
    return glossary_of(table_columns(max_layers))


def layer_names(layers: LayerPosterior | None, n: int) -> list[str]:
    """Answer per region as text: ``"1"``, ``"2"``, ... ``"thick"`` or ``"unknown"``."""
    if layers is None:
        return ["unknown"] * n
    numbers = layers.n_layers.tolist()
    return ["thick" if k == THICK else str(k) if k > 0 else "unknown" for k in numbers]


def _max_layers(layers: LayerPosterior | None) -> int:
    return MAX_LAYERS if layers is None else layers.max_layers


def columns_of(m: Measurement) -> list[Column]:
    """Columns of one measurement, for the glossary."""
    dtype = "int64" if m.integer else "float64"
    return [Column(name, unit, dtype, m.description) for name, unit in m.columns.items()]


def _probability_columns(max_layers: int) -> list[Column]:
    numbered = [
        Column(f"p_{k}L", "", "float64", f"Probability of {k} layer{'s' if k > 1 else ''}.")
        for k in range(1, max_layers + 1)
    ]
    thick = Column("p_thick", "", "float64", f"Probability of more than {max_layers} layers.")
    unknown = Column("p_unknown", "", "float64", "Probability of something the model cannot name.")
    return [*numbered, thick, unknown]


def _probabilities(layers: LayerPosterior | None, n: int) -> dict[str, FloatArray]:
    names = [c.name for c in _probability_columns(_max_layers(layers))]
    values = np.full((n, len(names)), np.nan) if layers is None else layers.probability
    return dict(zip(names, values.T, strict=True))


def _identity(
    detections: Detections, pixel_size: PixelSize | None, image: str, setup: int
) -> dict[str, Any]:
    n, boxes = len(detections), detections.masks.boxes
    at_border = _at_border(detections)
    flags = detections.flags | np.where(at_border, Flag.TOUCHES_BORDER, 0)
    if pixel_size is None:
        flags = flags | Flag.SCALE_UNKNOWN
    columns: dict[str, Any] = {
        "image": [image] * n,
        "setup": np.full(n, setup, np.int64),
        "region_id": np.arange(1, n + 1),
        "flake_id": detections.flake_id,
        "score": detections.score,
        "flags": flag_texts(flags),
        "touches_border": at_border,
    }
    columns |= {c.name: boxes[:, i] for i, c in enumerate(BOX)}
    return columns | _layer_columns(detections.layers, n)


def _at_border(detections: Detections) -> npt.NDArray[np.bool_]:
    boxes, (height, width) = detections.masks.boxes, detections.masks.shape
    cut = (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2] >= height) | (boxes[:, 3] >= width)
    return np.asarray(cut | ((detections.flags & Flag.TOUCHES_BORDER) != 0))


def flag_texts(flags: npt.NDArray[Any]) -> list[str]:
    """Names of the set bits of each of `flags` (n,), joined by |."""
    known = {bits: "|".join(Flag(bits).names) for bits in set(flags.tolist())}
    return [known[bits] for bits in flags.tolist()]


def _layer_columns(layers: LayerPosterior | None, n: int) -> dict[str, Any]:
    columns: dict[str, Any] = {"n_layers": layer_names(layers, n)}
    if layers is None:
        columns |= {
            name: np.full(n, np.nan)
            for name in (
                "layers_probability",
                "thickness_nm",
                "thickness_low_nm",
                "thickness_high_nm",
            )
        }
        texts = {"thickness_branches_nm": [""] * n}
        return columns | texts | {"layers_withheld": ["layers were not determined"] * n}
    return columns | {
        "layers_probability": layers.confidence,
        "thickness_nm": layers.thickness_nm,
        "thickness_low_nm": layers.thickness_low_nm,
        "thickness_high_nm": layers.thickness_high_nm,
        "thickness_branches_nm": [_branch_text(b) for b in layers.branches_nm],
        "layers_withheld": list(layers.withheld),
    }


def _branch_text(branches: tuple[tuple[float, float, float], ...]) -> str:
    return "; ".join(f"{low:.4g} to {high:.4g} ({weight:.2f})" for low, high, weight in branches)


def measured_columns(
    detections: Detections,
    pixel_size: PixelSize | None,
    measurements: Iterable[Measurement],
    tone: ToneCurve,
) -> dict[str, npt.NDArray[Any]]:
    """Columns of `measurements`: pixels and micrometres where a value scales with length."""
    pixels = Scene(detections, (1.0, 1.0), tone)
    square = pixel_size is None or pixel_size.x_nm == pixel_size.y_nm
    scale = 1.0 if pixel_size is None else pixel_size.x_nm * 1e-3
    true = pixels
    if pixel_size is not None and not square:
        true, scale = Scene(detections, (pixel_size.y_nm * 1e-3, pixel_size.x_nm * 1e-3), tone), 1.0
    columns: dict[str, npt.NDArray[Any]] = {}
    for m in measurements:
        # Shape numbers and angles are those of the specimen, so they come from the true scene.
        values = _values(m, true if m.dimension == 0 else pixels)
        names = list(m.columns)
        columns[names[0]] = values
        if m.dimension:
            physical = values if square else _values(m, true)
            missing = pixel_size is None
            columns[names[1]] = values * np.nan if missing else physical * scale**m.dimension
    return columns


def _values(m: Measurement, scene: Scene) -> npt.NDArray[Any]:
    dtype: Mapping[bool, type] = {True: np.int64, False: np.float64}
    return np.array([m.function(region) for region in scene.regions], dtype[m.integer])
