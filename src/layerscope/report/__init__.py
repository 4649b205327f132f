"""The report of a run, as HTML, as PDF and in a notebook."""

from layerscope.report.build import SECTIONS, build_sections
from layerscope.report.html import html_repr, render_html
from layerscope.report.pdf import render_pdf
from layerscope.report.ranking import rank_flakes

__all__ = ["SECTIONS", "build_sections", "html_repr", "rank_flakes", "render_html", "render_pdf"]
