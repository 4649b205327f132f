"""The report as an A4 PDF: the same sections as the HTML, figures as vectors."""

from __future__ import annotations

import io as streams
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from layerscope.core.micrograph import Micrograph
from layerscope.core.run import RunResult
from layerscope.io.atomic import write_bytes
from layerscope.report.figures import ACCENT, INK, PALE
from layerscope.report.html import report_title
from layerscope.report.paper import MARGIN, WIDTH, counting_canvas, draw_footer, outlined
from layerscope.report.pictures import encode_jpeg
from layerscope.report.values import Banner, Card, Photo, Plot, Section, Skipped, Table

_BANNER = {"warning": ("#fdf1e8", "#d55e00"), "note": ("#f5f7f9", ACCENT),
           "good": ("#eef8f4", "#009e73")}  # fmt: skip


def render_pdf(
    run: RunResult,
    path: str | os.PathLike[str],
    *,
    micrographs: Mapping[str, Micrograph] | None = None,
    sections: Sequence[Section | Skipped] | None = None,
) -> None:
    """Write the report of `run` as a PDF; parameters are those of `render_html`.

    The same run gives the same bytes.
    """
    from layerscope.report.build import build_sections

    parts = build_sections(run, micrographs) if sections is None else sections
    version = str(run.provenance.get("version", ""))
    write_bytes(Path(path), pdf_bytes(report_title(run), parts, version=version))


def pdf_bytes(
    title: str, parts: Sequence[Section | Skipped], *, version: str, numbered: str = ""
) -> bytes:
    """Return `parts` under a title as an A4 PDF.

    Parameters
    ----------
    title : str
    parts : sequence of Section or Skipped
    version : str
    numbered : str
        Number of the document, which stands on every page beside "page 3 of 12"; with one the
        document has bookmarks.
    """
    from reportlab import rl_config
    from reportlab.platypus import PageBreak, SimpleDocTemplate

    from layerscope.report.vectors import register_fonts

    register_fonts()
    # Photos as bytes, not as letters: a fifth shorter, and a sixth of the time of a report.
    rl_config.useA85 = 0
    out = streams.BytesIO()
    document = (outlined() if numbered else SimpleDocTemplate)(
        out, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=MARGIN,
        bottomMargin=MARGIN, title=f"{title}: layerscope report", invariant=1,
        author="layerscope", creator=f"layerscope {version}".strip(), pageCompression=1,
    )  # fmt: skip
    head = f"layerscope {version} · report" if version else "layerscope · report"
    story = [_paragraph(head, "soft"), _paragraph(title, "title")]
    for part in parts:
        if isinstance(part, Section):
            story += [*([PageBreak()] if part.new_page else []), *_section(part)]
    story += [_paragraph(f"{p.title}: left out. {p.reason}", "soft") for p in parts
              if isinstance(p, Skipped)]  # fmt: skip
    if numbered:
        document.build(story, canvasmaker=counting_canvas(f"{title} · {numbered}"))
    else:
        document.build(story, onFirstPage=_footer(title), onLaterPages=_footer(title))
    return out.getvalue()


def _footer(title: str) -> Any:
    def draw(canvas: Any, document: Any) -> None:
        draw_footer(canvas, f"layerscope · {title}"[:90], f"page {document.page}")

    return draw


def _style(kind: str) -> Any:
    from reportlab.lib.colors import HexColor
    from reportlab.lib.styles import ParagraphStyle

    size, lead, after, bold = {
        "title": (19, 24, 8, True),
        "heading": (13, 17, 6, True),
        "text": (9, 13, 6, False),
        "soft": (7.5, 10.5, 4, False),
        "cell": (7.2, 9.4, 0, False),
        "code": (6.2, 8.6, 0, False),
        "head": (7.2, 9.4, 0, True),
        "big": (17, 21, 0, True),
        "card": (8.6, 11, 3, True),
    }[kind]
    font = "DejaVu-Mono" if kind == "code" else "DejaVu-Bold" if bold else "DejaVu"
    color = HexColor("#5b6873" if kind == "soft" else INK)
    return ParagraphStyle(kind, fontName=font, fontSize=size, leading=lead, spaceAfter=after,
                          textColor=color, spaceBefore=12 if kind == "heading" else 0,
                          keepWithNext=kind == "heading", splitLongWords=1)  # fmt: skip


def _paragraph(text: str, kind: str = "text", align: int = 0) -> Any:
    from reportlab.platypus import Paragraph

    style = _style(kind)
    style.alignment = align
    return Paragraph(escape(text), style)


def _section(part: Section) -> list[Any]:
    from reportlab.platypus import Spacer

    story = [_paragraph(part.title, "heading")]
    for banner in part.banners:
        story += [_banner(banner), Spacer(1, 6)]
    if part.tiles:
        story += [_tiles(part.tiles), Spacer(1, 8)]
    story += [_paragraph(text) for text in part.text]
    for pair in _pairs(part.cards):
        story += [_card_row(pair), Spacer(1, 8)]
    story += _plots(part.plots)
    n = part.photos_in_row
    for photos in _pairs(part.photos, n):
        story.append(_side_by_side([_captioned_photo(p, WIDTH / n - 8) for p in photos], n))
    for table in part.tables:
        story += [*_table(table), Spacer(1, 10)]
    return story


def _pairs(items: Sequence[Any], n: int = 2) -> Iterator[Sequence[Any]]:
    return (items[i : i + n] for i in range(0, len(items), n))


def _grid(
    cells: list[list[Any]], widths: list[float], *style: tuple[Any, ...], **options: Any
) -> Any:
    from reportlab.platypus import Table as Grid

    base = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 4),
            ("RIGHTPADDING", (0, 0), (-1, -1), 4)]  # fmt: skip
    return Grid(cells, colWidths=widths, style=[*base, *style], **options)


def _banner(banner: Banner) -> Any:
    back, line = _BANNER[banner.level]
    cell = [_paragraph(banner.title, "card"), _paragraph(banner.text, "cell")]
    return _grid(
        [[cell]], [WIDTH], ("BACKGROUND", (0, 0), (-1, -1), back),
        ("LINEBEFORE", (0, 0), (0, -1), 3, line), ("LEFTPADDING", (0, 0), (-1, -1), 10),
        ("TOPPADDING", (0, 0), (-1, -1), 6), ("BOTTOMPADDING", (0, 0), (-1, -1), 7),
    )  # fmt: skip


def _tiles(tiles: Sequence[tuple[str, str]]) -> Any:
    cells = [[_paragraph(value, "big"), _paragraph(name, "soft")] for value, name in tiles]
    return _grid([cells], [WIDTH / len(cells)] * len(cells), ("BOX", (0, 0), (-1, -1), 0.6, PALE),
                 ("INNERGRID", (0, 0), (-1, -1), 0.6, PALE))  # fmt: skip


def _side_by_side(cells: list[list[Any]], n: int = 2) -> Any:
    padded: list[Any] = [*cells, *[""] * (n - len(cells))]
    return _grid([padded], [WIDTH / n] * n)


def _card_row(cards: Sequence[Card]) -> Any:
    return _side_by_side([[_card(card)] for card in cards])


def _card(card: Card) -> Any:
    inner = WIDTH / 2 - 8
    left = inner * 0.44
    picture = _photo(card.photo, left - 10) if card.photo else _paragraph(card.no_photo, "soft")
    lines = [_paragraph(card.headline, "card")]
    lines += [_paragraph(f"{name}: {value}", "cell") for name, value in card.rows]
    if card.flags:
        lines.append(_paragraph("flags: " + ", ".join(card.flags), "soft"))
    return _grid(
        [[picture, lines]], [left, inner - left], ("BOX", (0, 0), (-1, -1), 0.6, PALE),
        ("LINEABOVE", (0, 0), (-1, 0), 3, card.color),
        ("TOPPADDING", (0, 0), (-1, -1), 6), ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
    )  # fmt: skip


def _photo(photo: Photo, width: float) -> Any:
    from reportlab.platypus import Image

    height = width * photo.pixels.shape[0] / photo.pixels.shape[1]
    return Image(streams.BytesIO(encode_jpeg(photo.pixels)), width, height)


def _captioned_photo(photo: Photo, width: float) -> list[Any]:
    return [_photo(photo, width), _paragraph(photo.caption, "soft")]


def _plots(plots: Sequence[Plot]) -> list[Any]:
    from layerscope.report.vectors import VectorFigure

    wide = []
    for p in plots:
        if p.wide:
            figure = VectorFigure(p.figure, WIDTH)
            figure.keepWithNext = True  # heading, figure and caption on one page
            wide += [figure, _paragraph(p.caption, "soft")]
    narrow = [[VectorFigure(p.figure, WIDTH / 2 - 8), _paragraph(p.caption, "soft")]
              for p in plots if not p.wide]  # fmt: skip
    return [*wide, *(_side_by_side(list(pair)) for pair in _pairs(narrow))]


def _table(table: Table) -> list[Any]:
    if not table.rows:
        return []
    head = [
        _paragraph(name, "head", 2 * (i in table.numeric)) for i, name in enumerate(table.columns)
    ]
    body = [
        [_paragraph(cell, "code" if i in table.code else "cell", 2 * (i in table.numeric))
         for i, cell in enumerate(row)]
        for row in table.rows[: table.printed]
    ]  # fmt: skip
    shares = table.widths or (1.0,) * len(table.columns)
    widths = [WIDTH * share / sum(shares) for share in shares]
    caption = [_paragraph(table.caption, "soft"), *[""] * (len(head) - 1)]
    # Caption, head and the first row stay together; only the head is repeated on each page.
    grid = _grid(
        [caption, head, *body], widths, ("SPAN", (0, 0), (-1, 0)), ("NOSPLIT", (0, 0), (-1, 2)),
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, PALE), ("BACKGROUND", (0, 1), (-1, 1), "#f5f7f9"),
        ("TOPPADDING", (0, 0), (-1, -1), 2.5), ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        repeatRows=(1,),
    )  # fmt: skip
    more = len(table.rows) - table.printed
    rest = [_paragraph(f"{more} more rows are in the HTML report.", "soft")] if more > 0 else []
    return [grid, *rest]
