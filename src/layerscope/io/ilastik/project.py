"""Projects of ilastik's pixel classification (``.ilp``): labels, classes, features, the forest.

What ilastik pickled (the classifier's factory and type) is skipped by name: it is not needed, and
opening a pickle would run code of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.ilastik.axes import guess_axes, parse_axistags, to_plane
from layerscope.io.ilastik.hdf5 import (
    child,
    names_in,
    numbers_of,
    open_hdf5,
    text_of,
    texts_of,
)
from layerscope.io.ilastik.trees import TreeArrays, VigraForest

SIGMAS_PX = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
FEATURE_IDS = (
    "GaussianSmoothing",
    "LaplacianOfGaussian",
    "GaussianGradientMagnitude",
    "DifferenceOfGaussians",
    "StructureTensorEigenvalues",
    "HessianOfGaussianEigenvalues",
)
WORKFLOW = "Pixel Classification"

_SLICES = re.compile(r"\s*(\d+)\s*:\s*(\d+)\s*")
_TXYZC = re.compile(r"1\.3\.3(post[12])?$")  # these wrote label blocks in that order, whatever else
_MOST_PIXELS = 500_000_000

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ProjectImage:
    """One image of a project and what was painted on it.

    Attributes
    ----------
    name : str
        Its nickname.
    path : str
        As written; empty where the project holds the image itself.
    axes : str
        Of the image, e.g. ``"yxc"``.
    shape : tuple of int
        Along these axes.
    labels : ndarray of uint8, (H, W)
        0 nobody said, 1 to K the class.
    """

    name: str
    path: str
    axes: str
    shape: tuple[int, ...]
    labels: Labels


@dataclass(frozen=True, eq=False)
class FeatureChoice:
    """Which features the user ticked.

    Attributes
    ----------
    filters : tuple of str
        Names that ilastik gives them, the rows.
    sigmas_px : tuple of float
        Scales, the columns.
    chosen : ndarray of bool, (filters, scales)
    """

    filters: tuple[str, ...]
    sigmas_px: tuple[float, ...]
    chosen: BoolArray

    def __post_init__(self) -> None:
        if self.chosen.shape != (len(self.filters), len(self.sigmas_px)):
            raise UnreadableFile(
                f"features: a matrix of {self.chosen.shape} for {len(self.filters)} filters and "
                f"{len(self.sigmas_px)} scales"
            )


@dataclass(frozen=True, eq=False)
class IlastikProject:
    """What a project of pixel classification holds.

    Attributes
    ----------
    images : tuple of ProjectImage
    classes : tuple of str
        Names of the labels 1 to K.
    colours : tuple of (int, int, int)
        Red, green, blue of each label; empty where there are none.
    features : FeatureChoice or None
    forest : VigraForest or None
        None where nothing was trained.
    version : str
        Of ilastik.
    skipped : tuple of str
        Names of what is pickled, and was not opened.
    notes : tuple of str
        What could not be used, one line each.
    """

    images: tuple[ProjectImage, ...]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] = ()
    features: FeatureChoice | None = None
    forest: VigraForest | None = None
    version: str = ""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_project(path: str | Path) -> IlastikProject:
    """Read a project of pixel classification.

    Parameters
    ----------
    path : path
        Of the ``.ilp`` file.

    Returns
    -------
    IlastikProject
        An image that cannot be used (several slices, damaged labels) is a note of it.

    Raises
    ------
    UnreadableFile
        If the file is damaged or is no such project.
    MissingExtra
        If h5py is not installed.
    """
    with open_hdf5(path) as file:
        work = child(file, "PixelClassification")
        if work is None:
            raise UnreadableFile(
                f"{path}: {text_of(child(file, 'workflowName')) or 'no ilastik project'}; expected "
                f"one of {WORKFLOW!r}"
            )
        stored_bytes, notes = Path(path).stat().st_size, list[str]()
        version = text_of(child(file, "ilastikVersion")) or ""
        images = tuple(_images(file, work, version, stored_bytes, notes))
        used = max((int(i.labels.max(initial=0)) for i in images), default=0)
        names = texts_of(child(work, "LabelNames"))
        names += [f"Label {k}" for k in range(len(names) + 1, used + 1)]
        return IlastikProject(
            images,
            tuple(names),
            _colours(child(work, "LabelColors"), stored_bytes),
            _features(child(file, "FeatureSelections"), stored_bytes),
            _forest(child(work, "ClassifierForests"), stored_bytes),
            version,
            tuple(_pickled(work)),
            tuple(notes),
        )


def _images(
    file: Any, work: Any, version: str, stored_bytes: int, notes: list[str]
) -> Iterator[ProjectImage]:
    lanes = child(file, "Input Data/infos")
    sets = child(work, "LabelSets")
    for number, lane in enumerate(names_in(lanes)):
        info = child(lanes, f"{lane}/Raw Data")
        if info is None or not names_in(info):
            continue
        blocks = child(sets, f"labels{number:03d}") if sets is not None else None
        try:
            yield _image(info, blocks, version, stored_bytes)
        except InputError as error:
            notes.append(f"{lane}: {error}, left out")


def _image(info: Any, blocks: Any, version: str, stored_bytes: int) -> ProjectImage:
    path = text_of(child(info, "filePath")) or ""
    name = text_of(child(info, "nickname")) or Path(path).stem
    shape = numbers_of(child(info, "shape"), stored_bytes)
    if shape is None:
        raise UnreadableFile(f"{name}: the project does not say the size of the image")
    sides = tuple(int(n) for n in shape.ravel())
    tags = text_of(child(info, "axistags"))
    axes = parse_axistags(tags) if tags else guess_axes(sides)
    if (
        len(sides) != len(axes)
        or min(sides) < 1
        or int(np.prod(sides, dtype=object)) > _MOST_PIXELS
    ):
        raise UnreadableFile(f"{name}: an image of {sides} along {axes}")
    labels = _labels(blocks, axes, sides, version, stored_bytes)
    return ProjectImage(name, path, axes, sides, to_plane(*labels, name)[..., 0])


def _labels(
    blocks: Any, axes: str, sides: Sequence[int], version: str, stored_bytes: int
) -> tuple[Labels, str]:
    """Labels of the whole image put together from their blocks, and their axes."""
    size = dict(zip(axes, sides, strict=True)) | {"c": 1}
    whole: Labels | None = None
    keys = axes if "c" in axes else f"{axes}c"
    for name in names_in(blocks):
        block = child(blocks, name)
        values = numbers_of(block, stored_bytes)
        if values is None:
            raise UnreadableFile(f"{name}: no numbers of its own")
        told = text_of(block.attrs.get("axistags"))
        own = parse_axistags(told) if told else "txyzc" if _TXYZC.match(version) else keys
        if whole is None:
            keys, whole = own, np.zeros([size.get(k, 1) for k in own], np.uint8)
        where = _where(text_of(block.attrs.get("blockSlice")), whole.shape)
        if own != keys or values.shape != whole[where].shape or values.max(initial=0) > 255:
            raise UnreadableFile(f"{name}: {values.shape} does not fit its place: damaged")
        whole[where] = values
    return (np.zeros([size.get(k, 1) for k in keys], np.uint8) if whole is None else whole), keys


def _where(text: str | None, shape: Sequence[int]) -> tuple[slice, ...]:
    """Place of a block from ``[0:1,15:25]``."""
    parts = [_SLICES.fullmatch(p) for p in (text or "").strip("[] ").split(",")]
    found = tuple(slice(int(m[1]), int(m[2])) for m in parts if m)
    fits = len(found) == len(parts) == len(shape)
    if not fits or any(not s.start < s.stop <= n for s, n in zip(found, shape, strict=True)):
        raise UnreadableFile(f"a block of labels at {text!r} in an image of {tuple(shape)}")
    return found


def _colours(dataset: Any, stored_bytes: int) -> tuple[tuple[int, int, int], ...]:
    values = numbers_of(dataset, stored_bytes)
    if values is None or values.ndim != 2 or values.shape[1] < 3:
        return ()
    return tuple((int(r), int(g), int(b)) for r, g, b in values[:, :3].tolist())


def _features(group: Any, stored_bytes: int) -> FeatureChoice | None:
    if group is None:
        return None
    scales = numbers_of(child(group, "Scales"), stored_bytes)
    chosen = numbers_of(child(group, "SelectionMatrix"), stored_bytes)
    filters = texts_of(child(group, "FeatureIds"))
    if scales is None or chosen is None or not filters:
        return None
    sigmas = tuple(float(s) for s in scales.ravel())
    return FeatureChoice(tuple(filters), sigmas, chosen.astype(bool))


def _forest(group: Any, stored_bytes: int) -> VigraForest | None:
    """Return the trees of all forests as one: each tree has one vote."""
    trees: list[TreeArrays] = []
    labels: tuple[int, ...] = ()
    for name in names_in(group):
        if not name.startswith("Forest"):
            continue
        for part in names_in(child(group, name)):
            if not part.startswith("Tree_"):
                continue
            arrays = [
                numbers_of(child(group, f"{name}/{part}/{what}"), stored_bytes)
                for what in ("topology", "parameters")
            ]
            if arrays[0] is None or arrays[1] is None:
                raise UnreadableFile(f"{name}/{part}: topology or parameters are missing")
            topology, parameters = (a.ravel() for a in arrays if a is not None)
            trees.append(TreeArrays(topology.astype(np.int32), parameters.astype(float)))
        own = numbers_of(child(group, f"{name}/_ext_param/labels"), stored_bytes)
        labels = labels or (() if own is None else tuple(int(v) for v in own.ravel()))
    if not trees:
        return None
    return VigraForest(tuple(trees), labels or tuple(range(1, trees[0].classes + 1)))


def _pickled(group: Any) -> Iterator[str]:
    """Names of opaque bytes: what Python pickled."""
    import h5py

    for place in (group, child(group, "ClassifierForests")):
        for name in names_in(place):
            item = child(place, name)
            if isinstance(item, h5py.Dataset) and item.dtype.kind == "V":
                yield item.name
