"""What a scan found, in sentences: for the head of its report and for a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.core.scan import ScanResult
from layerscope.report.columns import (
    answer_text,
    figures_of,
    layer_probabilities,
    numbers,
    words,
)
from layerscope.report.html import report_title
from layerscope.report.scan_facts import Scan
from layerscope.report.scan_numbers import Bounds, poisson_bounds
from layerscope.report.sections import expected_counts

if TYPE_CHECKING:
    import pandas as pd


def counted(n: int, one: str, many: str = "") -> str:
    """``1 image``, ``20 000 images``, with a narrow space between thousands."""
    return f"{whole(n)} {one if n == 1 else many or one + 's'}"


def whole(n: float) -> str:
    """Whole number with a narrow space between thousands."""
    return f"{n:,.0f}".replace(",", "\u202f")


def summarise(result: ScanResult) -> str:
    """Sum up a scan in six to ten lines for a terminal or a notebook.

    Parameters
    ----------
    result : ScanResult

    Raises
    ------
    InputError
        If the tables lack what a report needs.
    """
    scan = Scan(result)
    lines = [scan_title(result), images_sentence(scan), found_sentence(scan), area_sentence(scan)]
    lines += [layers_sentence(scan), *roomy_sentences(scan), setups_sentence(scan)]
    best = _best_line(scan)
    return "\n".join(line for line in [*lines, best] if line).replace("\u202f", " ")


def scan_title(result: ScanResult) -> str:
    """Title of the report."""
    return f"Scan: {report_title(result)}"


def images_sentence(scan: Scan) -> str:
    """How many inputs there were, and what became of them; every input is in one of the two."""
    n, failed = len(scan.images), int(scan.failed.sum())
    if not n:
        return "The scan holds no image."
    if not failed:
        return f"{counted(n, 'image')}, all analysed."
    if failed == n:
        return f"{counted(n, 'image')}, none of which could be analysed."
    return (
        f"{counted(n, 'image')}: {whole(n - failed)} analysed, {whole(failed)} failed. What failed "
        "was not looked at: it is in no count, no area and no share below."
    )


def found_sentence(scan: Scan) -> str:
    """Flakes and regions; that nothing was found is said of images that were looked at."""
    n = len(scan.sites)
    if scan.failed.all():
        return "Nothing can be said about flakes."
    if not n:
        return f"No flake was found on the {counted(len(scan.analysed), 'analysed image')}."
    flakes = counted(scan.flakes, "flake")
    text = f"{flakes} in {counted(n, 'region')} of one thickness"
    if scan.result.affine is None:
        return f"{text}; where images overlap, what both show is counted twice."
    return f"{text}, repeats in overlaps counted once."


def area_sentence(scan: Scan) -> str:
    """How much wafer was looked at, or why that is not known."""
    if scan.failed.all():
        return ""
    if not np.isfinite(scan.scanned_um2):
        missing = int((~np.isfinite(numbers(scan.analysed, "pixel_size_um"))).sum())
        return (
            f"The scanned area is not known ({counted(missing, 'image')} without a pixel size), so "
            "nothing is given per mm²."
        )
    area = f"Scanned area {figures_of(scan.scanned_um2 * 1e-6)} mm²"
    if np.isfinite(scan.positions[~scan.failed]).all():
        return f"{area}, overlaps counted once."
    return (
        f"{area}: the sum of the images, because not all have a stage position. Where images "
        "overlap it is too large."
    )


def layers_sentence(scan: Scan) -> str:
    """Count regions per answer, with what the probabilities expect."""
    if not len(scan.sites):
        return ""
    expected = {name: Bounds(*b) for name, b in expected_counts(scan.sites).items()}
    number = [int(a) if a.isdigit() else 0 for a in scan.answers]
    parts = []
    for k in (1, 2, 3):
        text = f"{whole(number.count(k))} of {answer_text(str(k))}"
        parts.append(f"{text} ({expected_text(expected[str(k)])})" if str(k) in expected else text)
    more = sum(n > 3 for n in number)
    thick = int((scan.answers == "thick").sum())
    rest = len(number) - more - thick - sum(0 < n <= 3 for n in number)
    parts += [f"{whole(more)} of 4 or more", f"{whole(thick)} thick", f"{whole(rest)} unknown"]
    return "Regions: " + ", ".join(parts) + "."


def expected_text(bounds: Bounds) -> str:
    """Give what the probabilities add up to, with its interval."""
    return f"expected {whole(bounds.value)}, 95 % {whole(bounds.low)}–{whole(bounds.high)}"


def roomy_sentences(scan: Scan) -> list[str]:
    """Monolayers with room for a device: the number that people look for first."""
    if not any(a.isdigit() for a in scan.answers):
        withheld = "No region has a layer number." if len(scan.sites) else ""
        return [withheld] if withheld else []
    room = scan.circle >= scan.room
    chosen = room & (scan.answers == "1")
    n, size = int(chosen.sum()), f"{scan.room:g} {scan.unit}"
    expected = _expected_of(scan.sites[room], "1")
    complete = int((chosen & scan.complete).sum())
    text = f"{counted(n, 'monolayer region')} with room for a circle of {size} or more"
    if expected is not None:
        text += f" ({expected_text(expected)})"
    end = ", " + (f"{whole(complete)} of them whole." if n else "")
    return [text + (end if n else ".")]


def _expected_of(sites: pd.DataFrame, answer: str) -> Bounds | None:
    names, _ = layer_probabilities(sites)
    if answer not in names or not len(sites):
        return None
    return Bounds(*expected_counts(sites)[answer])


def setups_sentence(scan: Scan) -> str:
    """Say for how many images layer numbers are absolute."""
    calibration = scan.result.calibration
    if scan.failed.all():
        return ""
    if calibration is None:
        if head := scan.result.parameters.get("head"):
            return f"Layer numbers come from the trained head {head}."
        return "No calibration: layer numbers are not derived from a thickness model."
    bad = [k for k, s in enumerate(calibration.setups) if s.status != "ok"]
    if not bad:
        return f"Calibration accepted in {counted(len(calibration.setups), 'setup')}."
    setup = numbers(scan.analysed, "setup")
    images = int(np.isin(setup, bad).sum())
    reasons = "; ".join(dict.fromkeys(r for k in bad for r in calibration.setups[k].reasons))
    return (
        f"Calibration not accepted in {len(bad)} of {counted(len(calibration.setups), 'setup')} "
        f"({counted(images, 'image')}): {reasons or 'no reason recorded'}. Layer numbers are "
        "withheld there."
    )


def _best_line(scan: Scan) -> str:
    best = scan.best.head(1)
    if not len(best):
        return ""
    circle = numbers(best, f"inscribed_circle_diameter_{'um' if scan.scaled else 'px'}")[0]
    answer = answer_text(str(scan.answers[scan.sites.index.get_loc(best.index[0])]))
    line = f"Best: {answer}, circle {figures_of(float(circle))} {scan.unit}"
    line += f", on {words(best, 'image')[0]}"
    return f"{line}{place_text(best)}."


def place_text(site: pd.DataFrame) -> str:
    """Return `` at x ..., y ... µm`` of one row of sites, or "" without a place."""
    x, y = (float(numbers(site, f"stage_{a}_um")[0]) for a in "xy")
    return f" at x {x:.1f}, y {y:.1f} µm" if np.isfinite([x, y]).all() else ""


def range_text(values: FloatArray, digits: int = 3) -> str:
    """One number where all agree, else the smallest and the largest."""
    values = values[np.isfinite(values)]
    if not len(values):
        return "unknown"
    low, high = figures_of(values.min(), digits), figures_of(values.max(), digits)
    return low if low == high else f"{low} to {high}"


def common_folder(paths: Iterable[str]) -> str:
    """Folder that all files lie in, or "" where there is none."""
    known = [p for p in paths if p]
    try:
        return os.path.commonpath([os.path.dirname(p) for p in known]) if known else ""
    except ValueError:  # relative and absolute paths, or several drives
        return ""


def garwood_text(count: int, area_mm2: float) -> str:
    """Density with its interval: ``1.2 (0.8–1.7)``; – where the area is not known."""
    if not np.isfinite(area_mm2) or area_mm2 <= 0:
        return "–"
    value, low, high = (v / area_mm2 for v in poisson_bounds(count))
    return f"{figures_of(value)} ({figures_of(low)}–{figures_of(high)})"
