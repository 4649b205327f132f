"""Labelled images of one material in the colours of another.

A flake keeps its outline, its noise and what lies on it; the colour of each labelled region is
replaced by the one that the wanted material would have. The wanted colours come from thin-film
physics with camera, lamp, oxide and tone drawn from the priors of the analysis
(`physics.ladder`): no image of the wanted material is needed, nor a label on one.
"""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from layerscope.core.results import CropMasks, FloatArray
from layerscope.experiments.labelled import MOST_LAYERS, Labelled, Ranges
from layerscope.ops.augment import FloatImage
from layerscope.ops.tone import tone_curve
from layerscope.physics.ladder import LadderModel, Prior
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack

_OXIDE_SD_NM = 6.0
_DARKEST = 0.05
_MOST_GAIN = 2.0
_EDGE_PX = 0.8  # light of a sharp edge is spread so far by the usual objective
_SPAN_SD = 3


class Paintbox:
    """Colours of a material as some microscope might show them.

    Parameters
    ----------
    material, substrate : str
    """

    def __init__(self, material: str, substrate: str):
        self.material, self.stack = load(material), Stack.parse(substrate)

    @cached_property
    def _model(self) -> LadderModel:
        middle = self.stack.oxide_nm or 90.0
        span = (middle - _SPAN_SD * _OXIDE_SD_NM, middle + _SPAN_SD * _OXIDE_SD_NM)
        return LadderModel(self.material, self.stack, span, residue=False)

    @cached_property
    def _prior(self) -> Prior:
        return Prior.default(oxide_nm=self.stack.oxide_nm or 90.0, oxide_sd_nm=_OXIDE_SD_NM)

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """Light of 0 to `MOST_LAYERS` layers over that of the substrate, (N + 1, 3).

        As the file holds it: half of the cameras follow sRGB. Beyond 220 nm the colour stays.
        """
        prior = self._prior
        theta = np.clip(rng.normal(prior.mean, prior.sd), prior.low, prior.high)[None]
        tone = tone_curve("srgb" if rng.random() < 0.5 else "linear")
        ratio = self._model.encoded(theta, tone, rng.uniform(0.25, 0.7, 3))[0] + 1
        known_nm = np.concatenate([[0.0], self._model.thickness_nm])
        ratio = np.concatenate([np.ones((1, 3)), ratio[: len(known_nm) - 1]])
        wanted_nm = self.material.require_layer_nm() * np.arange(MOST_LAYERS + 1)
        return np.stack([np.interp(wanted_nm, known_nm, ratio[:, c]) for c in range(3)], axis=1)


def repaint(
    labelled: Labelled, ranges: Ranges, box: Paintbox, rng: np.random.Generator
) -> Labelled:
    """Give each labelled region the colour that the material of `box` would have.

    Parameters
    ----------
    labelled : Labelled
        Images as contrast to the substrate (``normalise("contrast", ...)``), three channels.
    ranges : tuple of (int, int)
        Layers of each class; within a range a region's number is drawn, evenly in its logarithm.
    box : Paintbox
    rng : numpy.random.Generator
        One microscope is drawn per image.

    Returns
    -------
    Labelled
        The same labels.
    """
    images = tuple(
        _repaint(image, labels, ranges, box.draw(rng), rng)
        for image, labels in zip(labelled.images, labelled.labels, strict=True)
    )
    return Labelled(images, labelled.labels)


def _repaint(
    image: FloatImage,
    labels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    ranges: Ranges,
    colours: FloatArray,
    rng: np.random.Generator,
) -> FloatImage:
    has, wants = np.ones(image.shape, np.float32), np.ones(image.shape, np.float32)
    for index in range(1, len(ranges)):
        _, piece = cv2.connectedComponents((labels == index).astype(np.uint8), connectivity=4)
        for where, crop in CropMasks.from_labels(piece):
            low, high = np.log(ranges[index][0]), np.log(ranges[index][1] + 0.999)
            layers = min(int(np.exp(rng.uniform(low, high))), MOST_LAYERS)
            has[where][crop] = np.median(image[where][crop], axis=0) + 1
            wants[where][crop] = colours[layers]
    has, wants = (
        cv2.GaussianBlur(m, (0, 0), _EDGE_PX, borderType=cv2.BORDER_REPLICATE) for m in (has, wants)
    )
    # Noise and dirt brighten with the flake, but those of a nearly black one are not blown up.
    gain = np.minimum(wants / np.maximum(has, _DARKEST), _MOST_GAIN)
    return np.clip(wants + gain * (1 + image - has) - 1, -1, 12, dtype=np.float32)
