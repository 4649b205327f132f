"""A matplotlib figure as vectors on a reportlab canvas, with real letters."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.path import Path as Outline
from reportlab.platypus import Flowable

from layerscope.report.figures import styled

FONTS = {"DejaVu": "DejaVuSans.ttf", "DejaVu-Bold": "DejaVuSans-Bold.ttf",
         "DejaVu-Mono": "DejaVuSansMono.ttf"}  # fmt: skip


@functools.cache
def register_fonts() -> None:
    """Make DejaVu, which matplotlib brings along, known to reportlab: µ, ², × and – need it."""
    import matplotlib as mpl
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for name, file in FONTS.items():
        pdfmetrics.registerFont(TTFont(name, str(folder / file)))
    pdfmetrics.registerFontFamily("DejaVu", normal="DejaVu", bold="DejaVu-Bold",
                                  italic="DejaVu", boldItalic="DejaVu-Bold")  # fmt: skip


class VectorFigure(Flowable):  # type: ignore[misc]
    """A figure `width` points wide.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    width : float
    """

    def __init__(self, figure: Any, width: float):
        super().__init__()
        self.figure = figure
        size = np.array(figure.get_size_inches()) * 72
        self.zoom = width / size[0]
        self.width, self.height = width, float(size[1] * self.zoom)

    def wrap(self, *_: float) -> tuple[float, float]:
        """Width and height in points."""
        return self.width, self.height

    @styled
    def draw(self) -> None:
        """Draw onto the canvas of the document."""
        register_fonts()
        self.canv.saveState()
        self.canv.scale(self.zoom, self.zoom)
        dpi = self.figure.dpi
        self.figure.set_dpi(72)  # one pixel of the renderer is one point
        self.figure.draw(_CanvasRenderer(self.canv, self.figure.bbox.size))
        self.figure.set_dpi(dpi)
        self.canv.restoreState()


class _CanvasRenderer(RendererBase):
    """Draw paths and text of matplotlib with the operators of a PDF page."""

    def __init__(self, canvas: Any, size: Any):
        super().__init__()
        self.canvas, self.size = canvas, size

    def get_canvas_width_height(self) -> tuple[float, float]:
        return float(self.size[0]), float(self.size[1])

    def flipy(self) -> bool:
        return False

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:
        filled = rgbFace is not None
        stroked = gc.get_linewidth() > 0 and gc.get_rgb()[3] > 0
        if not (filled or stroked):
            return
        self.canvas.saveState()
        self._clip(gc)
        self._style(gc, rgbFace)
        shape = self._outline(path, transform)
        # Non-zero winding, as everywhere in matplotlib: overlapping tiles of one path stay filled.
        self.canvas.drawPath(shape, stroke=int(stroked), fill=int(filled), fillMode=1)
        self.canvas.restoreState()

    def _style(self, gc: Any, face: Any) -> None:
        red, green, blue, alpha = gc.get_rgb()
        self.canvas.setStrokeColorRGB(red, green, blue, alpha=alpha)
        self.canvas.setLineWidth(gc.get_linewidth())
        self.canvas.setLineCap({"butt": 0, "round": 1, "projecting": 2}[gc.get_capstyle()])
        offset, dashes = gc.get_dashes()
        if dashes is not None:
            self.canvas.setDash([float(d) for d in dashes], float(offset or 0))
        if face is not None:
            opacity = alpha if gc.get_forced_alpha() or len(face) < 4 else face[3]
            self.canvas.setFillColorRGB(*face[:3], alpha=opacity)

    def _outline(self, path: Any, transform: Any) -> Any:
        shape = self.canvas.beginPath()
        at = np.zeros(2)
        for points, code in path.iter_segments(transform, simplify=False, curves=True):
            if code == Outline.MOVETO:
                shape.moveTo(*points)
            elif code == Outline.LINETO:
                shape.lineTo(*points)
            elif code == Outline.CURVE3:  # a quadratic curve raised to a cubic one
                middle, end = points[:2], points[2:]
                shape.curveTo(*(at + 2 / 3 * (middle - at)), *(end + 2 / 3 * (middle - end)), *end)
            elif code == Outline.CURVE4:
                shape.curveTo(*points)
            elif code == Outline.CLOSEPOLY:
                shape.close()
            at = np.asarray(points[-2:], float)
        return shape

    def _clip(self, gc: Any) -> None:
        box = gc.get_clip_rectangle()
        if box is not None:
            shape = self.canvas.beginPath()
            shape.rect(*box.bounds)
            self.canvas.clipPath(shape, stroke=0, fill=0)
        outline, transform = gc.get_clip_path()
        if outline is not None:
            self.canvas.clipPath(self._outline(outline, transform), stroke=0, fill=0)

    def draw_text(
        self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float,
        ismath: Any = False, mtext: Any = None,
    ) -> None:  # fmt: skip
        heavy = prop.get_weight() in ("bold", "semibold", 600, 700)
        red, green, blue, alpha = gc.get_rgb()
        self.canvas.saveState()
        self.canvas.setFillColorRGB(red, green, blue, alpha=alpha)
        self.canvas.setFont("DejaVu-Bold" if heavy else "DejaVu", prop.get_size_in_points())
        self.canvas.translate(x, y)
        self.canvas.rotate(angle)
        self.canvas.drawString(0, 0, s)
        self.canvas.restoreState()
