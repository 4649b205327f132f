"""Which images a model learned from: fingerprints of their pixels, kept in its card.

An image is known again under another name, in another lossless format and as grey stored in three
channels; not if it was cropped, turned, rescaled or compressed anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

MOST_KEPT = 2000
"""Fingerprints of one source in a card, 40 kB of it. Of more images the smallest are kept: they are
drawn by their content, and whoever is below the largest kept can still be told."""

_DIGITS = 16  # 64 bits: among a million images two are alike by chance in one case of 40 million


def fingerprint(image: npt.NDArray[Any]) -> str:
    """Return the first 16 hexadecimal digits of the sha256 of an image's pixels.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        As `core.examples.Example.read_image` gives it. Equal channels count as one.
    """
    pixels = image[..., None] if image.ndim == 2 else image
    grey = all(np.array_equal(pixels[..., 0], pixels[..., c]) for c in range(1, pixels.shape[2]))
    kept = np.ascontiguousarray(pixels[..., :1] if grey else pixels)
    kept = kept.astype(kept.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.sha256(f"{kept.shape} {kept.dtype.kind}{kept.itemsize} ".encode())
    digest.update(kept.tobytes())
    return digest.hexdigest()[:_DIGITS]


def fingerprints(images: Iterable[npt.NDArray[Any]]) -> tuple[str, ...]:
    """Fingerprints for a `models.card.TrainingSet`: ascending, `MOST_KEPT` at most."""
    return tuple(sorted({fingerprint(image) for image in images})[:MOST_KEPT])


@dataclass(frozen=True)
class Seen:
    """What a card says of the images that taught a model.

    Attributes
    ----------
    known : frozenset of str
        Fingerprints.
    whole : bool
        False: some source had more images than a card keeps, or names none of its images.
    """

    known: frozenset[str] = frozenset()
    whole: bool = True

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Self:
        """Read a card as a mapping, as a run's ``run.json`` keeps it; what is no list is nothing.

        Synthetic sources have no images that anybody could hold: one without specimens is passed.
        """
        sources = [s for s in card.get("trained_on") or () if isinstance(s, Mapping)]
        lists = [s.get("seen") or () for s in sources if s.get("groups")]
        kept = [tuple(map(str, found)) for found in lists if isinstance(found, (list, tuple))]
        whole = all(0 < len(found) < MOST_KEPT for found in kept)
        return cls(frozenset(f for found in kept for f in found), whole)

    def met_again(self, fingerprints: Iterable[str], name: str) -> str:
        """Say that images which shall judge taught `name` already; empty if none did."""
        met = sum(f in self.known for f in fingerprints)
        if not met:
            return ""
        return f"{met} of these images taught {name} already: held-out scores are too good"

    def __contains__(self, image: npt.NDArray[Any]) -> bool:
        return bool(self.known) and fingerprint(image) in self.known
