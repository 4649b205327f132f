"""The report of a run or a scan, as HTML, as PDF and in a notebook."""

from layerscope.report.build import SECTIONS, build_sections
from layerscope.report.html import html_repr, render_html
from layerscope.report.pdf import render_pdf
from layerscope.report.ranking import rank_flakes
from layerscope.report.scan import SCAN_SECTIONS, build_scan_sections, write_scan_report
from layerscope.report.scan_text import summarise

__all__ = [
    "SCAN_SECTIONS",
    "SECTIONS",
    "build_scan_sections",
    "build_sections",
    "html_repr",
    "rank_flakes",
    "render_html",
    "render_pdf",
    "summarise",
    "write_scan_report",
]
