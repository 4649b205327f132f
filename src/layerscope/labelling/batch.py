"""A classifier over many images: classes by thresholds, probabilities, where it is unsure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.run import Failure
from layerscope.errors import LayerscopeError
from layerscope.io import read
from layerscope.io.annotated.images import unit_pixels
from layerscope.io.sources import Source
from layerscope.labelling.classifier import PixelClassifier
from layerscope.labelling.doubt import doubt
from layerscope.labelling.scribbles import Labels
from layerscope.labelling.thresholds import Thresholds, decide
from layerscope.ops.channels import FloatImage


@dataclass(frozen=True, eq=False)
class Classified:
    """What a classifier says of one image.

    Attributes
    ----------
    name : str
    micrograph : Micrograph
    probabilities : ndarray of float32, (H, W, K)
    labels : ndarray of uint8, (H, W)
        1 to K; 0 where no class reaches its threshold.
    uncertainty : ndarray of float32, (H, W)
    shares : tuple of float
        Of each class in the pixels, after thresholds; they add up to 1 less what is unknown.
    """

    name: str
    micrograph: Micrograph
    probabilities: FloatImage
    labels: Labels
    uncertainty: npt.NDArray[np.float32]
    shares: tuple[float, ...]


def classify_images(
    sources: Iterable[Source],
    classifier: PixelClassifier,
    thresholds: Thresholds,
    on_result: Callable[[Classified], None],
    *,
    kind: str = "margin",
) -> tuple[Failure, ...]:
    """Classify one image after the other, and hand each over.

    Parameters
    ----------
    sources : iterable of Source
        From `io.sources.name_sources`.
    classifier : PixelClassifier
    thresholds : Thresholds
    on_result : callable
    kind : str
        One of `doubt.DOUBTS`.

    Returns
    -------
    tuple of Failure
        Images that could not be read.
    """
    failures = []
    for source in sources:
        try:
            image = source.micrograph or read(source.path)
            on_result(classify(source.name, image, classifier, thresholds, kind=kind))
        except LayerscopeError as reason:
            failures.append(Failure(source.path, str(reason)))
    return tuple(failures)


def classify(
    name: str,
    image: Micrograph,
    classifier: PixelClassifier,
    thresholds: Thresholds,
    *,
    kind: str = "margin",
) -> Classified:
    """Classify one image; see `classify_images`."""
    probabilities = classifier.probabilities(unit_pixels(image))
    labels = decide(probabilities, classifier.classes, thresholds, name)
    count = np.bincount(labels.ravel(), minlength=len(classifier.classes) + 1)[1:]
    return Classified(
        name, image, probabilities, labels, doubt(probabilities, kind),
        tuple((count / labels.size).tolist()),
    )  # fmt: skip
