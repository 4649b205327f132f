"""A forest of decision trees over pixel features: useful from a handful of labelled pixels.

Growing needs scikit-learn, asking ONNX Runtime at most. The trees go into the same kind of file as
a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope import __version__
from layerscope.errors import InputError, LayerscopeError
from layerscope.io.atomic import write_bytes
from layerscope.models.card import ModelCard
from layerscope.models.file import CARD_KEY
from layerscope.models.session import open_session
from layerscope.models.trees import Trees, trees_of
from layerscope.models.trees_file import INPUT_NAMES, forest_graph

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

FloatMatrix = npt.NDArray[np.float32]
PARITY = 1e-5
"""Largest difference of a probability between the file and the forest."""


@dataclass(frozen=True)
class ForestSettings:
    """How a forest is grown.

    Attributes
    ----------
    trees : int
    least_leaf : int
        Samples that a leaf holds at least.
    seed : int
    jobs : int
        Trees grown at once; has no influence on the result.
    """

    trees: int = 100
    least_leaf: int = 2
    seed: int = 0
    jobs: int = 1


@dataclass(frozen=True, eq=False)
class PixelSamples:
    """Features and classes of pixels that were drawn from labelled images.

    Attributes
    ----------
    features : ndarray of float32, (N, F)
    classes : ndarray of uint8, (N,)
    weights : ndarray of float64, (N,)
        Pixels of the images that each one stands for, up to a factor.
    """

    features: FloatMatrix
    classes: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float64]


def join_samples(samples: Sequence[PixelSamples]) -> PixelSamples:
    """All samples of several images as one."""
    return PixelSamples(
        np.concatenate([s.features for s in samples]),
        np.concatenate([s.classes for s in samples]),
        np.concatenate([s.weights for s in samples]),
    )


def grow_forest(samples: PixelSamples, settings: ForestSettings) -> RandomForestClassifier:
    """Grow a random forest on pixels (L. Breiman, Machine Learning 45, 5, 2001).

    Raises
    ------
    InputError
        If there are fewer than two classes.
    """
    from sklearn.ensemble import RandomForestClassifier

    if len(np.unique(samples.classes)) < 2:
        raise InputError("only one class is labelled; label pixels of a second one")
    forest = RandomForestClassifier(
        n_estimators=settings.trees,
        min_samples_leaf=settings.least_leaf,
        random_state=settings.seed,
        n_jobs=settings.jobs,
    )
    return forest.fit(
        samples.features, samples.classes, sample_weight=samples.weights / samples.weights.mean()
    )


def write_forest(
    forest: RandomForestClassifier, card: ModelCard, path: Path, sample: FloatMatrix
) -> ModelCard:
    """Write a forest as one ONNX file with its card.

    Parameters
    ----------
    forest : RandomForestClassifier
    card : ModelCard
        Parameters, parity and versions are filled in here.
    path : Path
    sample : ndarray of float32, (n, F)
        The file is asked about these and must agree with the forest.

    Raises
    ------
    LayerscopeError
        If ONNX Runtime and scikit-learn differ by more than `PARITY`.
    """
    trees = trees_of(forest, len(card.classes))
    wanted = np.zeros((len(sample), trees.classes))
    wanted[:, forest.classes_] = forest.predict_proba(sample)
    return write_trees([trees], card, path, [sample], wanted)


def write_trees(
    stages: Sequence[Trees],
    card: ModelCard,
    path: Path,
    samples: Sequence[FloatMatrix],
    wanted: npt.NDArray[np.floating[Any]],
) -> ModelCard:
    """Write one forest, or one and the one that sees its answers, as one file with its card.

    Parameters
    ----------
    stages : sequence of Trees
    card : ModelCard
        Parameters, parity and versions are filled in here.
    path : Path
    samples : sequence of ndarray of float32, (n, F)
        The file is asked about these, one table per forest.
    wanted : ndarray, (n, K)
        What it must answer.

    Raises
    ------
    LayerscopeError
        If ONNX Runtime answers with anything that differs by more than `PARITY`.
    """
    asked = dict(zip(INPUT_NAMES, samples, strict=False))
    answer = open_session(forest_graph(stages)).run(None, asked)[0]
    parity = float(np.abs(answer - wanted).max())
    if not parity <= PARITY:
        raise LayerscopeError(f"ONNX and forest differ by {parity:.2g}; the model was not written")
    filled = replace(
        card,
        parameters=sum(len(trees.feature) for trees in stages),
        metrics={**card.metrics, "onnx_parity": float(f"{parity:.1e}")},
        made_with={"layerscope": __version__, "scikit-learn": metadata.version("scikit-learn")},
    )
    write_bytes(path, forest_graph(stages, {CARD_KEY: filled.to_json()}))
    return filled
