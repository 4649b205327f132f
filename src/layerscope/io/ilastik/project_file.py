"""A project written so that ilastik finds images, labels, classes and features in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from layerscope.errors import InputError
from layerscope.io.ilastik.axes import format_axistags, from_plane
from layerscope.io.ilastik.hdf5 import put_picture, write_hdf5
from layerscope.io.ilastik.project import (
    WORKFLOW,
    IlastikProject,
    ProjectImage,
)
from layerscope.io.ilastik.trees import VigraForest

_VERSION = "1.4.0"  # whose layout this is
_COLOURS = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233),
    (240, 228, 66),
)  # fmt: skip
"""Of labels that were given none: Okabe and Ito (2008)."""
_ROLES = (b"Raw Data", b"Prediction Mask")


def write_project(path: str | Path, project: IlastikProject) -> None:
    """Write a project of pixel classification.

    Parameters
    ----------
    path : path
        Of the ``.ilp`` file. Paths of images are written as they are: ilastik looks for relative
        ones beside the project.
    project : IlastikProject

    Raises
    ------
    InputError
        If labels have no class, or do not fit their image.
    CannotWrite
        If the disk refuses.
    """
    for image in project.images:
        _check(image, len(project.classes))
    write_hdf5(path, lambda file: _fill(file, project))


def _check(image: ProjectImage, classes: int) -> None:
    plane = tuple(image.shape[image.axes.index(k)] for k in "yx")
    if image.labels.dtype != np.uint8 or image.labels.shape != plane:
        raise InputError(f"{image.name}: labels of {image.labels.shape}, the image is {plane}")
    if int(image.labels.max(initial=0)) > classes:
        raise InputError(f"{image.name}: label {image.labels.max()} but only {classes} classes")


def _fill(file: Any, project: IlastikProject) -> None:
    file["ilastikVersion"] = (project.version or _VERSION).encode()
    file["workflowName"] = WORKFLOW.encode()
    file["currentApplet"] = 0
    data = file.create_group("Input Data")
    data["StorageVersion"] = b"0.2"
    data["Role Names"] = np.array(_ROLES)
    work = file.create_group("PixelClassification")
    work["StorageVersion"] = b"0.1"
    work["LabelNames"] = np.array([name.encode() for name in project.classes])
    given = [_COLOURS[k % len(_COLOURS)] for k in range(len(project.classes))]
    colours = [*project.colours, *given[len(project.colours) :]]
    for name in ("LabelColors", "PmapColors"):
        work[name] = np.array(colours, np.int64).reshape(-1, 3)
    for number, image in enumerate(project.images):
        _put_image(data.create_group(f"infos/lane{number:04d}/Raw Data"), image)
        data.create_group(f"infos/lane{number:04d}/Prediction Mask")
        _put_labels(work.create_group(f"LabelSets/labels{number:03d}"), image)
    if project.features is not None:
        _put_features(file.create_group("FeatureSelections"), project)
    if project.forest is not None:
        _put_forest(work.create_group("ClassifierForests"), project.forest)


def _put_image(info: Any, image: ProjectImage) -> None:
    relative = not Path(image.path).is_absolute()
    kind = "RelativeFilesystemDatasetInfo" if relative else "FilesystemDatasetInfo"
    texts = {
        "__class__": kind,
        "filePath": image.path,
        "nickname": image.name,
        "location": "FileSystem",
        "display_mode": "default",
        "axistags": format_axistags(image.axes),
    }
    for name, text in texts.items():
        info[name] = text.encode()
    info["allowLabels"] = True
    info["normalizeDisplay"] = True
    info["shape"] = np.array(image.shape, np.int64)


def _put_labels(group: Any, image: ProjectImage) -> None:
    """One block, as large as what was painted; none where nothing was."""
    rows, columns = (np.flatnonzero(image.labels.any(axis)) for axis in (1, 0))
    if not len(rows):
        return
    spans = {"y": (int(rows[0]), int(rows[-1]) + 1), "x": (int(columns[0]), int(columns[-1]) + 1)}
    axes = image.axes if "c" in image.axes else f"{image.axes}c"
    crop = image.labels[slice(*spans["y"]), slice(*spans["x"])]
    block = put_picture(group, "block0000", from_plane(crop[..., None], axes))
    ends = [spans.get(k, (0, 1)) for k in axes]
    block.attrs["blockSlice"] = "[" + ",".join(f"{a}:{b}" for a, b in ends) + "]"
    block.attrs["axistags"] = format_axistags(axes)


def _put_features(group: Any, project: IlastikProject) -> None:
    assert project.features is not None
    group["StorageVersion"] = b"0.1"
    group["FeatureIds"] = np.array([name.encode() for name in project.features.filters])
    group["Scales"] = np.array(project.features.sigmas_px)
    group["SelectionMatrix"] = project.features.chosen
    group["ComputeIn2d"] = np.ones(len(project.features.sigmas_px), bool)


def _put_forest(group: Any, forest: VigraForest) -> None:
    digits = len(str(len(forest.trees) - 1))
    for number, tree in enumerate(forest.trees):
        place = group.create_group(f"Forest0000/Tree_{number:0{digits}d}")
        place["topology"], place["parameters"] = tree.topology, tree.parameters
    outer = group.create_group("Forest0000/_ext_param")
    outer["labels"] = np.array(forest.labels, np.uint32)
    outer["column_count_"] = np.array([float(forest.features)])
    outer["class_count_"] = np.array([float(len(forest.labels))])
    group["known_labels"] = np.array(forest.labels, np.int64)
