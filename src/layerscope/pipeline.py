"""The path of the data, from files to a table. Read this first.

    each image:  read -> scale -> find flakes
    whole set:   which colour is substrate, which images share a setup -> calibrate the physics
    each image:  count layers -> measure

Single images are independent of each other up to the grouping; what needs the whole set comes
after. Nothing here depends on the order of the images or on a clock: the same input gives the
same table, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope import __version__
from layerscope.core.calibration import Calibration
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import Detections, IntArray
from layerscope.core.run import Failure, ImageResult, Progress, RunResult
from layerscope.errors import InputError, LayerscopeError
from layerscope.finding import Found, Optics, Scale, Wanted, find_in, finish, unsure
from layerscope.io import MAX_PIXELS
from layerscope.io.labels import Labels, assign_labels
from layerscope.io.sources import Source, name_sources
from layerscope.measure import measure
from layerscope.ops.setups import group_setups
from layerscope.ops.tone import ToneCurve, tone_curve
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack
from layerscope.tasks.finders import Finder
from layerscope.tasks.flakes import find_flakes
from layerscope.tasks.layers import (
    calibrate_setups,
    check_calibration,
    count_by_head,
    count_by_physics,
)

if TYPE_CHECKING:
    import pandas as pd

    from layerscope.models.heads import LayerHead


def run(
    images: Iterable[str | os.PathLike[str] | Micrograph],
    *,
    material: str,
    substrate: str,
    scale: Scale | None = None,
    optics: Optics | None = None,
    wanted: Wanted | None = None,
    calibration: Calibration | None = None,
    labels: Labels | None = None,
    head: LayerHead | None = None,
    finder: Finder = find_flakes,
    max_layers: int = 10,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> RunResult:
    """Find and measure the flakes of a set of optical micrographs.

    Parameters
    ----------
    images : iterable of path or Micrograph
        Files, folders or images in memory. Files that cannot be read are listed in the result.
    material, substrate : str
        For example ``"graphene"`` and ``"SiO2(90nm)/Si"``.
    scale : Scale, optional
        Without a pixel size everything is in px.
    optics : Optics, optional
    wanted : Wanted, optional
    calibration : Calibration, optional
        From an earlier run on the same microscope; otherwise made from these images.
    labels : Labels, optional
        Layer numbers that a person gave to some flakes; they sharpen the calibration.
    head : LayerHead, optional
        A classifier trained on labelled flakes, used instead of the physics.
    finder : callable
        From `tasks.finders.choose_finder`; the classical one by default, and always on mosaics.
    max_layers : int
        Longest layer number that is told apart from thick.
    max_pixels : int
        Larger images are refused before they are decoded.
    progress : callable, optional

    Returns
    -------
    RunResult

    Raises
    ------
    InputError
        If the material, the substrate or a setting is unknown. A bad image is no error: it is
        listed in `RunResult.failures`.
    """
    crystal, stack = load(material), Stack.parse(substrate)
    crystal.require_layer_nm()
    if not 1 <= max_layers <= 30:
        raise InputError(f"max_layers {max_layers}: expected 1 to 30")
    scale, optics, wanted = (scale or Scale()).looked_up(), optics or Optics(), wanted or Wanted()
    if calibration is not None:
        check_calibration(calibration, crystal, stack, max_layers, optics.tone)

    find = partial(
        find_in, scale=scale, optics=optics, wanted=wanted, max_pixels=max_pixels, finder=finder
    )
    found, failures = _find_all(name_sources(images), find, progress)
    found, setup = _agree_on_substrate(found, find)
    found, known = _with_labels(found, labels)

    detections, levels = [f.detections for f in found], [f.background.level for f in found]
    if head is not None:
        detections = [count_by_head(d, head, crystal, max_layers) for d in detections]
    else:
        calibration = calibration or calibrate_setups(
            detections, levels, setup, crystal, stack, known=known, tone=optics.tone,
            oxide_sd_nm=optics.oxide_sd_nm, max_layers=max_layers, na=optics.na,
        )  # fmt: skip
        detections = [
            count_by_physics(d, level, int(s), calibration, optics.tone)
            for d, level, s in zip(detections, levels, setup, strict=True)
        ]
    results = tuple(
        finish(f, d, int(s), wanted) for f, d, s in zip(found, detections, setup, strict=True)
    )
    tone = optics.tone or tone_curve(calibration.tone if calibration else "linear")
    provenance = {"version": __version__, "schema": 1}
    objects = _table(results, tone)
    if labels is not None:
        objects = with_truth(objects, _labelled(results, labels))
    parameters = {
        "material": crystal.name,
        "substrate": str(stack),
        "max_layers": max_layers,
        "tone": tone.name,
        "layers_from": head.name if head is not None else "physics",
        **_finder_said(found),
        **_asked(optics, wanted),
    }
    return RunResult(results, objects, calibration, tuple(failures), parameters, provenance)


def _finder_said(found: Sequence[Found]) -> dict[str, Any]:
    """Name the finder and its model where it was not the classical one."""
    said = [f.detections.provenance for f in found]
    return {
        name: ", ".join(sorted({str(p[name]) for p in said if name in p}))
        for name in ("finder", "model", "model_sha256")
        if any(name in p for p in said)
    }


def _asked(optics: Optics, wanted: Wanted) -> dict[str, Any]:
    """List the settings as the report prints them."""
    return {
        "na": optics.na,
        "oxide_sd_nm": optics.oxide_sd_nm,
        "flat_field": optics.flat_field.source if optics.flat_field else "from each image",
        "min_area_px": wanted.min_area_px,
        "min_area_um2": wanted.min_area_um2,
        "layers": "all" if wanted.layers is None else "{}-{}".format(*wanted.layers),
        "residue": "kept" if wanted.residue else "left out",
    }


def _find_all(
    sources: Sequence[Source], find: Callable[[Source], Found], progress: Progress | None
) -> tuple[list[Found], list[Failure]]:
    found, failures = [], []
    for i, source in enumerate(sources):
        try:
            found.append(find(source))
        except LayerscopeError as error:
            failures.append(Failure(source.path, str(error)))
        if progress is not None:
            progress(i + 1, len(sources), source.name)
    return found, failures


def _agree_on_substrate(
    found: list[Found], find: Callable[..., Found]
) -> tuple[list[Found], IntArray]:
    """Group into setups; images whose substrate the set disagrees with are looked at again."""
    setup, revised = group_setups([f.background for f in found])
    again = [
        f if level is None else find(f.source, substrate_level=level)
        for f, level in zip(found, revised, strict=True)
    ]
    return [f if f.background.confident else unsure(f) for f in again], setup


def _with_labels(
    found: list[Found], labels: Labels | None
) -> tuple[list[Found], list[IntArray] | None]:
    if labels is None:
        return found, None
    assigned = [assign_labels(labels, f.source.name, f.detections) for f in found]
    noted = [replace(f, notes=(*f.notes, *a.notes)) for f, a in zip(found, assigned, strict=True)]
    return noted, [a.layers for a in assigned]


def _table(results: Sequence[ImageResult], tone: ToneCurve) -> pd.DataFrame:
    import pandas as pd

    tables = [
        measure(r.detections, pixel_size=r.pixel_size, image=r.name, tone=tone, setup=r.setup)
        for r in results
        if len(r.detections)
    ]
    if not tables:
        return measure(Detections.empty((1, 1)), pixel_size=None)
    return pd.concat(tables, ignore_index=True)


def _labelled(results: Sequence[ImageResult], labels: Labels) -> dict[str, IntArray]:
    return {r.name: assign_labels(labels, r.name, r.detections).layers for r in results}


def with_truth(objects: pd.DataFrame, layers: Mapping[str, IntArray]) -> pd.DataFrame:
    """Add the column ``layers_true``, which the report's reliability section compares with.

    Parameters
    ----------
    objects : pandas.DataFrame
        Rows of one image together, in the order of its regions.
    layers : mapping of str to ndarray of int
        True layer numbers per image and region; 0 where unknown.
    """
    import pandas as pd

    names = objects["image"].unique()
    known = np.concatenate([np.zeros(0, np.int64), *(layers[name] for name in names)])
    named = [str(n) if f"p_{n}L" in objects else "thick" for n in known]
    text = [t if n > 0 else None for t, n in zip(named, known, strict=True)]
    return objects.assign(layers_true=pd.Series(text, dtype="str"))
