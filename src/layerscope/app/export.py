"""What leaves a project: label pictures to train on, COCO, and a model file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from layerscope.app.files import read_labels
from layerscope.app.project import Project
from layerscope.core.examples import IGNORE, ClassPixels, DataSet, Example
from layerscope.errors import InputError, UnknownName
from layerscope.io.annotated import write_dataset
from layerscope.io.annotated.images import read_pixels

EXPORTS = {"label_pictures": "Label pictures", "coco": "COCO"}
"""Formats, and what the page calls them."""

GROUNDS = ("background", "film", "support", "substrate", "carbon", "vacuum", "grid")
"""Names of what everything else lies on, the first that a project has is proposed."""


def proposed_ground(names: list[str]) -> str:
    """Class that is probably the ground: a known name, else the last one."""
    folded = {name.casefold(): name for name in names}
    return next((folded[g] for g in GROUNDS if g in folded), names[-1])


def export_labels(project: Project, kind: str, ground: str) -> tuple[Path, tuple[str, ...]]:
    """Write the accepted images of a project as a data set.

    Parameters
    ----------
    project : Project
    kind : str
        One of `EXPORTS`.
    ground : str
        Class that becomes value 0, the background of a data set.

    Returns
    -------
    folder : Path
        New, in ``exports/`` of the project.
    notes : tuple of str
        What the format cannot hold.

    Raises
    ------
    InputError
        If no image is accepted, or there is no such class.
    """
    if kind not in EXPORTS:
        raise UnknownName.of("export", kind, EXPORTS)
    data = accepted_data(project, ground)
    folder = _new_folder(project.folder / "exports", kind)
    return folder, write_dataset(data, folder, kind)


def accepted_data(project: Project, ground: str) -> DataSet:
    """Return the accepted images; `ground` is class 0, what nobody knows is `IGNORE`."""
    names = [c.name for c in project.classes]
    if ground not in names:
        raise UnknownName.of("class", ground, names)
    project.save()
    accepted = [i for i in range(len(project.images)) if project.state(i).state == "accepted"]
    if not accepted:
        raise InputError("no image is accepted yet: accept one, then export")
    ordered = [ground, *(n for n in names if n != ground)]
    table = np.full(256, IGNORE, np.uint8)
    for value, name in enumerate(names, 1):
        table[value] = ordered.index(name)
    examples = [_example(project, i, table) for i in accepted]
    return DataSet(tuple(sorted(examples, key=lambda e: e.name)), tuple(ordered))


def _example(project: Project, index: int, table: ClassPixels) -> Example:
    image, micrograph = project.images[index], project.micrograph(index)
    size = micrograph.pixel_size
    picture = project.folder / "labels" / f"{image.name}.png"
    return Example(
        image.name,
        image.path,
        image.name,
        micrograph.shape,
        partial(read_pixels, image.path),
        load_labels=lambda: table[read_labels(picture)],
        label_path=picture,
        pixel_size_nm=None if size is None else 1e3 * size.um,
    )


def _new_folder(parent: Path, kind: str) -> Path:
    """Folder that is not there yet: an older export is never overwritten."""
    number = 1
    while (parent / f"{kind}-{number}").exists():
        number += 1
    return parent / f"{kind}-{number}"
