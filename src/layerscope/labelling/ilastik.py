"""Exchange with ilastik: its exported pictures, its projects and the forests in them.

    project = read_project("flakes.ilp")
    probabilities = classify(project, image)

Features are computed as ilastik does (`ops.pixel_features`), on the values of the image as they are
stored: the thresholds of its trees are in these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import IntArray
from layerscope.errors import InputError
from layerscope.io.ilastik.exports import (
    read_labels,
    read_probabilities,
    read_segmentation,
    write_labels,
    write_probabilities,
    write_segmentation,
)
from layerscope.io.ilastik.project import (
    FEATURE_IDS,
    FeatureChoice,
    IlastikProject,
    ProjectImage,
    read_project,
)
from layerscope.io.ilastik.project_file import write_project
from layerscope.io.ilastik.trees import Nodes, TreeArrays, VigraForest, encode_nodes
from layerscope.ops.pixel_features import FILTERS, SIGMAS_PX, feature_names, pixel_features, strips

__all__ = [
    "FeatureChoice",
    "IlastikProject",
    "Nodes",
    "ProjectImage",
    "TreeArrays",
    "VigraForest",
    "all_features",
    "classify",
    "encode_nodes",
    "feature_columns",
    "read_labels",
    "read_probabilities",
    "read_project",
    "read_segmentation",
    "write_labels",
    "write_probabilities",
    "write_project",
    "write_segmentation",
]


def all_features() -> FeatureChoice:
    """Every filter at every scale where ilastik offers it: 49 features a channel."""
    chosen = np.ones((len(FEATURE_IDS), len(SIGMAS_PX)), bool)
    chosen[1:, 0] = False
    return FeatureChoice(FEATURE_IDS, SIGMAS_PX, chosen)


def feature_columns(choice: FeatureChoice, channels: int) -> IntArray:
    """Positions of the chosen features in those of `ops.pixel_features`, in ilastik's order.

    Parameters
    ----------
    choice : FeatureChoice
    channels : int
        Of the image.

    Raises
    ------
    InputError
        If a filter or a scale is not one of ilastik's own.
    """
    order = {name: i for i, name in enumerate(feature_names(channels))}
    named = dict(zip(FEATURE_IDS, FILTERS, strict=True))
    found: list[int] = []
    for row, column in np.argwhere(choice.chosen).tolist():
        kind, sigma = choice.filters[row], choice.sigmas_px[column]
        stems = [f"c{c} {named.get(kind, kind)} {sigma:g}" for c in range(channels)]
        names = [n for s in stems for n in (s, f"{s}/1", f"{s}/2") if n in order]
        if not names:
            known = ", ".join(f"{s:g}" for s in SIGMAS_PX)
            raise InputError(f"feature {kind} at {sigma:g} px: known are ilastik's own at {known}")
        found += [order[n] for n in names]
    return np.array(found, np.int64)


def classify(project: IlastikProject, image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Probabilities of the classes by the forest that ilastik trained.

    Parameters
    ----------
    project : IlastikProject
        With features and a forest.
    image : ndarray, (H, W) or (H, W, C)
        Values as stored in the file that ilastik was given; of any type of numbers.

    Returns
    -------
    ndarray of float32, (H, W, K)
        Of each class of the project; 0 for classes that nothing was painted of.

    Raises
    ------
    InputError
        If nothing was trained, or the image has other channels than the forest was trained on.
    """
    if project.forest is None or project.features is None:
        raise InputError(
            "the project holds no trained forest; press Live Update in ilastik and save it, or "
            "learn from its labels with 'layerscope train pixels'"
        )
    pixels = np.asarray(image, np.float32)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    columns = feature_columns(project.features, channels)
    if len(columns) != project.forest.features:
        raise InputError(
            f"{len(columns)} features of an image with {channels} channels; the forest was trained "
            f"on {project.forest.features}"
        )
    out = np.zeros((*pixels.shape[:2], len(project.classes)), np.float32)
    for strip in strips(out.shape[:2]):
        planes = pixel_features(np.ascontiguousarray(pixels[strip.first : strip.last]))[columns]
        planes = planes[:, strip.top - strip.first : strip.bottom - strip.first]
        rows = np.ascontiguousarray(planes.reshape(len(columns), -1).T)
        answer = project.forest.probabilities(rows)
        _put(out[strip.top : strip.bottom], answer, project.forest.labels)
    return out


def _put(
    out: npt.NDArray[np.float32], answer: npt.NDArray[np.float32], labels: Sequence[int]
) -> None:
    for k, label in enumerate(labels):
        if not 1 <= label <= out.shape[2]:
            raise InputError(f"the forest knows label {label} of {out.shape[2]} classes")
        out[..., label - 1] = answer[:, k].reshape(out.shape[:2])
