"""The images that a report shows one by one: what is kept of them, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from layerscope.report.panels import Rgb
from layerscope.report.values import Banner, Photo, Section

N_GALLERY = 24
"""Images shown one by one: a dozen pages."""

Kept = TypeVar("Kept")


class Gallery(Generic[Kept]):
    """The `N_GALLERY` most urgent images of a run, whatever the order they came in."""

    def __init__(self) -> None:
        self._kept: list[tuple[tuple[int, str], Kept]] = []

    def offer(self, rank: int, name: str, look: Callable[[], Kept]) -> None:
        """Keep what `look` returns if the image is among the most urgent so far.

        Parameters
        ----------
        rank : int
            The lowest comes first; images of one rank by their `name`.
        name : str
        look : callable
            Only called for an image that is kept.
        """
        urgency = rank, name
        if len(self._kept) >= N_GALLERY and urgency > self._kept[-1][0]:
            return
        kept = [*self._kept, (urgency, look())]
        self._kept = sorted(kept, key=lambda one: one[0])[:N_GALLERY]

    @property
    def shown(self) -> list[Kept]:
        """What was kept, the most urgent first."""
        return [kept for _, kept in self._kept]


@dataclass(frozen=True, eq=False)
class Glance:
    """What the report keeps of an image after its pixels are gone.

    Attributes
    ----------
    name : str
    line : str
        What was found, in one sentence.
    doubts : tuple of str
    plain, marked : ndarray of uint8, (H, W, 3)
    """

    name: str
    line: str
    doubts: tuple[str, ...]
    plain: Rgb
    marked: Rgb


def shown(glance: Glance, what: str) -> Section:
    """One image, plain and marked with `what` was found."""
    return Section(
        glance.name,
        (f"{glance.line}.",),
        banners=doubt_banners(glance.doubts),
        photos=(Photo(glance.plain, "As it is."), Photo(glance.marked, f"{what}.")),
    )


def doubt_banners(doubts: tuple[str, ...]) -> tuple[Banner, ...]:
    """Say above an image why a person should look at it."""
    text = ". Also: ".join(doubts)
    return (Banner("warning", "Look at this image", f"{text}."),) if doubts else ()
