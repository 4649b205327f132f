"""A4 pages of a document that is cited: a footer, pages counted, bookmarks of the sections."""

from __future__ import annotations

from typing import Any

MARGIN = 48.0
WIDTH = 595.28 - 2 * MARGIN
_LONGEST = 108


def draw_footer(canvas: Any, left: str, right: str) -> None:
    """Write a line at the foot of the page in hand."""
    canvas.saveState()
    canvas.setFont("DejaVu", 7.5)
    canvas.setFillColor("#5b6873")
    canvas.drawString(MARGIN, 28, left)
    canvas.drawRightString(MARGIN + WIDTH, 28, right)
    canvas.restoreState()


def counting_canvas(footer: str) -> Any:
    """Canvas that writes `footer` and "page 3 of 12": the last number is known at the end only."""
    from reportlab.pdfgen.canvas import Canvas

    class Counting(Canvas):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self._pages, 1):
                self.__dict__.update(page)
                draw_footer(self, footer[:_LONGEST], f"page {number} of {len(self._pages)}")
                super().showPage()
            super().save()

    return Counting


def outlined() -> Any:
    """Document whose headings are bookmarks."""
    from reportlab.platypus import SimpleDocTemplate

    class Outlined(SimpleDocTemplate):  # type: ignore[misc]
        headings = 0

        def afterFlowable(self, flowable: Any) -> None:
            if getattr(getattr(flowable, "style", None), "name", "") != "heading":
                return
            self.headings += 1
            key = f"section-{self.headings}"
            self.canv.bookmarkPage(key)
            self.canv.addOutlineEntry(flowable.getPlainText(), key)

    return Outlined
