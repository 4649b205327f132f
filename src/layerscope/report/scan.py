"""The report of a scan: one HTML file, one PDF and the wafer map as pictures."""

from __future__ import annotations

from pathlib import Path

from layerscope.core.scan import ScanResult
from layerscope.errors import InputError, LayerscopeError
from layerscope.io.atomic import write_bytes
from layerscope.registry import Registry
from layerscope.report.figures import to_png, to_svg
from layerscope.report.run_files import write_pages
from layerscope.report.scan_facts import Outlines, Scan
from layerscope.report.scan_text import scan_title
from layerscope.report.values import Section, Skipped

_OWN = {
    "summary": "layerscope.report.scan_sections:summary",
    "wafer_map": "layerscope.report.scan_sections:wafer_map",
    "best_sites": "layerscope.report.scan_sections:best_sites",
    "yields": "layerscope.report.scan_sections:yields",
    "quality": "layerscope.report.scan_quality:quality",
    "failures": "layerscope.report.scan_records:failures",
    "record": "layerscope.report.scan_records:record",
}
SCAN_SECTIONS = Registry("scan_section", _OWN)
"""``section(scan) -> Section | Skipped`` by name, `scan` a `scan_facts.Scan`; outside packages add
theirs through the entry-point group ``layerscope.scan_sections`` and stand before the failures."""

_MAP = "wafer_map"


def write_scan_report(
    result: ScanResult, folder: str | Path, *, outlines: Outlines | None = None
) -> Path:
    """Write ``report.html``, ``report.pdf``, ``wafer_map.png`` and ``wafer_map.svg``.

    Parameters
    ----------
    result : ScanResult
    folder : path
        Made if missing; files of an earlier report in it are replaced.
    outlines : callable, optional
        ``(image, region_id) -> mask`` of the region within its bounding box, or None. Without it
        the pictures of the best sites show the bounding box.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If a table lacks what the report needs, or the folder cannot be written.

    Notes
    -----
    The same result gives the same bytes, as long as the image files are the same.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {target}: {error.strerror}; choose another -o") from None
    sections = build_scan_sections(result, outlines)
    title, version = scan_title(result), str(result.provenance.get("version", ""))
    write_pages(target, title, sections, version=version)
    for part in sections:
        if isinstance(part, Section) and part.title == "Wafer map":
            write_bytes(target / f"{_MAP}.png", to_png(part.plots[0].figure, dpi=200))
            write_bytes(target / f"{_MAP}.svg", to_svg(part.plots[0].figure))
    return target


def build_scan_sections(
    result: ScanResult, outlines: Outlines | None = None
) -> tuple[Section | Skipped, ...]:
    """Every section of the report of a scan; parameters are those of `write_scan_report`."""
    scan = Scan(result, outlines)
    own = list(_OWN)
    outside = sorted(name for name in SCAN_SECTIONS if name not in _OWN)
    split = own.index("failures")
    return tuple(_build(n, scan) for n in (*own[:split], *outside, *own[split:]))


def _build(name: str, scan: Scan) -> Section | Skipped:
    try:
        part: Section | Skipped = SCAN_SECTIONS[name](scan)
    except LayerscopeError as error:
        return Skipped(name.replace("_", " ").capitalize(), str(error))
    return part
