"""What a layer head is, what it answers, and the one file it is kept in.

A head turns the contrast of regions into a `LayerPosterior`, like the physics does, but from
labelled examples. Its file is JSON: a card for people, arrays as lists of decimal numbers that
read back to the same bits, and a SHA-256 over all of it. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from layerscope.core.results import THICK, UNKNOWN, FloatArray, IntArray, LayerPosterior
from layerscope.errors import InputError, UnreadableFile
from layerscope.models import HEADS
from layerscope.models.confidence import Confidence, Scorer
from layerscope.models.samples import MOST_LAYERS

FORMAT = "layerscope-head"
VERSION = 1
_MOST_BYTES = 20_000_000
_CREDIBLE = 0.95
_SHOWN = 0.01  # branches under 1 % are not listed


@dataclass(frozen=True)
class HeadCard:
    """What a user must know about a head before believing it.

    Attributes
    ----------
    classes : tuple of int
        Layer numbers it knows, ascending.
    training : mapping
        Where the labels come from: material, substrate, tone, numbers of regions and images.
    metrics : mapping
        Held-out figures; empty of figures where there was nothing to hold out.
    thresholds : mapping of str to float
        Gate, temperature and the other numbers that turn distance into probability.
    task, channels, quantity : str, tuple of str, str
        What goes in and what comes out.
    """

    classes: tuple[int, ...]
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    task: str = "layers"
    channels: tuple[str, ...] = ("R", "G", "B")
    quantity: str = "I / I_substrate - 1"


class LayerHead(Protocol):
    """What every entry of `HEADS` is."""

    name: str

    @property
    def card(self) -> HeadCard:
        """What the head was trained on and how good it was."""

    @property
    def classes(self) -> tuple[int, ...]:
        """Layer numbers that the head knows, ascending."""

    def predict(
        self,
        contrast: FloatArray,
        contrast_se: FloatArray,
        *,
        max_layers: int = 10,
        layer_nm: float | None = None,
    ) -> LayerPosterior:
        """Posterior over layers for regions with `contrast` (n, 3) and its standard error."""

    def save(self, path: str | Path) -> None:
        """Write the head to one file."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a head that `save` wrote."""


def load_head(path: str | Path) -> LayerHead:
    """Read a head of any kind; the file says which.

    Raises
    ------
    UnreadableFile
        If the file is missing, malformed or changed after it was written.
    UnknownName
        If no head of that name is installed.
    """
    head: LayerHead = HEADS[str(_read(Path(path))["head"])].load(path)
    return head


def checked_contrast(
    contrast: FloatArray, contrast_se: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Finite contrast and standard error (n, 3), and which rows (n,) had been measured at all.

    Raises
    ------
    InputError
        If the shapes differ from (n, 3), or a standard error is negative.
    """
    c, se = np.asarray(contrast, float), np.asarray(contrast_se, float)
    if c.ndim != 2 or c.shape[1] != 3 or se.shape != c.shape:
        raise InputError(f"contrast {c.shape} and contrast_se {se.shape}: expected (n, 3) both")
    if np.any(se < 0):
        raise InputError("contrast_se is negative: expected standard errors")
    measured = np.isfinite(c).all(axis=1) & np.isfinite(se).all(axis=1)
    return np.where(measured[:, None], c, 0), np.where(measured[:, None], se, 0), measured


def answer(
    scorer: Scorer,
    confidence: Confidence,
    contrast: FloatArray,
    contrast_se: FloatArray,
    *,
    max_layers: int = 10,
    layer_nm: float | None = None,
) -> LayerPosterior:
    """Score regions, weigh the scores, arrange the answer; what `predict` of every head does."""
    c, se, measured = checked_contrast(contrast, contrast_se)
    probability, outlier = confidence.weigh(scorer.score(c, se), scorer.prior)
    return layer_posterior(
        probability * measured[:, None],
        np.where(measured, outlier, 1.0),
        scorer.labels,
        max_layers=max_layers,
        layer_nm=layer_nm,
    )


def class_prior(labels: tuple[int, ...], priors: Mapping[int, float] | None) -> FloatArray:
    """Prior per class, adding to one; equal unless given.

    Raises
    ------
    InputError
        If a class has no positive prior.
    """
    weight = np.array([1.0 if priors is None else priors.get(k, 0.0) for k in labels])
    if priors is not None and 0 in labels and 0 not in priors:
        weight[labels.index(0)] = weight.sum() / max(len(labels) - 1, 1)
    if not np.all(np.isfinite(weight) & (weight > 0)):
        raise InputError(f"priors: expected a positive number for each of the classes {labels}")
    return np.asarray(weight / weight.sum(), float)


def require_labels(layers: IntArray) -> None:
    """Refuse training data without a labelled flake, or with an impossible layer number.

    Raises
    ------
    InputError
    """
    if not np.any(layers > 0):
        raise InputError("no labelled flake to learn from: give at least one per layer number")
    if layers.max() > MOST_LAYERS:
        raise InputError(f"{layers.max()} layers: expected at most {MOST_LAYERS}")


def unusable_gaussians(labels: tuple[int, ...], mean: FloatArray, covariance: FloatArray) -> str:
    """Why these Gaussians (K, d) and (K, d, d) cannot be used; empty where they can."""
    if not labels or list(labels) != sorted(set(labels)) or labels[0] < 0:
        return f"layer numbers {labels} are not distinct and ascending"
    k, d = len(labels), mean.shape[-1]
    if mean.shape != (k, d) or covariance.shape != (k, d, d):
        return f"means {mean.shape} and covariances {covariance.shape} do not fit the classes"
    if not (np.all(np.isfinite(mean)) and np.all(np.isfinite(covariance))):
        return "means or covariances are not finite"
    symmetric = np.allclose(covariance, covariance.transpose(0, 2, 1), rtol=1e-6, atol=1e-12)
    if not symmetric or np.linalg.eigvalsh(covariance).min() <= 0:
        return "a covariance is not symmetric and positive definite"
    return ""


def layer_posterior(
    probability: FloatArray,
    outlier: FloatArray,
    labels: Sequence[int],
    *,
    max_layers: int = 10,
    layer_nm: float | None = None,
    min_confidence: float = 0.5,
) -> LayerPosterior:
    """Arrange class probabilities as the answer that every part of the package reads.

    Parameters
    ----------
    probability : ndarray, (n, K)
        Of the classes in `labels`; each row adds to one minus its `outlier`.
    outlier : ndarray, (n,)
        Probability that the region is none of them.
    labels : sequence of int
        Layer number per class; 0 is bare substrate and counts as unknown, numbers above
        `max_layers` count as thick.
    max_layers : int, optional
    layer_nm : float, optional
        Thickness of one layer; without it no thickness is given.
    min_confidence : float, optional
        Below it no number is given.
    """
    if max_layers < 1:
        raise InputError(f"max_layers is {max_layers}: expected 1 or more")
    columns = np.zeros((len(outlier), max_layers + 2))
    for k, label in enumerate(labels):
        at = max_layers + 1 if label == 0 else min(label - 1, max_layers)
        columns[:, at] += probability[:, k]
    bare = columns[:, -1].copy()
    columns[:, -1] += outlier
    best = columns.argmax(axis=1) if len(columns) else np.zeros(0, np.int64)
    sure = columns.max(axis=1, initial=0) >= min_confidence
    number = np.where(best < max_layers, best + 1, np.where(best == max_layers, THICK, UNKNOWN))
    withheld = tuple(
        _why(row, column, enough, empty, max_layers)
        for row, column, enough, empty in zip(columns, best, sure, bare, strict=True)
    )
    n_layers = np.where(sure, number, UNKNOWN)
    return LayerPosterior(columns, n_layers, *_thickness(columns, n_layers, layer_nm), withheld)


def _why(row: FloatArray, best: int, sure: bool, bare: float, max_layers: int) -> str:
    if best == max_layers + 1:
        looks_bare = bare > 0.5 * row[-1]
        return "colour of the bare substrate" if looks_bare else "colour of no labelled class"
    if sure:
        return ""
    first, second = (
        "thick" if i == max_layers else f"{i + 1}" for i in np.argsort(-row[:-1], kind="stable")[:2]
    )
    return f"colour between {first} and {second} layers"


def _thickness(
    columns: FloatArray, n_layers: IntArray, layer_nm: float | None
) -> tuple[FloatArray, FloatArray, FloatArray, tuple[tuple[tuple[float, float, float], ...], ...]]:
    """Thickness, the ends of its 95 % credible set, and every number the colour allows."""
    out = np.full((3, len(n_layers)), np.nan)
    branches: list[tuple[tuple[float, float, float], ...]] = [()] * len(n_layers)
    for i in np.flatnonzero(n_layers > 0) if layer_nm else ():
        share = columns[i, :-2] / columns[i, :-2].sum()
        order = np.argsort(-share, kind="stable")
        enough = int(np.searchsorted(np.cumsum(share[order]), _CREDIBLE)) + 1
        likely = order[:enough] + 1
        out[:, i] = np.array([n_layers[i], likely.min(), likely.max()]) * (layer_nm or 0)
        nm = [(float((k + 1) * (layer_nm or 0)), float(share[k])) for k in order]
        branches[i] = tuple((t, t, weight) for t, weight in nm if weight >= _SHOWN)
    return out[0], out[1], out[2], tuple(branches)


def write_head(path: str | Path, head: str, card: HeadCard, arrays: Mapping[str, Any]) -> None:
    """Write a head file.

    Parameters
    ----------
    path : str or Path
    head : str
        Name in `HEADS`.
    card : HeadCard
    arrays : mapping of str to ndarray
        Finite numbers only.
    """
    numbers = {name: np.asarray(a, float).tolist() for name, a in arrays.items()}
    document = {"format": FORMAT, "version": VERSION, "head": head, "card": asdict(card)}
    try:
        document = json.loads(_canonical(document | {"arrays": numbers}))
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot be kept in a head file: {error}") from None
    document["sha256"] = _digest(document)
    Path(path).write_text(_canonical(document) + "\n", "utf-8", newline="\n")


def read_head(
    path: str | Path, head: str, shapes: Mapping[str, tuple[int | str, ...]]
) -> tuple[HeadCard, dict[str, FloatArray]]:
    """Read and check a file that `write_head` wrote.

    Parameters
    ----------
    path : str or Path
    head : str
        The kind that is expected.
    shapes : mapping of str to tuple
        Arrays that must be there, ``labels`` and ``prior`` among them; a letter stands for any
        length, the same one throughout.

    Raises
    ------
    UnreadableFile
        If the file is missing, malformed, of another kind, or changed after it was written.
    """
    path = Path(path)
    document = _read(path)
    if document["head"] != head:
        raise UnreadableFile(f"{path}: a {document['head']!r} head, expected {head!r}")
    try:
        arrays = {n: np.array(document["arrays"][n], np.float64) for n in shapes}
        built = HeadCard(**document["card"])
        built = replace(built, classes=tuple(built.classes), channels=tuple(built.channels))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnreadableFile(f"{path}: malformed {head} head ({error})") from None
    _check_shapes(path, arrays, shapes)
    _check_card(path, built, arrays)
    return built, arrays


def _check_shapes(
    path: Path, arrays: Mapping[str, FloatArray], shapes: Mapping[str, tuple[int | str, ...]]
) -> None:
    lengths: dict[str, int] = {}
    for name, shape in shapes.items():
        got = arrays[name].shape
        same = len(got) == len(shape) and all(
            n == (lengths.setdefault(s, n) if isinstance(s, str) else s)
            for n, s in zip(got, shape, strict=True)
        )
        if not same or not np.all(np.isfinite(arrays[name])):
            raise UnreadableFile(f"{path}: array {name} {got}, expected finite {shape}")


def _check_card(path: Path, card: HeadCard, arrays: Mapping[str, FloatArray]) -> None:
    known = card.classes
    if not known or not all(type(k) is int and 1 <= k <= MOST_LAYERS for k in known):
        raise UnreadableFile(f"{path}: classes {known}, expected layer numbers from 1")
    if tuple(k for k in arrays["labels"].tolist() if k != 0) != known:
        raise UnreadableFile(f"{path}: labels do not fit the card's classes {known}")
    if arrays["prior"].min() <= 0 or arrays["prior"].max() > 1:
        raise UnreadableFile(f"{path}: prior probabilities must be above 0 and at most 1")
    for use in ("task", "channels", "quantity"):
        got, expected = getattr(card, use), getattr(HeadCard, use)
        if got != expected:
            raise UnreadableFile(f"{path}: {use} {got!r}, this layerscope reads {expected!r}")


def _read(path: Path) -> dict[str, Any]:
    """Content of a head file whose format, version and SHA-256 are right."""
    if not path.is_file():
        raise UnreadableFile(f"{path}: no such head file")
    if path.stat().st_size > _MOST_BYTES:
        raise UnreadableFile(f"{path}: over {_MOST_BYTES // 10**6} MB, not a head file")
    try:
        document = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        raise UnreadableFile(f"{path}: not a head file (no JSON); save the head again") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UnreadableFile(f"{path}: not a head file; expected one that layerscope saved")
    version = document.get("version")
    if version != VERSION:
        raise UnreadableFile(f"{path}: head file version {version!r}, this reads {VERSION}")
    written = document.pop("sha256", None)
    try:
        whole = written == _digest(document)
    except ValueError:  # NaN or infinity, which no head file holds
        whole = False
    if not whole or not isinstance(document.get("head"), str):
        raise UnreadableFile(f"{path}: changed or damaged after it was saved (SHA-256 differs)")
    return document


def _canonical(document: Mapping[str, Any]) -> str:
    """One spelling for one content: sorted keys, shortest decimals that read back exactly."""
    return json.dumps(document, sort_keys=True, allow_nan=False, ensure_ascii=False)


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(document).encode()).hexdigest()
