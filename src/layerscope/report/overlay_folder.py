"""Folders with a picture per image of what was found on it; the report shows both side by side."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from layerscope.core.run import DoubtedResult, TaskRun
from layerscope.report.gallery import Glance
from layerscope.report.panels import Rgb, draw_image
from layerscope.report.run_folder import RunFolder

_PICTURE_PX = 560


Result = TypeVar("Result", bound=DoubtedResult)
Run = TypeVar("Run", bound=TaskRun)


class OverlayFolder(RunFolder[Result, Run, Glance]):
    """A run's folder with ``overlays/``; what is doubtful comes first in its report."""

    inside: ClassVar[tuple[str, ...]] = ("overlays",)
    overlay_px: ClassVar[int] = 1024
    """Longest side of a micrograph in an overlay."""

    @abstractmethod
    def draw(self, result: Result, longest_px: int, title: Sequence[str] = ()) -> Rgb:
        """Draw what was found on an image."""

    @abstractmethod
    def line(self, result: Result) -> str:
        """Say what was found in one sentence."""

    def write_image(self, result: Result, stem: str) -> Mapping[str, Any]:
        """Write the overlay."""
        self._write_picture("overlays", stem, self.draw(result, self.overlay_px, (result.name,)))
        return {"files": stem}

    def rank(self, result: Result) -> int:
        """Doubtful ones first."""
        return int(not result.doubts)

    def look(self, result: Result) -> Glance:
        """Picture of the image alone, and of what was found."""
        plain = draw_image(result.micrograph, _PICTURE_PX)
        marked = self.draw(result, _PICTURE_PX)
        return Glance(result.name, self.line(result), result.doubts, plain, marked)
