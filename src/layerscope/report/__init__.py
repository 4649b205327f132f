"""The report of a run or a scan, as HTML, as PDF and in a notebook.

Names are imported when they are first used: the report of one task needs no other's.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "SCAN_SECTIONS": "scan",
    "SECTIONS": "build",
    "build_scan_sections": "scan",
    "build_sections": "build",
    "html_repr": "html",
    "rank_flakes": "ranking",
    "render_html": "html",
    "render_pdf": "pdf",
    "summarise": "scan_text",
    "write_scan_report": "scan",
}
__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from layerscope.report.build import SECTIONS as SECTIONS
    from layerscope.report.build import build_sections as build_sections
    from layerscope.report.html import html_repr as html_repr
    from layerscope.report.html import render_html as render_html
    from layerscope.report.pdf import render_pdf as render_pdf
    from layerscope.report.ranking import rank_flakes as rank_flakes
    from layerscope.report.scan import SCAN_SECTIONS as SCAN_SECTIONS
    from layerscope.report.scan import build_scan_sections as build_scan_sections
    from layerscope.report.scan import write_scan_report as write_scan_report
    from layerscope.report.scan_text import summarise as summarise


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
